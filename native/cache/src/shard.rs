//! One shard: an exact LRU whose entries also stand in the order they expire in.

use std::collections::BTreeSet;

use hashbrown::HashTable;

use crate::list::{Link, Linked, List, NIL};
use crate::{Store, NEVER};

struct Node<E> {
    /// `None`: the node is free.
    entry: Option<E>,
    deadline: u64,
    /// When it was touched last, milliseconds modulo 2^32.
    touched: u32,
    hash: u32,
    recent: Link,
    expiry: Link,
}

/// The `prev` of an expiry link when the entry is in `odd`.
const ODD: u32 = NIL - 1;

/// The `next` link of the order of use, and so on.
struct Recent<'a, E>(&'a mut [Node<E>]);
struct Expiry<'a, E>(&'a mut [Node<E>]);

impl<E> Linked for Recent<'_, E> {
    #[inline]
    fn link(&mut self, node: u32) -> &mut Link {
        &mut self.0[node as usize].recent
    }
}

impl<E> Linked for Expiry<'_, E> {
    #[inline]
    fn link(&mut self, node: u32) -> &mut Link {
        &mut self.0[node as usize].expiry
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub hits: u64,
    pub misses: u64,
    pub evictions: u64,
    pub expirations: u64,
}

/// What became of a removed entry's room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    Expired,
    Evicted,
}

pub struct Shard<S: Store> {
    store: S,
    index: HashTable<u32>,
    nodes: Vec<Node<S::Entry>>,
    free: Vec<u32>,
    recent: List,
    /// Entries with the cache's own time to live: their deadlines come in the order
    /// they were put in.
    regular: List,
    /// Entries with another time to live, by deadline.
    odd: BTreeSet<(u64, u32)>,
    pub counts: Counts,
}

impl<S: Store> Default for Shard<S> {
    fn default() -> Self {
        Shard {
            store: S::default(),
            index: HashTable::new(),
            nodes: Vec::new(),
            free: Vec::new(),
            recent: List::default(),
            regular: List::default(),
            odd: BTreeSet::new(),
            counts: Counts::default(),
        }
    }
}

/// A hash for the table, which takes the top bits for its tags and the low ones for
/// places, from the 32 bits that a node keeps.
#[inline]
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// When an entry expires: in the order of `regular`, or at a time of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    pub at: u64,
    pub regular: bool,
}

impl<S: Store> Shard<S> {
    /// What an entry takes besides what its store counts: the node, and its place in
    /// the index (4 bytes and a tag, at most 7 of 8 places taken).
    pub const NODE: usize = std::mem::size_of::<Node<S::Entry>>() + 8;

    pub fn len(&self) -> usize {
        self.index.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn bytes(&self) -> usize {
        self.store.bytes() + self.len() * Self::NODE
    }

    pub fn store(&self) -> &S {
        &self.store
    }

    #[inline]
    fn find(&self, hash: u32, key: S::Key<'_>) -> Option<u32> {
        let found = self.index.find(spread(hash), |&i| {
            let node = &self.nodes[i as usize];
            node.hash == hash && node.entry.as_ref().is_some_and(|entry| self.store.is(entry, key))
        });
        found.copied()
    }

    /// The entry, touched, unless it has expired (it goes, then).
    #[inline]
    pub fn get(&mut self, hash: u32, key: S::Key<'_>, now: u64) -> Option<(&S, &S::Entry)> {
        let found = self.find(hash, key)?;
        let node = &mut self.nodes[found as usize];
        if node.deadline <= now {
            self.counts.expirations += 1;
            self.remove_node(found);
            return None;
        }
        node.touched = now as u32;
        self.recent.touch(&mut Recent(&mut self.nodes), found);
        let entry = self.nodes[found as usize].entry.as_ref()?;
        Some((&self.store, entry))
    }

    /// Gives an entry that is there, and has not expired, another value. The value
    /// comes back when there is none.
    pub fn replace<'v>(
        &mut self,
        hash: u32,
        key: S::Key<'_>,
        value: S::Value<'v>,
        now: u64,
        deadline: Deadline,
    ) -> Result<(), S::Value<'v>> {
        let Some(found) = self.find(hash, key) else {
            return Err(value);
        };
        if self.nodes[found as usize].deadline <= now {
            self.counts.expirations += 1;
            self.remove_node(found);
            return Err(value);
        }
        self.forget_deadline(found);
        let node = &mut self.nodes[found as usize];
        node.touched = now as u32;
        if let Some(entry) = node.entry.as_mut() {
            self.store.replace(entry, value);
        }
        self.note_deadline(found, deadline);
        self.recent.touch(&mut Recent(&mut self.nodes), found);
        Ok(())
    }

    /// Puts in what is not there.
    pub fn insert(
        &mut self,
        hash: u32,
        key: S::Key<'_>,
        value: S::Value<'_>,
        now: u64,
        deadline: Deadline,
    ) {
        let node = Node {
            entry: Some(self.store.insert(key, value)),
            deadline: NEVER,
            touched: now as u32,
            hash,
            recent: Link::OUT,
            expiry: Link::OUT,
        };
        let at = match self.free.pop() {
            Some(free) => {
                self.nodes[free as usize] = node;
                free
            }
            None => {
                // A vector doubles; that would cost an entry up to 90 bytes of air.
                if self.nodes.len() == self.nodes.capacity() {
                    self.nodes.reserve_exact((self.nodes.len() / 8).max(8));
                }
                self.nodes.push(node);
                (self.nodes.len() - 1) as u32
            }
        };
        let nodes = &self.nodes;
        self.index.insert_unique(spread(hash), at, |&i| spread(nodes[i as usize].hash));
        self.recent.push(&mut Recent(&mut self.nodes), at);
        self.note_deadline(at, deadline);
    }

    /// True: it was there (and had not expired).
    pub fn remove(&mut self, hash: u32, key: S::Key<'_>, now: u64) -> bool {
        let Some(found) = self.find(hash, key) else {
            return false;
        };
        let expired = self.nodes[found as usize].deadline <= now;
        self.counts.expirations += u64::from(expired);
        self.remove_node(found);
        !expired
    }

    /// Makes room: an expired entry goes, or else the least recently used one, but
    /// for `keep` of the most recently used ones. `None`: there is no such entry.
    pub fn make_room(&mut self, now: u64, keep: usize) -> Option<Gone> {
        if self.expire(now, 1) == 1 {
            return Some(Gone::Expired);
        }
        if self.len() <= keep {
            return None;
        }
        self.remove_node(self.recent.tail);
        self.counts.evictions += 1;
        Some(Gone::Evicted)
    }

    /// Removes up to `limit` expired entries; how many it were.
    pub fn expire(&mut self, now: u64, limit: usize) -> usize {
        let mut gone = 0;
        while gone < limit {
            let odd = self.odd.first().filter(|(at, _)| *at <= now).map(|(_, node)| *node);
            let node = match odd {
                Some(node) => node,
                None => match self.regular.tail {
                    NIL => break,
                    node if self.nodes[node as usize].deadline > now => break,
                    node => node,
                },
            };
            self.remove_node(node);
            gone += 1;
        }
        self.counts.expirations += gone as u64;
        gone
    }

    /// Every entry goes; what they lay in comes back, to be dropped elsewhere.
    pub fn take(&mut self) -> Shard<S> {
        let counts = self.counts;
        std::mem::replace(self, Shard { counts, ..Shard::default() })
    }

    /// An empty shard gives its memory back.
    pub fn shrink(&mut self) -> Option<Shard<S>> {
        (self.is_empty() && self.nodes.capacity() > 64).then(|| self.take())
    }

    /// Places for entries that it has memory for.
    pub fn capacity(&self) -> usize {
        self.nodes.capacity()
    }

    /// The node of the least recently used entry: another one, another number, but
    /// not the other way round.
    pub fn recent_tail(&self) -> u32 {
        self.recent.tail
    }

    /// When the least recently used entry was touched.
    pub fn oldest(&self) -> Option<u32> {
        match self.recent.tail {
            NIL => None,
            tail => Some(self.nodes[tail as usize].touched),
        }
    }

    /// The earliest deadline, or `NEVER`.
    pub fn soonest(&self) -> u64 {
        let regular = match self.regular.tail {
            NIL => NEVER,
            tail => self.nodes[tail as usize].deadline,
        };
        self.odd.first().map_or(regular, |(at, _)| regular.min(*at))
    }

    fn note_deadline(&mut self, node: u32, deadline: Deadline) {
        self.nodes[node as usize].deadline = deadline.at;
        if deadline.at == NEVER {
            return;
        }
        if deadline.regular {
            self.regular.push(&mut Expiry(&mut self.nodes), node);
        } else {
            self.nodes[node as usize].expiry.prev = ODD;
            self.odd.insert((deadline.at, node));
        }
    }

    fn forget_deadline(&mut self, node: u32) {
        let known = &mut self.nodes[node as usize];
        if known.expiry.prev == ODD {
            known.expiry = Link::OUT;
            let at = known.deadline;
            self.odd.remove(&(at, node));
        } else if known.deadline != NEVER {
            self.regular.unlink(&mut Expiry(&mut self.nodes), node);
        }
    }

    fn remove_node(&mut self, node: u32) {
        self.forget_deadline(node);
        self.recent.unlink(&mut Recent(&mut self.nodes), node);
        let hash = self.nodes[node as usize].hash;
        if let Ok(found) = self.index.find_entry(spread(hash), |&i| i == node) {
            found.remove();
        }
        self.free.push(node);
        if let Some(entry) = self.nodes[node as usize].entry.take() {
            self.store.remove(entry);
        }
    }
}
