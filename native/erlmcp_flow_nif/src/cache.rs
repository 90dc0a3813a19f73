//! The cache: `native/cache` over Erlang terms (`terms::store`).

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::Arc;
use std::time::Instant;

use cache::{Cache, Limits, Put, Shard, Store, NEVER};
use rustler::types::atom::ok;
use rustler::types::tuple::make_tuple;
use rustler::{Atom, Binary, Encoder, Env, Resource, ResourceArc, Term, TermType};
use terms::imm::Imm;
use terms::own::Own;
use terms::size::{self, Size};
use terms::store::{Slot, TermStore};

use crate::registry::cache_registry::{self as registry, Name};
use crate::{atoms, schedule};

/// The entries of a shard.
#[derive(Default)]
pub struct Terms(TermStore);

pub struct Entry {
    key: Slot,
    value: Slot,
}

/// A term on its way in: a large one was copied before any lock was taken.
pub enum Value<'a> {
    Small(Term<'a>, Size),
    Large(Slot),
}

impl Value<'_> {
    fn new(term: Term, size: Size) -> Value {
        match Slot::large(term, size) {
            Some(slot) => Value::Large(slot),
            None => Value::Small(term, size),
        }
    }
}

#[derive(Clone, Copy)]
pub struct Key<'a> {
    term: Term<'a>,
    size: Size,
}

impl Terms {
    fn value(&mut self, value: Value) -> Slot {
        match value {
            Value::Small(term, size) => self.0.insert_sized(term, size),
            Value::Large(slot) => self.0.adopt(slot),
        }
    }

    fn drop(&mut self, slot: Slot) {
        if let Slot::Own(own) = &slot {
            if own.size().total() > schedule::CACHE_FREE_HERE {
                let own = Arc::clone(own);
                aside(move || drop(own));
            }
        }
        self.0.remove(slot);
    }
}

impl Store for Terms {
    type Entry = Entry;
    type Key<'a> = Key<'a>;
    type Value<'a> = Value<'a>;

    #[inline]
    fn is(&self, entry: &Entry, key: Key) -> bool {
        self.0.is(&entry.key, key.term)
    }

    fn insert(&mut self, key: Key, value: Value) -> Entry {
        // A large key is copied under the lock: who has keys of 16 KB pays for them.
        let key = self.value(Value::new(key.term, key.size));
        Entry { key, value: self.value(value) }
    }

    fn replace(&mut self, entry: &mut Entry, value: Value) {
        let value = self.value(value);
        let old = std::mem::replace(&mut entry.value, value);
        self.drop(old);
    }

    fn remove(&mut self, Entry { key, value }: Entry) {
        self.drop(key);
        self.drop(value);
    }

    fn bytes(&self) -> usize {
        self.0.bytes().0
    }
}

/// Runs what takes its time in a thread of its own; here, when there can be none.
fn aside(work: impl FnOnce() + Send + 'static) {
    // What does not start drops its closure, and that is the work.
    let _ = std::thread::Builder::new().name("erlmcp_flow_free".into()).spawn(work);
}

fn free(shards: Vec<Shard<Terms>>) {
    if shards.iter().map(Shard::capacity).sum::<usize>() > schedule::CACHE_CLEAR_HERE {
        aside(move || drop(shards));
    }
}

pub struct Instance {
    cache: Cache<Terms>,
    epoch: Instant,
    /// Milliseconds that tests have added to the clock.
    advanced: AtomicU64,
    /// Of the hashes, so that nobody can prepare keys that fall on one another.
    salt: u32,
}

impl Instance {
    #[inline]
    fn now(&self) -> u64 {
        self.epoch.elapsed().as_millis() as u64 + self.advanced.load(Relaxed)
    }

    /// The VM's internal hash goes with `=:=` of the running OTP (0.0 and -0.0 are
    /// one key up to OTP 26, and two from 27 on).
    #[inline]
    fn hash(&self, key: Term, kind: TermType) -> u32 {
        if Imm::of_type(key, kind).is_some() {
            let word = terms::word::of(key) as u64 ^ u64::from(self.salt);
            let mixed = (word ^ (word >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            return (mixed >> 32) as u32;
        }
        key.hash_internal(u64::from(self.salt)) as u32
    }
}

/// The instance ends with this, which its process holds.
pub struct Owner {
    names: Vec<Name>,
    instance: Arc<Instance>,
}

#[rustler::resource_impl]
impl Resource for Owner {}

// The locks are released while unwinding, and what a panic leaves half done is at
// most an entry's room that is not used any more.
impl std::panic::RefUnwindSafe for Owner {}

impl Owner {
    fn close(&self) {
        registry::remove(&self.names, &self.instance);
        free(self.instance.cache.close());
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.close();
    }
}

/// A new cache, under the pid of its process (the caller) and its name.
#[rustler::nif]
fn cache_new(
    env: Env,
    name: Atom,
    capacity: usize,
    ttl: u64,
    max_bytes: u64,
) -> ResourceArc<Owner> {
    let limits = Limits {
        capacity,
        ttl: if ttl == 0 { NEVER } else { ttl },
        max_bytes: if max_bytes == 0 { usize::MAX } else { max_bytes as usize },
    };
    let instance = Arc::new(Instance {
        cache: Cache::new(limits),
        epoch: Instant::now(),
        advanced: AtomicU64::new(0),
        salt: RandomState::new().build_hasher().finish() as u32,
    });
    let mut names = vec![env.pid().encode(env)];
    if name != rustler::types::atom::undefined() {
        names.push(name.to_term(env));
    }
    let names: Vec<Name> = names.into_iter().filter_map(Name::of).collect();
    registry::insert(&names, &instance);
    ResourceArc::new(Owner { names, instance })
}

#[rustler::nif]
fn cache_close(owner: &Owner) -> Atom {
    owner.close();
    ok()
}

/// Is a key with these limits hashed and compared in a time that has a bound?
#[inline]
fn small_key(key: Term, kind: TermType) -> bool {
    match kind {
        TermType::Binary => {
            Binary::from_term(key).is_ok_and(|b| b.len() <= schedule::CACHE_KEY_BYTES)
        }
        TermType::Tuple | TermType::List | TermType::Map => {
            size::measure(key, schedule::CACHE_PARTS)
                .is_some_and(|size| size.total() <= schedule::CACHE_KEY_BYTES)
        }
        _ => true,
    }
}

/// What is found under the lock.
enum Found<'a> {
    Copy(Option<Term<'a>>),
    /// To be copied when the lock is released.
    Own(Arc<Own>),
}

fn lookup<'a>(env: Env<'a>, name: Term<'a>, key: Term<'a>, count: bool, dirty: bool) -> Term<'a> {
    let kind = key.get_type();
    if !dirty && !small_key(key, kind) {
        return atoms::dirty().to_term(env);
    }
    let found = registry::with(name, |instance| {
        let hash = instance.hash(key, kind);
        let key = Key { term: key, size: Size::default() };
        instance.cache.get(hash, key, instance.now(), count, |Terms(store), entry| {
            match &entry.value {
                Slot::Own(own) => Found::Own(Arc::clone(own)),
                slot => Found::Copy(store.get(env, slot)),
            }
        })
    });
    let value = match found {
        None => return atoms::not_running().to_term(env),
        Some(None | Some(Found::Copy(None))) => return atoms::miss().to_term(env),
        Some(Some(Found::Copy(Some(value)))) => value,
        Some(Some(Found::Own(own))) => {
            if !dirty && own.size().heap > schedule::CACHE_COPY_BYTES {
                // It was counted: the second look must not be.
                return atoms::more().to_term(env);
            }
            own.get(env)
        }
    };
    make_tuple(env, &[ok().to_term(env), value])
}

/// `{ok, Value}`, `miss`, `not_running`; `dirty`: ask `cache_get_dirty`; `more`: ask
/// it, and it is counted already.
#[rustler::nif]
fn cache_get<'a>(env: Env<'a>, name: Term<'a>, key: Term<'a>) -> Term<'a> {
    lookup(env, name, key, true, false)
}

/// The same, not counted as a hit or a miss.
#[rustler::nif]
fn cache_peek<'a>(env: Env<'a>, name: Term<'a>, key: Term<'a>) -> Term<'a> {
    lookup(env, name, key, false, false)
}

#[rustler::nif(schedule = "DirtyCpu")]
fn cache_get_dirty<'a>(env: Env<'a>, name: Term<'a>, key: Term<'a>, count: bool) -> Term<'a> {
    lookup(env, name, key, count, true)
}

/// What Erlang code says of a term that it has not looked into.
const UNCHECKED: i64 = -1;

fn put(env: Env, name: Term, key: Term, value: Term, ttl: u64, heap: i64, dirty: bool) -> Atom {
    let parts = if dirty { usize::MAX } else { schedule::CACHE_PARTS };
    let (Some(key_size), Some(value_size)) =
        (size::measure(key, parts), size::measure(value, parts))
    else {
        return atoms::dirty();
    };
    let unknown = |term: Term, size: Size| {
        size.opaque
            || size.parts && {
                // A small binary is kept as its bytes, whatever it is a part of.
                let alone = Binary::from_term(term);
                alone.map_or(true, |binary| binary.len() > size::HEAP_BINARY)
            }
    };
    if heap < 0 && unknown(key, key_size) || heap == UNCHECKED && unknown(value, value_size) {
        return atoms::check();
    }
    if !dirty
        && (key_size.total() > schedule::CACHE_KEY_BYTES
            || value_size.heap > schedule::CACHE_COPY_BYTES)
    {
        return atoms::dirty();
    }
    let heap = value_size.heap.max(heap.max(0) as usize);
    let value_size = Size { heap, ..value_size };
    let done = registry::with(name, |instance| {
        let kind = key.get_type();
        let bytes = key_size.total() + value_size.total();
        let ttl = (ttl != 0).then_some(ttl);
        let hash = instance.hash(key, kind);
        let key = Key { term: key, size: key_size };
        let value = Value::new(value, value_size);
        let put = instance.cache.put(hash, key, value, bytes, instance.now(), ttl);
        let _ = bytes > 2048 && rustler::schedule::consume_timeslice(env, 1);
        put
    });
    match done {
        Some(Put::Stored | Put::TooLarge) => ok(),
        Some(Put::Closed) | None => atoms::not_running(),
    }
}

/// `ok`, `not_running`; `check`: there may be parts of larger binaries in it, or what
/// a NIF cannot size up; `dirty`: ask `cache_put_dirty`. `ttl` 0 is the cache's own;
/// `heap` is -1 when nothing was checked, -2 when the value was, and else what the
/// caller knows of the value's heap bytes.
#[rustler::nif]
fn cache_put<'a>(
    env: Env<'a>,
    name: Term<'a>,
    key: Term<'a>,
    value: Term<'a>,
    ttl: u64,
    heap: i64,
) -> Atom {
    put(env, name, key, value, ttl, heap, false)
}

#[rustler::nif(schedule = "DirtyCpu")]
fn cache_put_dirty<'a>(
    env: Env<'a>,
    name: Term<'a>,
    key: Term<'a>,
    value: Term<'a>,
    ttl: u64,
    heap: i64,
) -> Atom {
    put(env, name, key, value, ttl, heap, true)
}

fn delete(name: Term, key: Term, dirty: bool) -> Atom {
    let kind = key.get_type();
    if !dirty && !small_key(key, kind) {
        return atoms::dirty();
    }
    done(registry::with(name, |instance| {
        let hash = instance.hash(key, kind);
        let key = Key { term: key, size: Size::default() };
        instance.cache.remove(hash, key, instance.now())
    }))
}

#[rustler::nif]
fn cache_delete<'a>(name: Term<'a>, key: Term<'a>) -> Atom {
    delete(name, key, false)
}

#[rustler::nif(schedule = "DirtyCpu")]
fn cache_delete_dirty<'a>(name: Term<'a>, key: Term<'a>) -> Atom {
    delete(name, key, true)
}

fn done<T>(found: Option<T>) -> Atom {
    match found {
        Some(_) => ok(),
        None => atoms::not_running(),
    }
}

/// Takes the contents out at once; many are freed by a thread.
#[rustler::nif]
fn cache_clear(name: Term) -> Atom {
    done(registry::with(name, |instance| free(instance.cache.clear())))
}

/// Removes some expired entries: `more`, or `ok` when there are no more.
#[rustler::nif]
fn cache_sweep(name: Term) -> Atom {
    let more = registry::with(name, |instance| {
        instance.cache.sweep_to(instance.now(), schedule::CACHE_SWEEP, |shard| free(vec![shard]))
    });
    match more {
        Some(true) => atoms::more(),
        Some(false) => ok(),
        None => atoms::not_running(),
    }
}

/// Hits, misses, evictions, expirations, refused, size, bytes; capacity, time to
/// live, most bytes.
#[rustler::nif]
fn cache_stats<'a>(env: Env<'a>, name: Term<'a>) -> Term<'a> {
    let stats = registry::with(name, |instance| (instance.cache.stats(), instance.cache.limits()));
    // 0 stands for no limit.
    let limit = |n: u64| if n == NEVER { 0 } else { n };
    match stats {
        Some((s, limits)) => vec![
            s.hits,
            s.misses,
            s.evictions,
            s.expirations,
            s.refused,
            s.size as u64,
            s.bytes as u64,
            limits.capacity as u64,
            limit(limits.ttl),
            limit(limits.max_bytes as u64),
        ]
        .encode(env),
        None => atoms::not_running().to_term(env),
    }
}

/// For tests: the cache's clock goes on by so many milliseconds.
#[rustler::nif]
fn cache_advance(name: Term, ms: u64) -> Atom {
    done(registry::with(name, |instance| instance.advanced.fetch_add(ms, Relaxed)))
}
