//! Walks a term as a document of maps, lists, texts and numbers, and tells a
//! `Sink` what it meets; what JSON and MessagePack encoders have in common.
//!
//! The VM is called directly here: a call or two for each value is all that the
//! time goes into, and the safe wrappers ask for the type of a term once more in
//! each conversion. Iterative, because a recursion as deep as its input ends the
//! VM, and with a work budget, because a walk of unknown length has no place on
//! a normal scheduler.

use std::cell::RefCell;
use std::mem::MaybeUninit;

use codec::document::{Big, Sink};
use rustler::sys::{
    enif_get_atom, enif_get_double, enif_get_int64, enif_get_list_cell, enif_get_map_size,
    enif_get_uint64, enif_inspect_binary, enif_is_empty_list, enif_map_iterator_create,
    enif_map_iterator_destroy, enif_map_iterator_get_pair, enif_map_iterator_next, enif_term_type,
    ErlNifBinary, ErlNifCharEncoding, ErlNifEnv, ErlNifMapIterator, ErlNifMapIteratorEntry,
    ErlNifTerm, ErlNifTermType,
};
use rustler::{Env, Term};

/// Why a walk ended early.
#[derive(Clone, Copy)]
pub enum Stop<'a> {
    /// The budget is used up.
    Busy,
    TooDeep,
    TooLarge,
    /// A term the sink has no way to write.
    Unsupported(Term<'a>),
}

/// How far a walk may go.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub max_depth: usize,
    /// Work units, about one nanosecond each.
    pub budget: Option<usize>,
}

/// What a term costs, in work units.
const NODE: usize = 12;
/// What a number costs besides: its text.
const NUMBER: usize = 20;
/// What an atom costs besides: the VM converts its name. One beyond Latin-1 goes
/// through the term format.
const ATOM: usize = 30;
const WIDE_ATOM: usize = 300;
/// A text up to this many bytes is told before its true cost is known; longer
/// ones are charged as if every byte had to be escaped.
const SHORT_TEXT: usize = 4096;
const ESCAPE: usize = 5;

/// Tells `sink` the whole of `term`. Answers with the work units it took.
pub fn walk<'a, S: Sink>(term: Term<'a>, bounds: Bounds, sink: &mut S) -> Result<usize, Stop<'a>> {
    let env = term.get_env();
    let room = ROOM.take();
    let mut walk = Walk {
        owner: env,
        env: env.as_c_arg(),
        words: Words::new(env),
        left: bounds.budget.unwrap_or(usize::MAX),
        bounded: bounds.budget.is_some(),
        max_depth: bounds.max_depth,
        stack: room.frames,
        maps: Maps { env: env.as_c_arg(), iterators: room.iterators, used: 0 },
    };
    let result = walk.run(term.as_c_arg(), sink);
    walk.maps.end_all();
    walk.stack.clear();
    // One deep term must not leave its room behind for ever.
    walk.stack.shrink_to(KEEP);
    walk.maps.iterators.truncate(KEEP);
    walk.maps.iterators.shrink_to(KEEP);
    ROOM.set(Room { frames: walk.stack, iterators: std::mem::take(&mut walk.maps.iterators) });
    let used = bounds.budget.unwrap_or(usize::MAX) - walk.left;
    result.map(|()| used).map_err(|fault| match fault {
        Fault::Busy => Stop::Busy,
        Fault::TooDeep => Stop::TooDeep,
        Fault::TooLarge => Stop::TooLarge,
        // SAFETY: the term was reached from `term`, so it lives in the same
        // environment, and nothing has been collected since.
        Fault::Unsupported(bad) => Stop::Unsupported(unsafe { Term::new(env, bad) }),
    })
}

/// Frames that are kept from one walk to the next.
const KEEP: usize = 1024;

enum Fault {
    Busy,
    TooDeep,
    TooLarge,
    Unsupported(ErlNifTerm),
}

/// The atoms that are words of the formats.
#[derive(Clone, Copy)]
struct Words {
    null: ErlNifTerm,
    yes: ErlNifTerm,
    no: ErlNifTerm,
}

mod atoms {
    rustler::atoms! { null, yes = "true", no = "false" }
}

impl Words {
    fn new(env: Env) -> Self {
        Words {
            null: atoms::null().to_term(env).as_c_arg(),
            yes: atoms::yes().to_term(env).as_c_arg(),
            no: atoms::no().to_term(env).as_c_arg(),
        }
    }
}

#[derive(Clone, Copy)]
enum Frame {
    /// The rest of a list, and the whole of it for the error.
    List { rest: ErlNifTerm, whole: ErlNifTerm },
    /// The pairs of a map: its iterator is the last one in use.
    Map,
    /// The value whose key, itself a container, is being told.
    Value(ErlNifTerm),
}

/// What a walk needs room for, kept by each thread for the next one.
#[derive(Default)]
struct Room {
    frames: Vec<Frame>,
    iterators: Vec<MaybeUninit<ErlNifMapIterator>>,
}

thread_local! {
    static ROOM: RefCell<Room> = RefCell::default();
}

struct Walk<'a> {
    owner: Env<'a>,
    /// The same as a pointer.
    env: *mut ErlNifEnv,
    words: Words,
    left: usize,
    bounded: bool,
    max_depth: usize,
    stack: Vec<Frame>,
    maps: Maps,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Key,
    Value,
}

impl Walk<'_> {
    #[inline]
    fn charge(&mut self, units: usize) -> Result<(), Fault> {
        match self.left.checked_sub(units) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None if self.bounded => Err(Fault::Busy),
            // No budget: that many units are centuries.
            None => Ok(()),
        }
    }

    fn run<S: Sink>(&mut self, term: ErlNifTerm, sink: &mut S) -> Result<(), Fault> {
        let mut depth = 0;
        let mut next = Some(term);
        loop {
            if let Some(term) = next.take() {
                if self.tell(term, Role::Value, &mut depth, sink)? {
                    sink.value_end();
                }
            }
            let Some(frame) = self.stack.last_mut() else { return Ok(()) };
            match frame {
                Frame::List { rest, whole } => match list_cell(self.env, *rest) {
                    Some((head, tail)) => {
                        *rest = tail;
                        next = Some(head);
                    }
                    None => {
                        if !is_nil(self.env, *rest) {
                            return Err(Fault::Unsupported(*whole));
                        }
                        self.stack.pop();
                        depth -= 1;
                        sink.close_list();
                        sink.value_end();
                    }
                },
                Frame::Map => match self.maps.next() {
                    Some((key, value)) => {
                        if self.tell(key, Role::Key, &mut depth, sink)? {
                            sink.key_end();
                            next = Some(value);
                        } else {
                            // The key is a container: its frame lies on top, the
                            // value's has to come below it.
                            let at = self.stack.len() - 1;
                            self.stack.insert(at, Frame::Value(value));
                        }
                    }
                    None => {
                        self.maps.end();
                        self.stack.pop();
                        depth -= 1;
                        sink.close_map();
                        sink.value_end();
                    }
                },
                Frame::Value(value) => {
                    next = Some(*value);
                    self.stack.pop();
                }
            }
        }
    }

    /// Tells one term. True when it is complete, false when a frame for its
    /// content lies on the stack.
    #[inline]
    fn tell<S: Sink>(
        &mut self,
        term: ErlNifTerm,
        role: Role,
        depth: &mut usize,
        sink: &mut S,
    ) -> Result<bool, Fault> {
        self.charge(NODE)?;
        let bare_key = role == Role::Key && !S::ANY_KEYS;
        // Nearly all terms of a document are binaries, so no call asks first.
        if let Some(bytes) = inspect(self.env, term) {
            return self.text(term, bytes, sink);
        }
        // SAFETY: `env` is the environment `term` lives in.
        match unsafe { enif_term_type(self.env, term) } {
            ErlNifTermType::ERL_NIF_TERM_TYPE_ATOM => {
                if !bare_key && term == self.words.null {
                    sink.null();
                } else if !bare_key && term == self.words.yes {
                    sink.bool(true);
                } else if !bare_key && term == self.words.no {
                    sink.bool(false);
                } else {
                    self.atom(term, sink)?;
                }
            }
            ErlNifTermType::ERL_NIF_TERM_TYPE_INTEGER => {
                if bare_key {
                    sink.quote();
                }
                self.integer(term, sink)?;
                if bare_key {
                    sink.quote();
                }
            }
            ErlNifTermType::ERL_NIF_TERM_TYPE_FLOAT if !bare_key => {
                self.charge(NUMBER)?;
                let mut f = 0.0;
                // SAFETY: as above; the type says it is a float.
                unsafe { enif_get_double(self.env, term, &mut f) };
                sink.float(f);
            }
            ErlNifTermType::ERL_NIF_TERM_TYPE_LIST if !bare_key => {
                self.enter(depth)?;
                let mut len = 0;
                if S::LIST_LENGTHS {
                    len = self.length(term)?;
                }
                if !sink.open_list(len) {
                    return Err(Fault::Unsupported(term));
                }
                self.stack.push(Frame::List { rest: term, whole: term });
                return Ok(false);
            }
            ErlNifTermType::ERL_NIF_TERM_TYPE_MAP if !bare_key => {
                self.enter(depth)?;
                let mut len = 0;
                if S::ANY_KEYS {
                    // SAFETY: as above; the type says it is a map.
                    unsafe { enif_get_map_size(self.env, term, &mut len) };
                }
                if !sink.open_map(len) {
                    return Err(Fault::Unsupported(term));
                }
                if !self.maps.start(term) {
                    return Err(Fault::Unsupported(term));
                }
                self.stack.push(Frame::Map);
                return Ok(false);
            }
            _ => return Err(Fault::Unsupported(term)),
        }
        Ok(true)
    }

    #[inline]
    fn text<S: Sink>(
        &mut self,
        term: ErlNifTerm,
        bytes: &[u8],
        sink: &mut S,
    ) -> Result<bool, Fault> {
        let long = bytes.len() > SHORT_TEXT;
        self.charge(if long { bytes.len() * ESCAPE } else { bytes.len() / 4 })?;
        let before = sink.written();
        if !sink.text(bytes) {
            return Err(Fault::Unsupported(term));
        }
        if !long {
            // Quotes or a header are always added.
            let added = (sink.written() - before).saturating_sub(bytes.len() + 3);
            self.charge(added * ESCAPE)?;
        }
        Ok(true)
    }

    fn enter(&self, depth: &mut usize) -> Result<(), Fault> {
        if *depth >= self.max_depth {
            return Err(Fault::TooDeep);
        }
        *depth += 1;
        Ok(())
    }

    /// The length of a list, each cell charged.
    fn length(&mut self, list: ErlNifTerm) -> Result<usize, Fault> {
        let mut len = 0;
        let mut rest = list;
        while let Some((_, tail)) = list_cell(self.env, rest) {
            self.charge(4)?;
            len += 1;
            rest = tail;
        }
        if is_nil(self.env, rest) {
            Ok(len)
        } else {
            Err(Fault::Unsupported(list))
        }
    }

    fn atom<S: Sink>(&mut self, term: ErlNifTerm, sink: &mut S) -> Result<(), Fault> {
        self.charge(ATOM)?;
        let mut latin1 = [0u8; 256];
        // SAFETY: the buffer is as long as said; `env` as in `tell`.
        let written = unsafe {
            enif_get_atom(
                self.env,
                term,
                latin1.as_mut_ptr().cast(),
                latin1.len() as u32,
                ErlNifCharEncoding::ERL_NIF_LATIN1,
            )
        };
        // The count includes a closing zero byte.
        if let Some(name) = usize::try_from(written - 1).ok().and_then(|n| latin1.get(..n)) {
            if name.is_ascii() {
                sink.atom(std::str::from_utf8(name).unwrap_or_default());
            } else {
                sink.atom(&name.iter().map(|b| char::from(*b)).collect::<String>());
            }
            return Ok(());
        }
        self.charge(WIDE_ATOM)?;
        // A name beyond Latin-1 is not to be had from this version of the
        // interface but in the term format: version, tag, length, name.
        // SAFETY: as in `walk`.
        let etf = unsafe { Term::new(self.owner, term) }.to_binary();
        let name = match etf.as_slice() {
            [_, 119, _, name @ ..] | [_, 118, _, _, name @ ..] => name,
            _ => return Err(Fault::Unsupported(term)),
        };
        match std::str::from_utf8(name) {
            Ok(name) => sink.atom(name),
            Err(_) => return Err(Fault::Unsupported(term)),
        }
        Ok(())
    }

    fn integer<S: Sink>(&mut self, term: ErlNifTerm, sink: &mut S) -> Result<(), Fault> {
        self.charge(NUMBER)?;
        let mut n = 0i64;
        // SAFETY: as in `tell`.
        if unsafe { enif_get_int64(self.env, term, &mut n) } != 0 {
            sink.int(n);
            return Ok(());
        }
        let mut n = 0u64;
        // SAFETY: as in `tell`.
        if unsafe { enif_get_uint64(self.env, term, &mut n) } != 0 {
            sink.uint(n);
            return Ok(());
        }
        if self.bounded {
            // It may have megabytes, and no call tells before they are copied.
            return Err(Fault::Busy);
        }
        // SAFETY: as in `walk`.
        let etf = unsafe { Term::new(self.owner, term) }.to_binary();
        let (sign, magnitude) = match etf.as_slice() {
            [_, 110, _, sign, magnitude @ ..] => (*sign, magnitude),
            [_, 111, _, _, _, _, sign, magnitude @ ..] => (*sign, magnitude),
            _ => return Err(Fault::Unsupported(term)),
        };
        match sink.big(sign != 0, magnitude) {
            Big::Written => Ok(()),
            Big::TooLarge => Err(Fault::TooLarge),
            Big::Unsupported => Err(Fault::Unsupported(term)),
        }
    }
}

/// The bytes of a binary; `None` for a bitstring. They stay where they are for
/// as long as the call lasts.
#[inline]
fn inspect<'a>(env: *mut ErlNifEnv, term: ErlNifTerm) -> Option<&'a [u8]> {
    let mut binary = MaybeUninit::<ErlNifBinary>::uninit();
    // SAFETY: `env` is the environment of `term`; the structure is filled in
    // exactly when the call answers with something other than zero, and then it
    // names `size` bytes that live until the NIF returns, which outlasts the walk.
    unsafe {
        if enif_inspect_binary(env, term, binary.as_mut_ptr()) == 0 {
            return None;
        }
        let binary = binary.assume_init();
        if binary.size == 0 {
            return Some(&[]);
        }
        Some(std::slice::from_raw_parts(binary.data, binary.size))
    }
}

#[inline]
fn list_cell(env: *mut ErlNifEnv, list: ErlNifTerm) -> Option<(ErlNifTerm, ErlNifTerm)> {
    let mut head = MaybeUninit::uninit();
    let mut tail = MaybeUninit::uninit();
    // SAFETY: as in `inspect`: both are filled in when the answer is not zero.
    unsafe {
        (enif_get_list_cell(env, list, head.as_mut_ptr(), tail.as_mut_ptr()) != 0)
            .then(|| (head.assume_init(), tail.assume_init()))
    }
}

#[inline]
fn is_nil(env: *mut ErlNifEnv, term: ErlNifTerm) -> bool {
    // SAFETY: `env` is the environment of `term`.
    unsafe { enif_is_empty_list(env, term) != 0 }
}

/// Iterators over the maps that are open, innermost last. One has memory of its
/// own in the VM for a large map and so must be ended. They are large, and stay
/// where they are made.
struct Maps {
    env: *mut ErlNifEnv,
    iterators: Vec<MaybeUninit<ErlNifMapIterator>>,
    /// So many of `iterators`, from the first, are alive.
    used: usize,
}

impl Maps {
    /// Begins with the pairs of `map`.
    #[inline(always)]
    fn start(&mut self, map: ErlNifTerm) -> bool {
        if self.used == self.iterators.len() {
            self.iterators.push(MaybeUninit::uninit());
        }
        let Some(iterator) = self.iterators.get_mut(self.used) else { return false };
        let head = ErlNifMapIteratorEntry::ERL_NIF_MAP_ITERATOR_HEAD;
        // SAFETY: `env` is the environment of `map`, and the iterator is filled
        // in when the answer is not zero. It holds no pointer into itself, so
        // the vector may move it.
        if unsafe { enif_map_iterator_create(self.env, map, iterator.as_mut_ptr(), head) } == 0 {
            return false;
        }
        self.used += 1;
        true
    }

    /// The next pair of the innermost map.
    #[inline(always)]
    fn next(&mut self) -> Option<(ErlNifTerm, ErlNifTerm)> {
        let iterator = self.iterators.get_mut(self.used.checked_sub(1)?)?.as_mut_ptr();
        let mut key = MaybeUninit::uninit();
        let mut value = MaybeUninit::uninit();
        // SAFETY: the iterator is alive, on a map of `env`, and both terms are
        // filled in when the answer is not zero.
        unsafe {
            let found = enif_map_iterator_get_pair(
                self.env,
                iterator,
                key.as_mut_ptr(),
                value.as_mut_ptr(),
            );
            if found == 0 {
                return None;
            }
            enif_map_iterator_next(self.env, iterator);
            Some((key.assume_init(), value.assume_init()))
        }
    }

    /// The innermost map is done with.
    #[inline(always)]
    fn end(&mut self) {
        let Some(last) = self.used.checked_sub(1) else { return };
        self.used = last;
        if let Some(iterator) = self.iterators.get_mut(last) {
            // SAFETY: it was alive, and with `used` lowered it is no more.
            unsafe { enif_map_iterator_destroy(self.env, iterator.as_mut_ptr()) }
        }
    }

    fn end_all(&mut self) {
        while self.used > 0 {
            self.end();
        }
    }
}

impl Drop for Maps {
    /// For a panic on the way; else nothing is alive any more.
    fn drop(&mut self) {
        self.end_all();
    }
}
