//! Looking at terms and making terms by their words, without the cost of a
//! decoded value for each: what codecs that walk whole terms need.
//!
//! A [`Word`] is a term of the environment with the lifetime `'a`. The lifetime is
//! invariant, as that of `Env` is, so a word cannot get into another environment.

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::os::raw::{c_char, c_uint};

use rustler::sys::{self, ErlNifTermType};
use rustler::{Env, Term};

use crate::layout;

/// A term of the environment `'a`, one machine word.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct Word<'a>(sys::ErlNifTerm, PhantomData<fn(&'a ()) -> &'a ()>);

impl<'a> Word<'a> {
    pub fn of(term: Term<'a>) -> Self {
        Word::new(term.as_c_arg())
    }

    pub fn term(self, env: Env<'a>) -> Term<'a> {
        // SAFETY: the word was made from a term of an environment with exactly this
        // (invariant) lifetime, so it belongs to this environment.
        unsafe { Term::new(env, self.0) }
    }

    /// Equal for equal words; each atom and small integer has one value of its own.
    pub fn value(self) -> u64 {
        // SAFETY: `ErlNifTerm` is a transparent wrapper of a machine word.
        unsafe { std::mem::transmute::<sys::ErlNifTerm, usize>(self.0) as u64 }
    }

    fn new(term: sys::ErlNifTerm) -> Self {
        Word(term, PhantomData)
    }
}

/// What a term is, with its content where that costs nothing.
pub enum Kind<'a> {
    Int(i64),
    Float(f64),
    Atom,
    Binary(&'a [u8]),
    List,
    Tuple(&'a [Word<'a>]),
    Map(usize),
    /// A pid, port or reference.
    Identifier,
    /// A big integer, a fun, a bitstring that is no binary.
    Other,
}

/// Reads terms of one environment.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    env: Env<'a>,
    nil: sys::ErlNifTerm,
    in_place: bool,
}

impl<'a> Reader<'a> {
    pub fn new(env: Env<'a>) -> Self {
        Reader { env, nil: Term::list_new_empty(env).as_c_arg(), in_place: layout::in_place() }
    }

    pub fn env(&self) -> Env<'a> {
        self.env
    }

    #[inline(always)]
    pub fn kind(&self, word: Word<'a>) -> Kind<'a> {
        let env = self.env.as_c_arg();
        // SAFETY: the word is a live term of this environment (see `Word`). That holds
        // for the calls below too, which read what they ask for only on success.
        let kind = unsafe { sys::enif_term_type(env, word.0) };
        match kind {
            ErlNifTermType::ERL_NIF_TERM_TYPE_BITSTRING => {
                // A bitstring may have no whole number of bytes.
                self.bytes(word).map_or(Kind::Other, Kind::Binary)
            }
            ErlNifTermType::ERL_NIF_TERM_TYPE_ATOM => Kind::Atom,
            ErlNifTermType::ERL_NIF_TERM_TYPE_MAP => {
                let mut size = 0;
                // SAFETY: as above.
                match unsafe { sys::enif_get_map_size(env, word.0, &mut size) } {
                    0 => Kind::Other,
                    _ => Kind::Map(size),
                }
            }
            ErlNifTermType::ERL_NIF_TERM_TYPE_INTEGER => {
                let mut value = 0i64;
                // SAFETY: as above.
                match unsafe { sys::enif_get_int64(env, word.0, &mut value) } {
                    0 => Kind::Other,
                    _ => Kind::Int(value),
                }
            }
            ErlNifTermType::ERL_NIF_TERM_TYPE_LIST => Kind::List,
            ErlNifTermType::ERL_NIF_TERM_TYPE_TUPLE => {
                let mut arity = 0;
                let mut elements = std::ptr::null();
                // SAFETY: as above. The elements are `arity` consecutive terms of the
                // same environment; `Word` is transparent, so the slice may be cast.
                unsafe {
                    if sys::enif_get_tuple(env, word.0, &mut arity, &mut elements) == 0 {
                        return Kind::Other;
                    }
                    if arity == 0 {
                        return Kind::Tuple(&[]);
                    }
                    Kind::Tuple(std::slice::from_raw_parts(elements.cast(), arity as usize))
                }
            }
            ErlNifTermType::ERL_NIF_TERM_TYPE_FLOAT => {
                let mut value = 0.0;
                // SAFETY: as above.
                match unsafe { sys::enif_get_double(env, word.0, &mut value) } {
                    0 => Kind::Other,
                    _ => Kind::Float(value),
                }
            }
            ErlNifTermType::ERL_NIF_TERM_TYPE_PID
            | ErlNifTermType::ERL_NIF_TERM_TYPE_PORT
            | ErlNifTermType::ERL_NIF_TERM_TYPE_REFERENCE => Kind::Identifier,
            _ => Kind::Other,
        }
    }

    /// The bytes of a binary, `None` for any other term.
    #[inline(always)]
    pub fn bytes(&self, word: Word<'a>) -> Option<&'a [u8]> {
        let mut binary = MaybeUninit::<sys::ErlNifBinary>::uninit();
        // SAFETY: the word is a live term of this environment, and the result is only
        // read when the call succeeded. The bytes of a term stay where they are while
        // its environment lives: nothing moves them inside of a NIF call.
        unsafe {
            if sys::enif_inspect_binary(self.env.as_c_arg(), word.0, binary.as_mut_ptr()) == 0 {
                return None;
            }
            // Word by word, as it was just written: a load of two words at once, which
            // volatile forbids, would have to wait until both are in the cache.
            let binary = binary.as_ptr();
            let size = (&raw const (*binary).size).read_volatile();
            let data = (&raw const (*binary).data).read_volatile();
            if size == 0 {
                return Some(&[]);
            }
            Some(std::slice::from_raw_parts(data, size))
        }
    }

    /// Calls `with` on the atom's name in Latin-1, if that can spell it.
    pub fn latin1_name<T>(&self, atom: Word<'a>, with: impl FnOnce(&[u8]) -> T) -> Option<T> {
        // 255 characters and the terminating zero.
        let mut name = [0u8; 256];
        // SAFETY: the word is a live term of this environment, the buffer is written
        // up to the length that is given.
        let written = unsafe {
            sys::enif_get_atom(
                self.env.as_c_arg(),
                atom.0,
                name.as_mut_ptr().cast::<c_char>(),
                name.len() as c_uint,
                sys::ErlNifCharEncoding::ERL_NIF_LATIN1,
            )
        };
        let len = usize::try_from(written).ok()?.checked_sub(1)?;
        Some(with(name.get(..len)?))
    }

    /// The elements of a list, one by one; `None` at its end. Then `list` is the tail.
    #[inline(always)]
    pub fn next_element(&self, list: &mut Word<'a>) -> Option<Word<'a>> {
        let (mut head, mut tail) = (self.nil, self.nil);
        // SAFETY: the word is a live term of this environment; head and tail are
        // written only when it is a cons, and are terms of the environment then.
        unsafe {
            if sys::enif_get_list_cell(self.env.as_c_arg(), list.0, &mut head, &mut tail) == 0 {
                return None;
            }
        }
        *list = Word::new(tail);
        Some(Word::new(head))
    }

    pub fn is_nil(&self, word: Word<'a>) -> bool {
        word.0 == self.nil
    }

    /// Calls `each(key, value)` for the pairs of a map, nothing for another term.
    #[inline(always)]
    pub fn pairs(&self, map: Word<'a>, each: &mut impl FnMut(Word<'a>, Word<'a>)) {
        let mut iter = MaybeUninit::uninit();
        let Some(iter) = Iter::new(self.env.as_c_arg(), map.0, &mut iter) else { return };
        let (mut key, mut value) = (self.nil, self.nil);
        // SAFETY: the iterator was created and is not moved. `each` cannot leave this
        // environment.
        unsafe {
            while sys::enif_map_iterator_get_pair(iter.env, iter.iter, &mut key, &mut value) != 0 {
                each(Word::new(key), Word::new(value));
                if sys::enif_map_iterator_next(iter.env, iter.iter) == 0 {
                    break;
                }
            }
        }
    }

    /// Keys and values of a map of `len` pairs in its order; `None` when these are
    /// more than flat maps have, or the term is no such map.
    #[inline(always)]
    pub fn flat(&self, map: Word<'a>, len: usize) -> Option<(&'a [Word<'a>], &'a [Word<'a>])> {
        if len > MAX_FLAT {
            return None;
        }
        let found = if self.in_place { self.flat_in_place(map, len) } else { None };
        found.or_else(|| self.flat_by_iterator(map, len))
    }

    /// As they lie in the VM: the iterator of a flat map is no more than two pointers,
    /// and asking it for each pair takes longer than all that is done with the pair.
    /// Only on releases of the VM where this was tried ([`layout`]), and only where
    /// the pointers are what they must be.
    #[inline(always)]
    fn flat_in_place(&self, map: Word<'a>, len: usize) -> Option<(&'a [Word<'a>], &'a [Word<'a>])> {
        let mut iter = MaybeUninit::uninit();
        let iter = Iter::new(self.env.as_c_arg(), map.0, &mut iter)?;
        let (mut key, mut value) = (self.nil, self.nil);
        // SAFETY: the iterator was created.
        let started =
            unsafe { sys::enif_map_iterator_get_pair(iter.env, iter.iter, &mut key, &mut value) };
        let (keys, values) = iter.pointers();
        // The values of a flat map lie behind its head, in the map itself.
        let head = (values as usize).wrapping_sub(boxed(map)? as usize) / size_of::<Word<'a>>();
        if started == 0 || len == 0 || !(1..=3).contains(&head) || !keys.is_aligned() {
            return None;
        }
        // SAFETY: the second pointer leads behind the head of this very map, so the
        // structure is the one of `erl_nif.h` for a flat map, whose keys are an array
        // of as many words. Both stay where they are while the environment lives.
        unsafe {
            let keys = std::slice::from_raw_parts(keys, len);
            let values = std::slice::from_raw_parts(values, len);
            (keys[0].0 == key && values[0].0 == value).then_some((keys, values))
        }
    }

    /// The same by the book: copied into two tuples.
    #[inline(never)]
    fn flat_by_iterator(
        &self,
        map: Word<'a>,
        len: usize,
    ) -> Option<(&'a [Word<'a>], &'a [Word<'a>])> {
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        self.pairs(map, &mut |key, value| {
            keys.push(key);
            values.push(value);
        });
        let maker = Maker::new(self.env);
        match (self.kind(maker.tuple(&keys)), self.kind(maker.tuple(&values))) {
            (Kind::Tuple(keys), Kind::Tuple(values)) if keys.len() == len => Some((keys, values)),
            _ => None,
        }
    }
}

/// An iterator over a map, destroyed however its user leaves.
struct Iter<'i> {
    env: *mut sys::ErlNifEnv,
    iter: *mut sys::ErlNifMapIterator,
    place: PhantomData<&'i mut sys::ErlNifMapIterator>,
}

/// `ErlNifMapIterator` of a flat map, as `erl_nif.h` has it.
#[derive(Clone, Copy)]
#[repr(C)]
struct Pointers<'a> {
    map: sys::ErlNifTerm,
    size: usize,
    index: usize,
    keys: *const Word<'a>,
    values: *const Word<'a>,
}

const _: () = assert!(
    size_of::<Pointers<'_>>() <= size_of::<sys::ErlNifMapIterator>()
        && align_of::<Pointers<'_>>() <= align_of::<sys::ErlNifMapIterator>()
);

impl<'i> Iter<'i> {
    #[inline(always)]
    fn new(
        env: *mut sys::ErlNifEnv,
        map: sys::ErlNifTerm,
        place: &'i mut MaybeUninit<sys::ErlNifMapIterator>,
    ) -> Option<Self> {
        let first = sys::ErlNifMapIteratorEntry::ERL_NIF_MAP_ITERATOR_HEAD;
        let iter = place.as_mut_ptr();
        // SAFETY: the map is a live term of the environment (callers pass a `Word`), and
        // the place is lent for as long as the iterator is there.
        let made = unsafe { sys::enif_map_iterator_create(env, map, iter, first) };
        (made != 0).then_some(Iter { env, iter, place: PhantomData })
    }

    /// Where the keys and values lie, if the map is a flat one.
    #[inline(always)]
    fn pointers<'a>(&self) -> (*const Word<'a>, *const Word<'a>) {
        let iter = self.iter.cast::<Pointers<'a>>();
        // SAFETY: the structure is at least as large and as aligned (asserted above), the
        // creation wrote it, and any bits are valid pointers. Read word by word, as in
        // `Reader::bytes`.
        unsafe {
            let keys = (&raw const (*iter).keys).read_volatile();
            let values = (&raw const (*iter).values).read_volatile();
            (keys, values)
        }
    }
}

impl Drop for Iter<'_> {
    fn drop(&mut self) {
        // SAFETY: it was created, and is not used after this.
        unsafe { sys::enif_map_iterator_destroy(self.env, self.iter) }
    }
}

/// Makes terms in one environment.
#[derive(Clone, Copy)]
pub struct Maker<'a> {
    env: Env<'a>,
}

impl<'a> Maker<'a> {
    pub fn new(env: Env<'a>) -> Self {
        Maker { env }
    }

    pub fn env(&self) -> Env<'a> {
        self.env
    }

    #[inline(always)]
    pub fn int(&self, value: i64) -> Word<'a> {
        // SAFETY: makes a term in a live environment.
        Word::new(unsafe { sys::enif_make_int64(self.env.as_c_arg(), value) })
    }

    /// `None` when the value is not finite.
    pub fn float(&self, value: f64) -> Option<Word<'a>> {
        if !value.is_finite() {
            return None;
        }
        // SAFETY: makes a term in a live environment; the value is finite, so this
        // raises nothing.
        Some(Word::new(unsafe { sys::enif_make_double(self.env.as_c_arg(), value) }))
    }

    /// The atom with this name, if there is one; the name is in Latin-1.
    pub fn existing_atom(&self, latin1: &[u8]) -> Option<Word<'a>> {
        let mut atom = sys::ErlNifTerm::default();
        // SAFETY: the name is read for the length that goes with it, the atom only
        // used when it was written.
        let found = unsafe {
            sys::enif_make_existing_atom_len(
                self.env.as_c_arg(),
                latin1.as_ptr().cast::<c_char>(),
                latin1.len(),
                &mut atom,
                sys::ErlNifCharEncoding::ERL_NIF_LATIN1,
            )
        };
        (found != 0).then(|| Word::new(atom))
    }

    #[inline(always)]
    pub fn binary(&self, bytes: &[u8]) -> Word<'a> {
        let mut term = sys::ErlNifTerm::default();
        // SAFETY: the new binary has room for exactly these bytes, and nobody else
        // sees it yet.
        unsafe {
            let room = sys::enif_make_new_binary(self.env.as_c_arg(), bytes.len(), &mut term);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), room, bytes.len());
        }
        Word::new(term)
    }

    #[inline]
    pub fn list(&self, elements: &[Word<'a>]) -> Word<'a> {
        // SAFETY: `Word` is transparent, so this is an array of that many terms of
        // this environment. Counts stay far below 2^32: each element is a live term.
        Word::new(unsafe {
            sys::enif_make_list_from_array(
                self.env.as_c_arg(),
                elements.as_ptr().cast(),
                elements.len() as c_uint,
            )
        })
    }

    #[inline]
    pub fn cons(&self, head: Word<'a>, tail: Word<'a>) -> Word<'a> {
        // SAFETY: both are terms of this environment.
        Word::new(unsafe { sys::enif_make_list_cell(self.env.as_c_arg(), head.0, tail.0) })
    }

    #[inline]
    pub fn tuple(&self, elements: &[Word<'a>]) -> Word<'a> {
        // SAFETY: as in `list`.
        Word::new(unsafe {
            sys::enif_make_tuple_from_array(
                self.env.as_c_arg(),
                elements.as_ptr().cast(),
                elements.len() as c_uint,
            )
        })
    }

    /// `None` when two keys are equal or the slices differ in length.
    #[inline]
    pub fn map(&self, keys: &[Word<'a>], values: &[Word<'a>]) -> Option<Word<'a>> {
        if keys.len() != values.len() {
            return None;
        }
        let mut map = sys::ErlNifTerm::default();
        // SAFETY: two arrays of as many terms of this environment; the map is only
        // used when it was written.
        let made = unsafe {
            sys::enif_make_map_from_arrays(
                self.env.as_c_arg(),
                keys.as_ptr().cast(),
                values.as_ptr().cast(),
                keys.len(),
                &mut map,
            )
        };
        (made != 0).then(|| Word::new(map))
    }

    /// Decodes external term format. With `safe` no atom is made; without it the
    /// bytes must have been checked and come from a trusted sender.
    pub fn external(&self, bytes: &[u8], safe: bool) -> Option<Word<'a>> {
        let opts = if safe { sys::ERL_NIF_BIN2TERM_SAFE } else { 0 };
        let mut term = sys::ErlNifTerm::default();
        // SAFETY: the bytes are read for their length; the VM's decoder checks them
        // (the option only forbids atoms and funs that do not exist yet).
        let read = unsafe {
            sys::enif_binary_to_term(
                self.env.as_c_arg(),
                bytes.as_ptr(),
                bytes.len(),
                &mut term,
                opts,
            )
        };
        (read != 0).then(|| Word::new(term))
    }
}

/// The VM's flat maps have no more pairs than this.
const MAX_FLAT: usize = 32;

/// Where a boxed term lies: the VM has tagged pointers to such terms with these two
/// bits since before there were NIFs. `None` for any other term.
#[inline(always)]
fn boxed<'a>(term: Word<'a>) -> Option<*const Word<'a>> {
    const TAG_BITS: u64 = 0b11;
    const BOXED: u64 = 0b10;
    let word = term.value();
    (word & TAG_BITS == BOXED).then_some((word & !TAG_BITS) as usize as *const Word<'a>)
}
