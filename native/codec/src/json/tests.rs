use super::*;
use crate::document::{Big, Cost, Decode, Document, Error, Keys, Limits, Repeats, Sink};
use proptest::prelude::*;

const LIMITS: Limits =
    Limits { max_bytes: 1 << 26, max_depth: 512, keys: Keys::Binaries, budget: u64::MAX };

fn decode_with(text: &[u8], limits: Limits, repeats: Repeats) -> Result<Vec<u8>, Error> {
    Decoder::default().decode(text, &limits, repeats).map(|d| d.etf.to_vec())
}

fn decode(text: &[u8]) -> Result<Vec<u8>, Error> {
    decode_with(text, LIMITS, Repeats::Trust)
}

/// External term format of a binary.
fn binary(text: &[u8]) -> Vec<u8> {
    let mut etf = vec![109];
    etf.extend_from_slice(&(text.len() as u32).to_be_bytes());
    etf.extend_from_slice(text);
    etf
}

#[test]
fn values_become_their_term_format() {
    let cases: &[(&str, &[u8])] = &[
        ("0", &[131, 97, 0]),
        ("-0", &[131, 97, 0]),
        ("255", &[131, 97, 255]),
        ("256", &[131, 98, 0, 0, 1, 0]),
        ("-1", &[131, 98, 255, 255, 255, 255]),
        ("2147483648", &[131, 110, 8, 0, 0, 0, 0, 128, 0, 0, 0, 0]),
        ("-2147483649", &[131, 110, 8, 1, 1, 0, 0, 128, 0, 0, 0, 0]),
        ("1.0", &[131, 70, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0]),
        ("-0.0", &[131, 70, 0x80, 0, 0, 0, 0, 0, 0, 0]),
        ("null", b"\x83\x77\x04null"),
        ("[]", &[131, 106]),
        (" [ ] ", &[131, 106]),
        ("[[]]", &[131, 108, 0, 0, 0, 1, 106, 106]),
        ("{}", &[131, 116, 0, 0, 0, 0]),
        ("\"a\"", &[131, 109, 0, 0, 0, 1, b'a']),
        ("{\"a\":true}", b"\x83\x74\0\0\0\x01\x6d\0\0\0\x01a\x77\x04true"),
    ];
    for (text, etf) in cases {
        assert_eq!(decode(text.as_bytes()).as_deref(), Ok(*etf), "{text}");
    }
}

#[test]
fn atom_keys_are_atoms_at_every_length() {
    let limits = Limits { keys: Keys::Atoms, ..LIMITS };
    for len in [0, 1, 16, 255] {
        let name = "n".repeat(len);
        let text = format!("{{\"{name}\":1}}");
        let etf = decode_with(text.as_bytes(), limits, Repeats::Trust).unwrap();
        let mut want = vec![131, 116, 0, 0, 0, 1, 118, 0, len as u8];
        want.extend_from_slice(name.as_bytes());
        want.extend_from_slice(&[97, 1]);
        assert_eq!(etf, want);
    }
    // 255 characters, but 510 bytes; and one character more.
    let long = format!("{{\"{}\":1}}", "é".repeat(255));
    assert!(decode_with(long.as_bytes(), limits, Repeats::Trust).is_ok());
    let longer = format!("{{\"{}\":1}}", "é".repeat(256));
    let refused = decode_with(longer.as_bytes(), limits, Repeats::Trust);
    assert_eq!(refused, Err(Error::UnknownAtom));
}

#[test]
fn the_last_of_equal_names_is_left() {
    let resolve = |text: &str| decode_with(text.as_bytes(), LIMITS, Repeats::Resolve);
    for (text, same_as) in [
        ("{\"a\":1}", "{\"a\":1}"),
        ("{\"a\":1,\"a\":2}", "{\"a\":2}"),
        ("{\"a\":1,\"b\":0,\"a\":2}", "{\"b\":0,\"a\":2}"),
        ("{\"a\":{\"x\":1,\"x\":2},\"a\":{\"x\":3,\"x\":4}}", "{\"a\":{\"x\":4}}"),
        (
            "{\"a\":{\"x\":1,\"x\":2},\"b\":[{\"y\":[],\"y\":{}}]}",
            "{\"a\":{\"x\":2},\"b\":[{\"y\":{}}]}",
        ),
        ("[{\"a\":1,\"a\":1},{\"a\":1}]", "[{\"a\":1},{\"a\":1}]"),
    ] {
        assert_eq!(resolve(text), decode(same_as.as_bytes()), "{text}");
    }
}

#[test]
fn a_budget_ends_work_early() {
    let limits = Limits { budget: 1_000, ..LIMITS };
    for text in ["[1,".repeat(1000), format!("\"{}\"", "\\n".repeat(1000)), "7".repeat(5000)] {
        assert_eq!(decode_with(text.as_bytes(), limits, Repeats::Trust), Err(Error::Busy));
    }
}

#[test]
fn a_decoder_is_as_good_as_new_after_an_error() {
    let mut decoder = Decoder::default();
    for bad in ["[[[{\"a\":[", "{\"a\":1,\"a\":2", "\"abc\\", "[1e999]"] {
        assert!(decoder.decode(bad.as_bytes(), &LIMITS, Repeats::Resolve).is_err());
        let Document { etf, .. } = decoder.decode(b"[1]", &LIMITS, Repeats::Resolve).unwrap();
        assert_eq!(etf, [131, 108, 0, 0, 0, 1, 97, 1, 106]);
    }
}

/// The text of what `tell` tells.
fn written(tell: impl FnOnce(&mut Writer)) -> String {
    let mut writer = Writer::default();
    writer.begin();
    tell(&mut writer);
    writer.value_end();
    String::from_utf8(writer.finish().to_vec()).unwrap()
}

#[test]
fn documents_are_written() {
    let text = written(|w| {
        assert!(w.open_map(0));
        assert!(w.text(b"a"));
        w.key_end();
        assert!(w.open_list(0));
        w.int(-1);
        w.value_end();
        w.float(1e22);
        w.value_end();
        w.null();
        w.value_end();
        w.close_list();
        w.value_end();
        w.atom("b");
        w.key_end();
        assert!(w.open_map(0));
        w.close_map();
        w.value_end();
        w.close_map();
    });
    assert_eq!(text, "{\"a\":[-1,1e+22,null],\"b\":{}}");
}

#[test]
fn too_many_digits_are_too_large() {
    let mut writer = Writer::default();
    assert_eq!(writer.big(false, &[255; 5000]), Big::TooLarge);
    assert_eq!(integer::to_digits(&[0; 100_000], 10), Some(b"0".to_vec()));
    // 10^10000 has one digit too many, 10^10000 - 1 has not.
    let most = vec![b'9'; MAX_DIGITS];
    let bytes = |digits: &[u8]| -> Vec<u8> {
        integer::from_digits(digits).iter().flat_map(|l| l.to_le_bytes()).collect()
    };
    assert!(integer::to_digits(&bytes(&most), MAX_DIGITS) == Some(most));
    let mut more = vec![b'0'; MAX_DIGITS + 1];
    more[0] = b'1';
    assert_eq!(integer::to_digits(&bytes(&more), MAX_DIGITS), None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_get_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let _any = decode(&bytes);
    }

    /// Nearly JSON: more of the reader is reached than with any bytes.
    #[test]
    fn nearly_json_gets_an_answer(text in "[\\[\\]{}\",:0-9eE.+\\-tfn\\\\u aé]{0,60}") {
        for repeats in [Repeats::Trust, Repeats::Resolve] {
            for keys in [Keys::Atoms, Keys::Binaries] {
                let limits = Limits { keys, ..LIMITS };
                match decode_with(text.as_bytes(), limits, repeats) {
                    Err(Error::Invalid(at)) => prop_assert!(at <= text.len()),
                    Err(Error::Busy) => prop_assert!(false),
                    _ => {}
                }
            }
        }
    }

    /// What is written reads as the same text, whatever is in it.
    #[test]
    fn texts_come_back(text in ".{0,100}") {
        let json = written(|w| assert!(w.text(text.as_bytes())));
        prop_assert_eq!(decode(json.as_bytes()).unwrap()[1..].to_vec(), binary(text.as_bytes()));
    }

    #[test]
    fn only_utf8_is_text(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
        let mut writer = Writer::default();
        prop_assert_eq!(writer.text(&bytes), std::str::from_utf8(&bytes).is_ok());
        let mut json = b"\"".to_vec();
        json.extend(bytes.iter().filter(|b| **b >= 32 && **b != b'"' && **b != b'\\'));
        let plain = json[1..].to_vec();
        json.push(b'"');
        match std::str::from_utf8(&plain) {
            Ok(_) => prop_assert_eq!(decode(&json).unwrap()[1..].to_vec(), binary(&plain)),
            Err(e) => prop_assert_eq!(decode(&json), Err(Error::Invalid(1 + e.valid_up_to()))),
        }
    }

    #[test]
    fn floats_come_back(bits in any::<u64>()) {
        let f = f64::from_bits(bits);
        if f.is_finite() {
            let etf = decode(written(|w| w.float(f)).as_bytes()).unwrap();
            prop_assert_eq!(&etf[2..], f.to_be_bytes());
        }
    }

    #[test]
    fn digits_come_back(digits in "[1-9][0-9]{0,400}") {
        let limbs = integer::from_digits(digits.as_bytes());
        let bytes: Vec<u8> = limbs.iter().flat_map(|l| l.to_le_bytes()).collect();
        prop_assert_eq!(integer::to_digits(&bytes, MAX_DIGITS), Some(digits.clone().into_bytes()));
        if let Ok(n) = digits.parse::<u128>() {
            let value = limbs.iter().rev().fold(0u128, |n, l| n << 64 | u128::from(*l));
            prop_assert_eq!(value, n);
        }
    }

    /// The term format is never larger than the bound on the term, and a header.
    #[test]
    fn cost_bounds_the_output(text in "[\\[\\]{}\",:0-9e.\\- a]{0,60}") {
        let mut decoder = Decoder::default();
        if let Ok(document) = decoder.decode(text.as_bytes(), &LIMITS, Repeats::Trust) {
            prop_assert!(document.etf.len() as u64 <= document.cost + Cost::binary(0) as u64);
        }
    }
}
