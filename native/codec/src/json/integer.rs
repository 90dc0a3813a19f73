//! Integers beyond 64 bits: between decimal digits and 64-bit limbs, schoolbook
//! and so by the square of the length; `MAX_DIGITS` bounds it.

/// 10^19, the largest power of ten in 64 bits.
const CHUNK: u64 = 10_000_000_000_000_000_000;
const CHUNK_DIGITS: usize = 19;

/// Little-endian limbs of the number with these ASCII digits.
pub fn from_digits(digits: &[u8]) -> Vec<u64> {
    let mut limbs: Vec<u64> = Vec::with_capacity(digits.len() / CHUNK_DIGITS + 1);
    let (head, rest) = digits.split_at(digits.len() % CHUNK_DIGITS);
    for chunk in std::iter::once(head).chain(rest.chunks(CHUNK_DIGITS)) {
        let mut carry = chunk.iter().fold(0u64, |n, d| n * 10 + u64::from(d - b'0'));
        for limb in &mut limbs {
            let wide = u128::from(*limb) * u128::from(CHUNK) + u128::from(carry);
            *limb = wide as u64;
            carry = (wide >> 64) as u64;
        }
        if carry != 0 {
            limbs.push(carry);
        }
    }
    limbs
}

/// Decimal digits of the number in little-endian bytes; `None` where it has more
/// than `max_digits`.
pub fn to_digits(bytes: &[u8], max_digits: usize) -> Option<Vec<u8>> {
    let len = bytes.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
    let bytes = bytes.get(..len).unwrap_or_default();
    // log10(256) = 2.408..: refuse by length before any work by its square.
    if bytes.len().saturating_sub(1) > max_digits * 1000 / 2408 {
        return None;
    }
    let mut limbs: Vec<u64> =
        bytes.chunks(8).map(|c| c.iter().rev().fold(0u64, |n, b| n << 8 | u64::from(*b))).collect();
    let mut chunks = Vec::with_capacity(limbs.len() * 20 / CHUNK_DIGITS + 1);
    while let Some(&top) = limbs.last() {
        if top == 0 {
            limbs.pop();
            continue;
        }
        let mut rest = 0u64;
        for limb in limbs.iter_mut().rev() {
            let wide = u128::from(rest) << 64 | u128::from(*limb);
            *limb = (wide / u128::from(CHUNK)) as u64;
            rest = (wide % u128::from(CHUNK)) as u64;
        }
        chunks.push(rest);
    }
    let mut digits = Vec::with_capacity(chunks.len() * CHUNK_DIGITS);
    for (i, chunk) in chunks.iter().rev().enumerate() {
        let width = if i == 0 { 1 } else { CHUNK_DIGITS };
        digits.extend_from_slice(format!("{chunk:0width$}").as_bytes());
    }
    if digits.is_empty() {
        digits.push(b'0');
    }
    (digits.len() <= max_digits).then_some(digits)
}
