//! How much memory a term takes once it is copied.

use rustler::{Binary, MapIterator, Term, TermType};

use crate::imm::Imm;
use crate::{tuple, word};

const WORD: usize = std::mem::size_of::<usize>();

/// A binary up to this many bytes is copied with its heap; a longer one is shared.
pub const HEAP_BINARY: usize = 64;

/// What a shared binary takes on the heap besides its bytes.
const SHARED: usize = 6 * WORD;

/// What a term takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Bytes of heap that a copy takes; an estimate for references and the like, and
    /// for the inner nodes of maps with more than 32 keys.
    pub heap: usize,
    /// Bytes of shared binaries that it keeps alive.
    pub shared: usize,
    /// There may be a part of a larger binary in it. A NIF cannot see which binary
    /// is, only that one on the heap, bytes behind its header, is not.
    pub parts: bool,
    /// There is something in it that a NIF cannot look into: a fun, a big integer.
    pub opaque: bool,
}

impl Size {
    pub fn new(heap: usize) -> Size {
        Size { heap, ..Size::default() }
    }

    pub fn total(self) -> usize {
        self.heap + self.shared
    }
}

/// Bytes of heap that a copy of the term takes, and the bytes of the binaries that
/// it keeps alive.
pub fn of(term: Term) -> usize {
    measure(term, usize::MAX).map_or(0, Size::total)
}

/// The term's size; `None` when it has more than about `budget` parts, so that the
/// time this takes has a bound (some 10 ns a part).
///
/// The VM knows this number and does not tell NIFs, so the term is walked, with a
/// stack of our own (a deep term must not overflow the scheduler's).
pub fn measure(term: Term, budget: usize) -> Option<Size> {
    let mut walk = Walk { size: Size::default(), budget, todo: Vec::new() };
    // Most terms are immediates, binaries, or flat: no queue for those.
    walk.visit(term, 0)?;
    while let Some(term) = walk.todo.pop() {
        walk.visit(term, 0)?;
    }
    Some(walk.size)
}

/// So deep the walk calls itself before it queues.
const SHALLOW: u32 = 4;

struct Walk<'a> {
    size: Size,
    budget: usize,
    todo: Vec<Term<'a>>,
}

impl<'a> Walk<'a> {
    #[inline]
    fn spend(&mut self, parts: usize) -> Option<()> {
        self.budget = self.budget.checked_sub(parts)?;
        Some(())
    }

    fn child(&mut self, term: Term<'a>, depth: u32) -> Option<()> {
        if depth < SHALLOW {
            self.visit(term, depth + 1)
        } else {
            self.todo.push(term);
            Some(())
        }
    }

    fn visit(&mut self, term: Term<'a>, depth: u32) -> Option<()> {
        self.spend(1)?;
        // So the VM marks immediates in all its versions so far. Nothing but this
        // count relies on it, and it saves most of the calls.
        if word::of(term) & 3 == 3 {
            return Some(());
        }
        match term.get_type() {
            TermType::List => self.list(term, depth)?,
            TermType::Tuple => {
                let items = tuple::elements(term);
                self.spend(items.len())?;
                self.size.heap += (1 + items.len()) * WORD;
                for item in items {
                    self.child(item, depth)?;
                }
            }
            TermType::Map => self.map(term, depth)?,
            TermType::Binary => self.binary(term),
            TermType::Float => self.size.heap += 2 * WORD,
            // Small ones are none, but nobody counts those; big ones by their digits
            // cannot be asked for: a guess that is right to 128 bits.
            TermType::Integer if Imm::of_type(term, TermType::Integer).is_none() => {
                if term.decode::<i64>().is_err() {
                    self.size.opaque = true;
                    self.size.heap += WORD;
                }
                self.size.heap += 2 * WORD;
            }
            TermType::Fun => {
                self.size.opaque = true;
                self.size.heap += 8 * WORD;
            }
            TermType::Ref => self.size.heap += 4 * WORD,
            kind @ (TermType::Pid | TermType::Port) if Imm::of_type(term, kind).is_none() => {
                self.size.heap += 3 * WORD;
            }
            _ => {}
        }
        Some(())
    }

    fn map(&mut self, term: Term<'a>, depth: u32) -> Option<()> {
        // The size costs nothing to ask; without it a large map's walk would have to
        // be given up half way.
        let n = term.map_size().unwrap_or(0);
        self.spend(n)?;
        // Up to 32 keys: the map, and the tuple of keys (the empty one is shared).
        // Above: a trie of cells.
        self.size.heap += match n {
            0 => 3 * WORD,
            1..=32 => (4 + 2 * n) * WORD,
            _ => (8 + 4 * n) * WORD,
        };
        if let Some(pairs) = MapIterator::new(term) {
            for (key, value) in pairs {
                self.child(key, depth)?;
                self.child(value, depth)?;
            }
        }
        Some(())
    }

    fn list(&mut self, term: Term<'a>, depth: u32) -> Option<()> {
        let mut rest = term;
        while let Ok((head, tail)) = rest.list_get_cell() {
            self.spend(1)?;
            self.size.heap += 2 * WORD;
            // Immediates are most of most lists (strings).
            if word::of(head) & 3 != 3 {
                self.child(head, depth)?;
            }
            rest = tail;
        }
        if rest.is_empty_list() {
            return Some(());
        }
        self.child(rest, depth)
    }

    fn binary(&mut self, term: Term<'a>) {
        match Binary::from_term(term) {
            Ok(b) if b.len() <= HEAP_BINARY => {
                self.size.heap += 2 * WORD + b.len().next_multiple_of(WORD);
                // The term is the tagged address of its header and length.
                let distance = (b.as_ptr() as usize).wrapping_sub(word::of(term));
                self.size.parts |= distance > 2 * WORD;
            }
            Ok(b) => {
                self.size.heap += SHARED;
                self.size.shared += b.len();
                self.size.parts = true;
            }
            // A bitstring: a reference into a binary of unknown size.
            Err(_) => {
                self.size.heap += SHARED + HEAP_BINARY;
                self.size.parts = true;
            }
        }
    }
}
