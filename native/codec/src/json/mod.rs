//! JSON (RFC 8259): its text to the external term format, and documents to its
//! text.
//!
//! `Error::Invalid` names numbers beyond the range of a double and lone surrogates
//! by where they begin.

mod decode;
mod integer;
mod number;
mod text;
mod write;

pub use decode::Decoder;
pub use write::Writer;

/// Decimal digits an integer may have, both ways. The conversion between bases
/// takes time by the square of the length; at this size it takes 0.2 ms.
pub const MAX_DIGITS: usize = 10_000;

#[cfg(test)]
mod tests;
