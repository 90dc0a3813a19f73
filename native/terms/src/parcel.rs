//! Messages on their way to one destination, copied once and then moved.

use rustler::sys::{
    enif_alloc_env, enif_clear_env, enif_free_env, enif_get_list_cell, enif_is_identical,
    enif_make_copy, enif_make_list_from_array, enif_make_tuple_from_array, enif_send, ErlNifEnv,
    ErlNifTerm,
};
use rustler::{Env, LocalPid, Term};

/// A process-independent environment with a destination and a list of messages in
/// it. [`Parcel::send`] hands the environment's heap over to the receiver as the
/// message itself: nothing is copied a second time.
pub struct Parcel {
    env: *mut ErlNifEnv,
    dest: ErlNifTerm,
    /// The messages; none while they are in `list`.
    items: Vec<ErlNifTerm>,
    list: Option<List>,
}

/// All messages of a parcel as one proper list: what was copied in as a list is
/// sent as it is.
#[derive(Clone, Copy)]
struct List {
    term: ErlNifTerm,
    len: usize,
}

// SAFETY: the environment belongs to this value alone (it is never handed out),
// and a process-independent environment may be used from any thread, one at a
// time: whatever writes to it takes `&mut self`.
unsafe impl Send for Parcel {}

// SAFETY: through `&self` terms are only read. `enif_make_copy` writes to the
// destination environment, not to the source; what both then share (reference
// counted binaries, funs, external node entries) is counted atomically by the VM.
// The one thing a copy does write to its source, taking the append flag off a
// writable binary, was done when the term was copied in: a copy never has it.
unsafe impl Sync for Parcel {}

/// A part of the tuple that a parcel is sent as.
pub enum Part<'a> {
    /// Copied into the message.
    Term(Term<'a>),
    /// The parcel's destination.
    Dest,
    /// The list of the messages, in order.
    Items,
}

impl Parcel {
    pub fn new(dest: Term) -> Parcel {
        // SAFETY: both calls have no precondition; the VM aborts rather than
        // return null. The copied word lives as long as the environment does.
        unsafe {
            let env = enif_alloc_env();
            let dest = enif_make_copy(env, dest.as_c_arg());
            Parcel { env, dest, items: Vec::new(), list: None }
        }
    }

    pub fn is_for(&self, dest: Term) -> bool {
        // Equal words are equal terms: immediates always, others as they are the
        // same object, which cannot be since `self.dest` is private to us. Unequal
        // words may still be equal boxed terms.
        let word = dest.as_c_arg();
        // SAFETY: reads two live terms.
        self.dest == word || unsafe { enif_is_identical(self.dest, word) == 1 }
    }

    /// The destination, copied to the caller.
    pub fn dest<'a>(&self, env: Env<'a>) -> Term<'a> {
        // SAFETY: `self.dest` is live, see `new`.
        unsafe { Term::new(env, enif_make_copy(env.as_c_arg(), self.dest)) }
    }

    /// Copies a message in.
    #[inline]
    pub fn push(&mut self, message: Term) {
        if self.list.is_some() {
            self.unfold();
        }
        // SAFETY: `&mut self`: no one else uses this environment now.
        self.items.push(unsafe { enif_make_copy(self.env, message.as_c_arg()) });
    }

    /// Copies a list of messages in, all at once: one allocation, its cells
    /// included. What is not a proper list is taken as one message.
    pub fn push_list(&mut self, messages: Term) {
        let Ok(len) = messages.list_length() else {
            return self.push(messages);
        };
        // SAFETY: as in `push`.
        let term = unsafe { enif_make_copy(self.env, messages.as_c_arg()) };
        let list = List { term, len };
        if self.is_empty() {
            self.list = Some(list);
        } else {
            self.unfold();
            self.take_apart(list);
        }
    }

    fn unfold(&mut self) {
        if let Some(list) = self.list.take() {
            self.take_apart(list);
        }
    }

    fn take_apart(&mut self, list: List) {
        self.items.reserve(list.len);
        let (mut head, mut rest) = (list.term, list.term);
        // SAFETY: `rest` is a live term of `self.env`; false at its end.
        while unsafe { enif_get_list_cell(self.env, rest, &mut head, &mut rest) } != 0 {
            self.items.push(head);
        }
    }

    /// The messages as one list, in our environment.
    fn fold(&mut self) -> ErlNifTerm {
        if let Some(list) = self.list {
            return list.term;
        }
        let len = self.items.len();
        // SAFETY: all items are live terms of `self.env`, and `&mut self`.
        let term = unsafe { enif_make_list_from_array(self.env, self.items.as_ptr(), len as u32) };
        self.items.clear();
        self.list = Some(List { term, len });
        term
    }

    pub fn len(&self) -> usize {
        self.list.map_or(self.items.len(), |list| list.len)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The list of the messages, copied to the caller at once.
    pub fn items<'a>(&mut self, env: Env<'a>) -> Term<'a> {
        let list = self.fold();
        // SAFETY: `list` is live in our environment; the copy is a term of `env`.
        unsafe { Term::new(env, enif_make_copy(env.as_c_arg(), list)) }
    }

    /// Sends the tuple of `parts` to a process. True: the messages are in its
    /// mailbox (the parcel is empty then). False: the process is gone and the
    /// parcel is as before.
    ///
    /// `env` has to be the environment of the process that makes the NIF call.
    pub fn send(&mut self, env: Env, to: &LocalPid, parts: &[Part]) -> bool {
        // Panics when `env` is not a process's.
        let _ = env.pid();
        let mut words: Vec<ErlNifTerm> = Vec::with_capacity(parts.len());
        for part in parts {
            words.push(match part {
                Part::Dest => self.dest,
                // SAFETY: `&mut self`, and the term is live.
                Part::Term(term) => unsafe { enif_make_copy(self.env, term.as_c_arg()) },
                Part::Items => self.fold(),
            });
        }
        // SAFETY: `words` are terms of `self.env`, and so is the tuple. A send that
        // succeeds clears the environment (its heap is the message now), so no
        // word of it is kept; the environment itself stays ours, and usable. A
        // send that fails leaves all as it was, but for the garbage of the tuple.
        let sent = unsafe {
            let message = enif_make_tuple_from_array(self.env, words.as_ptr(), words.len() as u32);
            enif_send(env.as_c_arg(), to.as_c_arg(), self.env, message) != 0
        };
        if sent {
            self.items.clear();
            self.list = None;
            self.dest = Term::list_new_empty(env).as_c_arg();
        }
        sent
    }

    /// Empties the parcel and gives it another destination: an environment costs
    /// about 1 KB and 200 ns to make.
    pub fn reuse(mut self, dest: Term) -> Parcel {
        // SAFETY: clearing ends the life of all its terms: none is kept.
        unsafe {
            enif_clear_env(self.env);
            self.items.clear();
            self.list = None;
            self.dest = enif_make_copy(self.env, dest.as_c_arg());
        }
        self
    }
}

impl Drop for Parcel {
    fn drop(&mut self) {
        // SAFETY: allocated by `new`, freed once, no term of it is used after.
        unsafe { enif_free_env(self.env) }
    }
}
