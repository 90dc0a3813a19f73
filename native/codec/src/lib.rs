#![forbid(unsafe_code)]
//! Codecs between bytes: no Erlang, no clock, no thread of their own.

pub mod batch;
pub mod compress;
pub mod document;
pub mod etf;
pub mod json;
pub mod msgpack;
