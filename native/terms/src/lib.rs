//! Owned Erlang terms outside a process.

pub mod walk;
