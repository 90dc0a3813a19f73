//! What a thread keeps between calls.
//!
//! A decompressor, compression contexts for the two zlib levels used last, one
//! context of zstd for each direction, and a buffer of up to [`BUFFER_MAX`]
//! bytes: results up to that size are written there first, so that they are
//! made in one go and then copied into memory of exactly their size.

use std::cell::Cell;

use super::{Error, Output};

/// The largest buffer a thread keeps, and the smallest.
pub const BUFFER_MAX: usize = 1 << 20;
const BUFFER_MIN: usize = 1 << 16;

/// How much a further attempt may write after one ran out of room. A larger
/// factor wastes less work, and untouched room costs address space only.
const GROWTH: usize = 8;

#[derive(Default)]
pub(super) struct Scratch {
    pub(super) deflate: super::zlib::Contexts,
    pub(super) zstd: super::zstd::Contexts,
    pub(super) lz4: super::lz4::Contexts,
    buffer: Vec<u8>,
}

thread_local! {
    static SCRATCH: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
}

/// Runs `work` with the thread's scratch. It is taken out meanwhile, so a panic
/// in `work` drops it instead of leaving a context in the middle of something.
pub(super) fn with<R>(work: impl FnOnce(&mut Scratch) -> R) -> R {
    let mut scratch = SCRATCH.take().unwrap_or_default();
    let result = work(&mut scratch);
    SCRATCH.set(Some(scratch));
    result
}

/// Why one attempt to fill a buffer failed.
pub(super) enum Failed {
    NoRoom,
    Because(Error),
}

impl Scratch {
    /// Lets `attempt` write a result of a size that nobody knows yet, at most
    /// `limit`. `room` is the first guess. Never asks for a buffer above `limit`.
    pub(super) fn fill<O: Output>(
        &mut self,
        room: usize,
        limit: usize,
        mut attempt: impl FnMut(&mut Scratch, &mut [u8]) -> Result<usize, Failed>,
    ) -> Result<O, Error> {
        let mut room = room.min(limit);
        if room <= BUFFER_MAX {
            let mut buffer = std::mem::take(&mut self.buffer);
            if buffer.len() < room || buffer.is_empty() {
                // In steps of a power of two: a thread that sees slowly growing
                // results must not allocate each time.
                buffer = Vec::with_len(room.next_power_of_two().clamp(BUFFER_MIN, BUFFER_MAX))?;
            }
            // All that is there, not only the guess, as it costs nothing.
            room = buffer.len().min(limit);
            let result = attempt(self, &mut buffer[..room]);
            let output = result.map(|len| O::from_bytes(&buffer[..len]));
            self.buffer = buffer;
            match output {
                Ok(output) => return output,
                Err(Failed::Because(error)) => return Err(error),
                Err(Failed::NoRoom) if room >= limit => return Err(Error::TooLarge),
                Err(Failed::NoRoom) => room = room.saturating_mul(GROWTH).min(limit),
            }
        }
        loop {
            let mut output = O::with_len(room)?;
            match attempt(self, output.as_mut_slice()) {
                Ok(len) => {
                    output.shrink(len);
                    return Ok(output);
                }
                Err(Failed::Because(error)) => return Err(error),
                Err(Failed::NoRoom) if room >= limit => return Err(Error::TooLarge),
                Err(Failed::NoRoom) => room = room.saturating_mul(GROWTH).min(limit),
            }
        }
    }
}
