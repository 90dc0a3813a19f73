//! Documents: maps, lists, texts and numbers, which is what JSON and MessagePack
//! both write; and what their codecs share.
//!
//! A decoder writes external term format instead of building terms. That keeps it
//! free of Erlang, and one call into the VM that reads the whole document costs
//! less than a call or more for each value (doc/json.md has the figures).
//! An encoder is a `Sink`, told by a walk over the term.

mod budget;
mod cost;
pub(crate) mod etf;
pub(crate) mod repeats;
mod sink;

pub(crate) use budget::Budget;
pub use cost::Cost;
pub use sink::{Big, Sink};

/// What a decoded document may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Upper bound of the memory the decoded term takes, as `Cost` counts it.
    pub max_bytes: usize,
    /// Arrays and objects within one another; a scalar has depth 0, `[]` has 1.
    pub max_depth: usize,
    pub keys: Keys,
    /// Work units the decoder may spend, about a nanosecond each: half a unit a
    /// byte, and so much a value and what else is slow.
    pub budget: u64,
}

/// How the keys of a map arrive, where they are texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    Binaries,
    /// As atoms; the reader of the term format refuses those that do not exist.
    Atoms,
}

/// Whether equal keys in one map are looked for.
///
/// The VM refuses a map with equal keys when it reads the term format, so the
/// first pass leaves the search to it, and only a refused document is read again
/// with `Resolve`: input without repeated keys, which is nearly all, never pays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeats {
    Trust,
    /// The last of equal keys holds, as with `maps:put`.
    Resolve,
}

/// Why input is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    TooLarge,
    TooDeep,
    /// The offset of the first byte that no valid input can have there, or the
    /// length of the input where it ends too early.
    Invalid(usize),
    /// The budget is used up, with nothing known against the input.
    Busy,
    /// `Keys::Atoms` and a key that no atom can have as its name.
    UnknownAtom,
}

/// A decoded document.
#[derive(Debug)]
pub struct Document<'a> {
    /// External term format, with its version byte.
    pub etf: &'a [u8],
    /// The memory the term will take, from above, in bytes.
    pub cost: u64,
}

/// A decoder, its buffers kept from one document to the next.
pub trait Decode {
    fn decode(
        &mut self,
        input: &[u8],
        limits: &Limits,
        repeats: Repeats,
    ) -> Result<Document<'_>, Error>;

    /// Gives back what a large document needed: each scheduler thread keeps its
    /// decoder, and one large document must not stay for ever.
    fn trim(&mut self);
}

/// Bytes, or frames of a stack, that are kept from one document to the next.
pub(crate) const KEEP: usize = 256 * 1024;
pub(crate) const KEEP_FRAMES: usize = 1024;

/// `Error` without its offset, which is where the reader stands: results that fit
/// in registers are measurably faster here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    TooLarge,
    TooDeep,
    Busy,
    Invalid,
}

impl Fault {
    pub(crate) fn at(self, offset: usize) -> Error {
        match self {
            Fault::TooLarge => Error::TooLarge,
            Fault::TooDeep => Error::TooDeep,
            Fault::Busy => Error::Busy,
            Fault::Invalid => Error::Invalid(offset),
        }
    }
}
