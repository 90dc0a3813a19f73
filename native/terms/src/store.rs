//! One store for terms of every kind.

use rustler::{Binary, Env, NewBinary, Term};

use crate::bytes::Bytes;
use crate::imm::Imm;
use crate::pages::{PageSlot, Pages};
use crate::size::HEAP_BINARY;

/// How to treat an entry that is one binary of more than 64 bytes. A NIF cannot see
/// whether it is a part of a larger one; `binary:referenced_byte_size/1` can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binaries {
    /// Keep a reference. It keeps all of the binary alive that it is a part of.
    Share,
    /// Copy the bytes: for a small part of a large binary.
    Copy,
}

/// Where a term is. To be given back to the store it came from, by
/// [`TermStore::remove`], or the store keeps it.
pub enum Slot {
    Imm(Imm),
    /// A binary of up to 64 bytes.
    Bytes(Bytes),
    Paged(PageSlot),
}

/// Terms outside a process. `&self` reads, from any number of threads (under a
/// read lock); `&mut self` writes.
#[derive(Default)]
pub struct TermStore {
    pages: Pages,
    inline: usize,
}

impl TermStore {
    pub fn insert(&mut self, env: Env, term: Term, binaries: Binaries) -> Slot {
        if let Some(imm) = Imm::of(term) {
            return Slot::Imm(imm);
        }
        if let Ok(binary) = Binary::from_term(term) {
            if binary.len() <= HEAP_BINARY {
                let bytes = Bytes::of_binary(&binary);
                self.inline += bytes.size();
                return Slot::Bytes(bytes);
            }
            if binaries == Binaries::Copy {
                let mut copy = NewBinary::new(env, binary.len());
                copy.as_mut_slice().copy_from_slice(&binary);
                return Slot::Paged(self.pages.insert(copy.into()));
            }
        }
        Slot::Paged(self.pages.insert(term))
    }

    /// `None` only for a slot that was removed (a copy of it was kept).
    pub fn get<'a>(&self, env: Env<'a>, slot: &Slot) -> Option<Term<'a>> {
        match slot {
            Slot::Imm(imm) => Some(imm.term(env)),
            Slot::Bytes(bytes) => Some(bytes.term(env)),
            Slot::Paged(slot) => self.pages.get(env, *slot),
        }
    }

    pub fn remove(&mut self, slot: Slot) {
        match slot {
            Slot::Imm(_) => {}
            Slot::Bytes(bytes) => self.inline -= bytes.size(),
            Slot::Paged(slot) => self.pages.remove(slot),
        }
    }

    /// `(live, dead)` bytes, slots and immediates not counted. Dead ones are never
    /// more than live ones.
    pub fn bytes(&self) -> (usize, usize) {
        let (live, dead) = self.pages.bytes();
        (live + self.inline, dead)
    }

    pub fn clear(&mut self) {
        self.pages.clear();
        self.inline = 0;
    }
}
