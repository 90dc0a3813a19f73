use super::*;

const LIMITS: Limits = Limits { max_bytes: 1 << 20, max_depth: None, safe: true };

fn check(body: &[u8]) -> Result<u64, Error> {
    scan(&[&[VERSION], body].concat(), &LIMITS)
}

#[test]
fn sizes() {
    for (body, bytes) in [
        (&[97, 1][..], 0),
        (&[98, 0, 0, 0, 1], 0),
        (&[106], 0),
        (&[119, 2, b'o', b'k'], 0),
        (&[104, 0], 8),
        (&[104, 2, 97, 1, 97, 2], 24),
        (&[108, 0, 0, 0, 1, 97, 1, 106], 16),
        (&[107, 0, 3, 1, 2, 3], 48),
        (&[109, 0, 0, 0, 3, 1, 2, 3], 24),
        (&[70, 0, 0, 0, 0, 0, 0, 0, 0], 16),
        (&[116, 0, 0, 0, 1, 97, 1, 97, 2], 56),
        (&[110, 8, 0, 1, 2, 3, 4, 5, 6, 7, 8], 16),
    ] {
        assert_eq!(check(body), Ok(bytes), "{body:?}");
    }
}

#[test]
fn claims_beyond_the_input_are_refused_where_they_stand() {
    for tag in [105, 108, 109, 111, 116] {
        assert_eq!(check(&[104, 1, tag, 255, 255, 255, 255, 0]), Err(Error::Invalid(3)));
    }
    assert_eq!(check(&[]), Err(Error::Invalid(1)));
    assert_eq!(check(&[97, 1, 97]), Err(Error::Invalid(3)));
    assert_eq!(check(&[104, 2, 97, 1]), Err(Error::Invalid(5)));
    assert_eq!(scan(&[], &LIMITS), Err(Error::Invalid(0)));
    assert_eq!(scan(&[130, 97, 1], &LIMITS), Err(Error::Invalid(0)));
}

#[test]
fn depth() {
    let nested = |n: usize| {
        let mut bytes = vec![VERSION];
        for _ in 0..n {
            bytes.extend([108, 0, 0, 0, 1]);
        }
        bytes.push(106);
        bytes.extend(std::iter::repeat_n(106, n));
        bytes
    };
    assert!(scan(&nested(1_000), &LIMITS).is_ok());
    let limited = Limits { max_depth: Some(10), ..LIMITS };
    assert!(scan(&nested(10), &limited).is_ok());
    assert_eq!(scan(&nested(11), &limited), Err(Error::TooDeep));
    // Width is not depth.
    let mut wide = vec![VERSION, 104, 100];
    wide.extend([104, 1, 106].repeat(100));
    assert!(scan(&wide, &Limits { max_depth: Some(2), ..LIMITS }).is_ok());
    let one = Limits { max_depth: Some(1), ..LIMITS };
    assert_eq!(scan(&wide, &one), Err(Error::TooDeep));
}

#[test]
fn compressed_terms() {
    let body = [&[109, 0, 1, 0, 0][..], &[7; 65_536]].concat();
    let stream = zlib::compress(&body, 6);
    let size = body.len() as u32;
    let input = [&[VERSION, COMPRESSED][..], &size.to_be_bytes(), &stream].concat();
    let (claimed, rest) = compressed(&input).unwrap();
    assert_eq!((claimed, rest), (size, &stream[..]));
    assert_eq!(inflate(size, rest, 1 << 20).unwrap()[1..], body[..]);
    assert_eq!(inflate(size, rest, 1 << 10), Err(Error::TooLarge));
    assert_eq!(inflate(size - 1, rest, 1 << 20), Err(Error::Invalid(STREAM_AT)));
    assert_eq!(inflate(size + 1, rest, 1 << 20), Err(Error::Invalid(STREAM_AT)));
    assert_eq!(inflate(u32::MAX, rest, u64::MAX), Err(Error::Invalid(STREAM_AT)));
}

#[test]
fn funs_only_when_not_safe() {
    let export = [113, 119, 1, b'm', 119, 1, b'f', 97, 1];
    assert_eq!(check(&export), Err(Error::Unsafe));
    let input = [&[VERSION][..], &export].concat();
    assert!(scan(&input, &Limits { safe: false, ..LIMITS }).is_ok());
    let mut seen = Vec::new();
    leaves(&input, &mut |from, to| seen.push((from, to))).unwrap();
    assert_eq!(seen, [(2, 5), (5, 8)]);
}
