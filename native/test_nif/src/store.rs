//! The term stores of `native/terms`, laid bare: a table from numbers to terms that
//! are kept in the way the caller names.

use std::collections::HashMap;

use parking_lot::RwLock;
use rustler::{Atom, Encoder, Env, Resource, ResourceArc, Term};
use terms::bytes::Bytes;
use terms::imm::Imm;
use terms::pages::{PageSlot, Pages};
use terms::store::{Binaries, Slot, TermStore};

rustler::atoms! {
    ok,
    error,
    imm,
    bytes,
    pages,
    store,
    store_copy,
    not_found,
    not_immediate,
}

enum Kept {
    Imm(Imm),
    Bytes(Bytes),
    Page(PageSlot),
    Slot(Slot),
}

#[derive(Default)]
struct Table {
    entries: HashMap<u64, Kept>,
    pages: Pages,
    store: TermStore,
    bytes: usize,
}

impl Table {
    fn remove(&mut self, key: u64) -> bool {
        match self.entries.remove(&key) {
            None => return false,
            Some(Kept::Imm(_)) => {}
            Some(Kept::Bytes(bytes)) => self.bytes -= bytes.size(),
            Some(Kept::Page(slot)) => self.pages.remove(slot),
            Some(Kept::Slot(slot)) => self.store.remove(slot),
        }
        true
    }
}

struct Store(RwLock<Table>);

#[rustler::resource_impl]
impl Resource for Store {}

// A panic leaves the lock free and the table as it was between two steps.
impl std::panic::RefUnwindSafe for Store {}

#[rustler::nif]
fn store_new() -> ResourceArc<Store> {
    ResourceArc::new(Store(RwLock::default()))
}

/// Keeps the term under the number, in the way named, in place of what was there.
#[rustler::nif]
fn store_put<'a>(env: Env<'a>, s: &Store, way: Atom, key: u64, term: Term<'a>) -> Term<'a> {
    let mut table = s.0.write();
    table.remove(key);
    let kept = if way == imm() {
        match Imm::of(term) {
            Some(word) => Kept::Imm(word),
            None => return (error(), not_immediate()).encode(env),
        }
    } else if way == bytes() {
        let kept = Bytes::of(term);
        table.bytes += kept.size();
        Kept::Bytes(kept)
    } else if way == pages() {
        Kept::Page(table.pages.insert(term))
    } else if way == store_copy() {
        Kept::Slot(table.store.insert(env, term, Binaries::Copy))
    } else {
        Kept::Slot(table.store.insert(env, term, Binaries::Share))
    };
    table.entries.insert(key, kept);
    ok().to_term(env)
}

#[rustler::nif]
fn store_get<'a>(env: Env<'a>, s: &Store, key: u64) -> Term<'a> {
    let table = s.0.read();
    let term = table.entries.get(&key).and_then(|kept| match kept {
        Kept::Imm(word) => Some(word.term(env)),
        Kept::Bytes(bytes) => Some(bytes.term(env)),
        Kept::Page(slot) => table.pages.get(env, *slot),
        Kept::Slot(slot) => table.store.get(env, slot),
    });
    match term {
        Some(term) => (ok(), term).encode(env),
        None => (error(), not_found()).encode(env),
    }
}

#[rustler::nif]
fn store_remove(s: &Store, key: u64) -> bool {
    s.0.write().remove(key)
}

/// `{Live, Dead}` bytes of everything but immediates.
#[rustler::nif]
fn store_bytes(s: &Store) -> (usize, usize) {
    let table = s.0.read();
    let (paged, dead_paged) = table.pages.bytes();
    let (stored, dead_stored) = table.store.bytes();
    (paged + stored + table.bytes, dead_paged + dead_stored)
}

#[rustler::nif]
fn size_of(term: Term) -> usize {
    terms::size::of(term)
}
