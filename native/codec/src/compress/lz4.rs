//! The LZ4 frame format (what the `lz4` tool and every LZ4 library read), on
//! lz4_flex's blocks.
//!
//! The frames are put together and taken apart here rather than by lz4_flex,
//! whose frame reader allocates the block buffers that the header asks for
//! (8 MB and more for an input of a few bytes) and copies through them. Blocks
//! are written to and read from their place, and nothing is allocated on the
//! word of the input.

use lz4_flex::block::{
    compress_into_with_table, decompress_into, decompress_into_with_dict, get_maximum_output_size,
    CompressTable, DecompressError,
};
use twox_hash::XxHash32;

use super::scratch::{self, Failed};
use super::{Error, Output};

const MAGIC: [u8; 4] = [0x04, 0x22, 0x4D, 0x18];
const VERSION: u8 = 0b0100_0000;
const VERSION_MASK: u8 = 0b1100_0000;
const INDEPENDENT: u8 = 0b0010_0000;
const BLOCK_CHECKSUM: u8 = 0b0001_0000;
const CONTENT_SIZE: u8 = 0b0000_1000;
const CONTENT_CHECKSUM: u8 = 0b0000_0100;
const FLAGS_RESERVED: u8 = 0b0000_0010;
const DICTIONARY: u8 = 0b0000_0001;
/// In a block's size: the block is stored as it was.
const STORED: u32 = 1 << 31;

/// What this module writes: magic, flags, block size, content size, header sum.
const HEADER: usize = 15;
/// The end mark and the content's sum.
const FOOTER: usize = 8;
/// One token can stand for 255 bytes per byte of its own.
const MAX_RATIO: usize = 255;
/// How far back a linked block may refer.
const WINDOW: usize = 64 * 1024;

/// lz4_flex's tables of positions, 8 and 16 KB.
#[derive(Default)]
pub(super) struct Contexts {
    small: Option<CompressTable>,
    large: Option<CompressTable>,
}

impl Contexts {
    fn table(&mut self, block: usize) -> &mut CompressTable {
        if block < usize::from(u16::MAX) {
            self.small.get_or_insert_with(CompressTable::small)
        } else {
            self.large.get_or_insert_with(CompressTable::large)
        }
    }
}

/// Compresses to one frame.
pub fn compress(input: &[u8]) -> Vec<u8> {
    compress_into(input, usize::MAX).unwrap_or_default()
}

/// Decompresses one frame to at most `max_len` bytes.
pub fn decompress(input: &[u8], max_len: usize) -> Result<Vec<u8>, Error> {
    decompress_frame(input, max_len)
}

pub(super) fn compress_into<O: Output>(input: &[u8], max_out: usize) -> Result<O, Error> {
    let (code, block_max) = block_size_for(input.len());
    // lz4_flex asks for room for the worst case of a block, which is more than
    // the block stored as it was.
    let last = get_maximum_output_size(input.len().min(block_max));
    let room = HEADER + FOOTER + input.len() + 4 * input.len().div_ceil(block_max) + last;
    scratch::with(|s| {
        s.fill(room, room, |s, out| {
            let len = write_frame(s.lz4.table(block_max.min(input.len())), input, code, out)?;
            if len > max_out {
                return Err(Failed::Because(Error::TooLarge));
            }
            Ok(len)
        })
    })
}

/// The header's code and the bytes of the smallest block that holds `len`,
/// or the largest there is.
fn block_size_for(len: usize) -> (u8, usize) {
    for code in 4..7 {
        if len <= block_size(code) {
            return (code, block_size(code));
        }
    }
    (7, block_size(7))
}

fn block_size(code: u8) -> usize {
    1 << (8 + 2 * usize::from(code))
}

fn write_frame(
    table: &mut CompressTable,
    input: &[u8],
    code: u8,
    out: &mut [u8],
) -> Result<usize, Failed> {
    out[..4].copy_from_slice(&MAGIC);
    out[4] = VERSION | INDEPENDENT | CONTENT_SIZE | CONTENT_CHECKSUM;
    out[5] = code << 4;
    out[6..14].copy_from_slice(&(input.len() as u64).to_le_bytes());
    out[14] = header_sum(&out[4..14]);
    let mut at = HEADER;
    for block in input.chunks(block_size(code)) {
        let body = at + 4;
        let len =
            compress_into_with_table(block, &mut out[body..], table).map_err(|_| Failed::NoRoom)?;
        let (len, stored) = if len < block.len() {
            (len, 0)
        } else {
            out[body..body + block.len()].copy_from_slice(block);
            (block.len(), STORED)
        };
        // A block has at most 4 MB.
        out[at..body].copy_from_slice(&(len as u32 | stored).to_le_bytes());
        at = body + len;
    }
    out[at..at + 4].fill(0);
    out[at + 4..at + 8].copy_from_slice(&XxHash32::oneshot(0, input).to_le_bytes());
    Ok(at + FOOTER)
}

fn header_sum(descriptor: &[u8]) -> u8 {
    (XxHash32::oneshot(0, descriptor) >> 8) as u8
}

struct Header {
    flags: u8,
    block_max: usize,
    content_size: Option<u64>,
}

/// A reader over the bytes of a frame; whatever is missing is [`Error::Invalid`].
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], Error> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Error::Invalid)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Error::Invalid)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u32(&mut self) -> Result<u32, Error> {
        self.array().map(u32::from_le_bytes)
    }

    fn header(&mut self) -> Result<Header, Error> {
        if self.array()? != MAGIC {
            return Err(Error::Invalid);
        }
        let descriptor = self.0;
        let [flags, sizes] = self.array()?;
        let code = sizes >> 4;
        if flags & VERSION_MASK != VERSION
            || flags & FLAGS_RESERVED != 0
            || sizes & 0x0F != 0
            || !(4..=7).contains(&code)
        {
            return Err(Error::Invalid);
        }
        let content_size = match flags & CONTENT_SIZE {
            0 => None,
            _ => Some(u64::from_le_bytes(self.array()?)),
        };
        if flags & DICTIONARY != 0 {
            return Err(Error::DictionaryNeeded);
        }
        let len = descriptor.len() - self.0.len();
        let [sum] = self.array()?;
        if sum != header_sum(&descriptor[..len]) {
            return Err(Error::Invalid);
        }
        Ok(Header { flags, block_max: block_size(code), content_size })
    }
}

pub(super) fn decompress_frame<O: Output>(input: &[u8], max_len: usize) -> Result<O, Error> {
    let mut reader = Reader(input);
    let header = reader.header()?;
    let bound = reader.0.len().saturating_mul(MAX_RATIO);
    let room = match header.content_size {
        Some(claim) => {
            let claim = usize::try_from(claim).map_err(|_| Error::TooLarge)?;
            if claim > max_len {
                return Err(Error::TooLarge);
            }
            if claim > bound {
                return Err(Error::Invalid);
            }
            claim
        }
        None => reader.0.len().saturating_mul(4),
    };
    let limit = max_len.min(bound);
    scratch::with(|s| s.fill(room, limit, |_, out| read_blocks(&header, Reader(reader.0), out)))
}

fn read_blocks(header: &Header, mut reader: Reader, out: &mut [u8]) -> Result<usize, Failed> {
    let invalid = Failed::Because;
    let mut at = 0;
    loop {
        let size = reader.u32().map_err(invalid)?;
        if size == 0 {
            break;
        }
        let body = reader.take((size & !STORED) as usize).map_err(invalid)?;
        if header.flags & BLOCK_CHECKSUM != 0
            && reader.u32().map_err(invalid)? != XxHash32::oneshot(0, body)
        {
            return Err(Failed::Because(Error::Invalid));
        }
        let (done, rest) = out.split_at_mut(at);
        let room = rest.len().min(header.block_max);
        let len = if size & STORED != 0 {
            if body.len() > header.block_max {
                return Err(Failed::Because(Error::Invalid));
            }
            rest.get_mut(..body.len()).ok_or(Failed::NoRoom)?.copy_from_slice(body);
            body.len()
        } else {
            let result = if header.flags & INDEPENDENT != 0 {
                decompress_into(body, &mut rest[..room])
            } else {
                let window = &done[done.len().saturating_sub(WINDOW)..];
                decompress_into_with_dict(body, &mut rest[..room], window)
            };
            result.map_err(|error| match error {
                DecompressError::OutputTooSmall { .. } if room < header.block_max => Failed::NoRoom,
                _ => Failed::Because(Error::Invalid),
            })?
        };
        at += len;
    }
    if header.content_size.is_some_and(|size| size != at as u64) {
        return Err(Failed::Because(Error::Invalid));
    }
    if header.flags & CONTENT_CHECKSUM != 0
        && reader.u32().map_err(invalid)? != XxHash32::oneshot(0, &out[..at])
    {
        return Err(Failed::Because(Error::Invalid));
    }
    if !reader.0.is_empty() {
        return Err(Failed::Because(Error::TrailingData));
    }
    Ok(at)
}
