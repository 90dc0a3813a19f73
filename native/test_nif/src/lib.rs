//! Test-only NIFs, never shipped: built by the rebar3 profile `test`.
#![deny(unsafe_code)]

/// Panics, to hold that a panic becomes an Erlang error and the VM lives.
#[rustler::nif]
#[allow(clippy::panic)]
fn panic_normal() -> bool {
    panic!("on purpose")
}

/// The same on a dirty scheduler.
#[rustler::nif(schedule = "DirtyCpu")]
#[allow(clippy::panic)]
fn panic_dirty() -> bool {
    panic!("on purpose")
}

rustler::init!("erlmcp_flow_test_nif");
