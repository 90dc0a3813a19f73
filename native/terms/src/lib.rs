//! Owned Erlang terms outside a process.
