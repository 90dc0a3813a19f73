//! JSON text to external term format, iteratively, with bounded output.

use super::text;
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

/// An open array or object.
#[derive(Clone, Copy)]
struct Frame {
    /// Where its header is in the output.
    header: usize,
    count: u32,
    object: bool,
    /// Its first pair in `Pairs`.
    mark: usize,
}

impl Decode for Decoder {
    /// Decodes one document and nothing behind it but white space.
    fn decode(
        &mut self,
        input: &[u8],
        limits: &Limits,
        repeats: Repeats,
    ) -> Result<Document<'_>, Error> {
        if u32::try_from(input.len()).is_err() {
            // Lengths and counts have 32 bits in the term format.
            return Err(Error::TooLarge);
        }
        let mut out = std::mem::take(&mut self.out);
        out.clear();
        // No value takes more than three times its text (`[]` in an array takes
        // six bytes for three); large documents seldom do, so they grow instead.
        let room = if input.len() < KEEP { input.len() * 3 } else { input.len() / 8 * 9 };
        if out.try_reserve(room + 64).is_err() {
            return Err(Error::TooLarge);
        }
        out.push(etf::VERSION);
        self.stack.clear();
        self.pairs.clear();
        let mut reader = Reader {
            input,
            at: 0,
            out,
            cost: Cost::new(limits.max_bytes),
            budget: Budget::new(limits.budget),
            max_depth: limits.max_depth,
            keys: limits.keys,
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

pub(super) struct Reader<'a> {
    pub(super) input: &'a [u8],
    pub(super) at: usize,
    pub(super) out: Vec<u8>,
    cost: Cost,
    pub(super) budget: Budget,
    max_depth: usize,
    keys: Keys,
    resolve: bool,
    unknown_atom: bool,
    stack: &'a mut Vec<Frame>,
    pairs: &'a mut Pairs,
}

impl Reader<'_> {
    fn document(&mut self) -> Result<(), Fault> {
        loop {
            self.budget.add(Budget::VALUE);
            self.budget.check(self.at)?;
            // A value begins here, unless it is an empty container.
            let opened = match self.next() {
                Some(b'"') => {
                    self.at += 1;
                    self.string(false)?;
                    false
                }
                Some(b'{') => self.open_object()?,
                Some(b'[') => self.open_array()?,
                Some(b'-' | b'0'..=b'9') => {
                    self.number()?;
                    false
                }
                Some(b't') => self.literal(b"true")?,
                Some(b'f') => self.literal(b"false")?,
                Some(b'n') => self.literal(b"null")?,
                _ => return Err(Fault::Invalid),
            };
            if !opened && self.close()? {
                // The document is complete.
                return match self.next() {
                    None => Ok(()),
                    Some(_) => Err(Fault::Invalid),
                };
            }
        }
    }

    /// The byte the reader stands on.
    #[inline(always)]
    pub(super) fn byte(&self) -> Option<u8> {
        self.input.get(self.at).copied()
    }

    /// The next byte that is not white space; the reader stands on it.
    #[inline(always)]
    fn next(&mut self) -> Option<u8> {
        loop {
            match self.byte() {
                Some(b) if b > b' ' => return Some(b),
                Some(b' ' | b'\t' | b'\n' | b'\r') => self.at += 1,
                other => return other,
            }
        }
    }

    #[inline(always)]
    pub(super) fn charge(&mut self, bytes: usize) -> Result<(), Fault> {
        if self.cost.add(bytes) {
            Ok(())
        } else {
            Err(Fault::TooLarge)
        }
    }

    /// An array begins. True when a value follows, false when it was empty.
    #[inline]
    fn open_array(&mut self) -> Result<bool, Fault> {
        self.enter(Cost::LIST)?;
        if self.next() == Some(b']') {
            self.at += 1;
            self.out.push(etf::NIL);
            return Ok(false);
        }
        let header = self.out.len();
        etf::open(&mut self.out, etf::LIST);
        self.charge(Cost::ELEMENT)?;
        self.stack.push(Frame { header, count: 1, object: false, mark: 0 });
        Ok(true)
    }

    /// An object begins. True when its first name is read and the value follows,
    /// false when it was empty.
    #[inline]
    fn open_object(&mut self) -> Result<bool, Fault> {
        self.enter(Cost::MAP)?;
        let header = self.out.len();
        etf::open(&mut self.out, etf::MAP);
        if self.next() == Some(b'}') {
            self.at += 1;
            return Ok(false);
        }
        let mark = self.pairs.mark();
        self.stack.push(Frame { header, count: 1, object: true, mark });
        self.name()?;
        Ok(true)
    }

    #[inline]
    fn enter(&mut self, cost: usize) -> Result<(), Fault> {
        if self.stack.len() >= self.max_depth {
            return Err(Fault::TooDeep);
        }
        self.at += 1;
        self.charge(cost)
    }

    /// A value has ended: goes on to the next one or closes what ends with it.
    /// True when nothing is open any more.
    #[inline(always)]
    fn close(&mut self) -> Result<bool, Fault> {
        loop {
            let byte = self.next();
            let Some(frame) = self.stack.last_mut() else { return Ok(true) };
            match byte {
                Some(b',') => {
                    frame.count += 1;
                    self.at += 1;
                    if frame.object {
                        self.name()?;
                    } else {
                        self.charge(Cost::ELEMENT)?;
                    }
                    return Ok(false);
                }
                Some(b']') if !frame.object => {
                    etf::patch(&mut self.out, frame.header, frame.count);
                    self.out.push(etf::NIL);
                }
                Some(b'}') if frame.object => {
                    let mut count = frame.count;
                    if self.resolve {
                        count = self.pairs.close(frame.mark, &self.out);
                    }
                    etf::patch(&mut self.out, frame.header, count);
                }
                _ => return Err(Fault::Invalid),
            }
            self.at += 1;
            self.stack.pop();
        }
    }

    /// A name and the colon behind it.
    #[inline]
    fn name(&mut self) -> Result<(), Fault> {
        if self.next() != Some(b'"') {
            return Err(Fault::Invalid);
        }
        self.at += 1;
        self.charge(Cost::PAIR)?;
        self.budget.add(Budget::VALUE);
        let start = self.out.len();
        self.string(self.keys == Keys::Atoms)?;
        if self.resolve {
            self.budget.add(Budget::COMPARED);
            self.pairs.add(start..self.out.len());
        }
        if self.next() != Some(b':') {
            return Err(Fault::Invalid);
        }
        self.at += 1;
        Ok(())
    }

    fn literal(&mut self, word: &[u8]) -> Result<bool, Fault> {
        for expected in word {
            if self.byte() != Some(*expected) {
                return Err(Fault::Invalid);
            }
            self.at += 1;
        }
        etf::atom(&mut self.out, word);
        Ok(false)
    }

    /// A string, the reader standing behind its opening quote. Copied while it is
    /// searched for its end, eight bytes at a time.
    #[inline(always)]
    fn string(&mut self, atom: bool) -> Result<(), Fault> {
        let header = self.out.len();
        etf::open(&mut self.out, etf::BINARY);
        let rest = self.input.get(self.at..).unwrap_or_default();
        let (len, beyond) = text::copy_plain(&mut self.out, rest);
        if beyond {
            self.utf8(len)?;
        }
        self.at += len;
        if self.byte() != Some(b'"') {
            self.escapes()?;
        }
        self.at += 1;
        let len = self.out.len() - header - 5;
        self.charge(Cost::binary(len))?;
        etf::patch(&mut self.out, header, len as u32);
        if atom {
            self.unknown_atom |= !etf::binary_to_atom(&mut self.out, header);
        }
        Ok(())
    }

    /// The rest of a string from its first escape to its closing quote.
    #[cold]
    #[inline(never)]
    fn escapes(&mut self) -> Result<(), Fault> {
        loop {
            self.budget.add(Budget::ESCAPE);
            self.budget.check(self.at)?;
            match self.byte() {
                Some(b'"') => return Ok(()),
                Some(b'\\') => match text::unescape(self.input, self.at, &mut self.out) {
                    Ok(end) => self.at = end,
                    Err(bad) => {
                        self.at = bad;
                        return Err(Fault::Invalid);
                    }
                },
                // A control character, or the end.
                _ => return Err(Fault::Invalid),
            }
            let rest = self.input.get(self.at..).unwrap_or_default();
            let (len, beyond) = text::copy_plain(&mut self.out, rest);
            if beyond {
                self.utf8(len)?;
            }
            self.at += len;
        }
    }

    /// Are the next `len` bytes UTF-8?
    fn utf8(&mut self, len: usize) -> Result<(), Fault> {
        let text = self.input.get(self.at..self.at + len).unwrap_or_default();
        match text::utf8_error(text) {
            None => Ok(()),
            Some(bad) => {
                self.at += bad;
                Err(Fault::Invalid)
            }
        }
    }
}
