//! Terms in environments that many entries share, with compaction by dead bytes.
//!
//! An environment's heap only grows: what is removed stays until the environment is
//! cleared. So entries live in *pages*, environments of about [`PAGE`] bytes. A page
//! counts its live and its dead bytes; once the dead ones are more than a sixth of
//! the live ones, those are copied to a fresh environment. That bounds both:
//!
//! * memory: dead bytes are never more than a sixth of the live ones;
//! * work: one compaction copies less than a page (some microseconds), and only
//!   after a sixth as many bytes died, so a removal costs O(its own bytes)
//!   amortised: six times.
//!
//! An entry of 16 KB or more has a page to itself, which is freed with it.

use rustler::sys::{
    enif_alloc_env, enif_clear_env, enif_free_env, enif_is_identical, enif_make_copy, ErlNifEnv,
    ErlNifTerm,
};
use rustler::{Env, Term};

use crate::size::{self, Size};
use crate::word;

/// Bytes of heap that a page holds. Larger pages saved an environment's own kilobyte and
/// cost more: when one is compacted, the VM keeps more freed blocks.
pub const PAGE: usize = 16 * 1024;

/// All bytes, shared ones too, of an entry that has a page to itself.
const LARGE: usize = 16 * 1024;

/// A page is compacted when its dead bytes are more than this share of its live ones:
/// less is more memory and fewer copies (doc/cache.md has both).
const DEAD: (usize, usize) = (1, 6);

/// Where an entry is: valid until it is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageSlot {
    page: u32,
    cell: u32,
    /// What it takes, here because a slot has room for it and a cell would grow by
    /// eight bytes. Larger sizes than fit are counted as `u32::MAX`.
    bytes: u32,
}

fn is_free(cell: ErlNifTerm) -> bool {
    word::of_raw(cell) == 0
}

struct Page {
    env: *mut ErlNifEnv,
    /// By number; free ones are `word::NONE`, and their numbers in `free`.
    cells: Vec<ErlNifTerm>,
    free: Vec<u32>,
    live: usize,
    dead: usize,
    /// Bytes of heap in use, about: what fills the page. Shared binaries do not.
    heap: usize,
    /// It is in the list of pages with room.
    listed: bool,
}

// SAFETY: the environment belongs to this value alone; what writes to it takes
// `&mut self`. See the crate's documentation.
unsafe impl Send for Page {}

// SAFETY: `&self` only copies from it. See the crate's documentation.
unsafe impl Sync for Page {}

impl Page {
    fn new() -> Page {
        Page {
            // SAFETY: no precondition; the VM aborts rather than return null.
            env: unsafe { enif_alloc_env() },
            cells: Vec::new(),
            free: Vec::new(),
            live: 0,
            dead: 0,
            heap: 0,
            listed: false,
        }
    }

    fn term(&self, cell: u32) -> Option<ErlNifTerm> {
        self.cells.get(cell as usize).copied().filter(|cell| !is_free(*cell))
    }

    fn insert(&mut self, term: Term, bytes: u32, heap: usize) -> u32 {
        // SAFETY: `term` is live, and `&mut self`.
        let term = unsafe { enif_make_copy(self.env, term.as_c_arg()) };
        self.live += bytes as usize;
        self.heap += heap;
        match self.free.pop() {
            Some(free) => {
                self.cells[free as usize] = term;
                free
            }
            None => {
                if self.cells.len() == self.cells.capacity() {
                    self.cells.reserve_exact((self.cells.len() / 8).max(16));
                }
                self.cells.push(term);
                (self.cells.len() - 1) as u32
            }
        }
    }

    fn remove(&mut self, cell: u32, bytes: usize) -> usize {
        let Some(gone) = self.cells.get_mut(cell as usize).filter(|cell| !is_free(**cell)) else {
            return 0;
        };
        *gone = word::NONE;
        self.free.push(cell);
        self.live -= bytes;
        self.dead += bytes;
        bytes
    }

    /// Copies what is alive to a fresh environment and frees the old one. Cells
    /// keep their numbers.
    fn compact(&mut self) {
        // SAFETY: no precondition.
        let fresh = unsafe { enif_alloc_env() };
        for cell in self.cells.iter_mut().filter(|cell| !is_free(**cell)) {
            // SAFETY: the term is live in `self.env`, which is freed only below.
            *cell = unsafe { enif_make_copy(fresh, *cell) };
        }
        // SAFETY: all cells have moved: no word of the old environment is left.
        unsafe { enif_free_env(self.env) };
        self.env = fresh;
        // The heap of each is not known; their share of all bytes is.
        self.heap = self.heap.saturating_mul(self.live) / (self.live + self.dead).max(1);
        self.dead = 0;
    }

    fn clear(&mut self) {
        // SAFETY: the cells, the only words of this environment, go with it.
        unsafe { enif_clear_env(self.env) };
        self.cells.clear();
        self.free.clear();
        self.live = 0;
        self.dead = 0;
        self.heap = 0;
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: ours, and freed once; its terms go with it.
        unsafe { enif_free_env(self.env) }
    }
}

#[derive(Default)]
pub struct Pages {
    /// By number; `None` is free, and its number is in `free`.
    pages: Vec<Option<Page>>,
    free: Vec<u32>,
    /// The page that is being filled.
    open: Option<u32>,
    /// Pages that have room again.
    roomy: Vec<u32>,
    live: usize,
    dead: usize,
}

impl Pages {
    pub fn insert(&mut self, term: Term) -> PageSlot {
        self.insert_sized(term, size::measure(term, usize::MAX).unwrap_or_default())
    }

    /// For a caller that has measured the term.
    pub fn insert_sized(&mut self, term: Term, size: Size) -> PageSlot {
        let bytes = size.total();
        let page = if bytes >= LARGE { self.add() } else { self.page_for(size.heap) };
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.live += bytes as usize;
        // The number comes from `add` or `page_for`: it is a page.
        let cell =
            self.pages[page as usize].get_or_insert_with(Page::new).insert(term, bytes, size.heap);
        PageSlot { page, cell, bytes }
    }

    #[inline]
    fn word(&self, slot: PageSlot) -> Option<ErlNifTerm> {
        self.pages.get(slot.page as usize)?.as_ref()?.term(slot.cell)
    }

    /// A copy in the caller's environment; `None` after a removal.
    #[inline]
    pub fn get<'a>(&self, env: Env<'a>, slot: PageSlot) -> Option<Term<'a>> {
        let word = self.word(slot)?;
        // SAFETY: the term is live in its page, and only read.
        Some(unsafe { Term::new(env, enif_make_copy(env.as_c_arg(), word)) })
    }

    /// Is the stored term `=:=` this one? Nothing is copied.
    #[inline]
    pub fn is(&self, slot: PageSlot, term: Term) -> bool {
        // SAFETY: both terms are live, and only read.
        self.word(slot).is_some_and(|word| unsafe { enif_is_identical(word, term.as_c_arg()) == 1 })
    }

    pub fn remove(&mut self, slot: PageSlot) {
        let Some(Some(page)) = self.pages.get_mut(slot.page as usize) else {
            return;
        };
        let before = page.dead;
        let bytes = page.remove(slot.cell, slot.bytes as usize);
        self.live -= bytes;
        self.dead += bytes;
        if page.live == 0 && page.free.len() == page.cells.len() {
            self.dead -= page.dead;
            if before + bytes >= LARGE && page.cells.len() == 1 {
                self.pages[slot.page as usize] = None;
                self.free.push(slot.page);
            } else {
                page.clear();
                self.has_room(slot.page);
            }
        } else if page.dead * DEAD.1 > page.live * DEAD.0 {
            self.dead -= page.dead;
            page.compact();
            self.has_room(slot.page);
        }
    }

    /// Bytes of live entries, and of dead ones that still take room: never more.
    pub fn bytes(&self) -> (usize, usize) {
        (self.live, self.dead)
    }

    pub fn clear(&mut self) {
        *self = Pages::default();
    }

    fn has_room(&mut self, page: u32) {
        if self.open == Some(page) {
            return;
        }
        if let Some(Some(known)) = self.pages.get_mut(page as usize) {
            if !std::mem::replace(&mut known.listed, true) {
                self.roomy.push(page);
            }
        }
    }

    fn page_for(&mut self, heap: usize) -> u32 {
        loop {
            if let Some(open) = self.open {
                let page = self.pages[open as usize].as_ref();
                if page.is_some_and(|p| p.heap + heap <= PAGE) {
                    return open;
                }
            }
            match self.roomy.pop() {
                Some(page) => {
                    if let Some(Some(known)) = self.pages.get_mut(page as usize) {
                        known.listed = false;
                        self.open = Some(page);
                    }
                }
                None => {
                    let page = self.add();
                    self.open = Some(page);
                    return page;
                }
            }
        }
    }

    fn add(&mut self) -> u32 {
        match self.free.pop() {
            Some(page) => {
                self.pages[page as usize] = Some(Page::new());
                page
            }
            None => {
                self.pages.push(Some(Page::new()));
                (self.pages.len() - 1) as u32
            }
        }
    }
}
