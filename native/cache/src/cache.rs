//! The shards together.

use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};

use parking_lot::{Mutex, MutexGuard};

use crate::shard::{Counts, Deadline, Shard};
use crate::{Store, EXACT, NEVER};

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Entries, at least 1.
    pub capacity: usize,
    /// Milliseconds, or [`NEVER`].
    pub ttl: u64,
    /// Or `usize::MAX`.
    pub max_bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    Stored,
    /// It is larger than `max_bytes` all alone. What was there under the key is gone.
    TooLarge,
    /// The cache was closed.
    Closed,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub hits: u64,
    pub misses: u64,
    pub evictions: u64,
    pub expirations: u64,
    pub refused: u64,
    pub size: usize,
    pub bytes: usize,
}

/// On cache lines of its own.
#[repr(align(128))]
struct Locked<S: Store> {
    shard: Mutex<Shard<S>>,
    /// For those who look for an entry to evict, without the lock; may be a moment
    /// old. When the last entry was touched, and the earliest deadline.
    oldest: AtomicU32,
    soonest: AtomicU64,
    empty: AtomicU32,
}

/// Expired entries that a put takes along.
const EXPIRE: usize = 4;

/// Shards that are looked at for the entry to evict.
const SAMPLE: usize = 4;

/// Most shards, and the fewest entries a shard is worth.
const SHARDS: usize = 16;

pub struct Cache<S: Store> {
    limits: Limits,
    shards: Box<[Locked<S>]>,
    /// Entries, and room that is spoken for by puts under way: never more than the
    /// capacity.
    taken: AtomicUsize,
    /// Only kept when there is a limit.
    bytes: AtomicUsize,
    refused: AtomicU64,
    closed: AtomicU32,
    next: AtomicUsize,
}

/// What became of a put while the lock was held.
enum Step<V> {
    Done,
    /// Another shard has the entry to evict.
    Elsewhere(V, usize),
}

impl<S: Store> Cache<S> {
    pub fn new(limits: Limits) -> Cache<S> {
        let shards = if limits.capacity <= EXACT { 1 } else { SHARDS };
        Cache::with_shards(limits, shards)
    }

    pub(crate) fn with_shards(limits: Limits, shards: usize) -> Cache<S> {
        let capacity = limits.capacity.max(1);
        let shards = (0..shards).map(|_| Locked {
            shard: Mutex::default(),
            oldest: AtomicU32::new(0),
            soonest: AtomicU64::new(NEVER),
            empty: AtomicU32::new(1),
        });
        Cache {
            limits: Limits { capacity, ..limits },
            shards: shards.collect(),
            taken: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            refused: AtomicU64::new(0),
            closed: AtomicU32::new(0),
            next: AtomicUsize::new(0),
        }
    }

    pub fn limits(&self) -> Limits {
        self.limits
    }

    #[inline]
    fn home(&self, hash: u32) -> usize {
        // Other bits than those that the index of the shard uses.
        (hash.wrapping_mul(0x85EB_CA6B) >> 16) as usize & (self.shards.len() - 1)
    }

    /// Reads the entry under the lock. `count`: it is a hit or a miss in the
    /// statistics.
    #[inline]
    pub fn get<R>(
        &self,
        hash: u32,
        key: S::Key<'_>,
        now: u64,
        count: bool,
        read: impl FnOnce(&S, &S::Entry) -> R,
    ) -> Option<R> {
        let mut held = self.lock(self.home(hash));
        let read = held.shard.get(hash, key, now).map(|(store, entry)| read(store, entry));
        if count {
            match read {
                Some(_) => held.shard.counts.hits += 1,
                None => held.shard.counts.misses += 1,
            }
        }
        read
    }

    /// `bytes`: what the entry takes by the store's count. `ttl`: `None` for the
    /// cache's own.
    pub fn put(
        &self,
        hash: u32,
        key: S::Key<'_>,
        value: S::Value<'_>,
        bytes: usize,
        now: u64,
        ttl: Option<u64>,
    ) -> Put {
        let home = self.home(hash);
        if bytes.saturating_add(Shard::<S>::NODE) > self.limits.max_bytes {
            self.refused.fetch_add(1, Relaxed);
            self.lock(home).shard.remove(hash, key, now);
            return Put::TooLarge;
        }
        let deadline = Deadline {
            at: now.saturating_add(ttl.unwrap_or(self.limits.ttl)),
            regular: ttl.is_none(),
        };
        let mut value = value;
        let mut room = false;
        loop {
            if self.closed.load(Relaxed) != 0 {
                // `room` goes with the cache.
                return Put::Closed;
            }
            match self.put_home(home, hash, key, value, now, deadline, room) {
                Step::Done => break,
                Step::Elsewhere(back, victim) => {
                    value = back;
                    let mut other = self.lock(victim);
                    // The room passes from the evicted entry to this put.
                    room = other.shard.make_room(now, 0).is_some();
                    other.room_kept(usize::from(room));
                }
            }
        }
        if self.limits.max_bytes != usize::MAX {
            self.fit(home, now);
        }
        Put::Stored
    }

    #[allow(clippy::too_many_arguments)]
    fn put_home<'v>(
        &self,
        home: usize,
        hash: u32,
        key: S::Key<'_>,
        value: S::Value<'v>,
        now: u64,
        deadline: Deadline,
        room: bool,
    ) -> Step<S::Value<'v>> {
        let mut held = self.lock(home);
        held.put = true;
        let value = match held.shard.replace(hash, key, value, now, deadline) {
            Ok(()) => {
                if room {
                    self.taken.fetch_sub(1, Relaxed);
                }
                return Step::Done;
            }
            Err(value) => value,
        };
        held.shard.expire(now, EXPIRE);
        held.settle();
        if !room && !self.take_room() {
            match self.victim(home, &held, now) {
                Some(other) => return Step::Elsewhere(value, other),
                None => {
                    if held.shard.make_room(now, 0).is_none() {
                        // All room is spoken for by puts under way: soon there are
                        // entries somewhere.
                        let other = self.next.fetch_add(1, Relaxed) % self.shards.len();
                        return Step::Elsewhere(value, other);
                    }
                    held.room_kept(1);
                }
            }
        }
        held.shard.insert(hash, key, value, now, deadline);
        // The entry stands where the room was taken before.
        held.len += 1;
        Step::Done
    }

    fn take_room(&self) -> bool {
        let capacity = self.limits.capacity;
        self.taken.fetch_update(Relaxed, Relaxed, |n| (n < capacity).then_some(n + 1)).is_ok()
    }

    /// Another shard whose last entry should go rather than one of this shard.
    fn victim(&self, home: usize, held: &Held<S>, now: u64) -> Option<usize> {
        let n = self.shards.len();
        if n == 1 {
            return None;
        }
        if held.shard.soonest() <= now {
            return None;
        }
        let age = |touched: u32| (now as u32).wrapping_sub(touched);
        let mut best = held.shard.oldest().map(age);
        let mut victim = None;
        let start = self.next.fetch_add(SAMPLE, Relaxed);
        for i in (start..start + SAMPLE).map(|i| i % n).filter(|i| *i != home) {
            let other = &self.shards[i];
            if other.empty.load(Relaxed) != 0 {
                continue;
            }
            if other.soonest.load(Relaxed) <= now {
                return Some(i);
            }
            let age = age(other.oldest.load(Relaxed));
            if best.is_none_or(|best| age > best) {
                best = Some(age);
                victim = Some(i);
            }
        }
        victim
    }

    /// Evicts until the bytes fit, but for the entry just put in.
    fn fit(&self, home: usize, now: u64) {
        let mut barren = 0;
        while self.bytes.load(Relaxed) > self.limits.max_bytes && barren < 2 * self.shards.len() {
            let from = {
                let held = self.lock(home);
                let alone = held.shard.len() <= 1;
                match self.victim(home, &held, now) {
                    Some(other) => other,
                    None if alone => self.next.fetch_add(1, Relaxed) % self.shards.len(),
                    None => home,
                }
            };
            let keep = usize::from(from == home);
            let gone = self.lock(from).shard.make_room(now, keep);
            barren = if gone.is_some() { 0 } else { barren + 1 };
        }
    }

    pub fn remove(&self, hash: u32, key: S::Key<'_>, now: u64) -> bool {
        self.lock(self.home(hash)).shard.remove(hash, key, now)
    }

    /// Removes expired entries, about `limit` of them. True: there may be more.
    pub fn sweep(&self, now: u64, limit: usize) -> bool {
        self.sweep_to(now, limit, drop)
    }

    /// The same; a shard that is empty now gives what it lay in to `free`.
    pub fn sweep_to(&self, now: u64, limit: usize, mut free: impl FnMut(Shard<S>)) -> bool {
        let mut left = limit;
        for i in 0..self.shards.len() {
            if self.shards[i].soonest.load(Relaxed) > now {
                continue;
            }
            let mut held = self.lock(i);
            left -= held.shard.expire(now, left);
            held.settle();
            let empty = held.shard.shrink();
            drop(held);
            empty.into_iter().for_each(&mut free);
            if left == 0 {
                return true;
            }
        }
        false
    }

    /// Every entry goes; they come back, to be dropped where that may take its time.
    pub fn clear(&self) -> Vec<Shard<S>> {
        (0..self.shards.len())
            .map(|i| self.lock(i).shard.take())
            .filter(|shard| !shard.is_empty())
            .collect()
    }

    /// Refuses what comes from now on, and clears.
    pub fn close(&self) -> Vec<Shard<S>> {
        self.closed.store(1, Relaxed);
        // A put that saw it open just now is done before its shard is taken, or it
        // has not got the lock yet; what it leaves then goes with the cache.
        self.clear()
    }

    pub fn is_closed(&self) -> bool {
        self.closed.load(Relaxed) != 0
    }

    /// Entries, also those that have expired and are still there: see `sweep`.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|locked| locked.shard.lock().len()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn stats(&self) -> Stats {
        let mut stats = Stats { refused: self.refused.load(Relaxed), ..Stats::default() };
        for locked in self.shards.iter() {
            let shard = locked.shard.lock();
            let Counts { hits, misses, evictions, expirations } = shard.counts;
            stats.hits += hits;
            stats.misses += misses;
            stats.evictions += evictions;
            stats.expirations += expirations;
            stats.size += shard.len();
            stats.bytes += shard.bytes();
        }
        stats
    }

    /// What the shared counters say: entries and bytes.
    #[cfg(test)]
    pub(crate) fn accounts(&self) -> (usize, usize) {
        let bytes = if self.limits.max_bytes == usize::MAX {
            self.stats().bytes
        } else {
            self.bytes.load(Relaxed)
        };
        (self.taken.load(Relaxed), bytes)
    }

    #[inline]
    fn lock(&self, i: usize) -> Held<'_, S> {
        let locked = &self.shards[i];
        let shard = locked.shard.lock();
        let bytes = if self.limits.max_bytes == usize::MAX { 0 } else { shard.bytes() };
        let (len, oldest) = (shard.len(), shard.recent_tail());
        Held { cache: self, locked, was: len, len, bytes, oldest, put: false, shard }
    }
}

/// A locked shard. When it is released the counts of the whole cache, and what the
/// shard shows to others, follow what was done with it; also when a panic unwinds.
struct Held<'a, S: Store> {
    cache: &'a Cache<S>,
    locked: &'a Locked<S>,
    /// Entries when it was locked.
    was: usize,
    /// Entries as `taken` has them.
    len: usize,
    bytes: usize,
    oldest: u32,
    /// Deadlines have changed, though the length may have not.
    put: bool,
    shard: MutexGuard<'a, Shard<S>>,
}

impl<S: Store> Held<'_, S> {
    /// Gives the room of removed entries back now.
    fn settle(&mut self) {
        let len = self.shard.len();
        if len < self.len {
            self.cache.taken.fetch_sub(self.len - len, Relaxed);
            self.len = len;
        }
    }

    /// The room of `n` entries just removed is not given back: a put takes it over.
    fn room_kept(&mut self, n: usize) {
        self.len -= n;
    }
}

impl<S: Store> Drop for Held<'_, S> {
    #[inline]
    fn drop(&mut self) {
        let shard = &self.shard;
        // A hit ends here, all but always: it changes the order only.
        let moved = shard.recent_tail() != self.oldest;
        if !self.put && !moved && shard.len() == self.was {
            return;
        }
        if moved {
            self.locked.oldest.store(shard.oldest().unwrap_or(0), Relaxed);
        }
        self.locked.empty.store(u32::from(shard.is_empty()), Relaxed);
        self.locked.soonest.store(shard.soonest(), Relaxed);
        if self.cache.limits.max_bytes != usize::MAX {
            let (before, now) = (self.bytes, shard.bytes());
            if now > before {
                self.cache.bytes.fetch_add(now - before, Relaxed);
            } else if now < before {
                self.cache.bytes.fetch_sub(before - now, Relaxed);
            }
        }
        self.settle();
    }
}
