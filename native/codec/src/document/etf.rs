//! The part of the external term format that documents need, written by hand.

pub const VERSION: u8 = 131;
pub const NEW_FLOAT: u8 = 70;
pub const SMALL_INTEGER: u8 = 97;
pub const INTEGER: u8 = 98;
pub const NIL: u8 = 106;
pub const LIST: u8 = 108;
pub const BINARY: u8 = 109;
pub const SMALL_BIG: u8 = 110;
pub const LARGE_BIG: u8 = 111;
pub const MAP: u8 = 116;
pub const ATOM_UTF8: u8 = 118;
pub const SMALL_ATOM_UTF8: u8 = 119;

/// The longest name of an atom, in characters.
pub const MAX_ATOM_CHARS: usize = 255;

#[inline]
fn tagged_u32(out: &mut Vec<u8>, tag: u8, n: u32) {
    let [a, b, c, d] = n.to_be_bytes();
    out.extend_from_slice(&[tag, a, b, c, d]);
}

#[inline]
pub fn integer(out: &mut Vec<u8>, n: i64) {
    if let Ok(small) = u8::try_from(n) {
        out.extend_from_slice(&[SMALL_INTEGER, small]);
    } else if let Ok(int) = i32::try_from(n) {
        tagged_u32(out, INTEGER, int as u32);
    } else {
        magnitude(out, n < 0, n.unsigned_abs());
    }
}

#[inline]
pub fn unsigned(out: &mut Vec<u8>, n: u64) {
    match i64::try_from(n) {
        Ok(n) => integer(out, n),
        Err(_) => magnitude(out, false, n),
    }
}

pub fn magnitude(out: &mut Vec<u8>, negative: bool, n: u64) {
    // All eight bytes: the reader drops leading zeros.
    out.extend_from_slice(&[SMALL_BIG, 8, u8::from(negative)]);
    out.extend_from_slice(&n.to_le_bytes());
}

/// An integer by its little-endian limbs, without leading zero limbs.
pub fn big(out: &mut Vec<u8>, negative: bool, limbs: &[u64]) {
    let len = limbs.len() * 8;
    match u8::try_from(len) {
        Ok(len) => out.extend_from_slice(&[SMALL_BIG, len]),
        Err(_) => tagged_u32(out, LARGE_BIG, len as u32),
    }
    out.push(u8::from(negative));
    for limb in limbs {
        out.extend_from_slice(&limb.to_le_bytes());
    }
}

#[inline]
pub fn float(out: &mut Vec<u8>, f: f64) {
    out.push(NEW_FLOAT);
    out.extend_from_slice(&f.to_be_bytes());
}

/// An atom of up to 255 bytes.
#[inline]
pub fn atom(out: &mut Vec<u8>, name: &[u8]) {
    out.extend_from_slice(&[SMALL_ATOM_UTF8, name.len() as u8]);
    out.extend_from_slice(name);
}

/// Turns the binary whose header is at `at` and whose bytes end the output into
/// an atom. False, with nothing changed, when no atom can have such a name.
pub fn binary_to_atom(out: &mut Vec<u8>, at: usize) -> bool {
    let Some(name) = out.get(at + 5..) else { return false };
    if name.iter().filter(|b| **b & 0xC0 != 0x80).count() > MAX_ATOM_CHARS {
        return false;
    }
    // At most 255 characters of four bytes.
    let [high, low] = (name.len() as u16).to_be_bytes();
    out.splice(at..at + 5, [ATOM_UTF8, high, low]);
    true
}

/// A map or list whose length is not known yet; `patch` fills it in.
#[inline]
pub fn open(out: &mut Vec<u8>, tag: u8) {
    out.extend_from_slice(&[tag, 0, 0, 0, 0]);
}

/// The length of the container that `open` began at `at`.
#[inline]
pub fn patch(out: &mut [u8], at: usize, len: u32) {
    if let Some(place) = out.get_mut(at + 1..at + 5) {
        place.copy_from_slice(&len.to_be_bytes());
    }
}
