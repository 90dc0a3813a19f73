//! What the encoder has written so far: short binaries and atoms by number, and
//! the shapes of maps.
//!
//! The terms come from anywhere, so no input may make this slow: a lookup looks
//! at a bounded number of slots, and what finds no slot is just not shared.

use super::format::MAX_SHAPE;

/// Slots that a lookup looks at.
const PROBES: usize = 12;
/// Beyond this many shapes maps are written without one.
const MAX_SHAPES: usize = 1 << 14;

/// No number.
pub const NONE: u32 = u32::MAX;

/// Something that is looked up: a short binary or an atom, with two words that
/// say all of it up to 16 bytes. So neither a comparison nor a hash has to go
/// through memory byte by byte for what keys mostly are.
#[derive(Clone, Copy)]
pub struct Probe<'a> {
    bytes: &'a [u8],
    a: u64,
    b: u64,
}

impl<'a> Probe<'a> {
    #[inline(always)]
    pub fn binary(bytes: &'a [u8]) -> Self {
        let n = bytes.len();
        let (a, b) = if n >= 8 {
            (read8(bytes), read8(&bytes[n - 8..]))
        } else if n >= 4 {
            (read4(bytes) | read4(&bytes[n - 4..]) << 32, 0)
        } else if n > 0 {
            let [first, middle, last] = [bytes[0], bytes[n / 2], bytes[n - 1]].map(u64::from);
            (first | middle << 8 | last << 16, 0)
        } else {
            (0, 0)
        };
        Probe { bytes, a, b }
    }

    /// An atom, which its word says all of. No binary that is looked up is empty,
    /// so the two cannot be mixed up.
    #[inline(always)]
    pub fn atom(word: u64) -> Self {
        Probe { bytes: &[], a: word, b: 0 }
    }

    /// Empty for an atom.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The key of no entry.
    const NOTHING: Self = Probe { bytes: &[], a: 0, b: 1 };

    #[inline(always)]
    pub fn is(&self, other: &Probe<'_>) -> bool {
        self.a == other.a
            && self.b == other.b
            && self.bytes.len() == other.bytes.len()
            && (self.bytes.len() <= 16 || self.bytes == other.bytes)
    }

    #[inline(always)]
    pub fn hash(&self) -> u64 {
        let n = self.bytes.len();
        let mut hash = fold(self.a ^ K, self.b ^ K2 ^ n as u64);
        if n > 16 {
            for chunk in self.bytes[8..n - 8].chunks(8) {
                hash = fold(hash ^ read8(chunk), K);
            }
        }
        hash
    }
}

pub struct Dictionary<'a> {
    /// By number.
    entries: Vec<Probe<'a>>,
    table: Table,
}

pub enum Found {
    At(u32),
    /// Numbered now.
    New(u32),
    /// Not in here, and there is no room for it.
    Full,
}

impl<'a> Dictionary<'a> {
    pub fn new(slots: usize) -> Self {
        Dictionary { entries: Vec::with_capacity(slots / 2), table: Table::new(slots) }
    }

    /// Is this the entry with that number?
    #[inline(always)]
    pub fn is(&self, id: u32, probe: &Probe<'a>) -> bool {
        self.entries.get(id as usize).is_some_and(|entry| probe.is(entry))
    }

    #[inline]
    pub fn find_or_add(&mut self, probe: &Probe<'a>, hash: u64) -> Found {
        match self.table.find(hash, |id| self.is(id, probe)) {
            Ok(id) => Found::At(id),
            Err(None) => Found::Full,
            Err(Some(slot)) => {
                let id = self.entries.len() as u32;
                self.table.put(slot, hash, id);
                self.entries.push(*probe);
                Found::New(id)
            }
        }
    }

    /// Numbers something that there is no room to find again.
    pub fn skip(&mut self) {
        self.entries.push(Probe::NOTHING);
    }
}

/// Open addressing; a slot holds half the hash and a number: small, since a batch goes
/// through all of a table that just fits the nearest cache.
struct Table {
    slots: Vec<(u32, u32)>,
    used: usize,
}

impl Table {
    const FREE: (u32, u32) = (0, NONE);

    /// `slots` is a power of two.
    fn new(slots: usize) -> Self {
        Table { slots: vec![Self::FREE; slots], used: 0 }
    }

    /// The number, or the slot where it would go.
    #[inline]
    fn find(&self, hash: u64, same: impl Fn(u32) -> bool) -> Result<u32, Option<usize>> {
        let mask = self.slots.len() - 1;
        for probe in 0..PROBES {
            let slot = (hash as u32 as usize).wrapping_add(probe) & mask;
            let (stored, id) = self.slots[slot];
            if id == NONE {
                return Err(Some(slot));
            }
            if stored == hash as u32 && same(id) {
                return Ok(id);
            }
        }
        Err(None)
    }

    fn put(&mut self, slot: usize, hash: u64, id: u32) {
        self.slots[slot] = (hash as u32, id);
        self.used += 1;
        if self.used * 4 > self.slots.len() * 3 {
            self.grow();
        }
    }

    fn grow(&mut self) {
        let larger = vec![Self::FREE; self.slots.len() * 2];
        let old = std::mem::replace(&mut self.slots, larger);
        let mask = self.slots.len() - 1;
        for (hash, id) in old {
            if id != NONE {
                let free = (0..PROBES)
                    .map(|probe| (hash as usize).wrapping_add(probe) & mask)
                    .find(|slot| self.slots[*slot].1 == NONE);
                // What finds no slot is forgotten: written again when it recurs.
                if let Some(slot) = free {
                    self.slots[slot] = (hash, id);
                }
            }
        }
    }
}

const K: u64 = 0x9E37_79B9_7F4A_7C15;
const K2: u64 = 0xD1B5_4A32_D192_ED03;

#[inline(always)]
fn fold(a: u64, b: u64) -> u64 {
    let wide = u128::from(a) * u128::from(b);
    wide as u64 ^ (wide >> 64) as u64
}

#[inline(always)]
fn read8(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |c| u64::from_le_bytes(*c))
}

#[inline(always)]
fn read4(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |c| u32::from_le_bytes(*c).into())
}

/// The shapes of maps by their keys.
pub struct Shapes<'a> {
    shapes: Vec<Shape>,
    /// The keys of all shapes.
    slots: Vec<Slot<'a>>,
    table: Table,
    /// The shape of the map before.
    last: u32,
    /// The last shape by its number of keys.
    recent: [u32; MAX_SHAPE + 1],
}

struct Shape {
    first: u32,
    len: u32,
    /// The shape of the map that came after one of this shape: messages of one
    /// kind follow each other, and so do the maps in them.
    next: u32,
}

/// A key of a shape.
struct Slot<'a> {
    key: Probe<'a>,
    /// The word of the term that the key last was.
    word: u64,
    hash: u64,
    /// The dictionary number of the value that stood here last.
    value: u32,
}

/// A key with its hash.
#[derive(Clone, Copy)]
pub struct Key<'a> {
    pub probe: Probe<'a>,
    pub hash: u64,
    pub word: u64,
}

impl<'a> Key<'a> {
    #[inline(always)]
    pub fn new(probe: Probe<'a>, word: u64) -> Self {
        Key { probe, hash: probe.hash(), word }
    }
}

/// A numbered shape, and where its keys are.
#[derive(Clone, Copy)]
pub struct Known {
    pub id: u32,
    /// Where the values of a map of this shape leave their numbers.
    pub values: usize,
}

impl<'a> Shapes<'a> {
    pub fn new(slots: usize) -> Self {
        Shapes {
            shapes: Vec::with_capacity(slots / 8),
            slots: Vec::with_capacity(slots / 2),
            table: Table::new(slots / 4),
            last: NONE,
            recent: [NONE; MAX_SHAPE + 1],
        }
    }

    /// The shape that is most likely, if it has these keys: the one that followed the
    /// last one the time before, or else the last one with as many keys. Otherwise the
    /// keys that were looked at are left in `hashed`.
    #[inline(always)]
    pub fn expected<T: Copy>(
        &mut self,
        keys: &[T],
        hashed: &mut Vec<Key<'a>>,
        word: impl Fn(T) -> u64,
        probe: impl Fn(T) -> Option<Probe<'a>>,
    ) -> Option<Known> {
        hashed.clear();
        let next = self.shapes.get(self.last as usize).map_or(NONE, |shape| shape.next);
        let (id, first) = match self.shapes.get(next as usize) {
            Some(shape) if shape.len as usize == keys.len() => (next, shape.first as usize),
            _ => {
                let id = *self.recent.get(keys.len())?;
                (id, self.shapes.get(id as usize)?.first as usize)
            }
        };
        let slots = self.slots.get_mut(first..first + keys.len())?;
        for (at, key) in keys.iter().enumerate() {
            let word = word(*key);
            if slots[at].word != word {
                let probe = probe(*key)?;
                if !probe.is(&slots[at].key) {
                    hashed.extend(slots[..at].iter().map(|slot| Key {
                        probe: slot.key,
                        hash: slot.hash,
                        word: slot.word,
                    }));
                    hashed.push(Key::new(probe, word));
                    return None;
                }
                slots[at].word = word;
            }
        }
        self.follow(id, keys.len());
        Some(Known { id, values: first })
    }

    /// The shape with these keys: `Err` with a new one when there was none.
    pub fn find_or_add(&mut self, keys: &[Key<'a>]) -> Result<Known, Known> {
        let hash = keys.iter().fold(K2 ^ keys.len() as u64, |h, key| fold(h ^ key.hash, K));
        let (shapes, slots) = (&self.shapes, &self.slots);
        let same = |id: u32| {
            shapes.get(id as usize).is_some_and(|shape| {
                shape.len as usize == keys.len()
                    && slots[shape.first as usize..]
                        .iter()
                        .zip(keys)
                        .all(|(slot, key)| key.probe.is(&slot.key))
            })
        };
        let found = self.table.find(hash, same);
        if let Ok(id) = found {
            self.follow(id, keys.len());
            let values = self.shapes[id as usize].first as usize;
            return Ok(Known { id, values });
        }
        let id = self.shapes.len() as u32;
        let first = self.slots.len();
        self.slots.extend(keys.iter().map(|key| Slot {
            key: key.probe,
            word: key.word,
            hash: key.hash,
            value: NONE,
        }));
        self.shapes.push(Shape { first: first as u32, len: keys.len() as u32, next: NONE });
        // Without a place in the table it is not found again, but has its number.
        if let Err(Some(place)) = found {
            self.table.put(place, hash, id);
        }
        self.follow(id, keys.len());
        Err(Known { id, values: first })
    }

    #[inline(always)]
    fn follow(&mut self, id: u32, len: usize) {
        if let Some(last) = self.shapes.get_mut(self.last as usize) {
            last.next = id;
        }
        self.last = id;
        if let Some(recent) = self.recent.get_mut(len) {
            *recent = id;
        }
    }

    pub fn is_full(&self) -> bool {
        self.shapes.len() >= MAX_SHAPES
    }

    #[inline(always)]
    pub fn value(&self, at: usize) -> u32 {
        self.slots.get(at).map_or(NONE, |slot| slot.value)
    }

    #[inline(always)]
    pub fn set_value(&mut self, at: usize, id: u32) {
        if let Some(slot) = self.slots.get_mut(at) {
            slot.value = id;
        }
    }
}
