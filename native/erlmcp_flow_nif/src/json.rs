//! JSON: text to term and term to text. `document.rs` says what the results mean.

use std::cell::RefCell;

use codec::json::{Decoder, Writer};
use rustler::{Binary, Env, Term};

use crate::document::{decode, encode, Options, Scheduler};

thread_local! {
    static DECODER: RefCell<Decoder> = RefCell::default();
    static WRITER: RefCell<Writer> = RefCell::default();
}

#[rustler::nif]
fn json_decode<'a>(
    env: Env<'a>,
    input: Binary<'a>,
    max_bytes: usize,
    max_depth: usize,
    atom_keys: bool,
    resolve: bool,
) -> Term<'a> {
    let options = Options { max_bytes, max_depth, atom_keys, resolve };
    decode(env, &DECODER, &input, options, Scheduler::Normal)
}

#[rustler::nif(schedule = "DirtyCpu")]
fn json_decode_dirty<'a>(
    env: Env<'a>,
    input: Binary<'a>,
    max_bytes: usize,
    max_depth: usize,
    atom_keys: bool,
    resolve: bool,
) -> Term<'a> {
    let options = Options { max_bytes, max_depth, atom_keys, resolve };
    decode(env, &DECODER, &input, options, Scheduler::Dirty)
}

#[rustler::nif]
fn json_encode<'a>(env: Env<'a>, term: Term<'a>, max_depth: usize) -> Term<'a> {
    encode(env, &WRITER, term, max_depth, Scheduler::Normal)
}

#[rustler::nif(schedule = "DirtyCpu")]
fn json_encode_dirty<'a>(env: Env<'a>, term: Term<'a>, max_depth: usize) -> Term<'a> {
    encode(env, &WRITER, term, max_depth, Scheduler::Dirty)
}
