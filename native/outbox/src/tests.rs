use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use proptest::prelude::*;

use crate::{Batch, Due, LaneId, Limits, Outbox, Outcome, Refused, To};

/// A batch of numbers for one destination.
struct Letter {
    dest: u64,
    items: Vec<u64>,
}

impl Batch for Letter {
    fn len(&self) -> usize {
        self.items.len()
    }
}

type Box = Outbox<Letter>;

fn outbox(batch_size: usize, max_pending: u64) -> Box {
    let outbox = Outbox::new(Limits { batch_size, timeout_us: 100, max_pending });
    outbox.add_lane();
    outbox.add_lane();
    outbox
}

fn push(outbox: &Box, lane: LaneId, dest: u64, item: u64, now: u64) -> Result<bool, Refused> {
    outbox
        .push(
            // Few hashes, so that destinations meet in one place.
            To { hash: dest % 3, lane },
            || now,
            |letter| letter.dest == dest,
            || Letter { dest, items: vec![] },
            |letter| letter.items.push(item),
        )
        .map(|wake| wake.is_some())
}

fn push_open(outbox: &Box, dest: u64, item: u64) -> Option<Result<bool, Refused>> {
    let pushed =
        outbox.push_open(dest % 3, |letter| letter.dest == dest, |letter| letter.items.push(item));
    pushed.map(|p| p.map(|wake| wake.is_some()))
}

fn push_list(outbox: &Box, dest: u64, items: &[u64], now: u64) -> Result<bool, Refused> {
    outbox
        .push_list(
            To { hash: dest % 3, lane: 0 },
            items.len(),
            || now,
            |letter| letter.dest == dest,
            || Letter { dest, items: vec![] },
            |letter| letter.items.extend(items),
        )
        .map(|wake| wake.is_some())
}

fn delivered(n: u64) -> Outcome {
    Outcome { delivered: n, ..Outcome::default() }
}

/// Takes what is ready.
fn drain(outbox: &Box, lane: LaneId) -> Vec<(u64, Vec<u64>)> {
    std::iter::from_fn(|| outbox.pop(lane))
        .map(|letter| {
            outbox.settle(delivered(letter.items.len() as u64));
            (letter.dest, letter.items)
        })
        .collect()
}

#[test]
fn full_batch_is_ready_at_once() {
    let o = outbox(2, 10);
    assert_eq!(push(&o, 0, 7, 1, 0), Ok(true)); // the first arms the timer
    assert_eq!(o.collect(0, 0, 10), Due::At(100));
    assert_eq!(o.rest(0), Due::At(100));
    assert!(drain(&o, 0).is_empty());
    assert_eq!(push(&o, 0, 7, 2, 0), Ok(true)); // the second fills the batch
    assert_eq!(drain(&o, 0), [(7, vec![1, 2])]);
    assert_eq!(o.pending(), 0);
}

#[test]
fn push_open_only_adds_to_what_is_open() {
    let o = outbox(2, 3);
    assert_eq!(push_open(&o, 7, 1), None);
    assert_eq!(o.counts().accepted, 0);
    assert!(push(&o, 0, 7, 1, 0).is_ok());
    assert_eq!(push_open(&o, 8, 1), None);
    assert_eq!(push_open(&o, 7, 2), Some(Ok(true)));
    assert_eq!(push_open(&o, 7, 3), None);
    assert!(push(&o, 0, 7, 3, 0).is_ok());
    assert_eq!(push_open(&o, 7, 4), Some(Err(Refused::Overloaded)));
    assert_eq!(drain(&o, 0), [(7, vec![1, 2])]);
    let counts = o.counts();
    assert_eq!((counts.accepted, counts.overloaded, counts.pending), (3, 1, 1));
}

#[test]
fn batch_of_one() {
    let o = outbox(1, 10);
    assert_eq!(push(&o, 0, 7, 1, 0), Ok(true));
    assert_eq!(drain(&o, 0), [(7, vec![1])]);
    assert_eq!(o.rest(0), Due::Never);
}

#[test]
fn young_batch_is_due_in_time_and_not_before() {
    let o = outbox(10, 10);
    assert_eq!(push(&o, 0, 1, 1, 0), Ok(true));
    assert_eq!(push(&o, 0, 2, 2, 50), Ok(false)); // it has a timer
    assert_eq!(o.collect(0, 99, 10), Due::At(100));
    assert!(drain(&o, 0).is_empty());
    assert_eq!(o.collect(0, 100, 10), Due::At(150));
    assert_eq!(drain(&o, 0), [(1, vec![1])]);
    assert_eq!(o.collect(0, 150, 10), Due::Never);
    assert_eq!(drain(&o, 0), [(2, vec![2])]);
    assert_eq!(o.rest(0), Due::Never);
    assert_eq!(push(&o, 0, 3, 3, 200), Ok(true)); // asleep again
}

#[test]
fn collect_does_a_bounded_part() {
    let o = outbox(10, 100);
    for dest in 0..5 {
        assert!(push(&o, 0, dest, dest, 0).is_ok());
    }
    assert_eq!(o.collect(0, 100, 2), Due::Now);
    assert_eq!(drain(&o, 0).len(), 2);
    assert_eq!(o.collect(0, 100, 2), Due::Now);
    assert_eq!(o.collect(0, 100, 2), Due::Never);
    assert_eq!(drain(&o, 0).len(), 3);
}

#[test]
fn overload_is_exact_and_all_or_nothing() {
    let o = outbox(100, 3);
    assert!(push(&o, 0, 1, 1, 0).is_ok());
    assert_eq!(push_list(&o, 1, &[2, 3, 4], 0), Err(Refused::Overloaded));
    assert!(push_list(&o, 1, &[2, 3], 0).is_ok());
    assert_eq!(push(&o, 0, 1, 5, 0), Err(Refused::Overloaded));
    assert_eq!(push_list(&o, 1, &[0; 4], 0), Err(Refused::Overloaded));
    let counts = o.counts();
    assert_eq!((counts.accepted, counts.overloaded, counts.pending), (3, 8, 3));
}

#[test]
fn list_is_never_split() {
    let o = outbox(4, 100);
    assert_eq!(push(&o, 0, 7, 1, 0), Ok(true));
    assert_eq!(push_list(&o, 7, &[2, 3], 0), Ok(false));
    assert_eq!(push_list(&o, 7, &[4, 5], 0), Ok(true)); // no room: three leave
    assert_eq!(drain(&o, 0), [(7, vec![1, 2, 3])]);
    assert_eq!(push_list(&o, 7, &[6, 7], 0), Ok(false)); // exactly full
    assert_eq!(drain(&o, 0), [(7, vec![4, 5, 6, 7])]);
    assert_eq!(push(&o, 0, 7, 8, 0), Ok(false));
    assert_eq!(push_list(&o, 7, &[9; 5], 0), Ok(false));
    assert_eq!(drain(&o, 0), [(7, vec![8]), (7, vec![9; 5])]);
    assert_eq!((o.pending(), o.counts().accepted), (0, 13));
}

#[test]
fn batch_in_hand_stays_until_done() {
    let o = outbox(2, 10);
    assert!(push_list(&o, 1, &[1, 2], 0).is_ok());
    assert!(push_list(&o, 1, &[3, 4], 0).is_ok());
    let show = |o: &Box| o.take(0, |t| t.batch.items.clone());
    assert_eq!(show(&o), Some(vec![1, 2]));
    // The drainer was killed: the next one gets the same.
    assert!(o.attach(0));
    assert_eq!(o.rest(0), Due::Now);
    assert_eq!(show(&o), Some(vec![1, 2]));
    o.done(0, delivered(2));
    o.done(0, delivered(2)); // nothing in hand: counts nothing
    assert_eq!(show(&o), Some(vec![3, 4]));
    assert_eq!(o.pending(), 2);
    assert_eq!(o.mark(0), (2, 2));
}

#[test]
fn acknowledged_once() {
    let o = outbox(2, 10);
    assert!(push_list(&o, 1, &[1, 2], 0).is_ok());
    assert!(push_list(&o, 1, &[3, 4], 0).is_ok());
    let take = |o: &Box| o.take(0, |t| t.id).unwrap();
    let first = take(&o);
    assert_eq!(o.keep(0), Some(first));
    assert_eq!(o.counts().unacked, 2);
    assert!(o.ack(first));
    assert!(!o.ack(first));
    assert!(o.give_up(first).is_none());
    // An acknowledgement that overtakes `keep`.
    let second = take(&o);
    assert!(o.ack(second));
    assert_eq!(o.keep(0), None);
    let counts = o.counts();
    assert_eq!((counts.delivered, counts.pending, counts.unacked), (4, 0, 0));
}

#[test]
fn given_up_or_acknowledged() {
    let o = outbox(2, 10);
    assert!(push_list(&o, 1, &[1, 2], 0).is_ok());
    assert!(o.take(0, |_| ()).is_some());
    let id = o.keep(0).unwrap();
    assert_eq!(o.still(vec![id, id + 1]), [id]);
    let letter = o.give_up(id).unwrap();
    assert!(!o.ack(id));
    o.restore(id, letter);
    assert!(o.ack(id));
    assert_eq!(o.counts().unacked, 0);
}

#[test]
fn closed_refuses_and_is_empty() {
    let o = outbox(2, 10);
    assert!(push_list(&o, 1, &[1, 2, 3], 0).is_ok());
    assert_eq!(o.close(), 3);
    assert_eq!(push(&o, 0, 1, 1, 0), Err(Refused::Closed));
    assert_eq!(push_list(&o, 1, &[1], 0), Err(Refused::Closed));
    assert_eq!(o.pending(), 0);
    assert!(drain(&o, 0).is_empty());
}

#[test]
fn many_threads_lose_nothing_and_keep_order() {
    const SENDERS: u64 = 4;
    const EACH: u64 = 20_000;
    let o = Arc::new(outbox(7, u64::MAX >> 2));
    let threads: Vec<_> = (0..SENDERS)
        .map(|sender| {
            let o = Arc::clone(&o);
            std::thread::spawn(move || {
                for i in 0..EACH {
                    push(&o, 0, i % 5, sender << 32 | i, i).unwrap();
                }
            })
        })
        .collect();
    let mut last: HashMap<(u64, u64), u64> = HashMap::new();
    let mut seen = 0;
    while seen < SENDERS * EACH {
        // All deadlines: half-filled batches and full ones mix.
        let _ = o.collect(0, u64::MAX, 3);
        for (dest, items) in drain(&o, 0) {
            for item in items {
                let (sender, i) = (item >> 32, item & 0xFFFF_FFFF);
                assert_eq!(i % 5, dest);
                let before = last.insert((dest, sender), i);
                assert!(before.is_none_or(|b| b < i), "{before:?} then {i}");
                seen += 1;
            }
        }
    }
    for thread in threads {
        thread.join().unwrap();
    }
    let counts = o.counts();
    assert_eq!(counts.accepted, SENDERS * EACH);
    assert_eq!((counts.delivered, counts.pending), (SENDERS * EACH, 0));
}

#[derive(Clone, Debug)]
enum Op {
    Push(u64),
    PushMany(u64, usize),
    Advance(u64),
    Pop,
    Take,
    Done,
    Keep,
    Ack,
    GiveUp,
    Attach,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0u64..6).prop_map(Op::Push),
        2 => (0u64..6, 1usize..9).prop_map(|(d, n)| Op::PushMany(d, n)),
        2 => (0u64..150).prop_map(Op::Advance),
        2 => Just(Op::Pop),
        3 => Just(Op::Take),
        2 => Just(Op::Done),
        2 => Just(Op::Keep),
        2 => Just(Op::Ack),
        1 => Just(Op::GiveUp),
        1 => Just(Op::Attach),
    ]
}

proptest! {
    /// Whatever happens: each accepted message leaves once, in its destination's
    /// order; `pending` is exactly what is inside.
    #[test]
    fn nothing_vanishes(size in 1usize..5, max in 1u64..40, ops in prop::collection::vec(op(), 0..200)) {
        let o = outbox(size, max);
        let (mut now, mut next) = (0, 0);
        let mut accepted: HashMap<u64, Vec<u64>> = HashMap::new();
        let mut out: HashMap<u64, Vec<u64>> = HashMap::new();
        let mut kept: Vec<u64> = vec![];
        let mut lists: HashSet<Vec<u64>> = HashSet::new();
        let (mut inside, mut acked, mut given) = (0u64, 0u64, 0u64);
        let mut hand: Option<usize> = None;
        for op in ops {
            match op {
                Op::Push(dest) => {
                    next += 1;
                    let pushed = match next % 2 {
                        0 => push_open(&o, dest, next),
                        _ => None,
                    };
                    let pushed = pushed.unwrap_or_else(|| push(&o, 0, dest, next, now));
                    prop_assert_eq!(pushed.is_ok(), inside < max);
                    if pushed.is_ok() {
                        inside += 1;
                        accepted.entry(dest).or_default().push(next);
                    }
                }
                Op::PushMany(dest, n) => {
                    let items: Vec<u64> = (next + 1..=next + n as u64).collect();
                    next += n as u64;
                    let pushed = push_list(&o, dest, &items, now);
                    prop_assert_eq!(pushed.is_ok(), inside + n as u64 <= max);
                    if pushed.is_ok() {
                        inside += n as u64;
                        accepted.entry(dest).or_default().extend(&items);
                        lists.insert(items);
                    }
                }
                Op::Advance(by) => {
                    now += by;
                    let _ = o.collect(0, now, 3);
                }
                Op::Pop => if hand.is_none() {
                    if let Some(letter) = o.pop(0) {
                        inside -= letter.items.len() as u64;
                        acked += letter.items.len() as u64;
                        o.settle(delivered(letter.items.len() as u64));
                        out.entry(letter.dest).or_default().extend(letter.items);
                    }
                },
                Op::Take => {
                    let shown = o.take(0, |t| (t.batch.dest, t.batch.items.clone()));
                    if let (None, Some((dest, items))) = (hand, shown) {
                        // At most the batch size, or one list.
                        let one_list = lists.contains(&items);
                        prop_assert!(!items.is_empty());
                        prop_assert!(items.len() <= size || one_list);
                        hand = Some(items.len());
                        out.entry(dest).or_default().extend(items);
                    }
                }
                Op::Done => {
                    let n = hand.take().unwrap_or(0) as u64;
                    o.done(0, delivered(n));
                    inside -= n;
                    acked += n;
                }
                Op::Keep => if hand.take().is_some() {
                    kept.extend(o.keep(0));
                },
                Op::Ack => if let Some(id) = kept.pop() {
                    let before = o.pending();
                    prop_assert!(o.ack(id));
                    let n = before - o.pending();
                    inside -= n;
                    acked += n;
                },
                Op::GiveUp => if let Some(id) = kept.pop() {
                    let n = o.give_up(id).map_or(0, |letter| letter.len() as u64);
                    prop_assert!(n > 0);
                    o.settle(Outcome { undelivered: n, ..Outcome::default() });
                    inside -= n;
                    given += n;
                },
                Op::Attach => prop_assert!(o.attach(0)),
            }
            let counts = o.counts();
            prop_assert_eq!(counts.pending, inside);
            prop_assert_eq!(counts.accepted, counts.delivered + counts.undelivered + inside);
            prop_assert_eq!((counts.delivered, counts.undelivered), (acked, given));
        }
        // What is left comes out as well.
        o.done(0, delivered(hand.unwrap_or(0) as u64));
        while o.collect(0, u64::MAX, 2) == Due::Now {}
        for (dest, items) in drain(&o, 0) {
            out.entry(dest).or_default().extend(items);
        }
        prop_assert_eq!(out, accepted);
    }
}
