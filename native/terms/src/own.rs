//! A large term in an environment of its own.

use rustler::sys::{
    enif_alloc_env, enif_free_env, enif_is_identical, enif_make_copy, ErlNifEnv, ErlNifTerm,
};
use rustler::{Env, Term};

use crate::size::Size;

/// For a term so large that what an environment costs (2.6 KB) does not matter. It
/// can be made before a lock is taken, and read and dropped after it was released.
pub struct Own {
    env: *mut ErlNifEnv,
    term: ErlNifTerm,
    size: Size,
}

// SAFETY: the environment belongs to this value alone, and nothing writes to it
// between `new` and `drop`, neither of which can overlap with another use. See the
// crate's documentation for reading.
unsafe impl Send for Own {}

// SAFETY: `&self` only copies from it and compares. See the crate's documentation.
unsafe impl Sync for Own {}

impl Own {
    pub fn new(term: Term, size: Size) -> Own {
        // SAFETY: no precondition; the VM aborts rather than return null. The
        // environment is known to no one else yet.
        unsafe {
            let env = enif_alloc_env();
            Own { env, term: enif_make_copy(env, term.as_c_arg()), size }
        }
    }

    /// A copy in the caller's environment.
    pub fn get<'a>(&self, env: Env<'a>) -> Term<'a> {
        // SAFETY: the term is live as long as this value, and only read.
        unsafe { Term::new(env, enif_make_copy(env.as_c_arg(), self.term)) }
    }

    /// Is it `=:=` this term?
    pub fn is(&self, term: Term) -> bool {
        // SAFETY: both terms are live, and only read.
        unsafe { enif_is_identical(self.term, term.as_c_arg()) == 1 }
    }

    pub fn size(&self) -> Size {
        self.size
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        // SAFETY: ours, and freed once; its term goes with it.
        unsafe { enif_free_env(self.env) }
    }
}
