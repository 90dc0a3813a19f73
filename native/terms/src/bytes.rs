//! Terms as bytes: a binary as it is, anything else in external term format.
//!
//! The smallest form at rest (a queued message of 133 bytes takes 137, in an
//! environment 200 to 300), and the dearest to read: two to three times a copy.

use rustler::{Binary, Env, NewBinary, Term};

/// What fits beside the length into the space of three words.
const INLINE: usize = 22;

#[derive(Clone)]
enum Data {
    Inline(u8, [u8; INLINE]),
    Boxed(Box<[u8]>),
}

impl Data {
    fn new(bytes: &[u8]) -> Data {
        if bytes.len() <= INLINE {
            let mut inline = [0; INLINE];
            inline[..bytes.len()].copy_from_slice(bytes);
            Data::Inline(bytes.len() as u8, inline)
        } else {
            Data::Boxed(bytes.into())
        }
    }

    fn get(&self) -> &[u8] {
        match self {
            Data::Inline(len, bytes) => &bytes[..usize::from(*len)],
            Data::Boxed(bytes) => bytes,
        }
    }
}

/// A term as bytes.
#[derive(Clone)]
pub struct Bytes {
    data: Data,
    binary: bool,
}

impl Bytes {
    pub fn of(term: Term) -> Bytes {
        match Binary::from_term(term) {
            Ok(binary) => Bytes::of_binary(&binary),
            Err(_) => Bytes { data: Data::new(&term.to_binary()), binary: false },
        }
    }

    pub fn of_binary(bytes: &[u8]) -> Bytes {
        Bytes { data: Data::new(bytes), binary: true }
    }

    pub fn term<'a>(&self, env: Env<'a>) -> Term<'a> {
        let bytes = self.data.get();
        if self.binary {
            let mut binary = NewBinary::new(env, bytes.len());
            binary.as_mut_slice().copy_from_slice(bytes);
            return binary.into();
        }
        // SAFETY: the bytes were written by `enif_term_to_binary` in this VM and are
        // private to this value: they are valid and trusted.
        let read = unsafe { env.binary_to_term_trusted(bytes) };
        // What the VM wrote it reads; the empty list is never seen.
        read.map_or_else(|| Term::list_new_empty(env), |(term, _)| term)
    }

    /// Bytes at rest, this value included.
    pub fn size(&self) -> usize {
        let boxed = match &self.data {
            Data::Inline(..) => 0,
            Data::Boxed(bytes) => bytes.len(),
        };
        std::mem::size_of::<Self>() + boxed
    }
}
