//! Owned Erlang terms outside a process.

pub mod parcel;
pub mod word;
