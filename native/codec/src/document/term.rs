//! Reads a term in the external format as a document.

use super::{Big, Sink};
use crate::json::etf;

/// Why a term is no document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    TooDeep,
    TooLarge,
    /// The offset of the part that the sink has no way to write.
    Unsupported(usize),
    /// The bytes are no external format: nothing `term_to_binary/1` writes.
    Corrupt,
}

struct Frame {
    /// Values still to come; for a map, keys count as well.
    left: usize,
    /// Where the container begins.
    start: usize,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    List,
    /// What comes next is a key.
    Key,
    Value,
}

/// Tells `sink` the term in `etf`, without a recursion.
pub fn tell<S: Sink>(etf: &[u8], max_depth: usize, sink: &mut S) -> Result<(), Stop> {
    let mut reader = Reader { etf, at: 1, max_depth, stack: Vec::with_capacity(16) };
    if etf.first() != Some(&etf::VERSION) {
        return Err(Stop::Corrupt);
    }
    reader.run(sink)
}

struct Reader<'a> {
    etf: &'a [u8],
    at: usize,
    max_depth: usize,
    stack: Vec<Frame>,
}

impl<'a> Reader<'a> {
    fn run<S: Sink>(&mut self, sink: &mut S) -> Result<(), Stop> {
        let mut role = Kind::Value;
        loop {
            let complete = self.term(role, sink)?;
            if complete {
                if role == Kind::Key {
                    sink.key_end();
                } else {
                    sink.value_end();
                }
            }
            // Close what ends here, and find the role of what comes next.
            loop {
                let Some(frame) = self.stack.last_mut() else { return Ok(()) };
                if frame.left == 0 {
                    let list = frame.kind == Kind::List;
                    let start = frame.start;
                    if list {
                        if self.etf.get(self.at) != Some(&etf::NIL) {
                            return Err(Stop::Unsupported(start));
                        }
                        self.at += 1;
                        sink.close_list();
                    } else {
                        sink.close_map();
                    }
                    self.stack.pop();
                    // A container that is a key itself.
                    match self.stack.last() {
                        Some(outer) if outer.kind == Kind::Value => sink.key_end(),
                        _ => sink.value_end(),
                    }
                    continue;
                }
                frame.left -= 1;
                role = frame.kind;
                frame.kind = match role {
                    Kind::List => Kind::List,
                    Kind::Key => Kind::Value,
                    Kind::Value => Kind::Key,
                };
                break;
            }
        }
    }

    #[inline]
    fn take(&mut self, len: usize) -> Result<&'a [u8], Stop> {
        let end = self.at.checked_add(len).ok_or(Stop::Corrupt)?;
        let bytes = self.etf.get(self.at..end).ok_or(Stop::Corrupt)?;
        self.at = end;
        Ok(bytes)
    }

    #[inline]
    fn u8(&mut self) -> Result<u8, Stop> {
        self.take(1)?.first().copied().ok_or(Stop::Corrupt)
    }

    #[inline]
    fn u16(&mut self) -> Result<usize, Stop> {
        let bytes = self.take(2)?.try_into().map_err(|_| Stop::Corrupt)?;
        Ok(usize::from(u16::from_be_bytes(bytes)))
    }

    #[inline]
    fn u32(&mut self) -> Result<u32, Stop> {
        let bytes = self.take(4)?.try_into().map_err(|_| Stop::Corrupt)?;
        Ok(u32::from_be_bytes(bytes))
    }

    #[inline]
    fn len(&mut self) -> Result<usize, Stop> {
        Ok(self.u32()? as usize)
    }

    /// Tells one term. True when it is complete, false when its content follows.
    #[inline]
    fn term<S: Sink>(&mut self, role: Kind, sink: &mut S) -> Result<bool, Stop> {
        let start = self.at;
        let bare_key = role == Kind::Key && !S::ANY_KEYS;
        match self.u8()? {
            etf::BINARY => {
                let len = self.len()?;
                if !sink.text(self.take(len)?) {
                    return Err(Stop::Unsupported(start));
                }
            }
            etf::SMALL_INTEGER => {
                let n = self.u8()?;
                number(bare_key, sink, |s| s.int(i64::from(n)));
            }
            etf::INTEGER => {
                let n = self.u32()? as i32;
                number(bare_key, sink, |s| s.int(i64::from(n)));
            }
            etf::SMALL_BIG => {
                let len = usize::from(self.u8()?);
                self.big(start, len, bare_key, sink)?;
            }
            etf::LARGE_BIG => {
                let len = self.len()?;
                self.big(start, len, bare_key, sink)?;
            }
            etf::NEW_FLOAT if !bare_key => {
                let bytes = self.take(8)?.try_into().map_err(|_| Stop::Corrupt)?;
                sink.float(f64::from_be_bytes(bytes));
            }
            etf::SMALL_ATOM_UTF8 | etf::SMALL_ATOM => {
                let len = usize::from(self.u8()?);
                self.atom(start, len, bare_key, sink)?;
            }
            etf::ATOM | etf::ATOM_UTF8 => {
                let len = self.u16()?;
                self.atom(start, len, bare_key, sink)?;
            }
            etf::NIL if !bare_key => {
                self.deeper()?;
                if !sink.open_list(0) {
                    return Err(Stop::Unsupported(start));
                }
                sink.close_list();
            }
            etf::LIST if !bare_key => {
                let left = self.len()?;
                self.open(Frame { left, start, kind: Kind::List }, sink.open_list(left))?;
                return Ok(false);
            }
            etf::STRING if !bare_key => {
                self.deeper()?;
                let len = self.u16()?;
                if !sink.open_list(len) {
                    return Err(Stop::Unsupported(start));
                }
                for byte in self.take(len)? {
                    sink.int(i64::from(*byte));
                    sink.value_end();
                }
                sink.close_list();
            }
            etf::MAP if !bare_key => {
                let pairs = self.len()?;
                let frame = Frame { left: pairs * 2, start, kind: Kind::Key };
                self.open(frame, sink.open_map(pairs))?;
                return Ok(false);
            }
            _ => return Err(Stop::Unsupported(start)),
        }
        Ok(true)
    }

    #[inline]
    fn deeper(&self) -> Result<(), Stop> {
        if self.stack.len() >= self.max_depth {
            return Err(Stop::TooDeep);
        }
        Ok(())
    }

    #[inline]
    fn open(&mut self, frame: Frame, accepted: bool) -> Result<(), Stop> {
        self.deeper()?;
        if !accepted {
            return Err(Stop::Unsupported(frame.start));
        }
        self.stack.push(frame);
        Ok(())
    }

    fn big<S: Sink>(
        &mut self,
        start: usize,
        len: usize,
        bare_key: bool,
        sink: &mut S,
    ) -> Result<(), Stop> {
        let negative = self.u8()? != 0;
        let bytes = self.take(len)?;
        let fits = bytes.len() <= 8;
        let n = bytes.iter().rev().take(8).fold(0u64, |n, b| n << 8 | u64::from(*b));
        let mut result = Big::Written;
        number(bare_key, sink, |s| match (fits, negative, i64::try_from(n)) {
            (true, false, Ok(n)) => s.int(n),
            (true, false, Err(_)) => s.uint(n),
            (true, true, Ok(n)) => s.int(-n),
            (true, true, Err(_)) if n == 1 << 63 => s.int(i64::MIN),
            _ => result = s.big(negative, bytes),
        });
        match result {
            Big::Written => Ok(()),
            Big::TooLarge => Err(Stop::TooLarge),
            Big::Unsupported => Err(Stop::Unsupported(start)),
        }
    }

    fn atom<S: Sink>(
        &mut self,
        start: usize,
        len: usize,
        bare_key: bool,
        sink: &mut S,
    ) -> Result<(), Stop> {
        let latin1 = matches!(self.etf.get(start), Some(&(etf::ATOM | etf::SMALL_ATOM)));
        match self.take(len)? {
            b"null" if !bare_key => sink.null(),
            b"true" if !bare_key => sink.bool(true),
            b"false" if !bare_key => sink.bool(false),
            name if latin1 && !name.is_ascii() => {
                sink.atom(&name.iter().map(|b| char::from(*b)).collect::<String>());
            }
            name => sink.atom(std::str::from_utf8(name).map_err(|_| Stop::Corrupt)?),
        }
        Ok(())
    }
}

/// A number, in quotes where it is a name.
#[inline]
fn number<S: Sink>(quoted: bool, sink: &mut S, tell: impl FnOnce(&mut S)) {
    if quoted {
        sink.quote();
    }
    tell(sink);
    if quoted {
        sink.quote();
    }
}
