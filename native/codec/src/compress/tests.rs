//! One table of cases over all three formats.

use proptest::prelude::*;

use super::*;

const ALL: [Algorithm; 3] = [Algorithm::Zlib, Algorithm::Lz4, Algorithm::Zstd];

fn pack(algorithm: Algorithm, input: &[u8], level: Option<u8>) -> Vec<u8> {
    compress(algorithm, input, level, usize::MAX).unwrap()
}

fn unpack(algorithm: Algorithm, input: &[u8], max_len: usize) -> Result<Vec<u8>, Error> {
    decompress(algorithm, input, max_len)
}

/// Around every size at which something changes: heap or scratch, block sizes,
/// table widths.
fn sizes() -> Vec<usize> {
    let edges: [usize; 8] = [0, 64, 1 << 11, 20 << 10, 1 << 16, 1 << 18, 1 << 20, 4 << 20];
    edges.iter().flat_map(|edge| [edge.saturating_sub(1), *edge, edge + 1]).collect()
}

fn content(kind: u8, len: usize) -> Vec<u8> {
    match kind {
        0 => vec![0; len],
        1 => (0..len).map(|i| b"{\"jsonrpc\":\"2.0\",\"id\":"[i % 22] ^ (i / 1000) as u8).collect(),
        // A multiplicative generator's high bytes: nothing to compress.
        _ => {
            let mut state = 1_u64;
            let mut next = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 56) as u8
            };
            (0..len).map(|_| next()).collect()
        }
    }
}

#[test]
fn every_size_comes_back() {
    for algorithm in ALL {
        for len in sizes() {
            // One kind of the large ones: without optimization this takes its time.
            for kind in if len > 1 << 18 { 1..2 } else { 0..3 } {
                let input = content(kind, len);
                let packed = pack(algorithm, &input, Some(1));
                assert_eq!(Algorithm::detect(&packed), Ok(algorithm));
                assert!(
                    unpack(algorithm, &packed, len).as_ref() == Ok(&input),
                    "{algorithm:?} {len} {kind}"
                );
                if len > 0 {
                    assert_eq!(unpack(algorithm, &packed, len - 1), Err(Error::TooLarge));
                }
            }
        }
    }
}

#[test]
fn levels_out_of_range_are_taken_to_the_nearest() {
    let input = content(1, 5000);
    assert_eq!(pack(Algorithm::Zlib, &input, Some(255)), zlib::compress(&input, zlib::MAX_LEVEL));
    assert_eq!(pack(Algorithm::Zstd, &input, Some(255)), zstd::compress(&input, zstd::MAX_LEVEL));
    assert_eq!(pack(Algorithm::Zstd, &input, Some(0)), zstd::compress(&input, 1));
}

#[test]
fn the_limit_on_a_compressed_result_is_exact() {
    for algorithm in ALL {
        for kind in 0..3 {
            let input = content(kind, 10_000);
            let packed = pack(algorithm, &input, None);
            let within = |max| compress::<Vec<u8>>(algorithm, &input, None, max);
            assert_eq!(within(packed.len()).as_ref(), Ok(&packed));
            assert_eq!(within(packed.len() - 1), Err(Error::TooLarge));
            assert_eq!(within(0), Err(Error::TooLarge));
        }
    }
}

#[test]
fn cut_short() {
    for algorithm in ALL {
        let packed = pack(algorithm, &content(1, 3000), None);
        for len in 0..packed.len() {
            assert_eq!(unpack(algorithm, &packed[..len], 1 << 20), Err(Error::Invalid));
        }
    }
}

#[test]
fn more_behind_the_end() {
    let input = content(1, 3000);
    for algorithm in ALL {
        let packed = [&pack(algorithm, &input, None)[..], b"tail"].concat();
        let error = unpack(algorithm, &packed, 1 << 20).unwrap_err();
        assert!(matches!(error, Error::TrailingData | Error::Invalid), "{algorithm:?} {error:?}");
    }
}

#[test]
fn formats_are_told_apart() {
    assert_eq!(Algorithm::detect(b""), Err(Error::UnknownFormat));
    assert_eq!(Algorithm::detect(b"\x78"), Err(Error::UnknownFormat));
    assert_eq!(Algorithm::detect(b"\x1f\x8b\x08\x00"), Err(Error::UnknownFormat));
    assert_eq!(Algorithm::detect(b"\x83\x6b\x00\x00"), Err(Error::UnknownFormat));
    assert_eq!(Algorithm::detect(b"{\"a\":1}"), Err(Error::UnknownFormat));
    assert_eq!(Algorithm::detect(b"\x78\x9c"), Ok(Algorithm::Zlib));
}

#[test]
fn a_call_within_a_call_has_a_scratch_of_its_own() {
    struct Nested(Vec<u8>);
    impl Output for Nested {
        fn with_len(len: usize) -> Result<Self, Error> {
            Vec::with_len(len).map(Nested)
        }
        fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
            zlib::decompress(&zlib::compress(bytes, 6), bytes.len()).map(Nested)
        }
        fn as_mut_slice(&mut self) -> &mut [u8] {
            self.0.as_mut_slice()
        }
        fn shrink(&mut self, len: usize) {
            self.0.truncate(len);
        }
    }
    let input = content(1, 3000);
    let packed: Nested = compress(Algorithm::Zlib, &input, None, usize::MAX).unwrap();
    assert_eq!(zlib::decompress(&packed.0, 3000), Ok(input));
}

/// Of an LZ4 frame by hand: descriptor, blocks, rest.
fn lz4_frame(descriptor: &[u8], rest: &[u8]) -> Vec<u8> {
    let sum = (twox_hash::XxHash32::oneshot(0, descriptor) >> 8) as u8;
    [b"\x04\x22\x4D\x18", descriptor, &[sum], rest].concat()
}

#[test]
fn lz4_headers() {
    let size = |n: u64| [&[0x68, 0x40][..], &n.to_le_bytes()].concat();
    let stored = b"\x03\0\0\x80abc\0\0\0\0";
    type Case = (&'static str, Vec<u8>, Result<&'static [u8], Error>);
    let cases: [Case; 12] = [
        ("plain", lz4_frame(&[0x60, 0x40], stored), Ok(b"abc")),
        ("linked", lz4_frame(&[0x40, 0x40], stored), Ok(b"abc")),
        ("empty", lz4_frame(&[0x60, 0x40], b"\0\0\0\0"), Ok(b"")),
        ("sized", lz4_frame(&size(3), stored), Ok(b"abc")),
        ("sized otherwise", lz4_frame(&size(4), stored), Err(Error::Invalid)),
        ("claims 3 GB", lz4_frame(&size(3_000_000_000), stored), Err(Error::TooLarge)),
        ("more than its bytes hold", lz4_frame(&size(100_000), stored), Err(Error::Invalid)),
        ("dictionary", lz4_frame(&[0x61, 0x40, 1, 2, 3, 4], stored), Err(Error::DictionaryNeeded)),
        ("version 2", lz4_frame(&[0xA0, 0x40], stored), Err(Error::Invalid)),
        ("reserved flag", lz4_frame(&[0x62, 0x40], stored), Err(Error::Invalid)),
        ("block size code 3", lz4_frame(&[0x60, 0x30], stored), Err(Error::Invalid)),
        ("content sum", lz4_frame(&[0x64, 0x40], b"\0\0\0\0\0\0\0\0"), Err(Error::Invalid)),
    ];
    for (name, frame, expected) in cases {
        assert_eq!(lz4::decompress(&frame, 1 << 20).as_deref(), expected.as_deref(), "{name}");
    }
    let mut wrong_sum = lz4_frame(&[0x60, 0x40], stored);
    wrong_sum[6] ^= 1;
    assert_eq!(lz4::decompress(&wrong_sum, 100), Err(Error::Invalid));
}

#[test]
fn an_lz4_block_larger_than_its_frame_allows() {
    let stored = [&(70_000_u32 | 1 << 31).to_le_bytes()[..], &[7; 70_000], &[0; 4]].concat();
    assert_eq!(lz4::decompress(&lz4_frame(&[0x60, 0x40], &stored), 1 << 20), Err(Error::Invalid));
    assert!(lz4::decompress(&lz4_frame(&[0x60, 0x50], &stored), 1 << 20).is_ok());
    let block = lz4_flex::block::compress(&[7; 70_000]);
    let packed = [&(block.len() as u32).to_le_bytes()[..], &block, &[0; 4]].concat();
    assert_eq!(lz4::decompress(&lz4_frame(&[0x60, 0x40], &packed), 1 << 20), Err(Error::Invalid));
    assert!(lz4::decompress(&lz4_frame(&[0x60, 0x50], &packed), 1 << 20).is_ok());
}

fn any_input() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..2000),
        (any::<u8>(), 0..200_000_usize).prop_map(|(byte, len)| vec![byte; len]),
        (proptest::collection::vec(any::<u8>(), 1..100), 0..300_usize)
            .prop_map(|(piece, times)| piece.repeat(times)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    #[test]
    fn round_trip(input in any_input(), which in 0..3_usize, level in 0..20_u8) {
        let packed = pack(ALL[which], &input, Some(level));
        prop_assert_eq!(unpack(ALL[which], &packed, input.len()), Ok(input));
    }

    /// Junk behind a good start, and a good stream with a byte changed: an error,
    /// or no more than the limit.
    #[test]
    fn damage_is_bounded(
        input in any_input(), which in 0..3_usize, at in any::<usize>(), xor in 1..=255_u8,
        limit in 0..100_000_usize,
    ) {
        let mut packed = pack(ALL[which], &input, None);
        let at = at % packed.len();
        packed[at] ^= xor;
        if let Ok(output) = unpack(ALL[which], &packed, limit) {
            prop_assert!(output.len() <= limit);
            prop_assert_eq!(&output, &input);
        }
        packed.truncate(at);
        packed.extend(&input);
        if let Ok(output) = unpack(ALL[which], &packed, limit) {
            prop_assert!(output.len() <= limit);
        }
    }
}
