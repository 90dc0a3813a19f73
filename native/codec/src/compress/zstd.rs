//! Zstandard (RFC 8878) on the reference library.

use ::zstd::zstd_safe::{self, CCtx, CParameter, DCtx, ResetDirective};

use super::scratch::{self, Failed};
use super::{Error, Output};

/// The level when the caller names none.
pub const DEFAULT_LEVEL: u8 = 3;
/// The highest level: those above take windows and tables of 100 MB and more.
pub const MAX_LEVEL: u8 = 19;

/// What one block may hold, and the fewest bytes a block takes.
const BLOCK_MAX: usize = 128 * 1024;
const BLOCK_MIN_BYTES: usize = 4;
/// A compression context larger than this after a call is not kept.
const KEPT_BELOW: usize = 4 << 20;

#[derive(Default)]
pub(super) struct Contexts {
    compressor: Option<(u8, CCtx<'static>)>,
    decompressor: Option<DCtx<'static>>,
}

/// Compresses at a level of 1 to 19.
pub fn compress(input: &[u8], level: u8) -> Vec<u8> {
    compress_into(input, level, usize::MAX).unwrap_or_default()
}

/// Decompresses to at most `max_len` bytes.
pub fn decompress(input: &[u8], max_len: usize) -> Result<Vec<u8>, Error> {
    decompress_into(input, max_len)
}

pub(super) fn compress_into<O: Output>(
    input: &[u8],
    level: u8,
    max_out: usize,
) -> Result<O, Error> {
    let level = level.clamp(1, MAX_LEVEL);
    scratch::with(|s| {
        let mut cctx = match s.zstd.compressor.take() {
            Some((kept_for, cctx)) if kept_for == level => cctx,
            _ => {
                let mut cctx = CCtx::try_create().ok_or(Error::OutOfMemory)?;
                cctx.set_parameter(CParameter::CompressionLevel(level.into()))
                    .and_then(|_| cctx.set_parameter(CParameter::ChecksumFlag(true)))
                    .map_err(|_| Error::OutOfMemory)?;
                cctx
            }
        };
        // The library refuses some results that would just fit, so it gets all
        // the room and the limit is looked at afterwards.
        let room = zstd_safe::compress_bound(input.len());
        let result = s.fill(room, room, |_, out| {
            let len = cctx.compress2(out, input).map_err(|code| {
                // A failed frame stays open otherwise.
                let _ = cctx.reset(ResetDirective::SessionOnly);
                failure(code)
            })?;
            if len > max_out {
                return Err(Failed::Because(Error::TooLarge));
            }
            Ok(len)
        });
        if cctx.sizeof() <= KEPT_BELOW {
            s.zstd.compressor = Some((level, cctx));
        }
        result
    })
}

pub(super) fn decompress_into<O: Output>(input: &[u8], max_len: usize) -> Result<O, Error> {
    let bound = (input.len() / BLOCK_MIN_BYTES).saturating_mul(BLOCK_MAX);
    let claim = zstd_safe::get_frame_content_size(input).map_err(|_| Error::Invalid)?;
    let room = match claim {
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
        None => input.len().saturating_mul(8),
    };
    let limit = max_len.min(bound);
    scratch::with(|s| {
        s.fill(room, limit, |s, out| {
            let dctx = match &mut s.zstd.decompressor {
                Some(dctx) => dctx,
                none => none.insert(DCtx::try_create().ok_or(Failed::Because(Error::OutOfMemory))?),
            };
            dctx.decompress(out, input).map_err(failure)
        })
    })
}

fn failure(code: zstd_safe::ErrorCode) -> Failed {
    use zstd_safe::zstd_sys::ZSTD_ErrorCode::*;
    let is = |kind| zstd_safe::is_error_kind(code, kind);
    if is(ZSTD_error_dstSize_tooSmall) {
        Failed::NoRoom
    } else if is(ZSTD_error_memory_allocation) {
        Failed::Because(Error::OutOfMemory)
    } else if is(ZSTD_error_dictionary_wrong) {
        Failed::Because(Error::DictionaryNeeded)
    } else {
        Failed::Because(Error::Invalid)
    }
}
