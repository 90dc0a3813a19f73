//! A format for many terms at once.
//!
//! Messages of one kind repeat their keys, their atoms and many short values.
//! The external term format writes each of them again; here a short binary or an
//! atom is written once and referred to by number after that, and so is the
//! *shape* of a map (its keys in order), so that a message costs one byte for its
//! shape and then its values. The dictionary is never written apart: it is what
//! both sides have seen so far, which makes one pass enough on either side.
//!
//! Layout: `MAGIC`, `VERSION`, the number of terms, the terms. Numbers are LEB128
//! unless the tag carries them; `format` has the tags.
//!
//! - A binary literal of 1 to 64 bytes and an atom get the next dictionary number.
//! - A new shape (1 to 32 keys, each an atom or a short binary) gets the next
//!   shape number. Its keys are in the writer's map order, which the reader may
//!   not share.
//! - What has no form of its own (big integers, pids, funs, bitstrings, ...) is
//!   embedded as external term format.

mod decode;
mod dictionary;
mod encode;
mod format;
#[cfg(test)]
mod tests;

pub use decode::decode;
pub use encode::encode;
pub use format::{MAGIC, VERSION};

/// A term as the encoder looks at it.
pub enum View<'a, T> {
    Int(i64),
    Float(f64),
    Atom,
    Binary(&'a [u8]),
    List,
    Tuple(&'a [T]),
    /// With the number of pairs.
    Map(usize),
    /// Carried in external term format, which is short (an identifier) or may be of
    /// any length (a big integer, a fun and all it holds).
    Other {
        short: bool,
    },
}

/// Where the encoder reads terms from.
pub trait Source<'a> {
    type Term: Copy + 'a;

    fn view(&self, term: Self::Term) -> View<'a, Self::Term>;

    /// The same for a term that most likely is a binary.
    fn likely_binary(&self, term: Self::Term) -> View<'a, Self::Term> {
        self.view(term)
    }

    /// A word that no other term has while the source lives: equal words mean the
    /// same term. Unequal words mean nothing, except that each atom has one word.
    fn word(&self, term: Self::Term) -> u64;

    /// Appends the atom's name in UTF-8.
    fn atom_name(&self, term: Self::Term, out: &mut Vec<u8>);

    /// Appends the elements of a list, at most `max` of them (`Err` when there
    /// are more), and gives the tail of an improper one.
    fn elements(
        &self,
        list: Self::Term,
        max: usize,
        out: &mut Vec<Self::Term>,
    ) -> Result<Option<Self::Term>, Busy>;

    /// Keys and values of a map of `size` pairs in the map's order, unless these are
    /// many.
    #[allow(clippy::type_complexity)]
    fn flat(&self, map: Self::Term, size: usize) -> Option<(&'a [Self::Term], &'a [Self::Term])>;

    /// Calls `each(key, value)` in the map's order.
    fn pairs(&self, map: Self::Term, each: &mut impl FnMut(Self::Term, Self::Term));

    /// Appends the term in external term format.
    fn external(&self, term: Self::Term, out: &mut Vec<u8>);
}

/// The work is more than the caller allows at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy;

/// Where the decoder makes terms.
pub trait Sink {
    type Term: Copy;

    fn int(&mut self, value: i64) -> Self::Term;
    /// `None` when the value is not finite.
    fn float(&mut self, value: f64) -> Option<Self::Term>;
    /// `None` when there is no such atom.
    fn atom(&mut self, name: &str) -> Option<Self::Term>;
    fn binary(&mut self, bytes: &[u8]) -> Self::Term;
    fn list(&mut self, elements: &[Self::Term], tail: Option<Self::Term>) -> Self::Term;
    fn tuple(&mut self, elements: &[Self::Term]) -> Self::Term;
    /// `None` when two keys are equal.
    fn map(&mut self, keys: &[Self::Term], values: &[Self::Term]) -> Option<Self::Term>;
    /// From key, value, key, value ...; `None` when two keys are equal.
    fn pairs(&mut self, pairs: &[Self::Term]) -> Option<Self::Term>;
    /// Decodes external term format that was checked.
    fn external(&mut self, checked: &[u8]) -> Result<Self::Term, External>;
}

/// Why checked external term format could not be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum External {
    UnknownAtom,
    Invalid,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    TooLarge,
    Invalid(usize),
    /// A fun, where none is allowed.
    Unsafe,
    UnknownAtom,
    /// More work than the caller allows at a time.
    Busy,
}

/// What the decoder may spend.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of all terms, each counted as if nothing were shared (a message is
    /// copied that way when it is sent).
    pub max_bytes: u64,
    /// Refuse funs and new atoms.
    pub safe: bool,
    /// Work, in units of about ten nanoseconds.
    pub max_work: u64,
}
