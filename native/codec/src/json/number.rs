//! Numbers: text to the term format.

use super::{etf, integer, Cost, Error, MAX_DIGITS};

/// Integers up to this stay in the word that names them (60 bits, signed).
const IMMEDIATE: u64 = 1 << 59;

/// Reads the number at `start` (a digit or a minus). Returns the offset behind it.
#[inline]
pub fn read(
    input: &[u8],
    start: usize,
    cost: &mut Cost,
    out: &mut Vec<u8>,
) -> Result<usize, Error> {
    let negative = input.get(start) == Some(&b'-');
    let first = start + usize::from(negative);
    let mut at = first;
    let mut n = 0u64;
    while let Some(d) = digit(input, at) {
        // Wraps beyond 19 digits, and then is not used.
        n = n.wrapping_mul(10).wrapping_add(u64::from(d));
        at += 1;
    }
    if at == first {
        return Err(Error::Invalid(at));
    }
    if at - first > 1 && input.get(first) == Some(&b'0') {
        // No leading zeros: the digit behind the zero is the one too many.
        return Err(Error::Invalid(first + 1));
    }
    if matches!(input.get(at), Some(b'.' | b'e' | b'E')) {
        return float(input, start, at, cost, out);
    }
    if at - first <= 19 {
        small(n, negative, cost, out)?;
        return Ok(at);
    }
    let digits = input.get(first..at).unwrap_or_default();
    if digits.len() > MAX_DIGITS {
        return Err(Error::TooLarge);
    }
    let limbs = integer::from_digits(digits);
    if !cost.add(Cost::BIG + 8 * limbs.len()) {
        return Err(Error::TooLarge);
    }
    etf::big(out, negative, &limbs);
    Ok(at)
}

#[inline]
fn digit(input: &[u8], at: usize) -> Option<u8> {
    input.get(at).map(|b| b.wrapping_sub(b'0')).filter(|d| *d < 10)
}

#[inline]
fn small(n: u64, negative: bool, cost: &mut Cost, out: &mut Vec<u8>) -> Result<(), Error> {
    if n >= IMMEDIATE {
        if !cost.add(Cost::BIG + 8) {
            return Err(Error::TooLarge);
        }
        etf::magnitude(out, negative, n);
    } else {
        let n = n as i64;
        etf::integer(out, if negative { -n } else { n });
    }
    Ok(())
}

/// A number with a fraction or an exponent, from its first digit behind `at`.
fn float(
    input: &[u8],
    start: usize,
    at: usize,
    cost: &mut Cost,
    out: &mut Vec<u8>,
) -> Result<usize, Error> {
    let mut at = at;
    if input.get(at) == Some(&b'.') {
        at = digits(input, at + 1)?;
    }
    if matches!(input.get(at), Some(b'e' | b'E')) {
        at += 1;
        if matches!(input.get(at), Some(b'+' | b'-')) {
            at += 1;
        }
        at = digits(input, at)?;
    }
    let text = input.get(start..at).and_then(|b| std::str::from_utf8(b).ok());
    match text.and_then(|t| t.parse::<f64>().ok()) {
        Some(f) if f.is_finite() => {
            if !cost.add(Cost::FLOAT) {
                return Err(Error::TooLarge);
            }
            etf::float(out, f);
            Ok(at)
        }
        // Erlang has no infinity to stand for it.
        _ => Err(Error::Invalid(start)),
    }
}

/// One digit or more.
fn digits(input: &[u8], start: usize) -> Result<usize, Error> {
    let mut at = start;
    while digit(input, at).is_some() {
        at += 1;
    }
    if at == start {
        return Err(Error::Invalid(at));
    }
    Ok(at)
}
