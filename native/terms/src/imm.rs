//! Immediates: the word is the value.

use std::mem::MaybeUninit;

use rustler::sys::{
    enif_get_int64, enif_get_local_pid, enif_is_atom, enif_is_empty_list, ErlNifTerm,
};
use rustler::{Env, Term};

/// An atom, a small integer, a local pid or `[]`, kept as its word.
///
/// Why the word stays valid: atoms are never collected and their terms are
/// documented to be good across calls and environments; `ErlNifPid` is documented
/// to be a value that may be stored, `enif_make_pid` returns its word, and it holds
/// for a dead process too; `[]` is one constant; a small integer is the integer
/// shifted beside a tag. None refers to a heap.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Imm(ErlNifTerm);

/// Integers within these bounds are immediates ("small"): 60 bits in a 64-bit VM,
/// 28 bits in a 32-bit one (Efficiency Guide, Advanced, Memory).
const SMALL_BITS: u32 = usize::BITS - 4;
const MAX_SMALL: i64 = (1 << (SMALL_BITS - 1)) - 1;
const MIN_SMALL: i64 = -(1 << (SMALL_BITS - 1));

impl Imm {
    pub fn of(term: Term) -> Option<Imm> {
        let (env, word) = (term.get_env().as_c_arg(), term.as_c_arg());
        let mut pid = MaybeUninit::uninit();
        let mut int = 0;
        // SAFETY: the term is live in `env`, and the out parameters are ours. They
        // are read only where the call says that it wrote them.
        let immediate = unsafe {
            enif_is_atom(env, word) != 0
                || enif_get_local_pid(env, word, pid.as_mut_ptr()) != 0
                || (enif_get_int64(env, word, &mut int) != 0
                    && (MIN_SMALL..=MAX_SMALL).contains(&int))
                || enif_is_empty_list(env, word) != 0
        };
        immediate.then_some(Imm(word))
    }

    pub fn term<'a>(self, env: Env<'a>) -> Term<'a> {
        // SAFETY: the word is a valid term in every environment, see above.
        unsafe { Term::new(env, self.0) }
    }
}
