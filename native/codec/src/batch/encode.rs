//! Terms to bytes, with a stack of open containers instead of recursion.

use super::dictionary::{Dictionary, Probe, Shapes};
use super::format::*;
use super::{Busy, Source, View};

/// Encodes the terms of `list`, which must be a proper one. `Err` when it takes
/// more than `max_work` units of about ten nanoseconds: then nothing is kept.
pub fn encode<'a, S: Source<'a>>(
    source: &S,
    list: S::Term,
    max_work: u64,
) -> Result<Vec<u8>, Busy> {
    let mut terms = Vec::with_capacity(256);
    let max = usize::try_from(max_work).unwrap_or(usize::MAX);
    let _ = source.elements(list, max, &mut terms)?;
    // A small batch must not pay for large tables.
    let slots = match terms.len() {
        ..8 => 32,
        8..256 => 512,
        _ => 4096,
    };
    let mut encoder = Encoder {
        source,
        out: Vec::with_capacity(32 * slots),
        open: Vec::with_capacity(32),
        terms,
        keys: Vec::with_capacity(MAX_SHAPE),
        hints: NO_HINTS,
        name: Vec::new(),
        dictionary: Dictionary::new(slots),
        shapes: Shapes::new(slots),
        work_left: max_work,
    };
    encoder.out.extend_from_slice(&[MAGIC, VERSION]);
    put_number(&mut encoder.out, encoder.terms.len() as u64);
    encoder.run()?;
    Ok(encoder.out)
}

const NO_HINTS: usize = usize::MAX;

/// The work of a term whose length is not known before it is written: more than is
/// ever allowed where work is limited.
const UNBOUNDED: u64 = 1 << 32;

/// A container whose terms are being written.
enum Open<'a, T> {
    /// They are among the encoder's terms, from `start` to where the next container's
    /// start.
    Own { next: usize, start: usize },
    /// They lie in the source.
    There {
        rest: &'a [T],
        /// Where the shape keeps what stood at the next place in the map before.
        hints: usize,
    },
}

/// A container whose terms come next, if there are any.
type Inner<'a, S> = Option<Open<'a, <S as Source<'a>>::Term>>;

struct Encoder<'s, 'a, S: Source<'a>> {
    source: &'s S,
    out: Vec<u8>,
    open: Vec<Open<'a, S::Term>>,
    /// The terms of all open containers.
    terms: Vec<S::Term>,
    /// Keys of the map at hand.
    keys: Vec<Probe<'a>>,
    /// Where the map at hand has the hints for its values.
    hints: usize,
    /// The name of the atom at hand.
    name: Vec<u8>,
    dictionary: Dictionary<'a>,
    shapes: Shapes<'a>,
    work_left: u64,
}

impl<'a, S: Source<'a>> Encoder<'_, 'a, S> {
    fn run(&mut self) -> Result<(), Busy> {
        let mut current = Some(Open::Own { next: 0, start: 0 });
        while let Some(open) = current {
            current = match open {
                Open::There { mut rest, mut hints } => loop {
                    let Some((term, more)) = rest.split_first() else {
                        break self.open.pop();
                    };
                    rest = more;
                    let hint = hints;
                    hints = hint.saturating_add(1);
                    let inner = self.term(*term, hint)?;
                    if inner.is_some() {
                        if !rest.is_empty() {
                            self.open.push(Open::There { rest, hints });
                        }
                        break inner;
                    }
                },
                Open::Own { mut next, start } => loop {
                    let Some(term) = self.terms.get(next).copied() else {
                        self.terms.truncate(start);
                        break self.open.pop();
                    };
                    next += 1;
                    let inner = self.term(term, NO_HINTS)?;
                    if inner.is_some() {
                        self.open.push(Open::Own { next, start });
                        break inner;
                    }
                },
            };
        }
        Ok(())
    }

    #[inline(always)]
    fn spend(&mut self, work: u64) -> Result<(), Busy> {
        match self.work_left.checked_sub(1 + work) {
            Some(left) => {
                self.work_left = left;
                Ok(())
            }
            None => Err(Busy),
        }
    }

    /// Writes a leaf, or the head of a container that comes next.
    #[inline(always)]
    fn term(&mut self, term: S::Term, hint: usize) -> Result<Inner<'a, S>, Busy> {
        // Most values in maps are binaries, and few elements of lists.
        let view =
            if hint != NO_HINTS { self.source.likely_binary(term) } else { self.source.view(term) };
        match view {
            View::Binary(bytes) => self.binary(bytes, hint)?,
            View::Map(size) => {
                let start = self.terms.len();
                let values = self.map(term, size)?;
                if self.terms.len() > start {
                    return Ok(Some(Open::Own { next: start, start }));
                }
                return Ok(enter::<S>(values, self.hints));
            }
            View::Atom => self.atom(term)?,
            View::Int(n) => self.int(n),
            View::List => {
                let start = self.terms.len();
                self.list(term)?;
                let any = self.terms.len() > start;
                return Ok(any.then_some(Open::Own { next: start, start }));
            }
            View::Tuple(elements) => {
                self.spend(elements.len() as u64)?;
                self.count(TUPLE, TUPLES, TUPLE_N, elements.len());
                return Ok(enter::<S>(elements, NO_HINTS));
            }
            View::Float(value) => {
                self.out.push(FLOAT);
                self.out.extend_from_slice(&value.to_be_bytes());
            }
            View::Other { short } => {
                if !short {
                    self.spend(UNBOUNDED)?;
                }
                let mut external = Vec::new();
                self.source.external(term, &mut external);
                self.spend(20 + external.len() as u64)?;
                put_tagged(&mut self.out, EXTERNAL, external.len() as u64);
                self.out.extend_from_slice(&external);
            }
        }
        Ok(None)
    }

    #[inline]
    fn int(&mut self, n: i64) {
        if n < 0 {
            put_tagged(&mut self.out, NEGATIVE, !(n as u64));
        } else if (n as u64) < SMALL_INTS {
            self.out.push(SMALL_INT + n as u8);
        } else {
            put_tagged(&mut self.out, POSITIVE, n as u64);
        }
    }

    #[inline(always)]
    fn count(&mut self, small: u8, smalls: u64, tag: u8, n: usize) {
        if (n as u64) < smalls {
            self.out.push(small + n as u8);
        } else {
            put_tagged(&mut self.out, tag, n as u64);
        }
    }

    #[inline(always)]
    fn binary(&mut self, bytes: &'a [u8], hint: usize) -> Result<(), Busy> {
        if !(MIN_SHARED..=MAX_SHARED).contains(&bytes.len()) {
            self.spend(bytes.len() as u64 / 32)?;
            let tag = if bytes.is_empty() { BINARY } else { PLAIN_BINARY };
            self.literal(tag, bytes);
            return Ok(());
        }
        let probe = Probe::binary(bytes);
        if hint == NO_HINTS {
            self.short(&probe, bytes);
            return Ok(());
        }
        let expected = self.shapes.value(hint);
        if self.dictionary.is(expected, &probe) {
            put_ref(&mut self.out, expected);
        } else {
            let id = self.short(&probe, bytes);
            self.shapes.set_value(hint, id);
        }
        Ok(())
    }

    #[inline(always)]
    fn short(&mut self, probe: &Probe<'a>, bytes: &[u8]) -> u32 {
        match self.dictionary.find_or_add(probe) {
            Ok(id) => {
                put_ref(&mut self.out, id);
                id
            }
            Err(new) => {
                self.literal(BINARY, bytes);
                new
            }
        }
    }

    #[inline]
    fn literal(&mut self, tag: u8, bytes: &[u8]) {
        if tag == BINARY {
            self.count(BINARY, BINARIES, BINARY_N, bytes.len());
        } else {
            put_tagged(&mut self.out, tag, bytes.len() as u64);
        }
        self.out.extend_from_slice(bytes);
    }

    fn atom(&mut self, term: S::Term) -> Result<(), Busy> {
        let probe = Probe::atom(self.source.word(term));
        match self.dictionary.find_or_add(&probe) {
            Ok(id) => put_ref(&mut self.out, id),
            Err(_) => {
                self.spend(5)?;
                self.name.clear();
                self.source.atom_name(term, &mut self.name);
                put_tagged(&mut self.out, ATOM, self.name.len() as u64);
                self.out.extend_from_slice(&self.name);
            }
        }
        Ok(())
    }

    /// The elements are put on the stack of terms.
    fn list(&mut self, list: S::Term) -> Result<(), Busy> {
        let start = self.terms.len();
        let max = usize::try_from(self.work_left).unwrap_or(usize::MAX);
        let tail = self.source.elements(list, max, &mut self.terms)?;
        let len = self.terms.len() - start;
        self.spend(len as u64)?;
        match tail {
            None => self.count(LIST, LISTS, LIST_N, len),
            Some(tail) => {
                put_tagged(&mut self.out, IMPROPER, len as u64);
                self.terms.push(tail);
            }
        }
        Ok(())
    }

    /// The values, with the place for their hints in `hints`; or all pairs are put on
    /// the stack of terms.
    #[inline]
    fn map(&mut self, map: S::Term, size: usize) -> Result<&'a [S::Term], Busy> {
        self.spend(2 * size as u64)?;
        let flat = if (1..=MAX_SHAPE).contains(&size) && !self.shapes.is_full() {
            self.source.flat(map, size)
        } else {
            None
        };
        let Some((keys, values)) = flat else {
            self.pairs(map, size);
            return Ok(&[]);
        };
        let source = self.source;
        let shape = match self.shapes.expected(keys, |key| source.word(key)) {
            Some(shape) => Ok(shape),
            None => {
                self.keys.clear();
                let mut hash = 0;
                for key in keys {
                    match probe(source, *key) {
                        Some(probe) => {
                            hash = Shapes::hash(hash, &probe);
                            self.keys.push(probe);
                        }
                        None => {
                            self.pairs(map, size);
                            return Ok(&[]);
                        }
                    }
                }
                let words = keys.iter().map(|key| source.word(*key));
                self.shapes.find_or_add(&self.keys, hash, words)
            }
        };
        self.hints = match shape {
            Ok(shape) => {
                if u64::from(shape.id) < SHAPES {
                    self.out.push(SHAPE + shape.id as u8);
                } else {
                    put_tagged(&mut self.out, SHAPE_N, shape.id.into());
                }
                shape.values
            }
            Err(new) => {
                self.put_keys(keys)?;
                new.values
            }
        };
        Ok(values)
    }

    /// Writes the keys, which were looked at, as those of a new shape.
    fn put_keys(&mut self, keys: &[S::Term]) -> Result<(), Busy> {
        self.spend(4 * keys.len() as u64)?;
        put_tagged(&mut self.out, NEW_SHAPE, keys.len() as u64);
        for (i, key) in keys.iter().enumerate() {
            let probe = self.keys[i];
            match probe.bytes() {
                &[] => self.atom(*key)?,
                bytes => {
                    self.short(&probe, bytes);
                }
            }
        }
        Ok(())
    }

    fn pairs(&mut self, map: S::Term, size: usize) {
        put_tagged(&mut self.out, PAIRS, size as u64);
        let terms = &mut self.terms;
        self.source.pairs(map, &mut |key, value| terms.extend([key, value]));
    }
}

#[inline(always)]
fn enter<'a, S: Source<'a>>(rest: &'a [S::Term], hints: usize) -> Inner<'a, S> {
    (!rest.is_empty()).then_some(Open::There { rest, hints })
}

/// What a key is looked up by; `None` when it can be in no shape.
#[inline(always)]
fn probe<'a, S: Source<'a>>(source: &S, key: S::Term) -> Option<Probe<'a>> {
    match source.likely_binary(key) {
        View::Binary(bytes) if (MIN_SHARED..=MAX_SHARED).contains(&bytes.len()) => {
            Some(Probe::binary(bytes))
        }
        View::Atom => Some(Probe::atom(source.word(key))),
        _ => None,
    }
}
