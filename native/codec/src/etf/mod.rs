//! The external term format: a check of bytes before the VM decodes them.
//!
//! `binary_to_term` is the fastest decoder there is, but it promises nothing
//! about the size of what it builds, and it inflates whatever it is told to. So
//! the bytes are read once before: is the form right to the last byte, how many
//! bytes can the result take at most, is there anything that must not be let in.
//! The VM then decodes bytes that are known to be bounded.

mod scan;

pub use scan::{has_atom_tag, is_atom, leaves, scan};

use crate::compress::zlib;

/// First byte of every term.
pub const VERSION: u8 = 131;
/// Second byte of a compressed term; a size in four bytes and a zlib stream follow.
const COMPRESSED: u8 = 80;
/// Where the zlib stream of a compressed term starts.
const STREAM_AT: usize = 6;

/// What the decoded term may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of the result in memory, and of the inflated input.
    pub max_bytes: u64,
    /// How deep containers may nest; `None` for no limit.
    pub max_depth: Option<u32>,
    /// Refuse funs.
    pub safe: bool,
}

/// Why bytes are not let through to the VM's decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    TooLarge,
    TooDeep,
    /// No term, or a term with something after it; where it was noticed.
    Invalid(usize),
    /// A fun, where none is allowed.
    Unsafe,
}

/// The size that a compressed term claims to inflate to, and its zlib stream.
pub fn compressed(input: &[u8]) -> Option<(u32, &[u8])> {
    match input {
        [VERSION, COMPRESSED, a, b, c, d, stream @ ..] => {
            Some((u32::from_be_bytes([*a, *b, *c, *d]), stream))
        }
        _ => None,
    }
}

/// The plain form of a compressed term: the claimed size is held against the
/// limit before a byte is allocated, and the stream must give exactly that many.
pub fn inflate(claimed: u32, stream: &[u8], max_bytes: u64) -> Result<Vec<u8>, Error> {
    if u64::from(claimed) > max_bytes {
        return Err(Error::TooLarge);
    }
    let body =
        zlib::decompress_exact(stream, claimed as usize).map_err(|_| Error::Invalid(STREAM_AT))?;
    let mut plain = Vec::new();
    plain.try_reserve_exact(body.len() + 1).map_err(|_| Error::TooLarge)?;
    plain.push(VERSION);
    plain.extend_from_slice(&body);
    Ok(plain)
}

#[cfg(test)]
mod tests;
