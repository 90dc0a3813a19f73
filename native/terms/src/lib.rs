//! Owned Erlang terms outside a process.

pub mod template;
pub mod walk;
