use super::*;

#[test]
fn smoke() {
    let mut d = Decoder::default();
    let limits = Limits { max_bytes: 1 << 26, max_depth: 512, keys: Keys::Binaries };
    let doc = d.decode(b"{\"a\":[1,2.5,null],\"b\":{}}", &limits, Repeats::Trust).unwrap();
    assert_eq!(doc.etf[0], 131);
}
