//! Immediates: the word is the value.

use std::mem::MaybeUninit;

use rustler::sys::{enif_get_int64, enif_get_local_pid, ErlNifTerm};
use rustler::{Env, Term, TermType};

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
    #[inline]
    pub fn of(term: Term) -> Option<Imm> {
        Imm::of_type(term, term.get_type())
    }

    /// The same for a caller that knows the term's type already.
    #[inline]
    pub fn of_type(term: Term, kind: TermType) -> Option<Imm> {
        let (env, word) = (term.get_env().as_c_arg(), term.as_c_arg());
        let immediate = match kind {
            TermType::Atom => true,
            TermType::Integer => {
                let mut int = 0;
                // SAFETY: the term is live in `env`, and the out parameter is ours;
                // it is read only where the call says that it wrote it.
                let is_64 = unsafe { enif_get_int64(env, word, &mut int) != 0 };
                is_64 && (MIN_SMALL..=MAX_SMALL).contains(&int)
            }
            TermType::Pid => {
                let mut pid = MaybeUninit::uninit();
                // SAFETY: as above; the pid is never read.
                unsafe { enif_get_local_pid(env, word, pid.as_mut_ptr()) != 0 }
            }
            TermType::List => term.is_empty_list(),
            _ => false,
        };
        immediate.then_some(Imm(word))
    }

    /// Is the term this immediate? Equal words are equal terms, and a term that is
    /// not an immediate has another word.
    #[inline]
    pub fn is(self, term: Term) -> bool {
        self.0 == term.as_c_arg()
    }

    pub fn term<'a>(self, env: Env<'a>) -> Term<'a> {
        // SAFETY: the word is a valid term in every environment, see above.
        unsafe { Term::new(env, self.0) }
    }
}
