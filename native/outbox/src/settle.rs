//! How a batch ends, counted exactly once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{Batch, LaneId, Outbox};

/// What became of messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub delivered: u64,
    pub undelivered: u64,
    /// Attempts beyond the first.
    pub retries: u64,
    /// Callbacks that failed.
    pub crashes: u64,
}

#[derive(Default)]
pub(crate) struct Totals {
    pub overloaded: AtomicU64,
    delivered: AtomicU64,
    undelivered: AtomicU64,
    batches: AtomicU64,
    retries: AtomicU64,
    crashes: AtomicU64,
}

/// A snapshot of the counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub accepted: u64,
    pub overloaded: u64,
    pub delivered: u64,
    pub undelivered: u64,
    pub batches: u64,
    pub retries: u64,
    pub pending: u64,
    pub unacked: u64,
    pub crashes: u64,
}

/// Batches that were sent and wait for their acknowledgement.
pub(crate) struct Unacked<B> {
    batches: HashMap<u64, B>,
    messages: u64,
}

impl<B> Default for Unacked<B> {
    fn default() -> Self {
        Unacked { batches: HashMap::new(), messages: 0 }
    }
}

impl<B: Batch> Outbox<B> {
    /// Settles messages: they leave `pending`.
    pub fn settle(&self, outcome: Outcome) {
        let add = |counter: &AtomicU64, n| {
            if n > 0 {
                counter.fetch_add(n, Ordering::Relaxed);
            }
        };
        add(&self.totals.delivered, outcome.delivered);
        add(&self.totals.undelivered, outcome.undelivered);
        add(&self.totals.retries, outcome.retries);
        add(&self.totals.crashes, outcome.crashes);
        let n = outcome.delivered + outcome.undelivered;
        if n > 0 && !self.closed.load(Ordering::Relaxed) {
            self.pending.0.fetch_sub(n, Ordering::Relaxed);
        }
    }

    /// Counts batches that were sent.
    pub fn sent(&self, batches: u64) {
        self.totals.batches.fetch_add(batches, Ordering::Relaxed);
    }

    /// The batch in hand is done with: what of it was delivered or given up is
    /// settled, the rest stays pending with whoever has it now.
    pub fn done(&self, lane: LaneId, outcome: Outcome) {
        if self.release(lane).is_some() {
            self.sent(1);
            self.settle(outcome);
        }
    }

    /// The batch in hand is about to be sent under its number, and kept until
    /// [`Outbox::ack`] or [`Outbox::give_up`] ends it. Returns the number.
    pub fn keep(&self, lane: LaneId) -> Option<u64> {
        // Under this lock from before the lane lets go of it, so that the batch
        // is always in exactly one of the two.
        let mut unacked = self.unacked.lock();
        let (id, batch) = self.release(lane)?;
        unacked.messages += batch.len() as u64;
        unacked.batches.insert(id, batch);
        drop(unacked);
        self.sent(1);
        Some(id)
    }

    /// Whoever takes the number out, by `ack` or by `give_up`, has it: a batch
    /// ends once. An acknowledgement may overtake [`Outbox::keep`], so batches in
    /// hand are looked at too.
    pub fn ack(&self, id: u64) -> bool {
        let early = || {
            let _unacked = self.unacked.lock();
            let lanes = self.lanes.read();
            lanes.iter().find_map(|lane| lane.lock().let_go(id))
        };
        match self.give_up(id).or_else(early) {
            Some(batch) => {
                self.settle(Outcome { delivered: batch.len() as u64, ..Outcome::default() });
                true
            }
            None => false,
        }
    }

    /// Takes an unacknowledged batch back; its messages stay pending.
    pub fn give_up(&self, id: u64) -> Option<B> {
        let mut unacked = self.unacked.lock();
        let batch = unacked.batches.remove(&id)?;
        unacked.messages -= batch.len() as u64;
        Some(batch)
    }

    /// Undoes [`Outbox::give_up`].
    pub fn restore(&self, id: u64, batch: B) {
        let mut unacked = self.unacked.lock();
        unacked.messages += batch.len() as u64;
        unacked.batches.insert(id, batch);
    }

    /// Which of these batches are still unacknowledged.
    pub fn still(&self, mut ids: Vec<u64>) -> Vec<u64> {
        let unacked = self.unacked.lock();
        ids.retain(|id| unacked.batches.contains_key(id));
        ids
    }

    pub fn counts(&self) -> Counts {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            accepted: self.shards.iter().map(|s| s.0.lock().accepted).sum(),
            overloaded: get(&self.totals.overloaded),
            delivered: get(&self.totals.delivered),
            undelivered: get(&self.totals.undelivered),
            batches: get(&self.totals.batches),
            retries: get(&self.totals.retries),
            crashes: get(&self.totals.crashes),
            pending: self.pending(),
            unacked: self.unacked.lock().messages,
        }
    }
}
