//! One value that any number of processes read, whole or in part.

use rustler::sys::{
    enif_alloc_env, enif_free_env, enif_get_map_value, enif_make_copy, ErlNifEnv, ErlNifTerm,
};
use rustler::{Env, ListIterator, MapIterator, Term};

use crate::{size, tuple};

/// A value in an environment of its own. It never changes: to replace it is to make
/// another one, so readers need no lock.
pub struct Held {
    env: *mut ErlNifEnv,
    term: ErlNifTerm,
    bytes: usize,
}

// SAFETY: the environment belongs to this value alone, and nothing writes to it
// once it is made.
unsafe impl Send for Held {}

// SAFETY: `&self` only reads and copies from it. See the crate's documentation.
unsafe impl Sync for Held {}

/// What [`Held::read`] found.
pub enum Found<'a> {
    /// A copy in the caller's environment.
    Copied(Term<'a>),
    /// A key is missing, or what should have it is no map.
    Missing,
    /// There, but too large to copy just now.
    Large,
}

/// Of a value with fewer bytes any part is copied without looking how large it is.
const SMALL: usize = 64 * 1024;

/// A value with more bytes is large when all of it is asked for: copying so many
/// takes some 100 microseconds.
const WHOLE: usize = 256 * 1024;

impl Held {
    /// Copies the value; the time is O(its size).
    pub fn new(value: Term) -> Held {
        // SAFETY: neither call has a precondition but a live term; the VM aborts
        // rather than return null. The copy lives as long as the environment does.
        unsafe {
            let env = enif_alloc_env();
            let term = enif_make_copy(env, value.as_c_arg());
            Held { env, term, bytes: size::of(value) }
        }
    }

    /// Bytes of heap, and of binaries kept alive.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Copies the part that a path of map keys leads to, and nothing else; all of
    /// the value for the empty path. `Large`: that takes more than [`WHOLE`] bytes or
    /// `max_parts` parts; never with `None`.
    pub fn read<'a>(
        &self,
        env: Env<'a>,
        path: ListIterator<'a>,
        max_parts: Option<usize>,
    ) -> Found<'a> {
        let mut part = self.term;
        for key in path {
            let mut value = part;
            // SAFETY: reads two live terms, ours and the caller's, and gives a word
            // of ours; 0 when `part` is no map.
            if unsafe { enif_get_map_value(env.as_c_arg(), part, key.as_c_arg(), &mut value) } == 0
            {
                return Found::Missing;
            }
            part = value;
        }
        // SAFETY: live as long as `self` is; it is only looked at, and does not leave
        // this function.
        let inside = unsafe { Term::new(env, part) };
        let large = |max| match part == self.term {
            true => self.bytes > WHOLE,
            false => self.bytes > SMALL && !has_at_most(inside, max),
        };
        if max_parts.is_some_and(large) {
            return Found::Large;
        }
        // SAFETY: as above, and the copy is a term of `env`.
        Found::Copied(unsafe { Term::new(env, enif_make_copy(env.as_c_arg(), part)) })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // SAFETY: allocated by `new`, freed once, no word of it has left.
        unsafe { enif_free_env(self.env) }
    }
}

/// Looks at `max` parts at most, some ten nanoseconds each.
fn has_at_most(term: Term, max: usize) -> bool {
    let mut left = max;
    let mut todo = vec![term];
    while let Some(term) = todo.pop() {
        let mut spend = |n: usize| left.checked_sub(n).map(|rest| left = rest).is_some();
        if !spend(1) {
            return false;
        }
        if let Ok((head, tail)) = term.list_get_cell() {
            todo.extend([tail, head]);
        } else if term.is_tuple() {
            let items = tuple::elements(term);
            if !spend(items.len()) {
                return false;
            }
            todo.extend(items);
        } else if let Ok(size) = term.map_size() {
            if !spend(2 * size) {
                return false;
            }
            for (key, value) in MapIterator::new(term).into_iter().flatten() {
                todo.extend([key, value]);
            }
        }
    }
    true
}
