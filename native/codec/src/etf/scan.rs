//! The check itself: one pass, no recursion, no allocation unless the depth is
//! limited.
//!
//! Terms stand in prefix order, so a container only adds to the number of terms
//! still to come, and the input is well formed when that number reaches zero at
//! its last byte. No term takes less than a byte: a container that announces
//! more terms than bytes are left is refused where it stands, whatever it claims.

use super::{Error, Limits, VERSION};

/// Bytes in a word of the VM.
const WORD: u64 = 8;
/// Binaries up to here live on the process heap.
const HEAP_BINARY: usize = 64;

/// The words of a large binary's handle on the heap plus the head of its block,
/// the largest of the OTP releases 25 to 29.
const BINARY_HANDLE: u64 = 12;
/// A pid, port or export with the parts that are not atoms.
const IDENTIFIER: u64 = 8;
/// A fun without its environment.
const FUN: u64 = 16;

/// Checks `input` (with its leading 131) and gives an upper bound of the bytes
/// that the decoded term takes.
pub fn scan(input: &[u8], limits: &Limits) -> Result<u64, Error> {
    let bytes = match limits.max_depth {
        None => run(input, limits.safe, Flat::default(), &mut |_, _| {})?,
        Some(max) => run(input, limits.safe, Nested::new(max), &mut |_, _| {})?,
    };
    if bytes > limits.max_bytes {
        return Err(Error::TooLarge);
    }
    Ok(bytes)
}

/// Calls `visit(start, end)` for each atom and for each other term without
/// parts that the VM's decoder may refuse for its value. Only used to tell why
/// the VM refused `input`.
pub fn leaves(input: &[u8], visit: &mut impl FnMut(usize, usize)) -> Result<(), Error> {
    run(input, false, Flat::default(), visit).map(|_| ())
}

/// How many terms are still to come, with or without the depth of each.
trait Pending {
    /// Takes one term off; `false` when none is to come.
    fn next(&mut self) -> bool;
    /// `count` terms (at least one) inside of the one just taken; `total` is
    /// what must be left of the input for them.
    fn enter(&mut self, count: u64, bytes_left: u64, at: usize) -> Result<(), Error>;
}

struct Flat {
    count: u64,
}

impl Default for Flat {
    fn default() -> Self {
        Flat { count: 1 }
    }
}

impl Pending for Flat {
    #[inline(always)]
    fn next(&mut self) -> bool {
        if self.count == 0 {
            return false;
        }
        self.count -= 1;
        true
    }

    #[inline(always)]
    fn enter(&mut self, count: u64, bytes_left: u64, at: usize) -> Result<(), Error> {
        self.count += count;
        if self.count > bytes_left {
            return Err(Error::Invalid(at));
        }
        Ok(())
    }
}

struct Nested {
    all: Flat,
    /// Terms to come in each open container.
    open: Vec<u64>,
    max: usize,
}

impl Nested {
    fn new(max: u32) -> Self {
        Nested { all: Flat::default(), open: Vec::new(), max: max as usize }
    }
}

impl Pending for Nested {
    fn next(&mut self) -> bool {
        while let Some(left) = self.open.last_mut() {
            if *left > 0 {
                *left -= 1;
                break;
            }
            self.open.pop();
        }
        self.all.next()
    }

    fn enter(&mut self, count: u64, bytes_left: u64, at: usize) -> Result<(), Error> {
        self.all.enter(count, bytes_left, at)?;
        if self.open.len() >= self.max {
            return Err(Error::TooDeep);
        }
        self.open.push(count);
        Ok(())
    }
}

/// The tags of terms.
mod tag {
    pub const NEW_FLOAT: u8 = 70;
    pub const BIT_BINARY: u8 = 77;
    pub const NEW_PID: u8 = 88;
    pub const NEW_PORT: u8 = 89;
    pub const NEWER_REFERENCE: u8 = 90;
    pub const SMALL_INTEGER: u8 = 97;
    pub const INTEGER: u8 = 98;
    pub const FLOAT: u8 = 99;
    pub const ATOM: u8 = 100;
    pub const REFERENCE: u8 = 101;
    pub const PORT: u8 = 102;
    pub const PID: u8 = 103;
    pub const SMALL_TUPLE: u8 = 104;
    pub const LARGE_TUPLE: u8 = 105;
    pub const NIL: u8 = 106;
    pub const STRING: u8 = 107;
    pub const LIST: u8 = 108;
    pub const BINARY: u8 = 109;
    pub const SMALL_BIG: u8 = 110;
    pub const LARGE_BIG: u8 = 111;
    pub const NEW_FUN: u8 = 112;
    pub const EXPORT: u8 = 113;
    pub const NEW_REFERENCE: u8 = 114;
    pub const SMALL_ATOM: u8 = 115;
    pub const MAP: u8 = 116;
    pub const FUN: u8 = 117;
    pub const ATOM_UTF8: u8 = 118;
    pub const SMALL_ATOM_UTF8: u8 = 119;
    pub const V4_PORT: u8 = 120;
}

struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Input<'_> {
    #[inline(always)]
    fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    #[inline(always)]
    fn skip(&mut self, n: usize, start: usize) -> Result<(), Error> {
        if n > self.left() {
            return Err(Error::Invalid(start));
        }
        self.at += n;
        Ok(())
    }

    #[inline(always)]
    fn take<const N: usize>(&mut self, start: usize) -> Result<[u8; N], Error> {
        match self.bytes[self.at..].first_chunk::<N>() {
            Some(chunk) => {
                self.at += N;
                Ok(*chunk)
            }
            None => Err(Error::Invalid(start)),
        }
    }

    #[inline(always)]
    fn u8(&mut self, start: usize) -> Result<usize, Error> {
        Ok(usize::from(self.take::<1>(start)?[0]))
    }

    #[inline(always)]
    fn u16(&mut self, start: usize) -> Result<usize, Error> {
        Ok(usize::from(u16::from_be_bytes(self.take(start)?)))
    }

    #[inline(always)]
    fn u32(&mut self, start: usize) -> Result<usize, Error> {
        Ok(u32::from_be_bytes(self.take(start)?) as usize)
    }

    /// A pid, port or reference: its node, then `rest` bytes.
    fn identifier(
        &mut self,
        rest: usize,
        start: usize,
        visit: &mut impl FnMut(usize, usize),
    ) -> Result<(), Error> {
        let from = self.at;
        let len = match self.u8(start)? as u8 {
            tag::ATOM | tag::ATOM_UTF8 => self.u16(start)?,
            tag::SMALL_ATOM | tag::SMALL_ATOM_UTF8 => self.u8(start)?,
            _ => return Err(Error::Invalid(start)),
        };
        self.skip(len, start)?;
        visit(from, self.at);
        self.skip(rest, start)?;
        visit(start, self.at);
        Ok(())
    }
}

// Each arm reads and checks for itself: where the next term starts then hangs on
// as little as possible, which makes this a third faster than one common check
// after the match.
#[inline(always)]
fn run<P: Pending>(
    bytes: &[u8],
    safe: bool,
    mut pending: P,
    visit: &mut impl FnMut(usize, usize),
) -> Result<u64, Error> {
    if bytes.first() != Some(&VERSION) {
        return Err(Error::Invalid(0));
    }
    let mut input = Input { bytes, at: 1 };
    // Words on the heap, and bytes outside of it. Neither can overflow: a term
    // adds at most a small multiple of the bytes it takes or announces.
    let mut words: u64 = 0;
    let mut off_heap: u64 = 0;

    while pending.next() {
        let start = input.at;
        // How many terms are inside of this one.
        let inside = match input.u8(start)? as u8 {
            tag::SMALL_INTEGER => {
                input.skip(1, start)?;
                continue;
            }
            tag::INTEGER => {
                input.skip(4, start)?;
                continue;
            }
            tag::SMALL_ATOM_UTF8 | tag::SMALL_ATOM => {
                let len = input.u8(start)?;
                input.skip(len, start)?;
                visit(start, input.at);
                continue;
            }
            tag::ATOM | tag::ATOM_UTF8 => {
                let len = input.u16(start)?;
                input.skip(len, start)?;
                visit(start, input.at);
                continue;
            }
            tag::BINARY => {
                let len = input.u32(start)?;
                input.skip(len, start)?;
                binary(len, &mut words, &mut off_heap);
                continue;
            }
            tag::NIL => continue,
            tag::NEW_FLOAT => {
                input.skip(8, start)?;
                words += 2;
                visit(start, input.at);
                continue;
            }
            tag::FLOAT => {
                input.skip(31, start)?;
                words += 2;
                visit(start, input.at);
                continue;
            }
            tag::STRING => {
                let len = input.u16(start)?;
                input.skip(len, start)?;
                words += 2 * len as u64;
                continue;
            }
            tag::SMALL_BIG => {
                let len = input.u8(start)?;
                input.skip(1 + len, start)?;
                words += 1 + words_of(len);
                visit(start, input.at);
                continue;
            }
            tag::LARGE_BIG => {
                let len = input.u32(start)?;
                input.skip(1, start)?;
                input.skip(len, start)?;
                words += 1 + words_of(len);
                visit(start, input.at);
                continue;
            }
            tag::BIT_BINARY => {
                let len = input.u32(start)?;
                input.skip(1, start)?;
                input.skip(len, start)?;
                binary(len, &mut words, &mut off_heap);
                words += IDENTIFIER;
                visit(start, input.at);
                continue;
            }
            identifier @ (tag::NEW_PID
            | tag::PID
            | tag::NEW_PORT
            | tag::PORT
            | tag::V4_PORT
            | tag::REFERENCE) => {
                let rest = match identifier {
                    tag::NEW_PID => 4 + 4 + 4,
                    tag::PID => 4 + 4 + 1,
                    tag::NEW_PORT => 4 + 4,
                    tag::V4_PORT => 8 + 4,
                    // PORT and REFERENCE
                    _ => 4 + 1,
                };
                input.identifier(rest, start, visit)?;
                words += IDENTIFIER;
                continue;
            }
            reference @ (tag::NEW_REFERENCE | tag::NEWER_REFERENCE) => {
                let ids = 4 * input.u16(start)?;
                let creation = if reference == tag::NEW_REFERENCE { 1 } else { 4 };
                input.identifier(creation + ids, start, visit)?;
                words += IDENTIFIER + words_of(ids);
                continue;
            }
            tag::MAP => {
                let pairs = input.u32(start)? as u64;
                // Flat maps hold a key tuple and the values; from 33 pairs on it
                // is a tree of nodes with a cons for each pair.
                words += if pairs <= 32 { 2 * pairs + 5 } else { 5 * pairs + 2 };
                2 * pairs
            }
            tag::LIST => {
                let count = input.u32(start)? as u64;
                words += 2 * count;
                count + 1
            }
            tag::SMALL_TUPLE => {
                let count = input.u8(start)? as u64;
                words += 1 + count;
                count
            }
            tag::LARGE_TUPLE => {
                let count = input.u32(start)? as u64;
                words += 1 + count;
                count
            }
            tag::NEW_FUN | tag::FUN | tag::EXPORT if safe => return Err(Error::Unsafe),
            tag::EXPORT => {
                words += IDENTIFIER;
                // Module, function and arity.
                3
            }
            tag::NEW_FUN => {
                // Size, arity, unique id and index stand before the number of
                // free variables; module, old index, old unique id and pid after.
                input.skip(4 + 1 + 16 + 4, start)?;
                let free = input.u32(start)? as u64;
                words += FUN + free;
                4 + free
            }
            tag::FUN => {
                // Written by releases before R8; the VM refuses it by itself.
                let free = input.u32(start)? as u64;
                words += FUN + free;
                4 + free
            }
            _ => return Err(Error::Invalid(start)),
        };
        if inside > 0 {
            pending.enter(inside, input.left() as u64, start)?;
        }
    }
    if input.left() > 0 {
        return Err(Error::Invalid(input.at));
    }
    Ok(words * WORD + off_heap)
}

#[inline(always)]
fn words_of(bytes: usize) -> u64 {
    (bytes as u64).div_ceil(WORD)
}

#[inline(always)]
fn binary(len: usize, words: &mut u64, off_heap: &mut u64) {
    if len <= HEAP_BINARY {
        *words += 2 + words_of(len);
    } else {
        *words += BINARY_HANDLE;
        *off_heap += len as u64;
    }
}

/// Are these the bytes of an atom that could exist? If so, and the VM refuses
/// them, then the atom is unknown.
pub fn is_atom(leaf: &[u8]) -> bool {
    match leaf {
        [tag::ATOM, _, _, name @ ..] | [tag::SMALL_ATOM, _, name @ ..] => name.len() <= 255,
        [tag::ATOM_UTF8, _, _, name @ ..] | [tag::SMALL_ATOM_UTF8, _, name @ ..] => {
            std::str::from_utf8(name).is_ok_and(|name| name.chars().count() <= 255)
        }
        _ => false,
    }
}

/// Is the leaf one of the atom tags?
pub fn has_atom_tag(leaf: &[u8]) -> bool {
    matches!(
        leaf.first(),
        Some(&(tag::ATOM | tag::ATOM_UTF8 | tag::SMALL_ATOM | tag::SMALL_ATOM_UTF8))
    )
}
