//! MessagePack bytes to external term format, iteratively, with bounded output.
//!
//! A length that the input claims allocates nothing: it goes into the header, and
//! what follows is read one by one until the input ends.

use super::format::*;
use crate::document::repeats::Pairs;
use crate::document::{
    etf, Budget, Cost, Decode, Document, Error, Fault, Keys, Limits, Repeats, KEEP, KEEP_FRAMES,
};

/// Reads documents one after the other into a buffer that is used again.
#[derive(Default)]
pub struct Decoder {
    out: Vec<u8>,
    stack: Vec<Frame>,
    pairs: Pairs,
}

/// An open array or map.
#[derive(Clone, Copy)]
struct Frame {
    /// Where its header is in the output.
    header: usize,
    /// Values or pairs still to begin.
    left: u32,
    place: Place,
    /// Where the key of the current pair is in the output.
    key: usize,
    /// The first pair of this map in `Pairs`.
    mark: usize,
}

/// What a value is in the container it is in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Element,
    Key,
    Value,
}

impl Decode for Decoder {
    fn decode(
        &mut self,
        input: &[u8],
        limits: &Limits,
        repeats: Repeats,
    ) -> Result<Document<'_>, Error> {
        if u32::try_from(input.len()).is_err() {
            return Err(Error::TooLarge);
        }
        self.out.clear();
        // A value takes up to six times its bytes (an empty array in an array
        // does), most take little more.
        if self.out.try_reserve(input.len() / 4 * 5 + 64).is_err() {
            return Err(Error::TooLarge);
        }
        self.out.push(etf::VERSION);
        self.stack.clear();
        self.pairs.clear();
        let mut reader = Reader {
            input,
            at: 0,
            out: std::mem::take(&mut self.out),
            cost: Cost::new(limits.max_bytes),
            budget: Budget::new(limits.budget),
            max_depth: limits.max_depth,
            atoms: limits.keys == Keys::Atoms,
            resolve: repeats == Repeats::Resolve,
            unknown_atom: false,
            stack: &mut self.stack,
            pairs: &mut self.pairs,
        };
        let result = reader.document();
        let Reader { at, out, cost, unknown_atom, .. } = reader;
        self.out = out;
        match result {
            Err(fault) => Err(fault.at(at)),
            Ok(()) if unknown_atom => Err(Error::UnknownAtom),
            Ok(()) => {
                self.pairs.cut(&mut self.out);
                Ok(Document { etf: &self.out, cost: cost.used() })
            }
        }
    }

    fn trim(&mut self) {
        self.out.clear();
        self.out.shrink_to(KEEP);
        self.stack.clear();
        self.stack.shrink_to(KEEP_FRAMES);
        self.pairs.trim();
    }
}

struct Reader<'a> {
    input: &'a [u8],
    at: usize,
    out: Vec<u8>,
    cost: Cost,
    budget: Budget,
    max_depth: usize,
    atoms: bool,
    resolve: bool,
    unknown_atom: bool,
    stack: &'a mut Vec<Frame>,
    pairs: &'a mut Pairs,
}

impl Reader<'_> {
    fn document(&mut self) -> Result<(), Fault> {
        let mut place = Place::Element;
        loop {
            self.budget.add(Budget::VALUE);
            self.budget.check(self.at)?;
            self.value(place)?;
            match self.advance()? {
                Some(next) => place = next,
                None if self.at == self.input.len() => return Ok(()),
                None => return Err(Fault::Invalid),
            }
        }
    }

    /// The place of the next value, once all that has ended is closed. `None`
    /// when nothing is open any more.
    #[inline(always)]
    fn advance(&mut self) -> Result<Option<Place>, Fault> {
        loop {
            let Some(frame) = self.stack.last_mut() else { return Ok(None) };
            if frame.place == Place::Key {
                // The key is complete, its value is next.
                if self.resolve {
                    self.budget.add(Budget::COMPARED);
                    self.pairs.add(frame.key..self.out.len());
                }
                frame.place = Place::Value;
                return Ok(Some(Place::Value));
            }
            if frame.left > 0 {
                frame.left -= 1;
                if frame.place == Place::Element {
                    self.charge(Cost::ELEMENT)?;
                    return Ok(Some(Place::Element));
                }
                frame.place = Place::Key;
                frame.key = self.out.len();
                self.charge(Cost::PAIR)?;
                return Ok(Some(Place::Key));
            }
            if frame.place == Place::Element {
                self.out.push(etf::NIL);
            } else if self.resolve {
                let count = self.pairs.close(frame.mark, &self.out);
                etf::patch(&mut self.out, frame.header, count);
            }
            self.stack.pop();
        }
    }

    #[inline(always)]
    fn charge(&mut self, bytes: usize) -> Result<(), Fault> {
        if self.cost.add(bytes) {
            Ok(())
        } else {
            Err(Fault::TooLarge)
        }
    }

    /// The next bytes as a number; where there are too few, the reader stands at
    /// the end.
    #[inline(always)]
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let rest = self.input.get(self.at..).unwrap_or_default();
        match rest.first_chunk::<N>() {
            Some(bytes) => {
                self.at += N;
                Ok(*bytes)
            }
            None => {
                self.at = self.input.len();
                Err(Fault::Invalid)
            }
        }
    }

    #[inline(always)]
    fn u8(&mut self) -> Result<u8, Fault> {
        Ok(u8::from_be_bytes(self.take()?))
    }

    #[inline(always)]
    fn u16(&mut self) -> Result<u16, Fault> {
        Ok(u16::from_be_bytes(self.take()?))
    }

    #[inline(always)]
    fn u32(&mut self) -> Result<u32, Fault> {
        Ok(u32::from_be_bytes(self.take()?))
    }

    #[inline(always)]
    fn value(&mut self, place: Place) -> Result<(), Fault> {
        let start = self.at;
        match self.u8()? {
            n @ ..FIXMAP => etf::integer(&mut self.out, i64::from(n)),
            n @ FIXMAP..FIXARRAY => self.map(u32::from(n - FIXMAP))?,
            n @ FIXARRAY..FIXSTR => self.array(u32::from(n - FIXARRAY))?,
            n @ FIXSTR..NIL => self.text(u32::from(n - FIXSTR), place)?,
            NIL => etf::atom(&mut self.out, b"null"),
            FALSE => etf::atom(&mut self.out, b"false"),
            TRUE => etf::atom(&mut self.out, b"true"),
            BIN8 => {
                let len = u32::from(self.u8()?);
                self.bytes(len)?;
            }
            BIN16 => {
                let len = u32::from(self.u16()?);
                self.bytes(len)?;
            }
            BIN32 => {
                let len = self.u32()?;
                self.bytes(len)?;
            }
            FLOAT32 => {
                let f = f32::from_be_bytes(self.take()?);
                self.float(f64::from(f), start)?;
            }
            FLOAT64 => {
                let f = f64::from_be_bytes(self.take()?);
                self.float(f, start)?;
            }
            UINT8 => {
                let n = self.u8()?;
                etf::integer(&mut self.out, i64::from(n));
            }
            UINT16 => {
                let n = self.u16()?;
                etf::integer(&mut self.out, i64::from(n));
            }
            UINT32 => {
                let n = self.u32()?;
                etf::integer(&mut self.out, i64::from(n));
            }
            UINT64 => {
                let n = u64::from_be_bytes(self.take()?);
                self.wide(n)?;
                etf::unsigned(&mut self.out, n);
            }
            INT8 => {
                let n = i8::from_be_bytes(self.take()?);
                etf::integer(&mut self.out, i64::from(n));
            }
            INT16 => {
                let n = i16::from_be_bytes(self.take()?);
                etf::integer(&mut self.out, i64::from(n));
            }
            INT32 => {
                let n = i32::from_be_bytes(self.take()?);
                etf::integer(&mut self.out, i64::from(n));
            }
            INT64 => {
                let n = i64::from_be_bytes(self.take()?);
                self.wide(n.unsigned_abs())?;
                etf::integer(&mut self.out, n);
            }
            STR8 => {
                let len = u32::from(self.u8()?);
                self.text(len, place)?;
            }
            STR16 => {
                let len = u32::from(self.u16()?);
                self.text(len, place)?;
            }
            STR32 => {
                let len = self.u32()?;
                self.text(len, place)?;
            }
            ARRAY16 => {
                let len = u32::from(self.u16()?);
                self.array(len)?;
            }
            ARRAY32 => {
                let len = self.u32()?;
                self.array(len)?;
            }
            MAP16 => {
                let len = u32::from(self.u16()?);
                self.map(len)?;
            }
            MAP32 => {
                let len = self.u32()?;
                self.map(len)?;
            }
            n @ NEGATIVE_FIXINT.. => etf::integer(&mut self.out, i64::from(n as i8)),
            // Extensions, and the byte that is never used.
            _ => {
                self.at = start;
                return Err(Fault::Invalid);
            }
        }
        Ok(())
    }

    fn wide(&mut self, magnitude: u64) -> Result<(), Fault> {
        if magnitude >= Cost::IMMEDIATE {
            self.charge(Cost::BIG + 8)?;
        }
        Ok(())
    }

    fn float(&mut self, f: f64, start: usize) -> Result<(), Fault> {
        if !f.is_finite() {
            // Erlang has neither infinities nor NaN.
            self.at = start;
            return Err(Fault::Invalid);
        }
        self.charge(Cost::FLOAT)?;
        etf::float(&mut self.out, f);
        Ok(())
    }

    #[inline(always)]
    fn bytes(&mut self, len: u32) -> Result<(), Fault> {
        let len = len as usize;
        let Some(bytes) = self.input.get(self.at..self.at + len) else {
            self.at = self.input.len();
            return Err(Fault::Invalid);
        };
        self.charge(Cost::binary(len))?;
        self.at += len;
        etf::open(&mut self.out, etf::BINARY);
        let header = self.out.len() - 5;
        etf::patch(&mut self.out, header, len as u32);
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    #[inline(always)]
    fn text(&mut self, len: u32, place: Place) -> Result<(), Fault> {
        let header = self.out.len();
        self.bytes(len)?;
        if self.atoms && place == Place::Key {
            self.unknown_atom |= !etf::binary_to_atom(&mut self.out, header);
        }
        Ok(())
    }

    #[inline]
    fn array(&mut self, left: u32) -> Result<(), Fault> {
        self.enter(Cost::LIST)?;
        if left == 0 {
            self.out.push(etf::NIL);
            return Ok(());
        }
        self.open(etf::LIST, left, Place::Element);
        Ok(())
    }

    #[inline]
    fn map(&mut self, left: u32) -> Result<(), Fault> {
        self.enter(Cost::MAP)?;
        self.open(etf::MAP, left, Place::Value);
        Ok(())
    }

    fn enter(&mut self, cost: usize) -> Result<(), Fault> {
        if self.stack.len() >= self.max_depth {
            return Err(Fault::TooDeep);
        }
        self.charge(cost)
    }

    #[inline]
    fn open(&mut self, tag: u8, left: u32, place: Place) {
        let header = self.out.len();
        etf::open(&mut self.out, tag);
        etf::patch(&mut self.out, header, left);
        let mark = self.pairs.mark();
        self.stack.push(Frame { header, left, place, key: 0, mark });
    }
}
