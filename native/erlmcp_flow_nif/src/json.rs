//! JSON: text to term and term to text.

use std::cell::RefCell;

use codec::json::{Decoder, Document, Error, Keys, Limits, Repeats, write::Writer};
use rustler::types::tuple::make_tuple;
use rustler::{Binary, Encoder, Env, NewBinary, Term};
use terms::document::{self, Bounds, Stop};

use crate::{atoms, schedule};

thread_local! {
    static DECODER: RefCell<Decoder> = RefCell::default();
    static OUT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// `{ok, Term} | {etf, Binary} | {error, Reason}`: a term whose making could take
/// long comes as external term format, for `binary_to_term/2`, which yields.
#[rustler::nif]
fn json_decode<'a>(
    env: Env<'a>,
    input: Binary<'a>,
    max_bytes: usize,
    max_depth: usize,
    atom_keys: bool,
) -> Term<'a> {
    decode(env, input, max_bytes, max_depth, atom_keys, schedule::DOCUMENT_BUILD_MAX)
}

/// The same for large input; the term is always left to the caller.
#[rustler::nif(schedule = "DirtyCpu")]
fn json_decode_dirty<'a>(
    env: Env<'a>,
    input: Binary<'a>,
    max_bytes: usize,
    max_depth: usize,
    atom_keys: bool,
) -> Term<'a> {
    decode(env, input, max_bytes, max_depth, atom_keys, 0)
}

fn decode<'a>(
    env: Env<'a>,
    input: Binary<'a>,
    max_bytes: usize,
    max_depth: usize,
    atom_keys: bool,
    build_max: u64,
) -> Term<'a> {
    let keys = if atom_keys { Keys::Atoms } else { Keys::Binaries };
    let limits = Limits { max_bytes, max_depth, keys };
    DECODER.with_borrow_mut(|decoder| {
        match decoder.decode(&input, &limits, Repeats::Trust) {
            Err(error) => failure(env, error),
            Ok(Document { etf, cost }) => {
                if cost > build_max {
                    let binary = NewBinary::from_slice(env, etf);
                    return make_tuple(env, &[atoms::etf().encode(env), binary.into()]);
                }
                match env.binary_to_term(etf) {
                    Some((term, _)) => (atoms::ok(), term).encode(env),
                    None => atoms::error().encode(env),
                }
            }
        }
    })
}

fn failure(env: Env, error: Error) -> Term {
    let reason = match error {
        Error::TooLarge => atoms::too_large().encode(env),
        Error::TooDeep => atoms::too_deep().encode(env),
        Error::UnknownAtom => atoms::unknown_atom().encode(env),
        Error::Invalid(at) => (atoms::invalid(), at).encode(env),
    };
    make_tuple(env, &[atoms::error().encode(env), reason])
}

/// `{ok, Binary} | {error, Reason} | busy`: busy where the term takes longer than
/// a normal scheduler has.
#[rustler::nif]
fn json_encode<'a>(env: Env<'a>, term: Term<'a>, max_depth: usize) -> Term<'a> {
    encode(env, term, Bounds { max_depth, budget: Some(schedule::DOCUMENT_WALK_MAX) })
}

#[rustler::nif(schedule = "DirtyCpu")]
fn json_encode_dirty<'a>(env: Env<'a>, term: Term<'a>, max_depth: usize) -> Term<'a> {
    encode(env, term, Bounds { max_depth, budget: None })
}

fn encode<'a>(env: Env<'a>, term: Term<'a>, bounds: Bounds) -> Term<'a> {
    OUT.with_borrow_mut(|out| {
        let mut writer = Writer::new(out);
        let answer = match document::walk(term, bounds, &mut writer) {
            Ok(()) => {
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
                make_tuple(env, &[atoms::error().encode(env), reason])
            }
        };
        out.shrink_to(256 * 1024);
        answer
    })
}

/// exp
#[rustler::nif]
fn json_from_etf<'a>(env: Env<'a>, input: Binary<'a>, max_depth: usize) -> Term<'a> {
    from_etf(env, &input, max_depth)
}

#[rustler::nif(schedule = "DirtyCpu")]
fn json_from_etf_dirty<'a>(env: Env<'a>, input: Binary<'a>, max_depth: usize) -> Term<'a> {
    from_etf(env, &input, max_depth)
}

/// exp
#[rustler::nif]
fn json_encode_t2b<'a>(env: Env<'a>, term: Term<'a>, max_depth: usize) -> Term<'a> {
    let b = term.to_binary();
    from_etf(env, &b, max_depth)
}

fn from_etf<'a>(env: Env<'a>, input: &[u8], max_depth: usize) -> Term<'a> {
    OUT.with_borrow_mut(|out| {
        let mut writer = Writer::new(out);
        let answer = match codec::document::term::tell(input, max_depth, &mut writer) {
            Ok(()) => {
                let binary = NewBinary::from_slice(env, writer.finish());
                (atoms::ok(), Term::from(binary)).encode(env)
            }
            Err(stop) => atoms::error().encode(env)
        };
        out.shrink_to(256 * 1024);
        answer
    })
}
