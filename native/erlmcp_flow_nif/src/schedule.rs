//! Where work runs: the measured cut-offs between a normal and a dirty NIF.
//!
//! A dirty call costs 5 to 13 microseconds before any work is done, a normal
//! one 0.03; a normal NIF must stay far under a millisecond. So every NIF whose
//! time grows with its input exists twice (`name` and `name_dirty`), and the
//! thin Erlang module picks by size with the numbers below, which it reads once
//! (`erlmcp_flow_nif:limits/0`). doc/schedulers.md has the measurements.

/// Memory of a decoded document (from above, in bytes) up to which the normal
/// NIF makes the term itself.
pub const DOCUMENT_BUILD_MAX: u64 = 64 * 1024;

/// Work units of a document walk (about a nanosecond each) on a normal scheduler.
pub const DOCUMENT_WALK_MAX: usize = 400_000;
