#![no_main]
//! Reading LZ4 frames: bounded, and what is read can be written and read again.

use codec::compress::{lz4, Error};
use erlmcp_flow_fuzz as fuzz;
use libfuzzer_sys::fuzz_target;

fuzz_target!(
    init: fuzz::seeds(|| {
        fuzz::contents()
            .iter()
            .map(|content| fuzz::with_limit(4096, &lz4::compress(content)))
            .collect()
    }),
    |data: &[u8]| {
        let Some((limit, input)) = fuzz::limit(data) else { return };
        match lz4::decompress(input, limit) {
            Ok(content) => {
                assert!(content.len() <= limit);
                if let Some(less) = content.len().checked_sub(1) {
                    assert_eq!(lz4::decompress(input, less), Err(Error::TooLarge));
                }
                let again = lz4::compress(&content);
                assert_eq!(lz4::decompress(&again, limit), Ok(content));
            }
            Err(Error::UnknownFormat | Error::OutOfMemory) => panic!("no such answer here"),
            Err(_) => {}
        }
    }
);
