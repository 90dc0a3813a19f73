//! Strings: the scan for what ends plain text, and escapes.

use wide::u8x16;

/// Bytes looked at together. Most names and many texts end within one block, and
/// a loop whose length the processor cannot foresee costs more than the work in it.
const BLOCK: usize = 16;

/// Appends the plain text at the start of `bytes` (up to a quote, a backslash, a
/// control character or the end). Returns its length, and whether there may be
/// something beyond ASCII in it.
#[inline(always)]
pub fn copy_plain(out: &mut Vec<u8>, bytes: &[u8]) -> (usize, bool) {
    let mut at = 0;
    let mut seen = u8x16::splat(0);
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let block = match rest.first_chunk::<BLOCK>() {
            Some(block) => u8x16::new(*block),
            None => u8x16::new(padded(rest)),
        };
        seen |= block;
        out.extend_from_slice(&block.to_array());
        let special = special(block);
        if special != 0 {
            let plain = special.trailing_zeros() as usize;
            out.truncate(out.len() - BLOCK + plain);
            return (at + plain, seen.to_bitmask() != 0);
        }
        at += BLOCK;
    }
}

/// A bit for each byte that ends plain text: quote, backslash, control.
#[inline(always)]
fn special(block: u8x16) -> u32 {
    let quote = block.simd_eq(u8x16::splat(b'"'));
    let slash = block.simd_eq(u8x16::splat(b'\\'));
    let control = block.min(u8x16::splat(0x1f)).simd_eq(block);
    (quote | slash | control).to_bitmask()
}

/// A block of fewer bytes, with zeros behind them, which end plain text.
#[inline(always)]
fn padded(bytes: &[u8]) -> [u8; BLOCK] {
    let (low, high) = (word(bytes), word(bytes.get(8..).unwrap_or_default()));
    (u128::from(low) | u128::from(high) << 64).to_le_bytes()
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
/// for. Returns the offset behind it, or of what is wrong with it.
pub fn unescape(input: &[u8], at: usize, out: &mut Vec<u8>) -> Result<usize, usize> {
    let Some(&kind) = input.get(at + 1) else { return Err(at + 1) };
    let byte = match kind {
        b'"' | b'\\' | b'/' => kind,
        b'b' => 8,
        b'f' => 12,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'u' => return unicode(input, at, out),
        _ => return Err(at + 1),
    };
    out.push(byte);
    Ok(at + 2)
}

fn unicode(input: &[u8], at: usize, out: &mut Vec<u8>) -> Result<usize, usize> {
    let first = hex4(input, at + 2)?;
    let (code, end) = if (0xD800..0xDC00).contains(&first) {
        // A high half is nothing without the low half behind it.
        if input.get(at + 6) != Some(&b'\\') || input.get(at + 7) != Some(&b'u') {
            return Err(at);
        }
        let second = hex4(input, at + 8)?;
        if !(0xDC00..0xE000).contains(&second) {
            return Err(at);
        }
        (0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00), at + 12)
    } else {
        (first, at + 6)
    };
    // Only a lone low half is no character here.
    let Some(c) = char::from_u32(code) else { return Err(at) };
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    Ok(end)
}

fn hex4(input: &[u8], at: usize) -> Result<u32, usize> {
    let mut n = 0;
    for i in at..at + 4 {
        let digit = input.get(i).and_then(|b| (*b as char).to_digit(16));
        n = n << 4 | digit.ok_or(i)?;
    }
    Ok(n)
}

/// Appends a string with its quotes, escaped as RFC 8259 demands and no more.
/// False when the bytes are not UTF-8.
#[inline]
#[must_use]
pub fn quoted(out: &mut Vec<u8>, text: &[u8]) -> bool {
    out.push(b'"');
    let (mut at, mut beyond) = copy_plain(out, text);
    while let Some(&special) = text.get(at) {
        escape(out, special);
        let rest = text.get(at + 1..).unwrap_or_default();
        let (plain, more) = copy_plain(out, rest);
        at += 1 + plain;
        beyond |= more;
    }
    out.push(b'"');
    !beyond || simdutf8::basic::from_utf8(text).is_ok()
}

/// The first eight bytes in a word, with zeros behind them where there are fewer.
#[inline(always)]
fn word(bytes: &[u8]) -> u64 {
    if let Some(all) = bytes.first_chunk::<8>() {
        return u64::from_le_bytes(*all);
    }
    let n = bytes.len();
    if let (Some(low), Some(high)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        let (low, high) = (u32::from_le_bytes(*low), u32::from_le_bytes(*high));
        return u64::from(low) | u64::from(high) << (8 * (n - 4));
    }
    match *bytes {
        [a, b, c] => u64::from_le_bytes([a, b, c, 0, 0, 0, 0, 0]),
        [a, b] => u64::from_le_bytes([a, b, 0, 0, 0, 0, 0, 0]),
        [a] => u64::from(a),
        _ => 0,
    }
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
