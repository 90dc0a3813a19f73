//! Strings: the scan for what ends plain text, and escapes.

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// Appends the plain text at the start of `bytes` (up to a quote, a backslash, a
/// control character or the end). Returns its length, and whether there may be
/// something beyond ASCII in it.
#[inline(always)]
pub fn copy_plain(out: &mut Vec<u8>, bytes: &[u8]) -> (usize, bool) {
    let mut at = 0;
    let mut seen = 0u64;
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        // Two words at once: most names and many texts end within them, and a
        // loop whose length the processor cannot foresee costs more than the work.
        let (low, high) = match rest.first_chunk::<16>() {
            Some(chunk) => halves(*chunk),
            None => (partial(rest), partial(rest.get(8..).unwrap_or_default())),
        };
        seen |= low | high;
        out.extend_from_slice(&join(low, high));
        let (first, second) = (special(low), special(high));
        if first | second != 0 {
            let bits =
                if first != 0 { first.trailing_zeros() } else { 64 + second.trailing_zeros() };
            let plain = bits as usize / 8;
            out.truncate(out.len() - 16 + plain);
            return (at + plain, seen & HIGH != 0);
        }
        at += 16;
    }
}

#[inline(always)]
fn halves(bytes: [u8; 16]) -> (u64, u64) {
    let n = u128::from_le_bytes(bytes);
    (n as u64, (n >> 64) as u64)
}

#[inline(always)]
fn join(low: u64, high: u64) -> [u8; 16] {
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
fn partial(bytes: &[u8]) -> u64 {
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

/// The high bit of each byte that ends plain text: quote, backslash, control.
/// Bits above the lowest may be wrong, the lowest never is.
#[inline]
fn special(v: u64) -> u64 {
    // `(x - 1) & !x` has a byte's high bit set where that byte of `x` is zero.
    let quote = v ^ (ONES * b'"' as u64);
    let slash = v ^ (ONES * b'\\' as u64);
    ((quote.wrapping_sub(ONES) & !quote)
        | (slash.wrapping_sub(ONES) & !slash)
        | (v.wrapping_sub(ONES * 0x20) & !v))
        & HIGH
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
