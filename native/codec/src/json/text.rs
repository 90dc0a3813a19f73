//! Strings: the scan for what ends plain text, and escapes.

use super::Error;

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// Length of the plain text at the start of `bytes` (no quote, backslash or
/// control character), and whether anything looked at was beyond ASCII.
///
/// Eight bytes at a time: `(v - 1) & !v` has a byte's high bit set where that
/// byte of `v` is zero; bytes above the lowest hit may be wrong, the lowest never.
#[inline]
pub fn plain_prefix(bytes: &[u8]) -> (usize, bool) {
    let mut at = 0;
    let mut seen = 0u64;
    while let Some(chunk) = bytes.get(at..at + 8) {
        let Ok(chunk) = chunk.try_into() else { break };
        let v = u64::from_le_bytes(chunk);
        let quote = v ^ (ONES * b'"' as u64);
        let slash = v ^ (ONES * b'\\' as u64);
        let hits = ((quote.wrapping_sub(ONES) & !quote)
            | (slash.wrapping_sub(ONES) & !slash)
            | (v.wrapping_sub(ONES * 0x20) & !v))
            & HIGH;
        seen |= v;
        if hits != 0 {
            return (at + hits.trailing_zeros() as usize / 8, seen & HIGH != 0);
        }
        at += 8;
    }
    let mut beyond = seen & HIGH != 0;
    while let Some(&b) = bytes.get(at) {
        if b == b'"' || b == b'\\' || b < 0x20 {
            break;
        }
        beyond |= b >= 0x80;
        at += 1;
    }
    (at, beyond)
}

/// The offset of the first byte that is not UTF-8, if there is one.
#[inline]
pub fn utf8_error(bytes: &[u8]) -> Option<usize> {
    match simdutf8::basic::from_utf8(bytes) {
        Ok(_) => None,
        Err(_) => std::str::from_utf8(bytes).err().map(|e| e.valid_up_to()),
    }
}

/// Reads the escape at `at` (which holds a backslash) and appends what it stands
/// for. Returns the offset behind it.
pub fn unescape(input: &[u8], at: usize, out: &mut Vec<u8>) -> Result<usize, Error> {
    let Some(&kind) = input.get(at + 1) else { return Err(Error::Invalid(at + 1)) };
    let byte = match kind {
        b'"' | b'\\' | b'/' => kind,
        b'b' => 8,
        b'f' => 12,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'u' => return unicode(input, at, out),
        _ => return Err(Error::Invalid(at + 1)),
    };
    out.push(byte);
    Ok(at + 2)
}

fn unicode(input: &[u8], at: usize, out: &mut Vec<u8>) -> Result<usize, Error> {
    let first = hex4(input, at + 2)?;
    let (code, end) = if (0xD800..0xDC00).contains(&first) {
        // A high half is nothing without the low half behind it.
        if input.get(at + 6) != Some(&b'\\') || input.get(at + 7) != Some(&b'u') {
            return Err(Error::Invalid(at));
        }
        let second = hex4(input, at + 8)?;
        if !(0xDC00..0xE000).contains(&second) {
            return Err(Error::Invalid(at));
        }
        (0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00), at + 12)
    } else {
        (first, at + 6)
    };
    // Only a lone low half is no character here.
    let Some(c) = char::from_u32(code) else { return Err(Error::Invalid(at)) };
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    Ok(end)
}

fn hex4(input: &[u8], at: usize) -> Result<u32, Error> {
    let mut n = 0;
    for i in at..at + 4 {
        let digit = input.get(i).and_then(|b| (*b as char).to_digit(16));
        n = n << 4 | digit.ok_or(Error::Invalid(i))?;
    }
    Ok(n)
}

/// Appends a string with its quotes, escaped as RFC 8259 demands and no more.
/// False when the bytes are not UTF-8.
#[inline]
#[must_use]
pub fn quoted(out: &mut Vec<u8>, text: &[u8]) -> bool {
    out.push(b'"');
    let (mut plain, mut beyond) = plain_prefix(text);
    let mut rest = text;
    loop {
        let (head, tail) = rest.split_at(plain);
        out.extend_from_slice(head);
        let Some((&special, tail)) = tail.split_first() else { break };
        escape(out, special);
        rest = tail;
        let next = plain_prefix(rest);
        plain = next.0;
        beyond |= next.1;
    }
    out.push(b'"');
    !beyond || simdutf8::basic::from_utf8(text).is_ok()
}

fn escape(out: &mut Vec<u8>, special: u8) {
    let short = match special {
        b'"' | b'\\' => special,
        8 => b'b',
        12 => b'f',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        _ => {
            let hex = |n: u8| b"0123456789ABCDEF".get(usize::from(n)).copied().unwrap_or(b'0');
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', hex(special >> 4), hex(special & 15)]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}
