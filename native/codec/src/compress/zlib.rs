//! The zlib format (RFC 1950) on libdeflate.
//!
//! libdeflate has no streams: it wants the whole input and room for the whole
//! output. That is what messages are, and it is why it is faster. The format
//! does not carry the size of its content, so decompression guesses the room
//! and tries again with more.

use libdeflater::{CompressionLvl, Compressor, DecompressionError, Decompressor};

use super::scratch::{self, Failed};
use super::{Error, Output};

/// The highest level.
pub const MAX_LEVEL: u8 = 12;

/// The level when the caller names none: the lowest whose result stays within
/// about 5 % of zlib's level 6. On small inputs most of the time goes into
/// clearing the match finder's tables, and little is found by searching longer
/// (doc/compression.md has the measurements).
pub fn default_level(len: usize) -> u8 {
    match len {
        0..=2048 => 1,
        2049..=20_480 => 4,
        20_481..=65_536 => 5,
        _ => 6,
    }
}

/// DEFLATE spends at least two bits on 258 bytes.
const MAX_RATIO: usize = 1032;
/// Header and checksum.
const OVERHEAD: usize = 6;
/// From this level on a context has several megabytes: it is not kept.
const KEPT_BELOW: u8 = 10;

#[derive(Default)]
pub(super) struct Contexts {
    compressors: [Option<(u8, Compressor)>; 2],
    decompressor: Option<Decompressor>,
}

impl Contexts {
    fn compressor(&mut self, level: u8) -> Compressor {
        for slot in &mut self.compressors {
            if let Some((_, kept)) = slot.take_if(|(kept_for, _)| *kept_for == level) {
                return kept;
            }
        }
        Compressor::new(CompressionLvl::new(level.into()).unwrap_or_default())
    }

    fn keep(&mut self, level: u8, compressor: Compressor) {
        if level < KEPT_BELOW {
            // Used last stands first; what stood second goes when both are taken.
            if self.compressors[0].is_some() {
                self.compressors.swap(0, 1);
            }
            self.compressors[0] = Some((level, compressor));
        }
    }
}

/// Are these the first two bytes of a zlib stream?
pub(super) fn is_header(cmf: u8, flg: u8) -> bool {
    cmf & 0x0F == 8 && cmf >> 4 <= 7 && (u16::from(cmf) << 8 | u16::from(flg)) % 31 == 0
}

/// Compresses at a level of 0 to 12.
pub fn compress(input: &[u8], level: u8) -> Vec<u8> {
    // Without a limit it can only fail for want of memory, and then a `Vec`
    // of the caller's would have failed as well.
    compress_into(input, level, usize::MAX).unwrap_or_default()
}

/// Decompresses to at most `max_len` bytes.
pub fn decompress(input: &[u8], max_len: usize) -> Result<Vec<u8>, Error> {
    decompress_into(input, max_len)
}

/// Decompresses to exactly `len` bytes, a size that the caller was told (the
/// external term format carries it). A size that the input cannot hold is
/// refused before memory is taken for it.
pub fn decompress_exact(input: &[u8], len: usize) -> Result<Vec<u8>, Error> {
    check_header(input)?;
    if len > input.len().saturating_mul(MAX_RATIO) {
        return Err(Error::Invalid);
    }
    let mut output = Vec::with_len(len)?;
    match scratch::with(|s| inflate(&mut s.deflate, input, &mut output)) {
        Ok(n) if n == len => Ok(output),
        Err(Failed::Because(error)) => Err(error),
        Ok(_) | Err(Failed::NoRoom) => Err(Error::Invalid),
    }
}

pub(super) fn compress_into<O: Output>(
    input: &[u8],
    level: u8,
    max_out: usize,
) -> Result<O, Error> {
    let level = level.min(MAX_LEVEL);
    scratch::with(|s| {
        let mut compressor = s.deflate.compressor(level);
        let room = compressor.zlib_compress_bound(input.len()).min(max_out);
        let result = s.fill(room, room, |_, out| {
            compressor.zlib_compress(input, out).map_err(|_| Failed::NoRoom)
        });
        s.deflate.keep(level, compressor);
        result
    })
}

pub(super) fn decompress_into<O: Output>(input: &[u8], max_len: usize) -> Result<O, Error> {
    check_header(input)?;
    // One byte more than can come out, so that an empty result has room as well.
    let bound = (input.len() - OVERHEAD).saturating_mul(MAX_RATIO);
    let room = input.len().saturating_mul(8);
    let limit = max_len.min(bound);
    scratch::with(|s| s.fill(room, limit, |s, out| inflate(&mut s.deflate, input, out)))
}

fn check_header(input: &[u8]) -> Result<(), Error> {
    match input {
        [cmf, flg, ..] if is_header(*cmf, *flg) => {
            if flg & 0x20 != 0 {
                Err(Error::DictionaryNeeded)
            } else if input.len() < OVERHEAD + 2 {
                Err(Error::Invalid)
            } else {
                Ok(())
            }
        }
        _ => Err(Error::Invalid),
    }
}

fn inflate(contexts: &mut Contexts, input: &[u8], out: &mut [u8]) -> Result<usize, Failed> {
    let decompressor = contexts.decompressor.get_or_insert_with(Decompressor::new);
    match decompressor.zlib_decompress(input, out) {
        Ok(len) => {
            // libdeflate has checked the sum that follows the stream, and says
            // nothing of what follows the sum.
            let end: [u8; 4] = match input.last_chunk() {
                Some(end) => *end,
                None => return Err(Failed::Because(Error::Invalid)),
            };
            if libdeflater::adler32(&out[..len]) == u32::from_be_bytes(end) {
                Ok(len)
            } else {
                Err(Failed::Because(Error::TrailingData))
            }
        }
        Err(DecompressionError::InsufficientSpace) => Err(Failed::NoRoom),
        Err(DecompressionError::BadData) => Err(Failed::Because(Error::Invalid)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_at_every_level() {
        let text = b"{\"jsonrpc\":\"2.0\",\"method\":\"tools/call\"}".repeat(500);
        for level in 0..=MAX_LEVEL {
            for input in [&text[..], b"", b"x"] {
                let packed = compress(input, level);
                assert_eq!(decompress(&packed, input.len()).unwrap(), input);
                assert_eq!(decompress_exact(&packed, input.len()).unwrap(), input);
            }
        }
    }

    #[test]
    fn limits_and_damage() {
        let packed = compress(&vec![0; 10 << 20], 9);
        assert_eq!(decompress(&packed, 1 << 20), Err(Error::TooLarge));
        assert_eq!(decompress(&packed, (10 << 20) - 1), Err(Error::TooLarge));
        assert_eq!(decompress(&packed, 10 << 20).unwrap().len(), 10 << 20);
        assert_eq!(decompress(&packed, usize::MAX).unwrap().len(), 10 << 20);
        assert_eq!(decompress(&packed[..packed.len() - 1], 20 << 20), Err(Error::Invalid));
        let packed = compress(b"hello hello hello hello", 6);
        for n in 0..packed.len() {
            assert_eq!(decompress(&packed[..n], 100), Err(Error::Invalid));
        }
        assert_eq!(decompress(&[&packed[..], b"!"].concat(), 100), Err(Error::TrailingData));
        assert_eq!(decompress_exact(&packed, 22), Err(Error::Invalid));
        assert_eq!(decompress_exact(&packed, 24), Err(Error::Invalid));
        assert_eq!(decompress_exact(&packed, 1 << 40), Err(Error::Invalid));
    }
}
