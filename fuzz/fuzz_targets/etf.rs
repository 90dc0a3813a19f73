#![no_main]
//! The check of external term format before the VM decodes it: what it says with
//! one limit agrees with what it says with others, it visits parts of the input
//! only, and compressed terms unfold to no more than is allowed.

use codec::etf::{self, Error, Limits};
use erlmcp_flow_fuzz as fuzz;
use libfuzzer_sys::fuzz_target;

const LIMITS: Limits = Limits { max_bytes: u64::MAX, max_depth: None, safe: false };

fuzz_target!(
    init: fuzz::seeds(seeds),
    |input: &[u8]| {
        check(input);
        if let Some((claimed, stream)) = etf::compressed(input) {
            match etf::inflate(claimed, stream, 1 << 20) {
                Ok(plain) => {
                    assert_eq!(plain.len(), claimed as usize + 1);
                    assert!(plain.len() <= (1 << 20) + 1);
                    check(&plain);
                }
                Err(Error::TooLarge | Error::Invalid(_)) => {}
                Err(error) => panic!("{error:?} from a stream"),
            }
        }
    }
);

fn check(input: &[u8]) {
    let any = etf::scan(input, &LIMITS);
    let safe = etf::scan(input, &Limits { safe: true, ..LIMITS });
    let shallow = etf::scan(input, &Limits { max_depth: Some(16), ..LIMITS });
    match any {
        Ok(size) => {
            // Nothing in memory is larger than some 16 words for each byte.
            assert!(size <= 200 * input.len() as u64, "{size} bytes");
            assert!(matches!(safe, Ok(same) if same == size) || safe == Err(Error::Unsafe));
            assert!(matches!(shallow, Ok(same) if same == size) || shallow == Err(Error::TooDeep));
            assert_eq!(etf::scan(input, &Limits { max_bytes: size, ..LIMITS }), Ok(size));
            if let Some(max_bytes) = size.checked_sub(1) {
                assert_eq!(etf::scan(input, &Limits { max_bytes, ..LIMITS }), Err(Error::TooLarge));
            }
        }
        Err(error) => {
            assert!(matches!(error, Error::Invalid(at) if at <= input.len()), "{error:?}");
            assert!(safe.is_err() && shallow.is_err());
        }
    }
    let leaves = etf::leaves(input, &mut |from, to| {
        assert!(0 < from && from < to && to <= input.len());
        let leaf = &input[from..to];
        let _ = (etf::is_atom(leaf), etf::has_atom_tag(leaf));
    });
    assert_eq!(leaves.is_ok(), any.is_ok());
}

/// Messages, and one term of every kind.
fn seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = fuzz::documents().into_iter().step_by(4).collect();
    if let Some(message) = seeds.first().cloned() {
        let stream = codec::compress::zlib::compress(&message[1..], 6);
        let size = (message.len() as u32 - 1).to_be_bytes();
        seeds.push([&[131, 80][..], &size, &stream].concat());
    }
    let node =
        [119, 13, b'n', b'o', b'n', b'o', b'd', b'e', b'@', b'n', b'o', b'h', b'o', b's', b't'];
    let atom = [119, 1, b'm'];
    let kinds: [Vec<u8>; 12] = [
        [&[88][..], &node, &[0, 0, 0, 90, 0, 0, 0, 0, 0, 0, 0, 0]].concat(),
        [&[89][..], &node, &[0, 0, 0, 6, 0, 0, 0, 0]].concat(),
        [&[120][..], &node, &[0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0]].concat(),
        [&[90, 0, 3][..], &node, &[0; 16]].concat(),
        [&[113][..], &atom, &atom, &[97, 2]].concat(),
        [&[77, 0, 0, 0, 2, 3, 1, 0b1010_0000][..]].concat(),
        [&[107, 0, 3, 1, 2, 3][..]].concat(),
        [&[110, 9, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1][..]].concat(),
        [&[111, 0, 0, 0, 1, 0, 7][..]].concat(),
        [&[105, 0, 0, 0, 1, 106][..]].concat(),
        [&[100, 0, 2, b'o', b'k'][..]].concat(),
        [&[99][..], b"1.50000000000000000000e+00\0\0\0\0\0"].concat(),
    ];
    seeds.extend(kinds.iter().map(|kind| [&[131], &kind[..]].concat()));
    seeds.push([&[131, 104, kinds.len() as u8], &kinds.concat()[..]].concat());
    seeds
}
