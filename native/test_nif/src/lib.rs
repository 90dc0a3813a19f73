//! Test-only NIFs, never shipped: built by the rebar3 profile `test`.
#![deny(unsafe_code)]

mod store;

/// Panics, to hold that a panic becomes an Erlang error and the VM lives.
#[rustler::nif]
#[allow(clippy::panic)]
fn panic_normal() -> bool {
    quiet();
    panic!("on purpose")
}

/// The same on a dirty scheduler.
#[rustler::nif(schedule = "DirtyCpu")]
#[allow(clippy::panic)]
fn panic_dirty() -> bool {
    quiet();
    panic!("on purpose")
}

/// Without a backtrace for each of these panics in the output of the tests.
fn quiet() {
    std::panic::set_hook(Box::new(|_| {}));
}

rustler::init!("erlmcp_flow_test_nif");
