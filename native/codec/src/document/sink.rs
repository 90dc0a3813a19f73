//! A document on its way out, told piece by piece by whoever can read the term.

/// What a walk tells. The texts are the bytes of binaries, not known to be UTF-8.
pub trait Sink {
    /// Keys of every kind are told like values; else only texts, atoms and
    /// integers are, with `key` before and `key_end` behind each.
    const ANY_KEYS: bool;
    /// `open_list` is told the length, which costs a pass over the list.
    const LIST_LENGTHS: bool;

    /// A document begins: what was written before is gone.
    fn begin(&mut self);
    /// What the one document told since `begin` is.
    fn finish(&mut self) -> &[u8];
    /// Gives back what a large document needed, as `Decode::trim`.
    fn trim(&mut self);

    fn null(&mut self);
    fn bool(&mut self, value: bool);
    /// False where the sink has no way to write it, in these and in `big`.
    #[must_use]
    fn text(&mut self, bytes: &[u8]) -> bool;
    fn atom(&mut self, name: &str);
    fn int(&mut self, n: i64);
    fn uint(&mut self, n: u64);
    fn big(&mut self, negative: bool, magnitude: &[u8]) -> Big;
    fn float(&mut self, f: f64);
    #[must_use]
    fn open_list(&mut self, len: usize) -> bool;
    fn close_list(&mut self);
    #[must_use]
    fn open_map(&mut self, len: usize) -> bool;
    fn close_map(&mut self);
    /// An integer as a key begins or ends.
    fn quote(&mut self);
    /// The value just told was a key.
    fn key_end(&mut self);
    /// The value just told was no key.
    fn value_end(&mut self);
    /// Bytes written so far.
    fn written(&self) -> usize;
}

/// What a sink makes of an integer beyond 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Big {
    Written,
    TooLarge,
    Unsupported,
}
