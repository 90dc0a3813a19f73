//! Terms to bytes, with a stack of terms still to be written instead of recursion.

use super::dictionary::{Dictionary, Found, Shapes, ROOT};
use super::format::*;
use super::{Busy, Source, View};

/// Encodes the terms of `list`, which must be a proper one. `Err` when it takes
/// more than `max_work` units of about ten nanoseconds: then nothing is kept.
pub fn encode<'a, S: Source<'a>>(
    source: &S,
    list: S::Term,
    max_work: u64,
) -> Result<Vec<u8>, Busy> {
    let mut encoder = Encoder {
        source,
        out: Vec::with_capacity(4096),
        pending: Vec::with_capacity(256),
        keys: Vec::with_capacity(MAX_SHAPE),
        dictionary: Dictionary::new(),
        shapes: Shapes::new(),
        work_left: max_work,
    };
    encoder.out.extend_from_slice(&[MAGIC, VERSION]);
    encoder.spend(0)?;
    let max = encoder.affordable();
    let _ = source.elements(list, max, &mut encoder.pending)?;
    put_number(&mut encoder.out, encoder.pending.len() as u64);
    encoder.pending.reverse();
    while let Some(term) = encoder.pending.pop() {
        encoder.term(term)?;
    }
    Ok(encoder.out)
}

struct Encoder<'s, 'a, S: Source<'a>> {
    source: &'s S,
    out: Vec<u8>,
    pending: Vec<S::Term>,
    /// Keys of the map at hand.
    keys: Vec<S::Term>,
    dictionary: Dictionary<'a>,
    shapes: Shapes,
    work_left: u64,
}

impl<'a, S: Source<'a>> Encoder<'_, 'a, S> {
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

    fn affordable(&self) -> usize {
        usize::try_from(self.work_left).unwrap_or(usize::MAX)
    }

    fn term(&mut self, term: S::Term) -> Result<(), Busy> {
        self.spend(0)?;
        match self.source.view(term) {
            View::Binary(bytes) => self.binary(bytes)?,
            View::Atom => self.atom(term),
            View::Map(size) => self.map(term, size)?,
            View::Int(n) => self.int(n),
            View::List => self.list(term)?,
            View::Tuple(elements) => {
                self.spend(elements.len() as u64)?;
                self.count(TUPLE, TUPLES, TUPLE_N, elements.len());
                self.pending.extend(elements.iter().rev());
            }
            View::Float(value) => {
                self.out.push(FLOAT);
                self.out.extend_from_slice(&value.to_be_bytes());
            }
            View::Other => {
                let start = self.out.len();
                let mut external = Vec::new();
                self.source.external(term, &mut external);
                put_tagged(&mut self.out, EXTERNAL, external.len() as u64);
                self.out.extend_from_slice(&external);
                self.spend(20 + (self.out.len() - start) as u64)?;
            }
        }
        Ok(())
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

    #[inline]
    fn binary(&mut self, bytes: &'a [u8]) -> Result<(), Busy> {
        if !(MIN_SHARED..=MAX_SHARED).contains(&bytes.len()) {
            self.spend(bytes.len() as u64 / 32)?;
            let tag = if bytes.is_empty() { BINARY } else { PLAIN_BINARY };
            self.literal(tag, bytes);
            return Ok(());
        }
        match self.dictionary.binary(bytes) {
            Found::At(id) => put_ref(&mut self.out, id),
            Found::New => self.literal(BINARY, bytes),
            Found::Full => self.literal(PLAIN_BINARY, bytes),
        }
        Ok(())
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

    fn atom(&mut self, term: S::Term) {
        match self.dictionary.atom(self.source.word(term)) {
            Found::At(id) => put_ref(&mut self.out, id),
            Found::New | Found::Full => {
                let mut name = Vec::new();
                self.source.atom_name(term, &mut name);
                put_tagged(&mut self.out, ATOM, name.len() as u64);
                self.out.extend_from_slice(&name);
            }
        }
    }

    fn list(&mut self, list: S::Term) -> Result<(), Busy> {
        let base = self.pending.len();
        let max = self.affordable();
        let tail = self.source.elements(list, max, &mut self.pending)?;
        let len = self.pending.len() - base;
        self.spend(len as u64)?;
        match tail {
            None => self.count(LIST, LISTS, LIST_N, len),
            Some(tail) => {
                put_tagged(&mut self.out, IMPROPER, len as u64);
                self.pending.push(tail);
            }
        }
        self.pending[base..].reverse();
        Ok(())
    }

    fn map(&mut self, map: S::Term, size: usize) -> Result<(), Busy> {
        self.spend(2 * size as u64)?;
        if size == 0 || size > MAX_SHAPE || self.shapes.is_full() {
            self.pairs(map, size);
            return Ok(());
        }
        let base = self.pending.len();
        let Encoder { source, pending, keys, dictionary, shapes, .. } = self;
        keys.clear();
        let mut node = Some(ROOT);
        source.pairs(map, &mut |key, value| {
            keys.push(key);
            pending.push(value);
            node = node.and_then(|at| step(*source, dictionary, shapes, at, key));
        });
        match node.and_then(|node| self.shapes.shape(node)) {
            Some(shape) if u64::from(shape) < SHAPES => self.out.push(SHAPE + shape as u8),
            Some(shape) => put_tagged(&mut self.out, SHAPE_N, shape.into()),
            None => {
                if !self.new_shape() {
                    self.pending.truncate(base);
                    self.pairs(map, size);
                    return Ok(());
                }
            }
        }
        self.pending[base..].reverse();
        Ok(())
    }

    /// Writes the keys at hand as a new shape; `false` when they cannot be one.
    fn new_shape(&mut self) -> bool {
        let keys = std::mem::take(&mut self.keys);
        let can_be = keys.iter().all(|key| match self.source.view(*key) {
            View::Atom => true,
            View::Binary(bytes) => (MIN_SHARED..=MAX_SHARED).contains(&bytes.len()),
            _ => false,
        });
        if can_be {
            put_tagged(&mut self.out, NEW_SHAPE, keys.len() as u64);
            let mut node = Some(ROOT);
            for key in &keys {
                let word = self.source.word(*key);
                let id = match self.source.view(*key) {
                    View::Binary(bytes) => {
                        // In range, so this neither fails nor costs more.
                        let _ = self.binary(bytes);
                        self.dictionary.find_binary(bytes)
                    }
                    _ => {
                        self.atom(*key);
                        self.dictionary.find_atom(word)
                    }
                };
                node = match (node, id) {
                    (Some(at), Some(id)) => self.shapes.add(at, id, word),
                    _ => None,
                };
            }
            self.shapes.number(node);
        }
        self.keys = keys;
        can_be
    }

    fn pairs(&mut self, map: S::Term, size: usize) {
        put_tagged(&mut self.out, PAIRS, size as u64);
        let base = self.pending.len();
        let pending = &mut self.pending;
        self.source.pairs(map, &mut |key, value| pending.extend([key, value]));
        self.pending[base..].reverse();
    }
}

/// From a node of the shape tree along `key`. Most maps look like the last one
/// that came this way, so that one is compared before anything is hashed.
#[inline(always)]
fn step<'a, S: Source<'a>>(
    source: &S,
    dictionary: &Dictionary<'a>,
    shapes: &mut Shapes,
    at: u32,
    key: S::Term,
) -> Option<u32> {
    let word = source.word(key);
    let hint = shapes.hint(at);
    if let Some((child, _, seen)) = hint {
        if seen == word {
            return Some(child);
        }
    }
    let id = match source.view(key) {
        View::Binary(bytes) => match hint {
            Some((child, id, _)) if !bytes.is_empty() && dictionary.bytes(id) == bytes => {
                return Some(child)
            }
            _ => dictionary.find_binary(bytes)?,
        },
        View::Atom => dictionary.find_atom(word)?,
        _ => return None,
    };
    shapes.child(at, id, word)
}
