#![no_main]
//! Reading Zstandard frames: bounded, and what is read can be written and read again.

use codec::compress::{zstd, Error};
use erlmcp_flow_fuzz as fuzz;
use libfuzzer_sys::fuzz_target;

fuzz_target!(
    init: fuzz::seeds(|| {
        fuzz::contents()
            .iter()
            .enumerate()
            .map(|(i, content)| fuzz::with_limit(4096, &zstd::compress(content, 1 + (i % 19) as u8)))
            .collect()
    }),
    |data: &[u8]| {
        let Some((limit, input)) = fuzz::limit(data) else { return };
        match zstd::decompress(input, limit) {
            Ok(content) => {
                assert!(content.len() <= limit);
                if let Some(less) = content.len().checked_sub(1) {
                    assert_eq!(zstd::decompress(input, less), Err(Error::TooLarge));
                }
                let again = zstd::compress(&content, 1 + (limit % 19) as u8);
                assert_eq!(zstd::decompress(&again, limit), Ok(content));
            }
            Err(Error::UnknownFormat | Error::OutOfMemory) => panic!("no such answer here"),
            Err(_) => {}
        }
    }
);
