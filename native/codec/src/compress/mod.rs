//! Compression of whole messages, with every output bounded.
//!
//! Three formats: [`zlib`] (RFC 1950, what OTP's `zlib:uncompress/1` reads),
//! [`lz4`] (the LZ4 frame format) and [`zstd`] (RFC 8878). Contexts are kept per
//! thread, since making one costs more than compressing a small message. What a
//! thread keeps is bounded: see [`scratch`].

pub mod lz4;
pub mod scratch;
pub mod zlib;
pub mod zstd;

mod output;
#[cfg(test)]
mod tests;

pub use output::Output;

/// Why data could not be compressed or decompressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The result would be larger than the caller allows.
    TooLarge,
    /// Not data of this format, damaged, or cut short.
    Invalid,
    /// A complete stream, and then bytes that do not belong to it.
    TrailingData,
    /// The stream can only be read with a dictionary that came some other way.
    DictionaryNeeded,
    /// The bytes start like none of the formats.
    UnknownFormat,
    /// The system has no memory of that size.
    OutOfMemory,
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Error::TooLarge => "the result would exceed the limit",
            Error::Invalid => "invalid or truncated data",
            Error::TrailingData => "bytes after the end of the stream",
            Error::DictionaryNeeded => "the stream needs a dictionary",
            Error::UnknownFormat => "not zlib, lz4 or zstd",
            Error::OutOfMemory => "out of memory",
        })
    }
}

impl std::error::Error for Error {}

/// A compression format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    Zlib,
    Lz4,
    Zstd,
}

impl Algorithm {
    /// The format that `input` starts like. The three cannot be confused: a
    /// zlib stream's first two bytes are a multiple of 31 with 8 in the low
    /// half of the first, which neither magic number is.
    pub fn detect(input: &[u8]) -> Result<Algorithm, Error> {
        match input {
            [0x28, 0xB5, 0x2F, 0xFD, ..] => Ok(Algorithm::Zstd),
            [0x04, 0x22, 0x4D, 0x18, ..] => Ok(Algorithm::Lz4),
            [cmf, flg, ..] if zlib::is_header(*cmf, *flg) => Ok(Algorithm::Zlib),
            _ => Err(Error::UnknownFormat),
        }
    }
}

/// Compresses `input` as far as the result has at most `max_out` bytes;
/// otherwise [`Error::TooLarge`]. Without a level the format's default holds; one
/// outside the format's range is taken to its nearest end.
pub fn compress<O: Output>(
    algorithm: Algorithm,
    input: &[u8],
    level: Option<u8>,
    max_out: usize,
) -> Result<O, Error> {
    match algorithm {
        Algorithm::Zlib => zlib::compress_into(
            input,
            level.unwrap_or_else(|| zlib::default_level(input.len())),
            max_out,
        ),
        Algorithm::Lz4 => lz4::compress_into(input, max_out),
        Algorithm::Zstd => {
            zstd::compress_into(input, level.unwrap_or(zstd::DEFAULT_LEVEL), max_out)
        }
    }
}

/// Decompresses `input` as far as the result has at most `max_len` bytes.
pub fn decompress<O: Output>(
    algorithm: Algorithm,
    input: &[u8],
    max_len: usize,
) -> Result<O, Error> {
    match algorithm {
        Algorithm::Zlib => zlib::decompress_into(input, max_len),
        Algorithm::Lz4 => lz4::decompress_frame(input, max_len),
        Algorithm::Zstd => zstd::decompress_into(input, max_len),
    }
}
