//! A document to JSON text.

use super::{integer, text, MAX_DIGITS};
use crate::document::{Big, Sink, KEEP};

/// Writes JSON text into a buffer that is used again.
///
/// Each value is followed by a comma, which the end of its container replaces:
/// so no state says whether a value is the first.
#[derive(Default)]
pub struct Writer {
    out: Vec<u8>,
}

impl Writer {
    fn close(&mut self, bracket: u8) {
        match self.out.last_mut() {
            Some(last) if *last == b',' => *last = bracket,
            _ => self.out.push(bracket),
        }
    }
}

impl Sink for Writer {
    const ANY_KEYS: bool = false;
    const LIST_LENGTHS: bool = false;

    fn begin(&mut self) {
        self.out.clear();
    }

    fn trim(&mut self) {
        self.out.clear();
        self.out.shrink_to(KEEP);
    }

    fn finish(&mut self) -> &[u8] {
        self.out.pop();
        &self.out
    }

    fn null(&mut self) {
        self.out.extend_from_slice(b"null");
    }

    fn bool(&mut self, value: bool) {
        self.out.extend_from_slice(if value { b"true" } else { b"false" });
    }

    #[inline]
    fn text(&mut self, bytes: &[u8]) -> bool {
        text::quoted(&mut self.out, bytes)
    }

    fn atom(&mut self, name: &str) {
        let _always_text = text::quoted(&mut self.out, name.as_bytes());
    }

    #[inline]
    fn int(&mut self, n: i64) {
        if n < 0 {
            self.out.push(b'-');
        }
        self.uint(n.unsigned_abs());
    }

    #[inline]
    fn uint(&mut self, n: u64) {
        let mut digits = [0; 20];
        let mut at = digits.len();
        let mut n = n;
        for place in digits.iter_mut().rev() {
            *place = b'0' + (n % 10) as u8;
            at -= 1;
            n /= 10;
            if n == 0 {
                break;
            }
        }
        self.out.extend_from_slice(digits.get(at..).unwrap_or_default());
    }

    fn big(&mut self, negative: bool, magnitude: &[u8]) -> Big {
        let Some(digits) = integer::to_digits(magnitude, MAX_DIGITS) else {
            return Big::TooLarge;
        };
        if negative {
            self.out.push(b'-');
        }
        self.out.extend_from_slice(&digits);
        Big::Written
    }

    fn float(&mut self, f: f64) {
        // The shortest text that reads as the same double; Erlang floats are
        // finite, and it always has a point or an exponent.
        self.out.extend_from_slice(zmij::Buffer::new().format_finite(f).as_bytes());
    }

    #[inline]
    fn open_list(&mut self, _len: usize) -> bool {
        self.out.push(b'[');
        true
    }

    #[inline]
    fn close_list(&mut self) {
        self.close(b']');
    }

    #[inline]
    fn open_map(&mut self, _len: usize) -> bool {
        self.out.push(b'{');
        true
    }

    #[inline]
    fn close_map(&mut self) {
        self.close(b'}');
    }

    fn quote(&mut self) {
        self.out.push(b'"');
    }

    #[inline]
    fn key_end(&mut self) {
        self.out.push(b':');
    }

    #[inline]
    fn value_end(&mut self) {
        self.out.push(b',');
    }

    #[inline]
    fn written(&self) -> usize {
        self.out.len()
    }
}
