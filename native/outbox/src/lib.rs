//! The bookkeeping of a batch buffer: which destination's batch fills, which one
//! is due, which ones are on their way, and how many messages are inside.
//!
//! It knows nothing of Erlang, clocks or threads of its own: a batch is anything
//! with a length ([`Batch`]), time is a number that the caller passes in, and
//! whoever has to be woken is the answer of a call ([`Wake`]).
//!
//! # Order
//! Any number of threads push. For one destination at most one batch is *open*.
//! An open batch leaves its shard only under the shard's lock, and under that
//! same lock it is appended to the *ready* queue of its lane; a lane is drained
//! by one process. So two batches of one destination are never reordered, and
//! one sender's messages stay in order. Lock order: shard, then lane.
//!
//! # Nothing vanishes
//! `pending` counts what was accepted and not yet settled. A batch taken from a
//! lane stays in it as *in hand* until [`Outbox::done`], so a drainer that is
//! killed half way finds it again.
#![forbid(unsafe_code)]

mod lane;
mod settle;

#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;

use hashbrown::HashTable;
use parking_lot::{Mutex, RwLock};

pub use lane::{Due, LaneId, Taken};
use lane::{Lane, Ready, Young};
pub use settle::{Counts, Outcome};
use settle::{Totals, Unacked};

/// What a batch is made of, for this crate.
pub trait Batch {
    /// How many messages it holds.
    fn len(&self) -> usize;
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// A batch with so many messages is ready (at least 1).
    pub batch_size: usize,
    /// A batch is due so many microseconds after its first message.
    pub timeout_us: u64,
    /// Accepted and not yet settled messages, at most.
    pub max_pending: u64,
}

/// Why a message was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    Overloaded,
    Closed,
}

/// Which lane's drainer has to be told that there is work; `None`: it knows.
pub type Wake = Option<LaneId>;

/// A destination: a hash of it, and the lane it belongs to.
#[derive(Clone, Copy, Debug)]
pub struct To {
    pub hash: u64,
    pub lane: LaneId,
}

/// Where an open batch lives, so that its deadline finds it again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    hash: u64,
    id: u64,
}

struct Open<B> {
    hash: u64,
    id: u64,
    lane: LaneId,
    batch: B,
}

struct Shard<B> {
    open: HashTable<Open<B>>,
    /// Counted here and not in one atomic for all: the lock is held anyway.
    accepted: u64,
    closed: bool,
}

/// A cache line of its own: the locks are what the senders fight over.
#[repr(align(128))]
struct Padded<T>(T);

/// Few enough that an empty outbox is small, enough that senders seldom meet.
const SHARDS: usize = 32;

pub struct Outbox<B> {
    limits: Limits,
    shards: Box<[Padded<Mutex<Shard<B>>>]>,
    lanes: RwLock<Vec<Arc<Mutex<Lane<B>>>>>,
    pending: Padded<AtomicU64>,
    next_id: AtomicU64,
    closed: AtomicBool,
    totals: Totals,
    unacked: Mutex<Unacked<B>>,
}

impl<B: Batch> Outbox<B> {
    pub fn new(limits: Limits) -> Self {
        let shard =
            || Padded(Mutex::new(Shard { open: HashTable::new(), accepted: 0, closed: false }));
        Outbox {
            limits,
            shards: (0..SHARDS).map(|_| shard()).collect(),
            lanes: RwLock::new(Vec::new()),
            pending: Padded(AtomicU64::new(0)),
            next_id: AtomicU64::new(1),
            closed: AtomicBool::new(false),
            totals: Totals::default(),
            unacked: Mutex::new(Unacked::default()),
        }
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Takes room for `n` messages, or none.
    fn reserve(&self, n: u64) -> Result<(), Refused> {
        let max = self.limits.max_pending;
        if n <= max {
            if self.pending.0.fetch_add(n, Ordering::Relaxed) <= max - n {
                return Ok(());
            }
            self.pending.0.fetch_sub(n, Ordering::Relaxed);
        }
        self.totals.overloaded.fetch_add(n, Ordering::Relaxed);
        Err(Refused::Overloaded)
    }

    fn shard(&self, hash: u64) -> &Mutex<Shard<B>> {
        // The table uses the low bits and the top seven: take others.
        &self.shards[(hash >> 40) as usize % SHARDS].0
    }

    /// Adds one message for one destination.
    ///
    /// `hash` and `same` find the destination's open batch, `make` starts one, and
    /// `put` adds the message; all run under the shard's lock. `now` is asked once
    /// a batch. Returns the lane to wake.
    #[inline]
    pub fn push(
        &self,
        to: To,
        now: impl Fn() -> u64,
        same: impl Fn(&B) -> bool,
        make: impl Fn() -> B,
        put: impl FnOnce(&mut B),
    ) -> Result<Wake, Refused> {
        self.reserve(1)?;
        let mut shard = self.shard(to.hash).lock();
        if shard.closed {
            self.pending.0.fetch_sub(1, Ordering::Relaxed);
            return Err(Refused::Closed);
        }
        shard.accepted += 1;
        self.add(&mut shard, to, &now, &same, &make, put)
    }

    /// Adds one message if its destination has an open batch; `None`: it has none,
    /// and nothing was done. For callers that would have to find out the lane.
    #[inline]
    pub fn push_open(
        &self,
        hash: u64,
        same: impl Fn(&B) -> bool,
        put: impl FnOnce(&mut B),
    ) -> Option<Result<Wake, Refused>> {
        let mut shard = self.shard(hash).lock();
        let shard = &mut *shard;
        let same = |o: &Open<B>| o.hash == hash && same(&o.batch);
        let mut entry = shard.open.find_entry(hash, same).ok()?;
        if let Err(refused) = self.reserve(1) {
            return Some(Err(refused));
        }
        shard.accepted += 1;
        let batch = &mut entry.get_mut().batch;
        put(batch);
        if batch.len() < self.limits.batch_size {
            return Some(Ok(None));
        }
        let (open, _) = entry.remove();
        Some(Ok(self.ready(open)))
    }

    /// Adds a list of `n` messages for one destination: all of them, or none. `put`
    /// adds the list; it is never split. If the open batch has no room for it, that
    /// leaves first; so a batch holds no more than `batch_size` messages, or exactly
    /// one list.
    pub fn push_list(
        &self,
        to: To,
        n: usize,
        now: impl Fn() -> u64,
        same: impl Fn(&B) -> bool,
        make: impl Fn() -> B,
        put: impl Fn(&mut B),
    ) -> Result<Wake, Refused> {
        let size = self.limits.batch_size;
        self.reserve(n as u64)?;
        let with_list = || {
            let mut batch = make();
            put(&mut batch);
            batch
        };
        // What is a batch of its own in any case is not copied under the lock.
        let full = (n >= size).then(with_list);
        let mut shard = self.shard(to.hash).lock();
        if shard.closed {
            self.pending.0.fetch_sub(n as u64, Ordering::Relaxed);
            return Err(Refused::Closed);
        }
        shard.accepted += n as u64;
        let found = shard.open.find_entry(to.hash, |o| o.hash == to.hash && same(&o.batch));
        let mut wake = None;
        if let Ok(mut entry) = found {
            let batch = &mut entry.get_mut().batch;
            let fits = full.is_none() && batch.len() + n <= size;
            if fits {
                put(batch);
                if batch.len() < size {
                    return Ok(None);
                }
            }
            let (open, _) = entry.remove();
            wake = self.ready(open);
            if fits {
                return Ok(wake);
            }
        }
        let batch = full.unwrap_or_else(with_list);
        Ok(self.open(&mut shard, to, batch, &now).or(wake))
    }

    #[inline]
    fn add(
        &self,
        shard: &mut Shard<B>,
        to: To,
        now: &impl Fn() -> u64,
        same: &impl Fn(&B) -> bool,
        make: &impl Fn() -> B,
        put: impl FnOnce(&mut B),
    ) -> Result<Wake, Refused> {
        let found = shard.open.find_entry(to.hash, |o| o.hash == to.hash && same(&o.batch));
        match found {
            Ok(mut entry) => {
                let batch = &mut entry.get_mut().batch;
                put(batch);
                if batch.len() < self.limits.batch_size {
                    return Ok(None);
                }
                let (open, _) = entry.remove();
                Ok(self.ready(open))
            }
            Err(_) => {
                let mut batch = make();
                put(&mut batch);
                Ok(self.open(shard, to, batch, now))
            }
        }
    }

    /// A batch with its first messages: it opens, or it is full already.
    fn open(&self, shard: &mut Shard<B>, to: To, batch: B, now: &impl Fn() -> u64) -> Wake {
        let To { hash, lane } = to;
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let full = batch.len() >= self.limits.batch_size;
        let open = Open { hash, id, lane, batch };
        if full {
            return self.ready(open);
        }
        shard.open.insert_unique(hash, open, |o| o.hash);
        self.started(lane, Place { hash, id }, now())
    }

    /// A batch was filled (under its shard's lock).
    fn ready(&self, open: Open<B>) -> Wake {
        let lane = open.lane;
        self.lane(lane)?.lock().append(open.into()).then_some(lane)
    }

    /// A batch got its first message (under its shard's lock).
    fn started(&self, lane: LaneId, place: Place, now: u64) -> Wake {
        let deadline = now + self.limits.timeout_us;
        let young = Young { deadline, place };
        self.lane(lane)?.lock().start(young).then_some(lane)
    }

    /// Moves the batches of a lane whose deadline is not after `until` to its
    /// ready queue, `max` at most.
    pub fn collect(&self, lane: LaneId, until: u64, max: usize) -> Due {
        let Some(shared) = self.lane(lane) else {
            return Due::Never;
        };
        for _ in 0..max {
            let next = shared.lock().next_due(until);
            let Some(place) = next else {
                return shared.lock().due();
            };
            let mut shard = self.shard(place.hash).lock();
            // Not there: it was filled and left before its time.
            if let Ok(entry) = shard.open.find_entry(place.hash, |o| o.id == place.id) {
                let (open, _) = entry.remove();
                let _ = shared.lock().append(open.into());
            }
        }
        Due::Now
    }

    fn lane(&self, id: LaneId) -> Option<Arc<Mutex<Lane<B>>>> {
        self.lanes.read().get(id as usize).cloned()
    }

    /// Adds a lane and returns its number; the first is 0.
    pub fn add_lane(&self) -> LaneId {
        let mut lanes = self.lanes.write();
        lanes.push(Arc::new(Mutex::new(Lane::default())));
        (lanes.len() - 1) as LaneId
    }

    /// Messages accepted and not yet settled.
    pub fn pending(&self) -> u64 {
        self.pending.0.load(Ordering::Relaxed)
    }

    /// Refuses everything from now on and drops what is inside; returns how many
    /// messages that were.
    pub fn close(&self) -> u64 {
        self.closed.store(true, Ordering::Relaxed);
        for shard in self.shards.iter() {
            let mut shard = shard.0.lock();
            shard.closed = true;
            shard.open = HashTable::new();
        }
        for lane in self.lanes.read().iter() {
            *lane.lock() = Lane::default();
        }
        *self.unacked.lock() = Unacked::default();
        self.pending.0.swap(0, Ordering::Relaxed)
    }
}

impl<B> From<Open<B>> for Ready<B> {
    fn from(open: Open<B>) -> Self {
        Ready { id: open.id, batch: open.batch }
    }
}
