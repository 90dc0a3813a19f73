//! Where work runs: the measured cut-offs between a normal and a dirty NIF.
//!
//! A dirty call costs 5 to 13 microseconds before any work is done, a normal
//! one 0.03; a normal NIF must stay far under a millisecond. So every NIF whose
//! time grows with its input exists twice (`name` and `name_dirty`): the Erlang
//! module picks by size where size tells, and where it does not the normal one
//! works against a budget from here and gives up. See doc/schedulers.md.

/// Bytes that a compressed term may claim to inflate to on a normal scheduler
/// (about 50 us).
pub const NORMAL_INFLATE: u64 = 32 << 10;

/// Units of about ten nanoseconds that a batch may take on a normal scheduler.
/// Work beyond it is given up and done again on a dirty one, which at most
/// doubles what takes a quarter of a millisecond anyway.
pub const NORMAL_BATCH_WORK: u64 = 25_000;
// Documents (JSON, MessagePack); the sizes of input are in erlmcp_flow_json.erl
// and erlmcp_flow_msgpack.erl.

/// Memory of a decoded document (from above, in bytes) up to which the normal
/// NIF makes the term itself.
pub const DOCUMENT_BUILD_MAX: u64 = 64 * 1024;

/// Work units of reading a document (about a nanosecond each) on a normal
/// scheduler.
pub const DOCUMENT_READ_MAX: u64 = 200_000;

/// Work units of a document walk (about a nanosecond each) on a normal scheduler.
pub const DOCUMENT_WALK_MAX: usize = 200_000;

/// Work below this many nanoseconds is not told to the scheduler: the call that
/// tells it would cost more than it weighs.
pub const TELL_SCHEDULER: usize = 10_000;

/// Nanoseconds as percent of a timeslice, which is about a millisecond.
pub fn percent(nanoseconds: usize) -> i32 {
    (nanoseconds / 10_000).clamp(1, 100) as i32
}
// The batch buffer (outbox.rs).

/// Batches and messages that one `outbox_poll` sends: a batch takes about a
/// microsecond and 3 ns a message, so a call stays under 150 microseconds.
pub const OUTBOX_POLL_BATCHES: usize = 64;
pub const OUTBOX_POLL_MESSAGES: usize = 20_000;

/// Messages of a batch that a normal NIF copies to a lane.
pub const OUTBOX_TAKE_MESSAGES: usize = 500;

/// Emptied environments (1 KB each) that an instance keeps for its next batches.
pub const OUTBOX_SPARE_PARCELS: usize = 256;

/// With more messages than this inside, an instance that ends is freed by a thread
/// (about 100 ns a message).
pub const OUTBOX_DROP_HERE: u64 = 1_000;

/// Polls without a full batch before the drainer rests (each about a microsecond,
/// and other processes run in between): a batch fills in some tens of microseconds.
pub const OUTBOX_LINGER: u32 = 20;

// The cache (cache.rs).

/// Parts of a key or a value (elements, list cells, map pairs) that a normal NIF
/// walks to size it up: about 10 ns each.
pub const CACHE_PARTS: usize = 4_000;

/// Bytes of a binary key that a normal NIF hashes and compares: about 1 ns each.
pub const CACHE_KEY_BYTES: usize = 16 * 1024;

/// Heap bytes that a normal NIF copies (shared binaries are not copied): 2 to 4 ns a
/// word.
pub const CACHE_COPY_BYTES: usize = 128 * 1024;

/// An entry of more bytes than this is freed by a thread: giving 1 MB back to the
/// system takes some 50 microseconds.
pub const CACHE_FREE_HERE: usize = 1024 * 1024;

/// Entries that one sweep removes: some 100 ns each.
pub const CACHE_SWEEP: usize = 500;

/// Shards with places for more entries than this are freed by a thread.
pub const CACHE_CLEAR_HERE: usize = 500;

// Shared state (shared.rs).

/// Parts of a term (elements, keys, values) that a normal NIF counts and copies: some
/// 15 ns each.
pub const SHARED_READ_PARTS: usize = 4_000;

/// A value with more bytes is freed by a thread.
pub const SHARED_DROP_HERE: usize = 1 << 20;
