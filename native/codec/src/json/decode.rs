//! JSON text to external term format, iteratively, with bounded output.

use super::repeats::Pairs;
use super::{etf, number, text, Cost, Error, Keys, Limits, Repeats};

/// A buffer larger than this is given back after use: a decoder is kept by each
/// scheduler thread, and one large document must not stay for ever.
const KEEP: usize = 256 * 1024;

/// Reads documents one after the other into a buffer that is used again.
#[derive(Default)]
pub struct Decoder {
    out: Vec<u8>,
    stack: Vec<Frame>,
    pairs: Pairs,
    scratch: Vec<u8>,
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

/// A decoded document.
#[derive(Debug)]
pub struct Document<'a> {
    /// External term format, with its version byte.
    pub etf: &'a [u8],
    /// The memory the term will take, from above.
    pub cost: usize,
}

impl Decoder {
    /// Decodes one document and nothing behind it but white space.
    pub fn decode(
        &mut self,
        input: &[u8],
        limits: &Limits,
        repeats: Repeats,
    ) -> Result<Document<'_>, Error> {
        if u32::try_from(input.len()).is_err() {
            // Lengths and counts have 32 bits in the term format.
            return Err(Error::TooLarge);
        }
        self.out.clear();
        self.out.shrink_to(KEEP);
        self.stack.clear();
        self.pairs.clear();
        // No value takes more than three times its text (`[]` in an array takes
        // six bytes for three); large documents seldom do, so they grow instead.
        let room = if input.len() < KEEP { input.len() * 3 } else { input.len() / 8 * 9 };
        if self.out.try_reserve(room + 64).is_err() {
            return Err(Error::TooLarge);
        }
        self.out.push(etf::VERSION);
        let mut reader = Reader {
            input,
            at: 0,
            limits,
            cost: Cost::new(limits.max_bytes),
            resolve: repeats == Repeats::Resolve,
            unknown_atom: false,
            out: &mut self.out,
            stack: &mut self.stack,
            pairs: &mut self.pairs,
            scratch: &mut self.scratch,
        };
        reader.document()?;
        let cost = reader.cost.used();
        if reader.unknown_atom {
            return Err(Error::UnknownAtom);
        }
        self.pairs.cut(&mut self.out);
        Ok(Document { etf: &self.out, cost })
    }
}

struct Reader<'a> {
    input: &'a [u8],
    at: usize,
    limits: &'a Limits,
    cost: Cost,
    resolve: bool,
    unknown_atom: bool,
    out: &'a mut Vec<u8>,
    stack: &'a mut Vec<Frame>,
    pairs: &'a mut Pairs,
    scratch: &'a mut Vec<u8>,
}

impl Reader<'_> {
    fn document(&mut self) -> Result<(), Error> {
        loop {
            // A value begins here, unless it is an empty container.
            let opened = match self.next() {
                Some(b'"') => {
                    self.at += 1;
                    self.string(Keys::Binaries)?;
                    false
                }
                Some(b'{') => self.open(true)?,
                Some(b'[') => self.open(false)?,
                Some(b'-' | b'0'..=b'9') => {
                    self.at = number::read(self.input, self.at, &mut self.cost, self.out)?;
                    false
                }
                Some(b't') => self.literal(b"true")?,
                Some(b'f') => self.literal(b"false")?,
                Some(b'n') => self.literal(b"null")?,
                _ => return Err(Error::Invalid(self.at)),
            };
            if !opened && self.close()? {
                // The document is complete.
                return match self.next() {
                    None => Ok(()),
                    Some(_) => Err(Error::Invalid(self.at)),
                };
            }
        }
    }

    /// The next byte that is not white space; `at` stands on it.
    #[inline]
    fn next(&mut self) -> Option<u8> {
        loop {
            match self.input.get(self.at) {
                Some(b' ' | b'\t' | b'\n' | b'\r') => self.at += 1,
                other => return other.copied(),
            }
        }
    }

    #[inline]
    fn charge(&mut self, bytes: usize) -> Result<(), Error> {
        if self.cost.add(bytes) {
            Ok(())
        } else {
            Err(Error::TooLarge)
        }
    }

    /// A container begins. True when a value follows (for an object: its name
    /// is read), false when it was empty.
    #[inline]
    fn open(&mut self, object: bool) -> Result<bool, Error> {
        if self.stack.len() >= self.limits.max_depth {
            return Err(Error::TooDeep);
        }
        self.at += 1;
        let header = self.out.len();
        if object {
            self.charge(Cost::MAP)?;
            etf::open(self.out, etf::MAP);
            if self.next() == Some(b'}') {
                self.at += 1;
                return Ok(false);
            }
            self.stack.push(Frame { header, count: 1, object, mark: self.pairs.mark() });
            self.name()?;
        } else {
            self.charge(Cost::LIST)?;
            if self.next() == Some(b']') {
                self.at += 1;
                self.out.push(etf::NIL);
                return Ok(false);
            }
            etf::open(self.out, etf::LIST);
            self.charge(Cost::ELEMENT)?;
            self.stack.push(Frame { header, count: 1, object, mark: 0 });
        }
        Ok(true)
    }

    /// A value has ended: goes on to the next one or closes what ends with it.
    /// True when nothing is open any more.
    #[inline]
    fn close(&mut self) -> Result<bool, Error> {
        loop {
            let Some(frame) = self.stack.last_mut() else { return Ok(true) };
            // `next` by hand: the frame is borrowed.
            while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.input.get(self.at) {
                self.at += 1;
            }
            match (self.input.get(self.at), frame.object) {
                (Some(b','), object) => {
                    frame.count += 1;
                    self.at += 1;
                    if object {
                        self.name()?;
                    } else {
                        self.charge(Cost::ELEMENT)?;
                    }
                    return Ok(false);
                }
                (Some(b']'), false) => {
                    etf::patch(self.out, frame.header, frame.count);
                    self.out.push(etf::NIL);
                }
                (Some(b'}'), true) => {
                    let count = if self.resolve {
                        self.pairs.close(frame.mark, self.out)
                    } else {
                        frame.count
                    };
                    etf::patch(self.out, frame.header, count);
                }
                _ => return Err(Error::Invalid(self.at)),
            }
            self.at += 1;
            self.stack.pop();
        }
    }

    /// A name and the colon behind it.
    #[inline]
    fn name(&mut self) -> Result<(), Error> {
        if self.next() != Some(b'"') {
            return Err(Error::Invalid(self.at));
        }
        self.at += 1;
        self.charge(Cost::PAIR)?;
        let start = self.out.len();
        self.string(self.limits.keys)?;
        if self.resolve {
            self.pairs.add(start..self.out.len());
        }
        if self.next() != Some(b':') {
            return Err(Error::Invalid(self.at));
        }
        self.at += 1;
        Ok(())
    }

    fn literal(&mut self, word: &[u8]) -> Result<bool, Error> {
        for expected in word {
            if self.input.get(self.at) != Some(expected) {
                return Err(Error::Invalid(self.at));
            }
            self.at += 1;
        }
        etf::atom(self.out, word);
        Ok(false)
    }

    /// A string, `at` standing behind its opening quote.
    #[inline]
    fn string(&mut self, keys: Keys) -> Result<(), Error> {
        let rest = self.input.get(self.at..).unwrap_or_default();
        let (len, beyond) = text::plain_prefix(rest);
        let plain = rest.get(..len).unwrap_or_default();
        if beyond {
            if let Some(bad) = text::utf8_error(plain) {
                return Err(Error::Invalid(self.at + bad));
            }
        }
        self.at += len;
        if rest.get(len) == Some(&b'"') {
            self.at += 1;
            if keys == Keys::Binaries {
                self.charge(Cost::binary(plain.len()))?;
                etf::binary(self.out, plain);
            } else {
                self.unknown_atom |= !atom(self.out, plain);
            }
            return Ok(());
        }
        self.escaped_string(plain, keys)
    }

    /// A string from its first escape on, `plain` being what is before it.
    fn escaped_string(&mut self, plain: &[u8], keys: Keys) -> Result<(), Error> {
        let mut scratch = std::mem::take(self.scratch);
        scratch.clear();
        scratch.shrink_to(KEEP);
        scratch.extend_from_slice(plain);
        let result = self.unescape_into(&mut scratch).and_then(|()| {
            if keys == Keys::Binaries {
                self.charge(Cost::binary(scratch.len()))?;
                etf::binary(self.out, &scratch);
            } else {
                self.unknown_atom |= !atom(self.out, &scratch);
            }
            Ok(())
        });
        *self.scratch = scratch;
        result
    }

    fn unescape_into(&mut self, scratch: &mut Vec<u8>) -> Result<(), Error> {
        loop {
            match self.input.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.at = text::unescape(self.input, self.at, scratch)?,
                // A control character, or the end.
                _ => return Err(Error::Invalid(self.at)),
            }
            let rest = self.input.get(self.at..).unwrap_or_default();
            let (len, beyond) = text::plain_prefix(rest);
            let plain = rest.get(..len).unwrap_or_default();
            if beyond {
                if let Some(bad) = text::utf8_error(plain) {
                    return Err(Error::Invalid(self.at + bad));
                }
            }
            scratch.extend_from_slice(plain);
            self.at += len;
        }
    }
}

/// False when no atom has this name. Something is written all the same: the rest
/// of the text has yet to be checked.
fn atom(out: &mut Vec<u8>, name: &[u8]) -> bool {
    let chars = name.iter().filter(|b| **b & 0xC0 != 0x80).count();
    if chars > etf::MAX_ATOM_CHARS {
        return false;
    }
    etf::atom(out, name);
    true
}
