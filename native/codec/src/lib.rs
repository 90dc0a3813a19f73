#![forbid(unsafe_code)]
//! Codecs between bytes: no Erlang, no clock, no thread of their own.

pub mod document;
pub mod json;
pub mod msgpack;
