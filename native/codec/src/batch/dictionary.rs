//! What the encoder has written so far: short binaries and atoms by number, and
//! the shapes of maps.
//!
//! The terms come from anywhere, so no input may make this slow: a lookup looks
//! at a bounded number of slots, and what finds no slot is just not shared.

/// Slots that a lookup looks at.
const PROBES: usize = 12;
/// Beyond this many shape nodes maps are written without shape.
const MAX_NODES: usize = 1 << 16;

const NONE: u32 = u32::MAX;

pub struct Dictionary<'a> {
    /// By number; empty for an atom.
    entries: Vec<&'a [u8]>,
    binaries: Table,
    atoms: Table,
}

pub enum Found {
    At(u32),
    /// Written for the first time, and numbered.
    New,
    /// Not in here, and there is no room for it.
    Full,
}

impl<'a> Dictionary<'a> {
    pub fn new() -> Self {
        Dictionary { entries: Vec::new(), binaries: Table::new(), atoms: Table::new() }
    }

    pub fn bytes(&self, id: u32) -> &'a [u8] {
        self.entries.get(id as usize).copied().unwrap_or_default()
    }

    pub fn find_binary(&self, bytes: &[u8]) -> Option<u32> {
        let hash = hash(bytes);
        self.binaries.find(hash, |id| self.bytes(id) == bytes).ok()
    }

    pub fn binary(&mut self, bytes: &'a [u8]) -> Found {
        let hash = hash(bytes);
        let entries = &self.entries;
        let same = |id: u32| entries.get(id as usize).is_some_and(|e| *e == bytes);
        match self.binaries.find(hash, same) {
            Ok(id) => Found::At(id),
            Err(None) => Found::Full,
            Err(Some(slot)) => {
                self.binaries.put(slot, hash, self.entries.len() as u32);
                self.entries.push(bytes);
                Found::New
            }
        }
    }

    pub fn find_atom(&self, word: u64) -> Option<u32> {
        self.atoms.find(spread(word), |_| true).ok()
    }

    /// An atom's number. Atoms are always numbered: without room here the same
    /// atom gets a second number, which costs bytes and no more.
    pub fn atom(&mut self, word: u64) -> Found {
        let hash = spread(word);
        match self.atoms.find(hash, |_| true) {
            Ok(id) => Found::At(id),
            Err(slot) => {
                if let Some(slot) = slot {
                    self.atoms.put(slot, hash, self.entries.len() as u32);
                }
                self.entries.push(&[]);
                Found::New
            }
        }
    }
}

/// Open addressing; a slot holds the whole hash and a number.
struct Table {
    slots: Vec<(u64, u32)>,
    used: usize,
}

impl Table {
    const FREE: (u64, u32) = (0, NONE);

    fn new() -> Self {
        Table { slots: vec![Self::FREE; 256], used: 0 }
    }

    /// The number, or the slot where it would go.
    #[inline]
    fn find(&self, hash: u64, same: impl Fn(u32) -> bool) -> Result<u32, Option<usize>> {
        let mask = self.slots.len() - 1;
        for probe in 0..PROBES {
            let slot = (hash as usize).wrapping_add(probe) & mask;
            let (stored, id) = self.slots[slot];
            if id == NONE {
                return Err(Some(slot));
            }
            if stored == hash && same(id) {
                return Ok(id);
            }
        }
        Err(None)
    }

    fn put(&mut self, slot: usize, hash: u64, id: u32) {
        self.slots[slot] = (hash, id);
        self.used += 1;
        if self.used * 2 > self.slots.len() {
            self.grow();
        }
    }

    fn grow(&mut self) {
        let larger = vec![Self::FREE; self.slots.len() * 4];
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
fn fold(a: u64, b: u64) -> u64 {
    let wide = u128::from(a) * u128::from(b);
    wide as u64 ^ (wide >> 64) as u64
}

/// One to one on words, so that equal hashes mean equal words.
#[inline(always)]
fn spread(word: u64) -> u64 {
    let h = word.wrapping_mul(K);
    h ^ h >> 32
}

#[inline(always)]
fn read8(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |c| u64::from_le_bytes(*c))
}

#[inline]
fn hash(bytes: &[u8]) -> u64 {
    let n = bytes.len();
    let (a, b) = match n {
        0..8 => {
            let mut padded = [0; 8];
            padded[..n].copy_from_slice(bytes);
            (u64::from_le_bytes(padded), 0)
        }
        _ => (read8(bytes), read8(&bytes[n - 8..])),
    };
    let mut h = fold(a ^ K, b ^ 0xD1B5_4A32_D192_ED03 ^ n as u64);
    if n > 16 {
        for chunk in bytes[8..n - 8].chunks(8) {
            h = fold(h ^ read8(chunk), K);
        }
    }
    h
}

/// The shapes of maps as a tree of keys: a shape is the path to a node.
pub struct Shapes {
    nodes: Vec<Node>,
    /// Child by parent and key.
    children: Table,
    count: u32,
}

struct Node {
    parent: u32,
    /// The dictionary number of the key that leads here.
    key: u32,
    /// The word of the term that last led here.
    word: u64,
    /// The child that was taken last: the next map most likely takes it too.
    hint: u32,
    shape: u32,
}

pub const ROOT: u32 = 0;

impl Shapes {
    pub fn new() -> Self {
        let root = Node { parent: NONE, key: NONE, word: 0, hint: NONE, shape: NONE };
        Shapes { nodes: vec![root], children: Table::new(), count: 0 }
    }

    /// The child last taken from `node`: its number, key and word.
    #[inline(always)]
    pub fn hint(&self, node: u32) -> Option<(u32, u32, u64)> {
        let child = self.nodes.get(node as usize)?.hint;
        let found = self.nodes.get(child as usize)?;
        Some((child, found.key, found.word))
    }

    #[inline]
    pub fn child(&mut self, node: u32, key: u32, word: u64) -> Option<u32> {
        let nodes = &self.nodes;
        let same = |id: u32| {
            nodes.get(id as usize).is_some_and(|n| n.parent == node && n.key == key)
        };
        let child = self.children.find(path(node, key), same).ok()?;
        self.nodes[node as usize].hint = child;
        self.nodes[child as usize].word = word;
        Some(child)
    }

    pub fn add(&mut self, node: u32, key: u32, word: u64) -> Option<u32> {
        if let Some(child) = self.child(node, key, word) {
            return Some(child);
        }
        if self.nodes.len() >= MAX_NODES {
            return None;
        }
        let hash = path(node, key);
        let slot = self.children.find(hash, |_| false).err().flatten()?;
        let child = self.nodes.len() as u32;
        self.children.put(slot, hash, child);
        self.nodes.push(Node { parent: node, key, word, hint: NONE, shape: NONE });
        self.nodes[node as usize].hint = child;
        Some(child)
    }

    #[inline(always)]
    pub fn shape(&self, node: u32) -> Option<u32> {
        self.nodes.get(node as usize).map(|n| n.shape).filter(|shape| *shape != NONE)
    }

    /// Numbers the shape that ends at `node`, or just counts it when it has none.
    pub fn number(&mut self, node: Option<u32>) {
        if let Some(node) = node {
            self.nodes[node as usize].shape = self.count;
        }
        self.count += 1;
    }

    pub fn is_full(&self) -> bool {
        self.nodes.len() >= MAX_NODES
    }
}

fn path(node: u32, key: u32) -> u64 {
    spread(u64::from(node) << 32 | u64::from(key))
}
