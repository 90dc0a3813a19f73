#![no_main]
//! Reading MessagePack: bounded, well formed and stable.

use codec::msgpack::{Decoder, Writer};
use erlmcp_flow_fuzz as fuzz;
use libfuzzer_sys::fuzz_target;

fuzz_target!(
    init: fuzz::seeds(|| {
        let documents = fuzz::documents();
        let mut seeds: Vec<Vec<u8>> = documents
            .iter()
            .step_by(2)
            .filter_map(|document| fuzz::document::write::<Writer>(document))
            .collect();
        // One of each format, and lengths that lie.
        for tag in 0xC0..=0xDF_u8 {
            seeds.push([&[tag][..], &[0, 0, 0, 1, 0x61, 0x62, 0x63, 0x64]].concat());
            seeds.push(vec![tag, 0xFF, 0xFF, 0xFF, 0xFF]);
        }
        seeds
    }),
    |input: &[u8]| {
        let _ = fuzz::document::check::<Writer>(&mut Decoder::default(), input);
    }
);
