use super::Error;

/// Where a result is written: a `Vec<u8>`, or an Erlang binary in the NIF crate.
pub trait Output: Sized {
    /// A buffer of `len` bytes, of whatever content.
    fn with_len(len: usize) -> Result<Self, Error>;
    /// A buffer that holds `bytes`.
    fn from_bytes(bytes: &[u8]) -> Result<Self, Error>;
    fn as_mut_slice(&mut self) -> &mut [u8];
    /// Gives back what lies behind the first `len` bytes.
    fn shrink(&mut self, len: usize);
}

impl Output for Vec<u8> {
    fn with_len(len: usize) -> Result<Self, Error> {
        let mut buffer = Vec::new();
        buffer.try_reserve_exact(len).map_err(|_| Error::OutOfMemory)?;
        buffer.resize(len, 0);
        Ok(buffer)
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let mut buffer = Vec::new();
        buffer.try_reserve_exact(bytes.len()).map_err(|_| Error::OutOfMemory)?;
        buffer.extend_from_slice(bytes);
        Ok(buffer)
    }

    fn as_mut_slice(&mut self) -> &mut [u8] {
        self
    }

    fn shrink(&mut self, len: usize) {
        self.truncate(len);
        self.shrink_to_fit();
    }
}
