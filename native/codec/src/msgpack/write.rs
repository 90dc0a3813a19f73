//! A document to MessagePack bytes, each value in its shortest format.

use super::format::*;
use crate::document::{Big, Sink, KEEP};

/// Writes MessagePack into a buffer that is used again.
#[derive(Default)]
pub struct Writer {
    out: Vec<u8>,
}

impl Writer {
    fn tagged<const N: usize>(&mut self, tag: u8, rest: [u8; N]) {
        self.out.push(tag);
        self.out.extend_from_slice(&rest);
    }

    /// A header with 16 or 32 bits of length; false where those are too few.
    fn header(&mut self, len: usize, tag16: u8, tag32: u8) -> bool {
        if let Ok(len) = u16::try_from(len) {
            self.tagged(tag16, len.to_be_bytes());
        } else if let Ok(len) = u32::try_from(len) {
            self.tagged(tag32, len.to_be_bytes());
        } else {
            return false;
        }
        true
    }
}

impl Sink for Writer {
    const ANY_KEYS: bool = true;
    const LIST_LENGTHS: bool = true;

    fn begin(&mut self) {
        self.out.clear();
    }

    fn trim(&mut self) {
        self.out.clear();
        self.out.shrink_to(KEEP);
    }

    fn finish(&mut self) -> &[u8] {
        &self.out
    }

    fn null(&mut self) {
        self.out.push(NIL);
    }

    fn bool(&mut self, value: bool) {
        self.out.push(if value { TRUE } else { FALSE });
    }

    #[inline]
    fn text(&mut self, bytes: &[u8]) -> bool {
        let len = bytes.len();
        let text = simdutf8::basic::from_utf8(bytes).is_ok();
        let fits = match (text, u8::try_from(len)) {
            (true, Ok(len @ ..32)) => {
                self.out.push(FIXSTR | len);
                true
            }
            (true, Ok(len)) => {
                self.out.extend_from_slice(&[STR8, len]);
                true
            }
            (false, Ok(len)) => {
                self.out.extend_from_slice(&[BIN8, len]);
                true
            }
            (true, Err(_)) => self.header(len, STR16, STR32),
            (false, Err(_)) => self.header(len, BIN16, BIN32),
        };
        if fits {
            self.out.extend_from_slice(bytes);
        }
        fits
    }

    fn atom(&mut self, name: &str) {
        // At most 255 characters, 1,020 bytes.
        let _always_fits = self.text(name.as_bytes());
    }

    #[inline]
    fn int(&mut self, n: i64) {
        if let Ok(n) = u64::try_from(n) {
            self.uint(n);
        } else if n >= -32 {
            self.out.push(n as u8);
        } else if let Ok(n) = i8::try_from(n) {
            self.tagged(INT8, n.to_be_bytes());
        } else if let Ok(n) = i16::try_from(n) {
            self.tagged(INT16, n.to_be_bytes());
        } else if let Ok(n) = i32::try_from(n) {
            self.tagged(INT32, n.to_be_bytes());
        } else {
            self.tagged(INT64, n.to_be_bytes());
        }
    }

    #[inline]
    fn uint(&mut self, n: u64) {
        if let Ok(n) = u8::try_from(n) {
            if n < FIXMAP {
                self.out.push(n);
            } else {
                self.tagged(UINT8, [n]);
            }
        } else if let Ok(n) = u16::try_from(n) {
            self.tagged(UINT16, n.to_be_bytes());
        } else if let Ok(n) = u32::try_from(n) {
            self.tagged(UINT32, n.to_be_bytes());
        } else {
            self.tagged(UINT64, n.to_be_bytes());
        }
    }

    fn big(&mut self, _negative: bool, _magnitude: &[u8]) -> Big {
        Big::Unsupported
    }

    fn float(&mut self, f: f64) {
        self.tagged(FLOAT64, f.to_be_bytes());
    }

    #[inline]
    fn open_list(&mut self, len: usize) -> bool {
        if len < 16 {
            self.out.push(FIXARRAY | len as u8);
            return true;
        }
        self.header(len, ARRAY16, ARRAY32)
    }

    fn close_list(&mut self) {}

    #[inline]
    fn open_map(&mut self, len: usize) -> bool {
        if len < 16 {
            self.out.push(FIXMAP | len as u8);
            return true;
        }
        self.header(len, MAP16, MAP32)
    }

    fn close_map(&mut self) {}

    fn quote(&mut self) {}

    fn key_end(&mut self) {}

    fn value_end(&mut self) {}

    #[inline]
    fn written(&self) -> usize {
        self.out.len()
    }
}
