//! Bytes to terms, with a stack of open containers instead of recursion.
//!
//! Everything the input claims is held against what is left of it and against
//! the limits before anything is made. What is referred to counts as often as it
//! is referred to: it is shared here, but a message that is sent on is copied
//! without sharing, and must not be a bomb then.

use super::format::*;
use super::{Error, External, Limits, Sink};
use crate::etf;

const WORD: u64 = 8;
const HEAP_BINARY: usize = 64;
/// Handle and head of a larger binary, in words.
const BINARY_HANDLE: u64 = 12;
/// What an open container takes in here, in words.
const OPEN: u64 = 3;

/// Decodes a whole batch and gives the list of its terms.
pub fn decode<S: Sink>(input: &[u8], sink: &mut S, limits: &Limits) -> Result<S::Term, Error> {
    match input {
        [MAGIC, VERSION, ..] => {}
        [MAGIC, ..] => return Err(Error::Invalid(1)),
        _ => return Err(Error::Invalid(0)),
    }
    let mut decoder = Decoder {
        input,
        at: 2,
        sink,
        values: Vec::with_capacity(256),
        open: Vec::with_capacity(32),
        entries: Vec::with_capacity(256),
        shapes: Vec::with_capacity(32),
        keys: Vec::with_capacity(128),
        words_left: limits.max_bytes / WORD,
        work_left: limits.max_work,
        safe: limits.safe,
    };
    let list = decoder.run()?;
    if decoder.at < input.len() {
        return Err(Error::Invalid(decoder.at));
    }
    Ok(list)
}

#[derive(Clone, Copy)]
enum Kind {
    List,
    Improper,
    Tuple,
    Shaped(u32),
    Pairs,
}

struct Open {
    kind: Kind,
    /// Terms still to come.
    left: u64,
    /// Where its terms start among the values.
    base: usize,
    /// Where it starts in the input.
    at: usize,
}

struct Shape {
    first: u32,
    len: u32,
    /// What a map of this shape takes beside its values.
    words: u32,
}

struct Decoder<'i, 's, S: Sink> {
    input: &'i [u8],
    at: usize,
    sink: &'s mut S,
    values: Vec<S::Term>,
    open: Vec<Open>,
    /// The dictionary: a term and the words it takes.
    entries: Vec<(S::Term, u32)>,
    shapes: Vec<Shape>,
    /// The keys of all shapes.
    keys: Vec<S::Term>,
    words_left: u64,
    work_left: u64,
    safe: bool,
}

impl<'i, S: Sink> Decoder<'i, '_, S> {
    fn run(&mut self) -> Result<S::Term, Error> {
        let count = self.number()?;
        self.enter(Kind::List, count, count.saturating_mul(2), 2)?;
        loop {
            // The count of terms to come is kept out of memory while there are leaves.
            let depth = self.open.len();
            let Some(open) = self.open.last_mut() else {
                return Err(Error::Invalid(self.at));
            };
            let mut left = open.left;
            while left > 0 {
                left -= 1;
                self.term()?;
                if self.open.len() > depth {
                    break;
                }
            }
            if self.open.len() > depth {
                self.open[depth - 1].left = left;
                continue;
            }
            // It has got its last term, and becomes a term of what is around it.
            let term = self.close()?;
            if self.open.is_empty() {
                return Ok(term);
            }
            self.values.push(term);
        }
    }

    #[inline(always)]
    fn spend(&mut self, words: u64, work: u64) -> Result<(), Error> {
        match self.words_left.checked_sub(words) {
            Some(left) => self.words_left = left,
            None => return Err(Error::TooLarge),
        }
        match self.work_left.checked_sub(work) {
            Some(left) => self.work_left = left,
            None => return Err(Error::Busy),
        }
        Ok(())
    }

    #[inline(always)]
    fn take(&mut self, n: u64, start: usize) -> Result<&'i [u8], Error> {
        let rest = &self.input[self.at..];
        match usize::try_from(n).ok().and_then(|n| rest.split_at_checked(n)) {
            Some((taken, _)) => {
                self.at += taken.len();
                Ok(taken)
            }
            None => Err(Error::Invalid(start)),
        }
    }

    #[inline(always)]
    fn byte(&mut self) -> Result<u8, Error> {
        let byte = *self.input.get(self.at).ok_or(Error::Invalid(self.at))?;
        self.at += 1;
        Ok(byte)
    }

    fn number(&mut self) -> Result<u64, Error> {
        let start = self.at;
        let mut n = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            if shift == 63 && byte > 1 {
                break;
            }
            n |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok(n);
            }
        }
        Err(Error::Invalid(start))
    }

    #[inline]
    fn enter(&mut self, kind: Kind, terms: u64, words: u64, at: usize) -> Result<(), Error> {
        if terms > (self.input.len() - self.at) as u64 {
            return Err(Error::Invalid(at));
        }
        self.spend(words, 1 + terms / 2)?;
        if self.open.len() as u64 * OPEN > self.words_left {
            return Err(Error::TooLarge);
        }
        self.open.push(Open { kind, left: terms, base: self.values.len(), at });
        Ok(())
    }

    fn close(&mut self) -> Result<S::Term, Error> {
        let Some(Open { kind, base, at, .. }) = self.open.pop() else {
            return Err(Error::Invalid(self.at));
        };
        let parts = &self.values[base..];
        let term = match kind {
            Kind::List => self.sink.list(parts, None),
            Kind::Improper => match parts.split_last() {
                Some((tail, elements)) => self.sink.list(elements, Some(*tail)),
                None => return Err(Error::Invalid(at)),
            },
            Kind::Tuple => self.sink.tuple(parts),
            Kind::Shaped(id) => {
                let Some(shape) = self.shapes.get(id as usize) else {
                    return Err(Error::Invalid(at));
                };
                let first = shape.first as usize;
                let keys = &self.keys[first..first + shape.len as usize];
                self.sink.map(keys, parts).ok_or(Error::Invalid(at))?
            }
            Kind::Pairs => self.sink.pairs(parts).ok_or(Error::Invalid(at))?,
        };
        self.values.truncate(base);
        Ok(term)
    }

    /// Reads one term: a leaf becomes a value, a container is opened.
    #[inline(always)]
    fn term(&mut self) -> Result<(), Error> {
        let start = self.at;
        let tag = self.byte()?;
        let n = u64::from(tag);
        match tag {
            REF..SHAPE => self.refer(n - u64::from(REF), start),
            SHAPE..BINARY => self.shaped(n - u64::from(SHAPE), start),
            BINARY..REF_12 => {
                let term = self.literal(n - u64::from(BINARY), true, start)?;
                self.values.push(term);
                Ok(())
            }
            SMALL_INT..REF => {
                self.spend(0, 1)?;
                let term = self.sink.int(tag.into());
                self.values.push(term);
                Ok(())
            }
            REF_12..LIST => {
                let low = u64::from(self.byte()?);
                self.refer(REFS + ((n - u64::from(REF_12)) << 8 | low), start)
            }
            LIST..TUPLE => {
                let n = n - u64::from(LIST);
                self.enter(Kind::List, n, 2 * n, start)
            }
            TUPLE..POSITIVE => {
                let n = n - u64::from(TUPLE);
                self.enter(Kind::Tuple, n, 1 + n, start)
            }
            _ => self.long(tag, start),
        }
    }

    /// The tags that a number follows.
    fn long(&mut self, tag: u8, start: usize) -> Result<(), Error> {
        if tag == FLOAT {
            let bytes = self.take(8, start)?;
            self.spend(2, 1)?;
            let value = bytes.first_chunk().map(|b| f64::from_be_bytes(*b));
            let term = value.and_then(|v| self.sink.float(v)).ok_or(Error::Invalid(start))?;
            self.values.push(term);
            return Ok(());
        }
        if !(POSITIVE..=EXTERNAL).contains(&tag) {
            return Err(Error::Invalid(start));
        }
        let n = self.number()?;
        let term = match tag {
            POSITIVE | NEGATIVE => {
                let n = i64::try_from(n).map_err(|_| Error::Invalid(start))?;
                self.spend(2, 1)?;
                self.sink.int(if tag == POSITIVE { n } else { -1 - n })
            }
            ATOM => self.atom(n, start)?,
            BINARY_N => self.literal(n, true, start)?,
            PLAIN_BINARY => self.literal(n, false, start)?,
            REF_N => return self.refer(n, start),
            SHAPE_N => return self.shaped(n, start),
            LIST_N => return self.enter(Kind::List, n, n.saturating_mul(2), start),
            IMPROPER if n > 0 => {
                let terms = n.saturating_add(1);
                return self.enter(Kind::Improper, terms, n.saturating_mul(2), start);
            }
            TUPLE_N => return self.enter(Kind::Tuple, n, n.saturating_add(1), start),
            PAIRS => {
                self.spend(0, n.saturating_mul(4))?;
                let words = n.saturating_mul(5).saturating_add(5);
                return self.enter(Kind::Pairs, n.saturating_mul(2), words, start);
            }
            NEW_SHAPE => return self.new_shape(n, start),
            EXTERNAL => self.external(n, start)?,
            _ => return Err(Error::Invalid(start)),
        };
        self.values.push(term);
        Ok(())
    }

    #[inline]
    fn entry(&mut self, id: u64, start: usize) -> Result<S::Term, Error> {
        let found = usize::try_from(id).ok().and_then(|id| self.entries.get(id));
        let (term, words) = *found.ok_or(Error::Invalid(start))?;
        self.spend(words.into(), 1)?;
        Ok(term)
    }

    #[inline]
    fn refer(&mut self, id: u64, start: usize) -> Result<(), Error> {
        let term = self.entry(id, start)?;
        self.values.push(term);
        Ok(())
    }

    fn literal(&mut self, len: u64, shared: bool, start: usize) -> Result<S::Term, Error> {
        let bytes = self.take(len, start)?;
        let words = if bytes.len() <= HEAP_BINARY {
            2 + len.div_ceil(WORD)
        } else {
            BINARY_HANDLE + len.div_ceil(WORD)
        };
        self.spend(words, 3 + len / 32)?;
        let term = self.sink.binary(bytes);
        if shared && (MIN_SHARED..=MAX_SHARED).contains(&bytes.len()) {
            self.entries.push((term, words as u32));
        }
        Ok(term)
    }

    fn atom(&mut self, len: u64, start: usize) -> Result<S::Term, Error> {
        let bytes = self.take(len, start)?;
        self.spend(0, 10)?;
        let name = std::str::from_utf8(bytes).map_err(|_| Error::Invalid(start))?;
        if bytes.len() > 255 * 4 || name.chars().count() > 255 {
            return Err(Error::Invalid(start));
        }
        let term = self.sink.atom(name).ok_or(Error::UnknownAtom)?;
        self.entries.push((term, 0));
        Ok(term)
    }

    fn new_shape(&mut self, n: u64, start: usize) -> Result<(), Error> {
        if n == 0 || n > MAX_SHAPE as u64 {
            return Err(Error::Invalid(start));
        }
        // The shape is kept for the whole batch, with a map of its own.
        self.spend(8 + 4 * n, 10 + 10 * n)?;
        let first = self.keys.len() as u32;
        let words_before = self.words_left;
        for _ in 0..n {
            let start = self.at;
            let tag = self.byte()?;
            let id = u64::from(tag);
            let key = match tag {
                REF..SHAPE => self.entry(id - u64::from(REF), start)?,
                BINARY..REF_12 => self.literal(id - u64::from(BINARY), true, start)?,
                REF_12..LIST => {
                    let low = u64::from(self.byte()?);
                    self.entry(REFS + ((id - u64::from(REF_12)) << 8 | low), start)?
                }
                ATOM | BINARY_N | PLAIN_BINARY | REF_N => {
                    let n = self.number()?;
                    match tag {
                        ATOM => self.atom(n, start)?,
                        REF_N => self.entry(n, start)?,
                        _ => self.literal(n, tag == BINARY_N, start)?,
                    }
                }
                _ => return Err(Error::Invalid(start)),
            };
            self.keys.push(key);
        }
        let words = words_before - self.words_left + 2 * n + 4;
        let id = self.shapes.len() as u64;
        let words = u32::try_from(words).map_err(|_| Error::TooLarge)?;
        self.shapes.push(Shape { first, len: n as u32, words });
        self.shaped(id, start)
    }

    #[inline]
    fn shaped(&mut self, id: u64, start: usize) -> Result<(), Error> {
        let found = usize::try_from(id).ok().and_then(|id| self.shapes.get(id));
        let shape = found.ok_or(Error::Invalid(start))?;
        let (n, words) = (u64::from(shape.len), u64::from(shape.words));
        self.enter(Kind::Shaped(id as u32), n, words, start)
    }

    fn external(&mut self, len: u64, start: usize) -> Result<S::Term, Error> {
        let bytes = self.take(len, start)?;
        let limits = etf::Limits {
            max_bytes: self.words_left.saturating_mul(WORD),
            max_depth: None,
            safe: self.safe,
        };
        self.spend(0, 20 + len)?;
        let size = etf::scan(bytes, &limits).map_err(|error| match error {
            etf::Error::Unsafe => Error::Unsafe,
            etf::Error::Invalid(_) => Error::Invalid(start),
            etf::Error::TooLarge | etf::Error::TooDeep => Error::TooLarge,
        })?;
        self.spend(size.div_ceil(WORD), 0)?;
        self.sink.external(bytes).map_err(|error| match error {
            External::UnknownAtom => Error::UnknownAtom,
            External::Invalid => Error::Invalid(start),
        })
    }
}
