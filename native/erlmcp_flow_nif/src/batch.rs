//! The batch codec on the VM's terms.

use codec::batch::{self, Busy, Error, External, Limits, Sink, Source, View};
use rustler::{Binary, Encoder, Env, NewBinary, NifResult, Term};
use terms::walk::{Kind, Maker, Reader, Word};

use crate::etf::{self, Why};
use crate::{atoms, schedule};

struct Terms<'a>(Reader<'a>);

impl<'a> Source<'a> for Terms<'a> {
    type Term = Word<'a>;

    #[inline(always)]
    fn view(&self, term: Word<'a>) -> View<'a, Word<'a>> {
        match self.0.kind(term) {
            Kind::Int(n) => View::Int(n),
            Kind::Float(value) => View::Float(value),
            Kind::Atom => View::Atom,
            Kind::Binary(bytes) => View::Binary(bytes),
            Kind::List => View::List,
            Kind::Tuple(elements) => View::Tuple(elements),
            Kind::Map(size) => View::Map(size),
            Kind::Identifier => View::Other { short: true },
            Kind::Other => View::Other { short: false },
        }
    }

    #[inline(always)]
    fn likely_binary(&self, term: Word<'a>) -> View<'a, Word<'a>> {
        match self.0.bytes(term) {
            Some(bytes) => View::Binary(bytes),
            None => self.view(term),
        }
    }

    #[inline(always)]
    fn word(&self, term: Word<'a>) -> u64 {
        term.value()
    }

    fn atom_name(&self, term: Word<'a>, out: &mut Vec<u8>) {
        if let Some(()) = self.0.latin1_name(term, |name| {
            // Names are ASCII almost always, which is UTF-8 as it stands.
            if name.is_ascii() {
                out.extend_from_slice(name);
            } else {
                let mut utf8 = [0; 4];
                for byte in name {
                    let char = char::from(*byte).encode_utf8(&mut utf8);
                    out.extend_from_slice(char.as_bytes());
                }
            }
        }) {
            return;
        }
        // What Latin-1 cannot spell is taken from the external form: version, tag,
        // length, name (NIFs give UTF-8 names from version 2.17 on only).
        let external = term.term(self.0.env()).to_binary();
        match external.as_slice() {
            [_, 119, _, name @ ..] | [_, 118, _, _, name @ ..] => out.extend_from_slice(name),
            _ => {}
        }
    }

    #[inline]
    fn elements(
        &self,
        list: Word<'a>,
        max: usize,
        out: &mut Vec<Word<'a>>,
    ) -> Result<Option<Word<'a>>, Busy> {
        let mut rest = list;
        let mut left = max;
        while let Some(element) = self.0.next_element(&mut rest) {
            left = left.checked_sub(1).ok_or(Busy)?;
            out.push(element);
        }
        Ok((!self.0.is_nil(rest)).then_some(rest))
    }

    #[inline(always)]
    fn flat(&self, map: Word<'a>, size: usize) -> Option<(&'a [Word<'a>], &'a [Word<'a>])> {
        self.0.flat(map, size)
    }

    #[inline(always)]
    fn pairs(&self, map: Word<'a>, each: &mut impl FnMut(Word<'a>, Word<'a>)) {
        self.0.pairs(map, each);
    }

    fn external(&self, term: Word<'a>, out: &mut Vec<u8>) {
        out.extend_from_slice(term.term(self.0.env()).to_binary().as_slice());
    }
}

struct Builder<'a> {
    maker: Maker<'a>,
    safe: bool,
}

impl<'a> Sink for Builder<'a> {
    type Term = Word<'a>;

    #[inline(always)]
    fn int(&mut self, value: i64) -> Word<'a> {
        self.maker.int(value)
    }

    fn float(&mut self, value: f64) -> Option<Word<'a>> {
        self.maker.float(value)
    }

    fn atom(&mut self, name: &str) -> Option<Word<'a>> {
        let found = if name.is_ascii() {
            self.maker.existing_atom(name.as_bytes())
        } else {
            let latin1: Option<Vec<u8>> = name.chars().map(|c| u8::try_from(c).ok()).collect();
            latin1.and_then(|name| self.maker.existing_atom(&name))
        };
        if found.is_some() || (self.safe && name.is_ascii()) {
            return found;
        }
        // A name that Latin-1 cannot spell, or an atom to be made.
        let mut external = vec![131, 118];
        external.extend_from_slice(&(name.len() as u16).to_be_bytes());
        external.extend_from_slice(name.as_bytes());
        self.maker.external(&external, self.safe)
    }

    #[inline(always)]
    fn binary(&mut self, bytes: &[u8]) -> Word<'a> {
        self.maker.binary(bytes)
    }

    #[inline]
    fn list(&mut self, elements: &[Word<'a>], tail: Option<Word<'a>>) -> Word<'a> {
        match tail {
            None => self.maker.list(elements),
            Some(tail) => {
                elements.iter().rev().fold(tail, |rest, head| self.maker.cons(*head, rest))
            }
        }
    }

    #[inline]
    fn tuple(&mut self, elements: &[Word<'a>]) -> Word<'a> {
        self.maker.tuple(elements)
    }

    #[inline]
    fn map(&mut self, keys: &[Word<'a>], values: &[Word<'a>]) -> Option<Word<'a>> {
        self.maker.map(keys, values)
    }

    fn pairs(&mut self, pairs: &[Word<'a>]) -> Option<Word<'a>> {
        let keys: Vec<Word<'a>> = pairs.iter().step_by(2).copied().collect();
        let values: Vec<Word<'a>> = pairs.iter().skip(1).step_by(2).copied().collect();
        self.maker.map(&keys, &values)
    }

    fn external(&mut self, checked: &[u8]) -> Result<Word<'a>, External> {
        match self.maker.external(checked, self.safe) {
            Some(term) => Ok(term),
            None => Err(match etf::why(self.maker.env(), checked, self.safe) {
                Why::UnknownAtom => External::UnknownAtom,
                Why::Invalid(_) => External::Invalid,
            }),
        }
    }
}

fn encode<'a>(env: Env<'a>, terms: Term<'a>, max_work: u64) -> NifResult<Term<'a>> {
    Ok(match batch::encode(&Terms(Reader::new(env)), Word::of(terms), max_work) {
        Ok(bytes) => {
            let binary: Binary = NewBinary::from_slice(env, &bytes).into();
            (atoms::ok(), binary).encode(env)
        }
        Err(Busy) => atoms::dirty().encode(env),
    })
}

#[rustler::nif]
fn batch_encode<'a>(env: Env<'a>, terms: Term<'a>) -> NifResult<Term<'a>> {
    encode(env, terms, schedule::NORMAL_BATCH_WORK)
}

#[rustler::nif(schedule = "DirtyCpu")]
fn batch_encode_dirty<'a>(env: Env<'a>, terms: Term<'a>) -> NifResult<Term<'a>> {
    encode(env, terms, u64::MAX)
}

fn decode<'a>(
    env: Env<'a>,
    input: Binary<'a>,
    max_bytes: u64,
    safe: bool,
    max_work: u64,
) -> Term<'a> {
    let mut builder = Builder { maker: Maker::new(env), safe };
    let reason = match batch::decode(
        input.as_slice(),
        &mut builder,
        &Limits { max_bytes, safe, max_work },
    ) {
        Ok(list) => return (atoms::ok(), list.term(env)).encode(env),
        Err(Error::Busy) => return atoms::dirty().encode(env),
        Err(Error::TooLarge) => atoms::too_large().encode(env),
        Err(Error::Unsafe) => atoms::r#unsafe().encode(env),
        Err(Error::UnknownAtom) => atoms::unknown_atom().encode(env),
        Err(Error::Invalid(at)) => (atoms::invalid(), at).encode(env),
    };
    (atoms::error(), reason).encode(env)
}

#[rustler::nif]
fn batch_decode<'a>(env: Env<'a>, input: Binary<'a>, max_bytes: u64, safe: bool) -> Term<'a> {
    decode(env, input, max_bytes, safe, schedule::NORMAL_BATCH_WORK)
}

#[rustler::nif(schedule = "DirtyCpu")]
fn batch_decode_dirty<'a>(env: Env<'a>, input: Binary<'a>, max_bytes: u64, safe: bool) -> Term<'a> {
    decode(env, input, max_bytes, safe, u64::MAX)
}
