use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;

use crate::{Cache, Limits, Put, Shard, Store, EXACT, NEVER};

/// Entries that count how many of them there are.
#[derive(Default)]
struct Pairs {
    bytes: usize,
}

static ALIVE: AtomicUsize = AtomicUsize::new(0);

struct Pair {
    key: u64,
    value: (u64, usize),
}

impl Store for Pairs {
    type Entry = Pair;
    type Key<'a> = u64;
    type Value<'a> = (u64, usize);

    fn is(&self, entry: &Pair, key: u64) -> bool {
        entry.key == key
    }

    fn insert(&mut self, key: u64, value: (u64, usize)) -> Pair {
        ALIVE.fetch_add(1, Ordering::Relaxed);
        self.bytes += value.1;
        Pair { key, value }
    }

    fn replace(&mut self, entry: &mut Pair, value: (u64, usize)) {
        self.bytes = self.bytes + value.1 - entry.value.1;
        entry.value = value;
    }

    fn remove(&mut self, entry: Pair) {
        ALIVE.fetch_sub(1, Ordering::Relaxed);
        self.bytes -= entry.value.1;
    }

    fn bytes(&self) -> usize {
        self.bytes
    }
}

const NODE: usize = Shard::<Pairs>::NODE;

fn hash(key: u64) -> u32 {
    (key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as u32
}

struct Tested(Cache<Pairs>);

impl Tested {
    fn new(capacity: usize, ttl: u64, max_bytes: usize) -> Tested {
        Tested(Cache::new(Limits { capacity, ttl, max_bytes }))
    }

    fn get(&self, key: u64, now: u64) -> Option<u64> {
        self.0.get(hash(key), key, now, true, |_, pair| pair.value.0)
    }

    fn put(&self, key: u64, value: u64, now: u64) -> Put {
        self.put_sized(key, value, 0, now, None)
    }

    fn put_sized(&self, key: u64, value: u64, bytes: usize, now: u64, ttl: Option<u64>) -> Put {
        self.0.put(hash(key), key, (value, bytes), bytes, now, ttl)
    }

    fn remove(&self, key: u64, now: u64) -> bool {
        self.0.remove(hash(key), key, now)
    }
}

/// An exact LRU in the plainest words: oldest first.
struct Model {
    capacity: usize,
    ttl: u64,
    max_bytes: usize,
    entries: Vec<(u64, u64, usize, u64)>,
    evictions: u64,
    expirations: u64,
}

impl Model {
    fn expire(&mut self, now: u64) {
        let before = self.entries.len();
        self.entries.retain(|entry| entry.3 > now);
        self.expirations += (before - self.entries.len()) as u64;
    }

    fn take(&mut self, key: u64) -> Option<(u64, u64, usize, u64)> {
        let at = self.entries.iter().position(|entry| entry.0 == key)?;
        Some(self.entries.remove(at))
    }

    fn get(&mut self, key: u64, now: u64) -> Option<u64> {
        self.expire(now);
        let entry = self.take(key)?;
        self.entries.push(entry);
        Some(entry.1)
    }

    fn bytes(&self) -> usize {
        self.entries.iter().map(|entry| entry.2 + NODE).sum()
    }

    fn put(&mut self, key: u64, value: u64, bytes: usize, now: u64, ttl: Option<u64>) {
        self.expire(now);
        self.take(key);
        if bytes + NODE > self.max_bytes {
            return;
        }
        if self.entries.len() == self.capacity {
            self.entries.remove(0);
            self.evictions += 1;
        }
        let deadline = now.saturating_add(ttl.unwrap_or(self.ttl));
        self.entries.push((key, value, bytes, deadline));
        while self.bytes() > self.max_bytes {
            self.entries.remove(0);
            self.evictions += 1;
        }
    }
}

#[derive(Clone, Debug)]
enum Op {
    Get(u64),
    Put(u64, usize, Option<u64>),
    Remove(u64),
    Clear,
    Sweep,
    Wait(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let ttl = prop_oneof![
        4 => Just(None), 1 => (1_u64..200).prop_map(Some), 1 => Just(Some(NEVER))];
    prop_oneof![
        8 => (0_u64..24).prop_map(Op::Get),
        8 => (0_u64..24, 0_usize..300, ttl).prop_map(|(k, b, t)| Op::Put(k, b, t)),
        2 => (0_u64..24).prop_map(Op::Remove),
        1 => Just(Op::Clear),
        1 => Just(Op::Sweep),
        2 => (1_u64..60).prop_map(Op::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn is_an_exact_lru(
        capacity in prop_oneof![Just(1_usize), Just(2), Just(10), 3_usize..20],
        ttl in prop_oneof![Just(NEVER), 20_u64..100],
        max_bytes in prop_oneof![Just(usize::MAX), 200_usize..2000],
        ops in prop::collection::vec(op(), 0..120),
    ) {
        let cache = Tested::new(capacity, ttl, max_bytes);
        let mut model = Model {
            capacity, ttl, max_bytes, entries: Vec::new(), evictions: 0, expirations: 0 };
        let mut now = 1_000;
        for (i, op) in ops.into_iter().enumerate() {
            let value = i as u64;
            match op {
                Op::Get(key) => prop_assert_eq!(cache.get(key, now), model.get(key, now)),
                Op::Put(key, bytes, ttl) => {
                    cache.put_sized(key, value, bytes, now, ttl);
                    model.put(key, value, bytes, now, ttl);
                }
                Op::Remove(key) => {
                    model.expire(now);
                    prop_assert_eq!(cache.remove(key, now), model.take(key).is_some());
                }
                Op::Clear => {
                    while cache.0.sweep(now, 3) {}
                    model.expire(now);
                    cache.0.clear();
                    model.entries.clear();
                }
                Op::Sweep => while cache.0.sweep(now, 3) {},
                Op::Wait(ms) => now += ms,
            }
            let stats = cache.0.stats();
            prop_assert!(stats.size <= capacity && stats.bytes <= max_bytes);
        }
        while cache.0.sweep(now, 3) {}
        model.expire(now);
        let stats = cache.0.stats();
        prop_assert_eq!(stats.size, model.entries.len());
        prop_assert_eq!(stats.bytes, model.bytes());
        prop_assert_eq!(stats.evictions, model.evictions);
        prop_assert_eq!(stats.expirations, model.expirations);
    }
}

#[test]
fn fills_to_the_last_entry() {
    for capacity in [1, 2, 10, EXACT, EXACT + 1, 10_000] {
        let cache = Tested::new(capacity, NEVER, usize::MAX);
        for key in 0..capacity as u64 {
            cache.put(key, key, 1);
        }
        assert!((0..capacity as u64).all(|key| cache.get(key, 1) == Some(key)), "{capacity}");
        cache.put(1 << 40, 0, 1);
        assert_eq!(cache.0.len(), capacity);
        assert_eq!(cache.0.stats().evictions, 1);
    }
}

#[test]
fn expired_entries_go_before_live_ones() {
    let cache = Tested::new(10_000, NEVER, usize::MAX);
    for key in 0..10_000 {
        cache.put_sized(key, key, 0, key, (key % 2 == 0).then_some(10));
    }
    for key in 10_000..15_000 {
        cache.put(key, key, 20_000);
    }
    let stats = cache.0.stats();
    assert_eq!(stats.size, 10_000);
    // Among sampled shards: next to none.
    assert!(stats.evictions < 100, "{stats:?}");
}

#[test]
fn an_idle_cache_gives_its_memory_back() {
    let cache = Tested::new(10_000, 50, usize::MAX);
    for key in 0..10_000 {
        cache.put(key, key, 0);
    }
    let mut steps = 1;
    while cache.0.sweep(60, 100) {
        steps += 1;
    }
    assert!((100..=101).contains(&steps), "{steps}");
    assert!(cache.0.is_empty() && cache.0.stats().bytes == 0);
}

#[test]
fn too_large_is_refused() {
    let cache = Tested::new(10, NEVER, NODE + 100);
    assert_eq!(cache.put_sized(1, 1, 100, 0, None), Put::Stored);
    assert_eq!(cache.put_sized(1, 2, 101, 0, None), Put::TooLarge);
    assert_eq!(cache.get(1, 0), None);
    assert_eq!(cache.0.stats().refused, 1);
}

#[test]
fn bytes_of_a_large_cache_are_kept() {
    let cache = Tested::new(100_000, NEVER, 1_000_000);
    for key in 0..50_000 {
        cache.put_sized(key, key, (key % 1000) as usize, key, None);
        if key % 1000 == 0 {
            assert!(cache.0.stats().bytes <= 1_000_000);
        }
    }
    assert_eq!(cache.get(49_999, 50_000), Some(49_999));
    // And room is not wasted.
    assert!(cache.0.stats().bytes > 990_000, "{:?}", cache.0.stats());
}

#[test]
fn closed_refuses() {
    let cache = Tested::new(10, NEVER, usize::MAX);
    cache.put(1, 1, 0);
    drop(cache.0.close());
    assert_eq!(cache.get(1, 0), None);
    assert_eq!(cache.put(1, 1, 0), Put::Closed);
}

/// Numbers from 1 to n with the exponent `s`, by the inverse of the distribution.
struct Zipf(Vec<f64>);

impl Zipf {
    fn new(n: usize, s: f64) -> Zipf {
        let mut sum = 0.0;
        Zipf(
            (1..=n)
                .map(|i| {
                    sum += (i as f64).powf(-s);
                    sum
                })
                .collect(),
        )
    }

    fn next(&self, random: &mut u64) -> u64 {
        *random ^= *random << 13;
        *random ^= *random >> 7;
        *random ^= *random << 17;
        let at = (*random >> 11) as f64 / (1_u64 << 53) as f64 * self.0[self.0.len() - 1];
        self.0.partition_point(|sum| *sum < at) as u64
    }
}

/// The hit rate of a large cache against the same cache with one shard.
#[test]
fn hits_like_an_exact_lru() {
    for (n, s) in [(100_000, 0.9), (100_000, 1.1), (20_000, 0.7)] {
        let zipf = Zipf::new(n, s);
        let rate = |cache: &Tested| {
            let mut random = 0x1234_5678_9ABC_DEF1;
            for i in 0..400_000_u64 {
                // Two keys a microsecond.
                let (key, now) = (zipf.next(&mut random), i / 2_000);
                if cache.get(key, now).is_none() {
                    cache.put(key, key, now);
                }
            }
            let stats = cache.0.stats();
            assert!(stats.size <= 5_000);
            stats.hits as f64 / 4_000.0
        };
        let limits = Limits { capacity: 5_000, ttl: NEVER, max_bytes: usize::MAX };
        let sharded = rate(&Tested(Cache::new(limits)));
        let exact = rate(&Tested(Cache::with_shards(limits, 1)));
        println!("{n} keys, exponent {s}: exact {exact:.2} %, sharded {sharded:.2} %");
        assert!((exact - sharded).abs() < 1.0, "{n} {s}: {exact} {sharded}");
    }
}

/// Many threads, each with keys of its own besides the shared ones.
#[test]
fn threads() {
    for (capacity, max_bytes) in [(500, usize::MAX), (5_000, usize::MAX), (5_000, 300_000)] {
        let cache = Tested::new(capacity, 40, max_bytes);
        std::thread::scope(|scope| {
            for thread in 0..8_u64 {
                let cache = &cache;
                scope.spawn(move || {
                    let mut random = 88_172_645_463_325_252 + thread;
                    for now in 0..30_000_u64 {
                        random ^= random << 13;
                        random ^= random >> 7;
                        random ^= random << 17;
                        let key = random % 10_000;
                        match random >> 60 {
                            0..=7 => {
                                // A value is never another key's.
                                let got = cache.get(key, now);
                                assert!(got.is_none_or(|value| value % 10_000 == key));
                            }
                            8..=13 => {
                                let bytes = (random >> 32) as usize % 100;
                                let put =
                                    cache.put_sized(key, key + 10_000 * now, bytes, now, None);
                                assert_eq!(put, Put::Stored);
                            }
                            14 => _ = cache.remove(key, now),
                            _ if random % 1000 < 3 => drop(cache.0.clear()),
                            _ => _ = cache.0.sweep(now, 50),
                        }
                        assert!(now % 100 != 0 || cache.0.len() <= capacity);
                    }
                });
            }
        });
        let stats = cache.0.stats();
        assert!(stats.size <= capacity);
        assert_eq!(cache.0.accounts(), (stats.size, stats.bytes));
        // What is left is whole: each key once.
        let keys: HashSet<u64> = (0..10_000).filter(|k| cache.get(*k, 0).is_some()).collect();
        assert_eq!(keys.len(), stats.size);
    }
}
