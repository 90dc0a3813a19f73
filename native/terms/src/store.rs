//! One store for terms of every kind.

use std::sync::Arc;

use rustler::{Binary, Env, NewBinary, Term, TermType};

use crate::imm::Imm;
use crate::own::Own;
use crate::pages::{PageSlot, Pages};
use crate::size::{self, Size, HEAP_BINARY};

/// How to treat an entry that is one binary of more than 64 bytes. A NIF cannot see
/// whether it is a part of a larger one; `binary:referenced_byte_size/1` can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binaries {
    /// Keep a reference. It keeps all of the binary alive that it is a part of.
    Share,
    /// Copy the bytes: for a small part of a large binary.
    Copy,
}

/// What fits beside tag and length into the space of three words.
const SHORT: usize = 22;

/// A term of this size has an environment to itself.
const LARGE: usize = 16 * 1024;

/// Where a term is. To be given back to the store it came from, by
/// [`TermStore::remove`], or the store keeps it.
pub enum Slot {
    Imm(Imm),
    /// A binary of up to 22 bytes.
    Short(u8, [u8; SHORT]),
    /// A binary of up to 64 bytes.
    Bytes(Box<[u8]>),
    Paged(PageSlot),
    /// It does not need the store to be read.
    Own(Arc<Own>),
}

impl Slot {
    /// The slot of a term that does not need the store either: a large one, made
    /// before the store is locked.
    pub fn large(term: Term, size: Size) -> Option<Slot> {
        (size.total() >= LARGE).then(|| Slot::Own(Arc::new(Own::new(term, size))))
    }

    fn bytes(bytes: &[u8]) -> Slot {
        if bytes.len() <= SHORT {
            let mut short = [0; SHORT];
            short[..bytes.len()].copy_from_slice(bytes);
            Slot::Short(bytes.len() as u8, short)
        } else {
            Slot::Bytes(bytes.into())
        }
    }

    /// Bytes outside of the slot and of the pages.
    fn outside(&self) -> usize {
        match self {
            Slot::Imm(_) | Slot::Short(..) | Slot::Paged(_) => 0,
            Slot::Bytes(bytes) => bytes.len(),
            Slot::Own(own) => own.size().total(),
        }
    }
}

/// Terms outside a process. `&self` reads, from any number of threads (under a
/// read lock); `&mut self` writes.
#[derive(Default)]
pub struct TermStore {
    pages: Pages,
    outside: usize,
}

impl TermStore {
    pub fn insert(&mut self, env: Env, term: Term, binaries: Binaries) -> Slot {
        if binaries == Binaries::Copy {
            if let Ok(binary) = Binary::from_term(term) {
                if binary.len() > HEAP_BINARY {
                    let mut copy = NewBinary::new(env, binary.len());
                    copy.as_mut_slice().copy_from_slice(&binary);
                    return self.insert_shared(copy.into());
                }
            }
        }
        self.insert_shared(term)
    }

    fn insert_shared(&mut self, term: Term) -> Slot {
        let size = Size::new(size::of(term));
        match Slot::large(term, size) {
            Some(slot) => self.adopt(slot),
            None => self.insert_sized(term, size),
        }
    }

    /// Takes in a slot that was made outside.
    pub fn adopt(&mut self, slot: Slot) -> Slot {
        self.outside += slot.outside();
        slot
    }

    /// A term that was measured and is not large; binaries are shared.
    pub fn insert_sized(&mut self, term: Term, size: Size) -> Slot {
        let kind = term.get_type();
        if let Some(imm) = Imm::of_type(term, kind) {
            return Slot::Imm(imm);
        }
        if kind == TermType::Binary {
            if let Ok(binary) = Binary::from_term(term) {
                if binary.len() <= HEAP_BINARY {
                    return self.adopt(Slot::bytes(&binary));
                }
            }
        }
        Slot::Paged(self.pages.insert_sized(term, size))
    }

    /// `None` only for a slot that was removed (a copy of it was kept).
    #[inline]
    pub fn get<'a>(&self, env: Env<'a>, slot: &Slot) -> Option<Term<'a>> {
        match slot {
            Slot::Imm(imm) => Some(imm.term(env)),
            Slot::Short(len, bytes) => Some(binary(env, &bytes[..usize::from(*len)])),
            Slot::Bytes(bytes) => Some(binary(env, bytes)),
            Slot::Paged(slot) => self.pages.get(env, *slot),
            Slot::Own(own) => Some(own.get(env)),
        }
    }

    /// Is the stored term `=:=` this one? Nothing is copied.
    #[inline]
    pub fn is(&self, slot: &Slot, term: Term) -> bool {
        let same = |bytes: &[u8]| Binary::from_term(term).is_ok_and(|b| b.as_slice() == bytes);
        match slot {
            Slot::Imm(imm) => imm.is(term),
            Slot::Short(len, bytes) => same(&bytes[..usize::from(*len)]),
            Slot::Bytes(bytes) => same(bytes),
            Slot::Paged(slot) => self.pages.is(*slot, term),
            Slot::Own(own) => own.is(term),
        }
    }

    pub fn remove(&mut self, slot: Slot) {
        self.outside -= slot.outside();
        if let Slot::Paged(slot) = slot {
            self.pages.remove(slot);
        }
    }

    /// `(live, dead)` bytes; slots, and what is in them, not counted. Dead ones are
    /// never more than live ones.
    pub fn bytes(&self) -> (usize, usize) {
        let (live, dead) = self.pages.bytes();
        (live + self.outside, dead)
    }

    pub fn clear(&mut self) {
        self.pages.clear();
        self.outside = 0;
    }
}

fn binary<'a>(env: Env<'a>, bytes: &[u8]) -> Term<'a> {
    let mut binary = NewBinary::new(env, bytes.len());
    binary.as_mut_slice().copy_from_slice(bytes);
    binary.into()
}
