//! The machine word that a term is.

use rustler::sys::{ErlNifTerm, ERL_NIF_UINT};
use rustler::Term;

/// The term's word. For an immediate (atom, local pid, small integer, `[]`) the
/// word is the value: equal words are equal terms, in any environment of this VM.
/// For everything else it is an address, good for nothing but a hint.
#[inline]
pub fn of(term: Term) -> usize {
    of_raw(term.as_c_arg())
}

#[inline]
pub(crate) fn of_raw(term: ErlNifTerm) -> usize {
    // SAFETY: `ErlNifTerm` is `repr(transparent)` over this integer.
    unsafe { std::mem::transmute::<ErlNifTerm, ERL_NIF_UINT>(term) }
}

/// A word that is no term: 0.
// SAFETY: `ErlNifTerm` is `repr(transparent)` over this integer.
pub(crate) const NONE: ErlNifTerm = unsafe { std::mem::transmute::<ERL_NIF_UINT, ErlNifTerm>(0) };
