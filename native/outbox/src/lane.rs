//! A lane: the batches that one drainer sends, in order.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use crate::{Batch, Outbox, Place};

pub type LaneId = u32;

/// A batch on its way out. Its number is unique in the outbox.
pub(crate) struct Ready<B> {
    pub id: u64,
    pub batch: B,
}

/// A batch that was started, in order of its deadline (the timeout is one and the
/// same for all).
pub(crate) struct Young {
    pub deadline: u64,
    pub place: Place,
}

/// When a lane wants to be looked at again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    Now,
    At(u64),
    Never,
}

pub(crate) struct Lane<B> {
    ready: VecDeque<Ready<B>>,
    young: VecDeque<Young>,
    /// Taken and not yet settled: given out again until `done` is called.
    in_hand: Option<Ready<B>>,
    /// The drainer was told, or has a timer running: no need to wake it.
    awake: bool,
    timed: bool,
    /// Batches ever appended and ever taken, for [`Outbox::mark`].
    appended: u64,
    taken: u64,
}

impl<B> Default for Lane<B> {
    fn default() -> Self {
        Lane {
            ready: VecDeque::new(),
            young: VecDeque::new(),
            in_hand: None,
            awake: false,
            timed: false,
            appended: 0,
            taken: 0,
        }
    }
}

impl<B> Lane<B> {
    /// Returns whether the drainer has to be woken.
    pub fn append(&mut self, ready: Ready<B>) -> bool {
        self.ready.push_back(ready);
        self.appended += 1;
        !std::mem::replace(&mut self.awake, true)
    }

    pub fn start(&mut self, young: Young) -> bool {
        self.young.push_back(young);
        !self.awake && !std::mem::replace(&mut self.timed, true)
    }

    pub fn next_due(&mut self, until: u64) -> Option<Place> {
        let due = self.young.front().is_some_and(|y| y.deadline <= until);
        due.then(|| self.young.pop_front())?.map(|y| y.place)
    }

    /// The batch in hand, if it is this one.
    pub fn let_go(&mut self, id: u64) -> Option<B> {
        let this = self.in_hand.as_ref().is_some_and(|ready| ready.id == id);
        this.then(|| self.in_hand.take())?.map(|ready| ready.batch)
    }

    pub fn due(&self) -> Due {
        match self.young.front() {
            Some(young) => Due::At(young.deadline),
            None => Due::Never,
        }
    }
}

/// A batch that was taken; it stays with the lane until [`Outbox::done`].
pub struct Taken<'a, B> {
    pub id: u64,
    pub batch: &'a mut B,
}

impl<B: Batch> Outbox<B> {
    /// The drainer of the lane is a new one (the first, or after a crash): it
    /// looks at the lane at once, so nobody has to wake it. False: no such lane.
    pub fn attach(&self, lane: LaneId) -> bool {
        let Some(lane) = self.lane(lane) else {
            return false;
        };
        let mut lane = lane.lock();
        lane.awake = true;
        lane.timed = false;
        true
    }

    /// Shows the drainer its oldest ready batch: the one in hand, if it was not
    /// settled, or the next. `f` runs under the lane's lock.
    pub fn take<R>(&self, lane: LaneId, f: impl FnOnce(Taken<'_, B>) -> R) -> Option<R> {
        let lane = self.lane(lane)?;
        let mut lane = lane.lock();
        if lane.in_hand.is_none() {
            lane.in_hand = Some(lane.ready.pop_front()?);
            lane.taken += 1;
        }
        let ready = lane.in_hand.as_mut()?;
        Some(f(Taken { id: ready.id, batch: &mut ready.batch }))
    }

    /// Takes the next ready batch for good: for a drainer that settles it without
    /// leaving native code.
    pub fn pop(&self, lane: LaneId) -> Option<B> {
        let lane = self.lane(lane)?;
        let mut lane = lane.lock();
        if let Some(ready) = lane.in_hand.take() {
            return Some(ready.batch);
        }
        let ready = lane.ready.pop_front()?;
        lane.taken += 1;
        Some(ready.batch)
    }

    /// Puts back, as in hand, a batch that [`Outbox::pop`] gave and that needs
    /// more than native code.
    pub fn put_back(&self, lane: LaneId, batch: B) {
        if let Some(lane) = self.lane(lane) {
            let id = self.next_id.fetch_add(1, Ordering::Relaxed);
            lane.lock().in_hand = Some(Ready { id, batch });
        }
    }

    /// Ends the batch in hand, and returns it.
    pub(crate) fn release(&self, lane: LaneId) -> Option<(u64, B)> {
        let lane = self.lane(lane)?;
        let ready = lane.lock().in_hand.take()?;
        Some((ready.id, ready.batch))
    }

    /// What the drainer has to do before it may rest. `Due::At` and `Due::Never`
    /// also note that it rests: the next batch that is ready (or, after `Never`,
    /// started) wakes it.
    pub fn rest(&self, lane: LaneId) -> Due {
        let Some(lane) = self.lane(lane) else {
            return Due::Never;
        };
        let mut lane = lane.lock();
        if !lane.ready.is_empty() || lane.in_hand.is_some() {
            return Due::Now;
        }
        lane.awake = false;
        let due = lane.due();
        lane.timed = due != Due::Never;
        due
    }

    /// How many batches were ever appended to the lane and ever taken from it:
    /// once `taken` reaches today's `appended`, all of today's are out.
    pub fn mark(&self, lane: LaneId) -> (u64, u64) {
        match self.lane(lane) {
            Some(lane) => {
                let lane = lane.lock();
                (lane.appended, lane.taken)
            }
            None => (0, 0),
        }
    }
}
