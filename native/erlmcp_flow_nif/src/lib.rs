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

/// The library's version, so that Erlang code can tell which build it runs on.
#[rustler::nif]
fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

rustler::init!("erlmcp_flow_nif");
