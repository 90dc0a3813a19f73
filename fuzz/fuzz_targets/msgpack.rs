#![no_main]
//! Reading MessagePack: bounded, well formed and stable.

use codec::document::{Decode, Keys, Limits, Repeats};
use codec::msgpack::{Decoder, Writer};
use erlmcp_flow_fuzz as fuzz;
use libfuzzer_sys::fuzz_target;

fuzz_target!(
    init: fuzz::seeds(|| {
        let mut decoder = codec::json::Decoder::default();
        let limits = Limits { max_bytes: 1 << 24, max_depth: 100, keys: Keys::Binaries };
        let mut seeds: Vec<Vec<u8>> = fuzz::messages()
            .iter()
            .step_by(2)
            .filter_map(|text| {
                let document = decoder.decode(text, &limits, Repeats::Resolve).ok()?;
                fuzz::document::write::<Writer>(document.etf)
            })
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
