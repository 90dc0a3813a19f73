//! What a decoded term will take, so that a bound holds before it is made.

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
    /// An integer beyond the immediate ones: what it takes besides its words.
    pub const BIG: usize = 16;
    /// Integers below this need no memory: they stay in the word that names them.
    pub const IMMEDIATE: u64 = 1 << 59;
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
