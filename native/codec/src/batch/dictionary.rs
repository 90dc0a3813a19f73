//! What the encoder has written so far: short binaries and atoms by number, and
//! the shapes of maps.
//!
//! Nothing here has to be found again: what is not is written once more. So the
//! dictionary is one slot a hash without a second try, which costs the least where
//! most values are new, and no input can make a lookup slow.

/// Slots that the lookup of a shape looks at.
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
        let (a, b) = if n >= 4 {
            // First and last eight bytes, or first and last four: by offsets, as the
            // lengths of keys are nothing that a processor guesses.
            let by = if n >= 8 { 4 } else { 0 };
            (
                read4(bytes) | read4(&bytes[by..]) << 32,
                read4(&bytes[n - 4 - by..]) | read4(&bytes[n - 4..]) << 32,
            )
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

    #[inline(always)]
    pub fn is(&self, other: &Probe<'_>) -> bool {
        let differs =
            (self.a ^ other.a) | (self.b ^ other.b) | (self.bytes.len() ^ other.bytes.len()) as u64;
        differs == 0 && (self.bytes.len() <= 16 || self.bytes == other.bytes)
    }

    /// Of the two words only: what is long and differs in its middle may collide.
    #[inline(always)]
    fn mix(&self) -> u64 {
        self.a ^ self.b.rotate_left(29) ^ self.bytes.len() as u64
    }
}

/// What has a number, and for each hash the last one with it.
pub struct Dictionary<'a> {
    /// By number.
    entries: Vec<Probe<'a>>,
    slots: Vec<u32>,
    shift: u32,
}

impl<'a> Dictionary<'a> {
    /// `slots` is a power of two.
    pub fn new(slots: usize) -> Self {
        Dictionary {
            entries: Vec::with_capacity(slots / 2),
            slots: vec![NONE; slots],
            shift: u64::BITS - slots.trailing_zeros(),
        }
    }

    /// Is this the entry with that number?
    #[inline(always)]
    pub fn is(&self, id: u32, probe: &Probe<'a>) -> bool {
        self.entries.get(id as usize).is_some_and(|entry| probe.is(entry))
    }

    /// `Err` with a new number when there was none, or it was not found.
    #[inline(always)]
    pub fn find_or_add(&mut self, probe: &Probe<'a>) -> Result<u32, u32> {
        let at = (probe.mix().wrapping_mul(K) >> self.shift) as usize;
        let mask = self.slots.len() - 1;
        let slot = &mut self.slots[at & mask];
        if let Some(entry) = self.entries.get(*slot as usize) {
            if probe.is(entry) {
                return Ok(*slot);
            }
        }
        let id = self.entries.len() as u32;
        *slot = id;
        self.entries.push(*probe);
        Err(id)
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

#[inline(always)]
fn read4(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |c| u32::from_le_bytes(*c).into())
}

/// The shapes of maps by their keys.
pub struct Shapes<'a> {
    shapes: Vec<Shape>,
    /// The keys of all shapes.
    keys: Vec<Probe<'a>>,
    /// The words of the terms that the keys were when the shape was new.
    words: Vec<u64>,
    /// The dictionary numbers of the values that stood there last.
    values: Vec<u32>,
    table: Table,
    /// The shape of the map before.
    last: u32,
}

struct Shape {
    first: u32,
    len: u32,
    /// The shape of the map that came after one of this shape: messages of one
    /// kind follow each other, and so do the maps in them.
    next: u32,
}

/// A numbered shape, and where its values leave their numbers.
#[derive(Clone, Copy)]
pub struct Known {
    pub id: u32,
    pub values: usize,
}

impl<'a> Shapes<'a> {
    pub fn new(slots: usize) -> Self {
        Shapes {
            shapes: Vec::with_capacity(slots / 8),
            keys: Vec::with_capacity(slots / 2),
            words: Vec::with_capacity(slots / 2),
            values: Vec::with_capacity(slots / 2),
            table: Table::new(slots),
            last: NONE,
        }
    }

    /// The shape that followed the last one the time before, if its keys are these very
    /// terms. That is so for atoms and for keys from the program's text.
    #[inline(always)]
    pub fn expected<T: Copy>(&mut self, keys: &[T], word: impl Fn(T) -> u64) -> Option<Known> {
        let id = self.shapes.get(self.last as usize)?.next;
        let Shape { first, len, .. } = *self.shapes.get(id as usize)?;
        let first = first as usize;
        if len as usize != keys.len() {
            return None;
        }
        let words = self.words.get(first..first + keys.len())?;
        let same = words.iter().zip(keys).all(|(known, key)| *known == word(*key));
        same.then(|| {
            self.last = id;
            Known { id, values: first }
        })
    }

    /// The hash of keys, begun with 0, with one more key.
    #[inline(always)]
    pub fn hash(hash: u64, key: &Probe<'a>) -> u64 {
        (hash.rotate_left(23) ^ key.mix()).wrapping_mul(K)
    }

    /// The shape with these keys: `Err` with a new one when there was none.
    #[inline(always)]
    pub fn find_or_add(
        &mut self,
        probes: &[Probe<'a>],
        hash: u64,
        words: impl Iterator<Item = u64>,
    ) -> Result<Known, Known> {
        let hash = hash ^ hash >> 32;
        let (shapes, keys) = (&self.shapes, &self.keys);
        let found = self.table.find(hash, |id| {
            shapes.get(id as usize).is_some_and(|shape| {
                let first = shape.first as usize;
                shape.len as usize == probes.len()
                    && keys[first..first + probes.len()]
                        .iter()
                        .zip(probes)
                        .all(|(key, probe)| probe.is(key))
            })
        });
        match found {
            Ok(id) => {
                self.follow(id);
                Ok(Known { id, values: self.shapes[id as usize].first as usize })
            }
            Err(place) => Err(self.add(hash, place, probes, words)),
        }
    }

    fn add(
        &mut self,
        hash: u64,
        place: Option<usize>,
        probes: &[Probe<'a>],
        words: impl Iterator<Item = u64>,
    ) -> Known {
        let id = self.shapes.len() as u32;
        let first = self.keys.len();
        self.keys.extend_from_slice(probes);
        self.words.extend(words);
        self.values.resize(self.keys.len(), NONE);
        self.shapes.push(Shape { first: first as u32, len: probes.len() as u32, next: NONE });
        // Without a place in the table it is not found again, but has its number.
        if let Some(place) = place {
            self.table.put(place, hash, id);
        }
        self.follow(id);
        Known { id, values: first }
    }

    #[inline(always)]
    fn follow(&mut self, id: u32) {
        if let Some(last) = self.shapes.get_mut(self.last as usize) {
            last.next = id;
        }
        self.last = id;
    }

    pub fn is_full(&self) -> bool {
        self.shapes.len() >= MAX_SHAPES
    }

    #[inline(always)]
    pub fn value(&self, at: usize) -> u32 {
        self.values.get(at).copied().unwrap_or(NONE)
    }

    #[inline(always)]
    pub fn set_value(&mut self, at: usize, id: u32) {
        if let Some(value) = self.values.get_mut(at) {
            *value = id;
        }
    }
}
