//! The bytes: tags and numbers.

/// Not 131, so that no decoder of external term format takes it for its own.
pub const MAGIC: u8 = 0xB5;
pub const VERSION: u8 = 1;

/// Literals of these lengths enter the dictionary.
pub const MIN_SHARED: usize = 1;
pub const MAX_SHARED: usize = 64;
/// Maps of the VM with up to 32 keys are flat, and such maps have shapes.
pub const MAX_SHAPE: usize = 32;

// Tags that carry a number themselves: first tag, and how many.
pub const SMALL_INT: u8 = 0x00;
pub const SMALL_INTS: u64 = 64;
pub const REF: u8 = 0x40;
pub const REFS: u64 = 64;
pub const SHAPE: u8 = 0x80;
pub const SHAPES: u64 = 32;
pub const BINARY: u8 = 0xA0;
pub const BINARIES: u64 = 32;
/// The number's upper four bits; a byte with the lower eight follows.
pub const REF_12: u8 = 0xC0;
pub const REFS_12: u64 = 16 << 8;
pub const LIST: u8 = 0xD0;
pub const LISTS: u64 = 8;
pub const TUPLE: u8 = 0xD8;
pub const TUPLES: u64 = 8;

// Tags that a number follows.
pub const POSITIVE: u8 = 0xE0;
/// -1 - N.
pub const NEGATIVE: u8 = 0xE1;
pub const FLOAT: u8 = 0xE2;
pub const ATOM: u8 = 0xE3;
pub const BINARY_N: u8 = 0xE4;
/// Stays out of the dictionary.
pub const PLAIN_BINARY: u8 = 0xE5;
pub const LIST_N: u8 = 0xE6;
/// N elements, and then the tail.
pub const IMPROPER: u8 = 0xE7;
pub const TUPLE_N: u8 = 0xE8;
/// N keys, and then N values.
pub const NEW_SHAPE: u8 = 0xE9;
/// Key, value, key, value ...
pub const PAIRS: u8 = 0xEA;
pub const REF_N: u8 = 0xEB;
pub const SHAPE_N: u8 = 0xEC;
pub const EXTERNAL: u8 = 0xED;

#[inline]
pub fn put_number(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

#[inline]
pub fn put_tagged(out: &mut Vec<u8>, tag: u8, n: u64) {
    out.push(tag);
    put_number(out, n);
}

#[inline(always)]
pub fn put_ref(out: &mut Vec<u8>, id: u32) {
    let id = u64::from(id);
    if id < REFS {
        out.push(REF + id as u8);
    } else if id - REFS < REFS_12 {
        let n = (id - REFS) as u16;
        out.extend_from_slice(&[REF_12 | (n >> 8) as u8, n as u8]);
    } else {
        put_tagged(out, REF_N, id);
    }
}
