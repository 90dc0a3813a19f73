//! Where work runs: the measured cut-offs between a normal and a dirty NIF.
//!
//! A dirty call costs 5 to 13 microseconds before any work is done, a normal
//! one 0.03; a normal NIF must stay far under a millisecond. So every NIF whose
//! time grows with its input exists twice (`name` and `name_dirty`), and the
//! thin Erlang module picks by size with the numbers below, which it reads once
//! (`erlmcp_flow_nif:limits/0`). doc/schedulers.md has the measurements.

// The batch buffer (outbox.rs).

/// Batches and messages that one `outbox_poll` sends: a batch takes about a
/// microsecond and 3 ns a message, so a call stays under 150 microseconds.
pub const OUTBOX_POLL_BATCHES: usize = 64;
pub const OUTBOX_POLL_MESSAGES: usize = 20_000;

/// Emptied environments (1 KB each) that an instance keeps for its next batches.
pub const OUTBOX_SPARE_PARCELS: usize = 256;

/// With more messages than this inside, an instance that ends is freed by a thread
/// (about 100 ns a message).
pub const OUTBOX_DROP_HERE: u64 = 1_000;

/// Polls without a full batch before the drainer rests (each about a microsecond,
/// and other processes run in between): a batch fills in some tens of microseconds.
pub const OUTBOX_LINGER: u32 = 20;
