//! The elements of a tuple where they lie (rustler copies them to a vector).

use std::mem::MaybeUninit;

use rustler::sys::{enif_get_tuple, ErlNifEnv, ErlNifTerm};
use rustler::Term;

/// The words of a tuple's elements; none, when the term is no tuple.
///
/// # Safety
/// `term` is a term of `env`, and the environment is not cleared, freed or sent while
/// the slice lives.
pub(crate) unsafe fn words<'a>(env: *mut ErlNifEnv, term: ErlNifTerm) -> &'a [ErlNifTerm] {
    let (mut arity, mut array) = (0, MaybeUninit::uninit());
    // SAFETY: the term is live in `env`, and the out parameters are ours. The array
    // is only read when it was written, and has a length that is not 0: the words are
    // part of the tuple and live as long as it.
    unsafe {
        if enif_get_tuple(env, term, &mut arity, array.as_mut_ptr()) == 0 || arity <= 0 {
            return &[];
        }
        std::slice::from_raw_parts(array.assume_init(), arity as usize)
    }
}

/// The elements of a tuple.
#[inline]
pub(crate) fn elements(term: Term<'_>) -> impl ExactSizeIterator<Item = Term<'_>> {
    let env = term.get_env();
    // SAFETY: a term is live, and so is all of it, as long as its lifetime says.
    let words = unsafe { words(env.as_c_arg(), term.as_c_arg()) };
    // SAFETY: an element of a term is a term of the same environment.
    words.iter().map(move |word| unsafe { Term::new(env, *word) })
}
