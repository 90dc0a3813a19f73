//! Equal keys in one map: the last holds, and the earlier pairs are cut out of
//! the written term format in one pass at the end.

use std::collections::HashMap;
use std::ops::Range;

use super::KEEP_FRAMES;

/// Keeps the pairs of the maps that are open, and what is to be cut.
#[derive(Default)]
pub struct Pairs {
    /// Start of each pair of each open map, outer maps first.
    starts: Vec<Range<usize>>,
    cuts: Vec<Range<usize>>,
}

impl Pairs {
    pub fn clear(&mut self) {
        self.starts.clear();
        self.cuts.clear();
    }

    /// Keeps no more memory than a small document needs.
    pub fn trim(&mut self) {
        self.clear();
        self.starts.shrink_to(KEEP_FRAMES);
        self.cuts.shrink_to(KEEP_FRAMES);
    }

    /// A map opens; `close` wants the mark back.
    pub fn mark(&self) -> usize {
        self.starts.len()
    }

    /// A pair whose key is written at `key`.
    pub fn add(&mut self, key: Range<usize>) {
        self.starts.push(key);
    }

    /// A map closes, written up to the end of `out`. Returns the pairs left.
    pub fn close(&mut self, mark: usize, out: &[u8]) -> u32 {
        let keys = self.starts.get(mark..).unwrap_or_default();
        // The standard hasher: seeded, so no input can aim at one bucket.
        let mut last: HashMap<&[u8], usize> = HashMap::with_capacity(keys.len());
        let mut left = keys.len() as u32;
        for (i, key) in keys.iter().enumerate() {
            let bytes = out.get(key.clone()).unwrap_or_default();
            if let Some(earlier) = last.insert(bytes, i) {
                // A pair ends where the next one starts.
                if let (Some(cut), Some(next)) = (keys.get(earlier), keys.get(earlier + 1)) {
                    self.cuts.push(cut.start..next.start);
                    left -= 1;
                }
            }
        }
        self.starts.truncate(mark);
        left
    }

    /// Removes the cut pairs. A cut may lie within another one.
    pub fn cut(&mut self, out: &mut Vec<u8>) {
        if self.cuts.is_empty() {
            return;
        }
        self.cuts.sort_unstable_by_key(|c| c.start);
        let mut to = 0;
        let mut from = 0;
        for cut in &self.cuts {
            if cut.end <= from {
                continue;
            }
            out.copy_within(from..cut.start, to);
            to += cut.start - from;
            from = cut.end;
        }
        out.copy_within(from.., to);
        out.truncate(to + out.len() - from);
        self.cuts.clear();
    }
}
