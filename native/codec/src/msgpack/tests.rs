use super::*;
use crate::document::{Decode, Error, Keys, Limits, Repeats, Sink};
use proptest::prelude::*;

const LIMITS: Limits =
    Limits { max_bytes: 1 << 26, max_depth: 512, keys: Keys::Binaries, budget: u64::MAX };

fn decode(bytes: &[u8], repeats: Repeats) -> Result<Vec<u8>, Error> {
    Decoder::default().decode(bytes, &LIMITS, repeats).map(|d| d.etf.to_vec())
}

#[test]
fn values_become_their_term_format() {
    let cases: &[(&[u8], &[u8])] = &[
        (&[0xc0], b"\x83\x77\x04null"),
        (&[0x7f], &[131, 97, 127]),
        (&[0xff], &[131, 98, 255, 255, 255, 255]),
        (&[0xcc, 1], &[131, 97, 1]),
        (&[0xa1, b'a'], &[131, 109, 0, 0, 0, 1, b'a']),
        (&[0xc4, 1, 255], &[131, 109, 0, 0, 0, 1, 255]),
        (&[0x90], &[131, 106]),
        (&[0x91, 0x90], &[131, 108, 0, 0, 0, 1, 106, 106]),
        (&[0x81, 1, 0x80], &[131, 116, 0, 0, 0, 1, 97, 1, 116, 0, 0, 0, 0]),
        (&[0x81, 0x91, 1, 2], &[131, 116, 0, 0, 0, 1, 108, 0, 0, 0, 1, 97, 1, 106, 97, 2]),
    ];
    for (bytes, etf) in cases {
        for repeats in [Repeats::Trust, Repeats::Resolve] {
            assert_eq!(decode(bytes, repeats).as_deref(), Ok(*etf), "{bytes:?}");
        }
    }
}

#[test]
fn the_last_of_equal_keys_is_left() {
    let twice = [0x82, 1, 2, 1, 3];
    assert_eq!(decode(&twice, Repeats::Resolve), decode(&[0x81, 1, 3], Repeats::Trust));
    // The keys are maps, equal only once the first has lost its own repeated key:
    // both are left, and the caller has the VM compare them.
    let nested = [0x82, 0x82, 1, 1, 1, 2, 5, 0x81, 1, 2, 6];
    let left = [0x82, 0x81, 1, 2, 5, 0x81, 1, 2, 6];
    assert_eq!(decode(&nested, Repeats::Resolve), decode(&left, Repeats::Trust));
}

#[test]
fn claims_allocate_nothing() {
    for bytes in [
        [0xdd, 255, 255, 255, 255],
        [0xdf, 255, 255, 255, 255],
        [0xdb, 255, 255, 255, 255],
        [0xc6, 255, 255, 255, 255],
    ] {
        let mut decoder = Decoder::default();
        let result = decoder.decode(&bytes, &LIMITS, Repeats::Trust);
        assert_eq!(result.map(|d| d.cost), Err(Error::Invalid(5)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_get_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        for repeats in [Repeats::Trust, Repeats::Resolve] {
            match decode(&bytes, repeats) {
                Err(Error::Invalid(at)) => prop_assert!(at <= bytes.len()),
                Err(Error::Busy) => prop_assert!(false),
                _ => {}
            }
        }
    }

    #[test]
    fn integers_come_back(n in any::<i64>(), shift in 0u32..64) {
        let n = n >> shift;
        let mut writer = Writer::default();
        writer.begin();
        writer.int(n);
        let etf = decode(writer.finish(), Repeats::Trust).unwrap();
        let value = match etf[1] {
            97 => i64::from(etf[2]),
            98 => i64::from(i32::from_be_bytes(etf[2..6].try_into().unwrap())),
            _ => {
                let magnitude = i128::from(u64::from_le_bytes(etf[4..12].try_into().unwrap()));
                (if etf[3] == 1 { -magnitude } else { magnitude }) as i64
            }
        };
        prop_assert_eq!(value, n);
    }
}
