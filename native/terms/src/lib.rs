//! Owned Erlang terms outside a process.

pub mod document;
pub mod walk;
