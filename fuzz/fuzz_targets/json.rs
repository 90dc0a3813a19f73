#![no_main]
//! Reading JSON: bounded, well formed, stable, and the same texts are valid as for
//! another reader.

use codec::document::Error;
use codec::json::{Decoder, Writer};
use erlmcp_flow_fuzz as fuzz;
use libfuzzer_sys::fuzz_target;

fuzz_target!(
    init: fuzz::seeds(|| {
        let mut seeds = fuzz::messages();
        let corners = [
            "null", " [ ] ", "{}", "-0", "-0.0", "1e308", "5e-324", "0.1", "12345678901234567890",
            "-9223372036854775808", "1e400", "01", "1.", "[1,]", "{\"a\":1,\"a\":2}", "[[[[]]]]",
            r#""\ud83d\ude00\u0000\/\\""#, r#""\ud800""#, "\"\u{7f}\u{80}\u{7ff}\u{ffff}\u{10ffff}\"",
            "{\"a\":{\"b\":[1,2,{\"c\":null}]},\"a\":{}}", "\u{feff}1", "tru", "[1 2]",
        ];
        seeds.extend(corners.iter().map(|text| text.as_bytes().to_vec()));
        seeds
    }),
    |input: &[u8]| {
        let answer = fuzz::document::check::<Writer>(&mut Decoder::default(), input);
        let other = serde_json::from_slice::<serde::de::IgnoredAny>(input);
        match answer {
            Ok(()) => {
                if let Err(error) = other {
                    panic!("another reader refuses it: {error}");
                }
            }
            // Too large, too deep: other limits.
            Err(Error::Invalid(_)) => assert!(
                serde_json::from_slice::<serde_json::Value>(input).is_err(),
                "another reader takes it"
            ),
            Err(_) => {}
        }
    }
);
