//! The one NIF library: term -> Rust value -> call -> term. One file a domain,
//! no algorithm here. `erlang/erlmcp_flow_nif.erl` holds the stubs.
#![deny(unsafe_code)]

mod atoms;
mod batch;
mod cache;
mod compress;
mod document;
mod etf;
mod json;
mod msgpack;
mod outbox;
mod registry;
mod schedule;
mod shared;

use rustler::{Env, Term};
use terms::layout;

/// The library's version, so that Erlang code can tell which build it runs on.
#[rustler::nif]
fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// The stub module says what it runs on: OTP release and kind of emulator. Not told,
/// nothing is taken for granted.
fn load(_env: Env<'_>, info: Term<'_>) -> bool {
    if let Ok((release, build)) = info.decode::<(Vec<u8>, Term<'_>)>() {
        let build = build.atom_to_string().unwrap_or_default();
        layout::loaded_into(&String::from_utf8_lossy(&release), &build);
    }
    true
}

/// For tests and measurements: turns off what relies on how this VM lays out maps
/// (`terms::layout`), for all of the VM, or on again where it may be on. Gives
/// whether it is on now.
#[rustler::nif]
fn plain_maps(plain: bool) -> bool {
    layout::set_plain(plain)
}

rustler::init!("erlmcp_flow_nif", load = load);
