//! What a decoder may spend of a scheduler's time.

use super::Fault;

/// Counts work units, about a nanosecond each on the machine they were measured on
/// (doc/json.md).
pub struct Budget {
    used: u64,
    limit: u64,
}

impl Budget {
    /// A value of any kind, a name among them.
    pub const VALUE: u64 = 8;
    pub const FLOAT: u64 = 30;
    pub const ESCAPE: u64 = 8;
    /// A key that is compared with the others of its map.
    pub const COMPARED: u64 = 60;

    pub fn new(limit: u64) -> Self {
        Budget { used: 0, limit }
    }

    /// An integer of so many digits, by the square of them.
    pub fn digits(n: usize) -> u64 {
        let n = n as u64;
        40 + n * n / 350
    }

    #[inline(always)]
    pub fn add(&mut self, units: u64) {
        self.used += units;
    }

    /// The reader stands at this offset: is there any left?
    #[inline(always)]
    pub fn check(&self, at: usize) -> Result<(), Fault> {
        if self.used + at as u64 / 2 > self.limit {
            return Err(Fault::Busy);
        }
        Ok(())
    }
}
