//! Terms to bytes, with a stack of open containers instead of recursion.

use super::dictionary::{Dictionary, Found, Key, Probe, Shapes, NONE};
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
    // Tables grow by themselves; a small batch must not pay for large ones.
    let slots = if terms.len() < 8 { 32 } else { 512 };
    let mut encoder = Encoder {
        source,
        out: Vec::with_capacity(16 * slots),
        open: Vec::with_capacity(32),
        terms,
        hashed: Vec::with_capacity(MAX_SHAPE),
        name: Vec::new(),
        dictionary: Dictionary::new(slots),
        shapes: Shapes::new(slots),
        work_left: max_work,
    };
    encoder.out.extend_from_slice(&[MAGIC, VERSION]);
    put_number(&mut encoder.out, encoder.terms.len() as u64);
    encoder.open.push(Open::Own { next: 0, start: 0 });
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

struct Encoder<'s, 'a, S: Source<'a>> {
    source: &'s S,
    out: Vec<u8>,
    open: Vec<Open<'a, S::Term>>,
    /// The terms of all open containers.
    terms: Vec<S::Term>,
    /// Keys of the map at hand.
    hashed: Vec<Key<'a>>,
    /// The name of the atom at hand.
    name: Vec<u8>,
    dictionary: Dictionary<'a>,
    shapes: Shapes<'a>,
    work_left: u64,
}

impl<'a, S: Source<'a>> Encoder<'_, 'a, S> {
    fn run(&mut self) -> Result<(), Busy> {
        while let Some(open) = self.open.last_mut() {
            match open {
                Open::There { rest, hints } => {
                    let (mut terms, mut hint) = (*rest, *hints);
                    let mut entered = false;
                    while let Some((term, more)) = terms.split_first() {
                        terms = more;
                        entered = self.term(*term, hint)?;
                        if hint != NO_HINTS {
                            hint += 1;
                        }
                        if entered {
                            break;
                        }
                    }
                    // The container comes next, and after it the rest, if any.
                    let at = self.open.len() - 1 - usize::from(entered);
                    if terms.is_empty() {
                        self.open.remove(at);
                    } else {
                        self.open[at] = Open::There { rest: terms, hints: hint };
                    }
                }
                Open::Own { next, start } => {
                    let (mut at, start) = (*next, *start);
                    let mut entered = false;
                    while let (Some(term), false) = (self.terms.get(at).copied(), entered) {
                        at += 1;
                        entered = self.term(term, NO_HINTS)?;
                    }
                    if entered {
                        let own = self.open.len() - 2;
                        self.open[own] = Open::Own { next: at, start };
                    } else {
                        self.terms.truncate(start);
                        self.open.pop();
                    }
                }
            }
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

    /// Writes a leaf, or opens a container (`true`).
    #[inline(always)]
    fn term(&mut self, term: S::Term, hint: usize) -> Result<bool, Busy> {
        // Where a short binary stood the time before, one most likely stands again.
        let view = if hint != NO_HINTS && self.shapes.value(hint) != NONE {
            self.source.likely_binary(term)
        } else {
            self.source.view(term)
        };
        match view {
            View::Binary(bytes) => self.binary(bytes, hint)?,
            View::Map(size) => return self.map(term, size),
            View::Atom => self.atom(term)?,
            View::Int(n) => self.int(n),
            View::List => return self.list(term),
            View::Tuple(elements) => {
                self.spend(elements.len() as u64)?;
                self.count(TUPLE, TUPLES, TUPLE_N, elements.len());
                return Ok(self.enter(elements, NO_HINTS));
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
        Ok(false)
    }

    #[inline(always)]
    fn enter(&mut self, rest: &'a [S::Term], hints: usize) -> bool {
        if !rest.is_empty() {
            self.open.push(Open::There { rest, hints });
        }
        !rest.is_empty()
    }

    fn enter_own(&mut self, start: usize) -> bool {
        let any = self.terms.len() > start;
        if any {
            self.open.push(Open::Own { next: start, start });
        }
        any
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
        let expected = if hint == NO_HINTS { NONE } else { self.shapes.value(hint) };
        if self.dictionary.is(expected, &probe) {
            put_ref(&mut self.out, expected);
        } else {
            let id = self.short(&probe, probe.hash(), bytes);
            self.shapes.set_value(hint, id);
        }
        Ok(())
    }

    fn short(&mut self, probe: &Probe<'a>, hash: u64, bytes: &[u8]) -> u32 {
        match self.dictionary.find_or_add(probe, hash) {
            Found::At(id) => {
                put_ref(&mut self.out, id);
                id
            }
            Found::New(id) => {
                self.literal(BINARY, bytes);
                id
            }
            Found::Full => {
                self.literal(PLAIN_BINARY, bytes);
                NONE
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
        match self.dictionary.find_or_add(&probe, probe.hash()) {
            Found::At(id) => put_ref(&mut self.out, id),
            found => {
                if matches!(found, Found::Full) {
                    // The decoder numbers each atom that is written.
                    self.dictionary.skip();
                }
                self.spend(5)?;
                self.name.clear();
                self.source.atom_name(term, &mut self.name);
                put_tagged(&mut self.out, ATOM, self.name.len() as u64);
                self.out.extend_from_slice(&self.name);
            }
        }
        Ok(())
    }

    fn list(&mut self, list: S::Term) -> Result<bool, Busy> {
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
        Ok(self.enter_own(start))
    }

    #[inline]
    fn map(&mut self, map: S::Term, size: usize) -> Result<bool, Busy> {
        self.spend(2 * size as u64)?;
        let flat = if (1..=MAX_SHAPE).contains(&size) && !self.shapes.is_full() {
            self.source.flat(map, size)
        } else {
            None
        };
        let Some((keys, values)) = flat else {
            return Ok(self.pairs(map, size));
        };
        let source = self.source;
        let expected = self.shapes.expected(
            keys,
            &mut self.hashed,
            |key| source.word(key),
            |key| probe(source, key),
        );
        let shape = match expected {
            Some(shape) => Ok(shape),
            None if self.hash_keys(keys) => self.shapes.find_or_add(&self.hashed),
            None => return Ok(self.pairs(map, size)),
        };
        let hints = match shape {
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
        Ok(self.enter(values, hints))
    }

    /// Hashes the keys that are not yet; `false` when one of them can be in no shape.
    fn hash_keys(&mut self, keys: &[S::Term]) -> bool {
        for key in &keys[self.hashed.len()..] {
            match probe(self.source, *key) {
                Some(probe) => self.hashed.push(Key::new(probe, self.source.word(*key))),
                None => return false,
            }
        }
        true
    }

    /// Writes the keys, which were hashed, as those of a new shape.
    fn put_keys(&mut self, keys: &[S::Term]) -> Result<(), Busy> {
        self.spend(4 * keys.len() as u64)?;
        put_tagged(&mut self.out, NEW_SHAPE, keys.len() as u64);
        for (i, key) in keys.iter().enumerate() {
            let Key { probe, hash, .. } = self.hashed[i];
            match probe.bytes() {
                &[] => self.atom(*key)?,
                bytes => {
                    self.short(&probe, hash, bytes);
                }
            }
        }
        Ok(())
    }

    fn pairs(&mut self, map: S::Term, size: usize) -> bool {
        put_tagged(&mut self.out, PAIRS, size as u64);
        let start = self.terms.len();
        let terms = &mut self.terms;
        self.source.pairs(map, &mut |key, value| terms.extend([key, value]));
        self.enter_own(start)
    }
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
