#![no_main]
//! Reading the zlib format: bounded, and what is read can be written and read
//! again; the variant that is told the size agrees.

use codec::compress::{zlib, Error};
use erlmcp_flow_fuzz as fuzz;
use libfuzzer_sys::fuzz_target;

fuzz_target!(
    init: fuzz::seeds(|| {
        let level = |index: usize| (index % 13) as u8;
        fuzz::contents()
            .iter()
            .enumerate()
            .map(|(i, content)| fuzz::with_limit(4096, &zlib::compress(content, level(i))))
            .collect()
    }),
    |data: &[u8]| {
        let Some((limit, input)) = fuzz::limit(data) else { return };
        match zlib::decompress(input, limit) {
            Ok(content) => {
                assert!(content.len() <= limit);
                assert_eq!(zlib::decompress_exact(input, content.len()).as_ref(), Ok(&content));
                assert_eq!(
                    zlib::decompress_exact(input, content.len() + 1),
                    Err(Error::Invalid)
                );
                if let Some(less) = content.len().checked_sub(1) {
                    assert_eq!(zlib::decompress(input, less), Err(Error::TooLarge));
                }
                let again = zlib::compress(&content, (limit % 13) as u8);
                assert_eq!(zlib::decompress(&again, limit), Ok(content));
            }
            Err(Error::UnknownFormat | Error::OutOfMemory) => panic!("no such answer here"),
            Err(_) => {}
        }
    }
);
