//! A sharded LRU cache with expiry and a byte limit, over any store of entries.
//!
//! Time is a parameter (milliseconds on a clock that does not go back), and what an
//! entry is, how keys compare and where values lie is up to the [`Store`]: nothing
//! here knows about Erlang terms, threads or clocks.
//!
//! # Order
//! A cache up to [`EXACT`] entries is one shard, an exact LRU. A larger one has
//! shards with a lock each; capacity and bytes are of the whole cache, not split
//! among the shards: a shard takes in what comes, and when the cache is full the
//! entry to go is the one that was touched longest ago among the last ones of a
//! few shards. So it fills to the last entry whatever the hashes, and the hit rate
//! stays with that of an exact LRU (doc/cache.md has figures).
//!
//! # Expiry
//! An expired entry is never returned. It leaves when it is touched, when room is
//! needed (before any that has not expired), a few at each put, and by
//! [`Cache::sweep`].
#![forbid(unsafe_code)]

mod cache;
mod list;
mod shard;

pub use cache::{Cache, Limits, Put, Stats};
pub use shard::Shard;

/// A deadline that never comes, and so also the time to live of what never expires.
pub const NEVER: u64 = u64::MAX;

/// Up to this capacity the order is exactly that of an LRU.
pub const EXACT: usize = 1024;

/// Where the entries of one shard lie.
pub trait Store: Default {
    type Entry;
    type Key<'a>: Copy;
    type Value<'a>;

    fn is(&self, entry: &Self::Entry, key: Self::Key<'_>) -> bool;
    fn insert(&mut self, key: Self::Key<'_>, value: Self::Value<'_>) -> Self::Entry;
    /// The same key with another value.
    fn replace(&mut self, entry: &mut Self::Entry, value: Self::Value<'_>);
    fn remove(&mut self, entry: Self::Entry);
    /// Bytes of all entries in here, apart from [`Shard::NODE`] for each.
    fn bytes(&self) -> usize;
}

#[cfg(test)]
mod tests;
