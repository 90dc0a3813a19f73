//! Where work runs: the measured cut-offs between a normal and a dirty NIF.
//!
//! A dirty call costs 5 to 13 microseconds before any work is done, a normal
//! one 0.03; a normal NIF must stay far under a millisecond. So every NIF whose
//! time grows with its input exists twice (`name` and `name_dirty`), and the
//! thin Erlang module picks by size with the numbers below, which it reads once
//! (`erlmcp_flow_nif:limits/0`). doc/schedulers.md has the measurements.

/// Bytes that a compressed term may claim to inflate to on a normal scheduler
/// (about 50 us).
pub const NORMAL_INFLATE: u64 = 32 << 10;

/// Units of about ten nanoseconds that a batch may take on a normal scheduler.
/// Work beyond it is given up and done again on a dirty one, which at most
/// doubles what takes a quarter of a millisecond anyway.
pub const NORMAL_BATCH_WORK: u64 = 25_000;
