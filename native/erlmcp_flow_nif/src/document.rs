//! Documents: JSON and MessagePack to terms and back. What the two have in common;
//! `json.rs` and `msgpack.rs` say which codec is meant.

use std::cell::RefCell;
use std::thread::LocalKey;

use codec::document::{Decode, Document, Error, Keys, Limits, Repeats, Sink};
use rustler::schedule::consume_timeslice;
use rustler::{Encoder, Env, NewBinary, Term};
use terms::document::{walk, Bounds, Stop};

use crate::{atoms, schedule};

/// Who runs a call, and so how much work it may do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Scheduler {
    Normal,
    Dirty,
}

/// The options of a decode call.
pub struct Options {
    pub max_bytes: usize,
    pub max_depth: usize,
    pub atom_keys: bool,
    pub resolve: bool,
}

/// `{ok, Term} | {etf, Binary} | {error, Reason} | busy | repeats`.
///
/// A term whose making could take long comes as external term format, for
/// `binary_to_term/2`, which yields. `busy` where the input takes longer than a
/// normal scheduler has, for the dirty twin. `repeats` where the VM refused the term: the
/// caller asks again with `resolve`, or finds that an atom does not exist.
pub fn decode<'a, D: Decode + 'static>(
    env: Env<'a>,
    decoder: &'static LocalKey<RefCell<D>>,
    input: &[u8],
    options: Options,
    scheduler: Scheduler,
) -> Term<'a> {
    let Options { max_bytes, max_depth, atom_keys, resolve } = options;
    let keys = if atom_keys { Keys::Atoms } else { Keys::Binaries };
    let budget = match scheduler {
        Scheduler::Normal => schedule::DOCUMENT_READ_MAX,
        Scheduler::Dirty => u64::MAX,
    };
    let limits = Limits { max_bytes, max_depth, keys, budget };
    let repeats = if resolve { Repeats::Resolve } else { Repeats::Trust };
    decoder.with_borrow_mut(|decoder| {
        let answer = answer(env, decoder.decode(input, &limits, repeats), scheduler);
        decoder.trim();
        answer
    })
}

fn answer<'a>(env: Env<'a>, result: Result<Document<'_>, Error>, scheduler: Scheduler) -> Term<'a> {
    let Document { etf, cost } = match result {
        Ok(document) => document,
        Err(Error::Busy) => return atoms::busy().encode(env),
        Err(error) => return (atoms::error(), reason(env, error)).encode(env),
    };
    if scheduler == Scheduler::Normal && etf.len() > schedule::TELL_SCHEDULER {
        // About a nanosecond a byte.
        let _time_is_up = consume_timeslice(env, schedule::percent(etf.len()));
    }
    if scheduler == Scheduler::Dirty || cost > schedule::DOCUMENT_BUILD_MAX {
        return (atoms::etf(), Term::from(NewBinary::from_slice(env, etf))).encode(env);
    }
    match env.binary_to_term(etf) {
        Some((term, _)) => (atoms::ok(), term).encode(env),
        None => atoms::repeats().encode(env),
    }
}

fn reason(env: Env, error: Error) -> Term {
    match error {
        Error::Busy => atoms::busy().encode(env),
        Error::TooLarge => atoms::too_large().encode(env),
        Error::TooDeep => atoms::too_deep().encode(env),
        Error::UnknownAtom => atoms::unknown_atom().encode(env),
        Error::Invalid(at) => (atoms::invalid(), at).encode(env),
    }
}

/// `{ok, Binary} | {error, Reason} | busy`: busy where the term takes longer than
/// a normal scheduler has, for the dirty twin.
pub fn encode<'a, S: Sink + 'static>(
    env: Env<'a>,
    writer: &'static LocalKey<RefCell<S>>,
    term: Term<'a>,
    max_depth: usize,
    scheduler: Scheduler,
) -> Term<'a> {
    let budget = (scheduler == Scheduler::Normal).then_some(schedule::DOCUMENT_WALK_MAX);
    writer.with_borrow_mut(|writer| {
        writer.begin();
        let answer = match walk(term, Bounds { max_depth, budget }, writer) {
            Ok(used) => {
                if budget.is_some() && used > schedule::TELL_SCHEDULER {
                    let _time_is_up = consume_timeslice(env, schedule::percent(used));
                }
                let binary = NewBinary::from_slice(env, writer.finish());
                (atoms::ok(), Term::from(binary)).encode(env)
            }
            Err(Stop::Busy) => atoms::busy().encode(env),
            Err(stop) => {
                let reason = match stop {
                    Stop::Unsupported(bad) => (atoms::unsupported(), bad).encode(env),
                    Stop::TooDeep => atoms::too_deep().encode(env),
                    _ => atoms::too_large().encode(env),
                };
                (atoms::error(), reason).encode(env)
            }
        };
        writer.trim();
        answer
    })
}
