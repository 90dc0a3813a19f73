//! JSON (RFC 8259), from its text to the external term format and from terms to
//! its text.
//!
//! The decoder writes external term format instead of building terms: that keeps
//! it free of Erlang, and one call into the VM that reads the whole document
//! costs less than one call a value (doc/notes-json.md has the figures).

pub mod decode;
pub(crate) mod etf;
pub(crate) mod integer;
mod number;
pub(crate) mod repeats;
mod text;
pub mod write;

pub use decode::{Decoder, Document};

/// What a decoded document may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Upper bound of the memory the decoded term takes, as `Cost` counts it.
    pub max_bytes: usize,
    /// Arrays and objects within one another; a scalar has depth 0, `[]` has 1.
    pub max_depth: usize,
    pub keys: Keys,
}

/// How the names of an object arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    Binaries,
    /// As atoms; the reader of the term format refuses those that do not exist.
    Atoms,
}

/// Whether equal names in one object are looked for.
///
/// The VM refuses a map with equal keys when it reads the term format, so the
/// first pass leaves the search to it, and only a refused document is read again
/// with `Resolve`: input without repeated names, which is nearly all, never pays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeats {
    Trust,
    /// The last of equal names holds, as with `maps:put`.
    Resolve,
}

/// Why a text is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    TooLarge,
    TooDeep,
    /// The offset of the first byte that no valid text can have there, or the
    /// length of the input where it ends too early. Numbers beyond the range of
    /// a double and lone surrogates are named by where they begin.
    Invalid(usize),
    /// `Keys::Atoms` and a name that cannot be an atom (above 255 characters).
    UnknownAtom,
}

/// Decimal digits an integer may have, both ways. The conversion between bases
/// takes time by the square of the length; at this size it takes 0.2 ms.
pub const MAX_DIGITS: usize = 10_000;

/// The memory a decoded term will take, from above, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    used: u64,
    limit: u64,
}

impl Cost {
    pub const LIST: usize = 8;
    pub const ELEMENT: usize = 16;
    pub const MAP: usize = 40;
    /// The most a pair takes, in a small map or in a tree.
    pub const PAIR: usize = 48;
    pub const FLOAT: usize = 16;
    /// An integer beyond the 60 bits of an immediate: its header and words.
    pub const BIG: usize = 16;
    /// Header of a binary in the heap; longer ones lie outside and have more.
    const SMALL_BINARY: usize = 24;
    const BINARY: usize = 88;

    pub fn new(limit: usize) -> Self {
        Cost { used: 0, limit: limit as u64 }
    }

    pub fn used(&self) -> u64 {
        self.used
    }

    pub fn binary(len: usize) -> usize {
        len + if len <= 64 { Self::SMALL_BINARY } else { Self::BINARY }
    }

    /// False when the bound is passed.
    #[inline]
    #[must_use]
    pub fn add(&mut self, bytes: usize) -> bool {
        // Cannot wrap: at most some 60 for each byte of less than 4 GiB of input.
        self.used += bytes as u64;
        self.used <= self.limit
    }
}

#[cfg(test)]
mod tests;
