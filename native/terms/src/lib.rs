//! Owned Erlang terms outside a process: what a cache, a queue or a batch buffer
//! keeps between NIF calls. Four ways:
//!
//! | way | what it is | for |
//! |---|---|---|
//! | [`imm`] | the term's word itself | atoms, small integers, local pids, `[]` |
//! | [`bytes`] | a binary's bytes, or external term format | few bytes an entry, dear to read |
//! | [`pages`] | a copy in an environment that many entries share | everything else |
//! | [`own`] | a copy in an environment of its own | large terms |
//!
//! [`store::TermStore`] picks among all but the second, and keeps small
//! binaries inline. [`parcel`] is for messages: copied once, then moved. [`held`] is
//! for one value that many read.
//!
//! An environment of its own for each small entry is none of the ways: it costs 0.9 KB
//! empty and 2.6 KB with any term in it (doc/batches.md).
//!
//! # Soundness, in one place
//! * A term is a word that is either an immediate, valid everywhere in this VM and
//!   for ever, or an address into the heap of one environment, valid until that
//!   environment is cleared, freed, or given away by a send. No module here hands
//!   out such a word: what leaves is a copy in the caller's environment.
//! * A process-independent environment is used by one thread at a time for
//!   everything that writes to it; here that is what `&mut self` says.
//! * Reading terms of such an environment, that is copying *from* it, writes
//!   nothing to it, so any number of threads may do it at once (`&self`). What a
//!   copy shares with its source (binaries over 64 bytes, funs, entries of external
//!   nodes, magic references) is counted atomically by the VM. The append flag of
//!   a writable binary, which a copy takes off its source, is off in every copy
//!   and so never set in these environments.

pub mod bytes;
pub mod document;
pub mod held;
pub mod imm;
pub mod layout;
pub mod own;
pub mod pages;
pub mod parcel;
pub mod size;
pub mod store;
mod tuple;
pub mod walk;
pub mod word;
