//! What a decoder of documents must hold for any input, and a walk over the term
//! format that it writes, standing in for the walk over Erlang terms.

use codec::document::{Big, Decode, Error, Keys, Limits, Repeats, Sink};
use codec::etf;

/// Deep enough for all that real documents nest, and less than where other JSON
/// readers stop.
pub const MAX_DEPTH: usize = 100;

/// For input that is known to be good.
pub const GENEROUS: Limits =
    Limits { max_bytes: usize::MAX, max_depth: usize::MAX, keys: Keys::Binaries, budget: u64::MAX };

/// Decodes `input` in every way, holds the results against the limits and each
/// other, writes what was read and reads that again. Gives the answer for maps
/// with the last of equal keys.
pub fn check<S: Sink + Default>(decoder: &mut impl Decode, input: &[u8]) -> Result<(), Error> {
    let limits = Limits { max_bytes: 1 << 20, max_depth: MAX_DEPTH, ..GENEROUS };
    let answer = match decoder.decode(input, &limits, Repeats::Resolve) {
        Ok(document) => {
            assert!(document.cost <= limits.max_bytes as u64);
            well_formed(document.etf, MAX_DEPTH);
            let (first, cost) = (document.etf.to_vec(), document.cost);
            let less = Limits { max_bytes: (cost as usize).saturating_sub(1), ..limits };
            if cost > 0 {
                let result = decoder.decode(input, &less, Repeats::Resolve);
                assert_eq!(result.map(|d| d.cost), Err(Error::TooLarge));
            }
            if let Some(written) = write::<S>(&first) {
                match decoder.decode(&written, &GENEROUS, Repeats::Trust) {
                    Ok(second) => assert_eq!(second.etf, first, "written: {written:?}"),
                    Err(error) => panic!("{error:?} reading what was written: {written:?}"),
                }
            }
            Ok(())
        }
        Err(error) => Err(error),
    };
    // Equal keys left in: everything else is the same.
    match decoder.decode(input, &limits, Repeats::Trust) {
        Ok(document) => {
            assert_eq!(answer, Ok(()));
            well_formed(document.etf, MAX_DEPTH);
        }
        Err(error) => assert_eq!(answer, Err(error)),
    }
    let atoms = Limits { keys: Keys::Atoms, ..limits };
    match decoder.decode(input, &atoms, Repeats::Resolve) {
        Ok(document) => {
            assert_eq!(answer, Ok(()));
            well_formed(document.etf, MAX_DEPTH);
        }
        Err(Error::UnknownAtom | Error::TooLarge) => {}
        Err(error) => assert_eq!(answer, Err(error)),
    }
    let little = Limits { budget: 200, ..limits };
    match decoder.decode(input, &little, Repeats::Resolve) {
        Ok(_) => assert_eq!(answer, Ok(())),
        Err(Error::Busy) => {}
        Err(error) => assert_eq!(answer, Err(error)),
    }
    assert_ne!(answer, Err(Error::Busy));
    if let Err(Error::Invalid(offset)) = answer {
        assert!(offset <= input.len());
    }
    answer
}

/// Would the VM's decoder find its way through it?
fn well_formed(etf: &[u8], max_depth: usize) {
    let limits = etf::Limits { max_bytes: u64::MAX, max_depth: Some(max_depth as u32), safe: true };
    if let Err(error) = etf::scan(etf, &limits) {
        panic!("{error:?}: {etf:?}");
    }
}

/// The document in `etf` as `S` writes it, if it can.
pub fn write<S: Sink + Default>(etf: &[u8]) -> Option<Vec<u8>> {
    let mut sink = S::default();
    sink.begin();
    walk(etf, &mut sink).then(|| sink.finish().to_vec())
}

struct Frame {
    map: bool,
    /// Values, or keys and values, still to come.
    left: usize,
    /// Whether the end of a list follows, as it does but for the empty list.
    tail: bool,
}

/// Tells the document in `etf` to `sink`; false when the sink has no way to write
/// something in it.
fn walk<S: Sink>(etf: &[u8], sink: &mut S) -> bool {
    let mut reader = Reader(&etf[1..]);
    let mut stack: Vec<Frame> = Vec::new();
    loop {
        let tag = reader.byte();
        let opened = match tag {
            106 => Some(Frame { map: false, left: 0, tail: false }),
            108 => Some(Frame { map: false, left: reader.u32(), tail: true }),
            116 => Some(Frame { map: true, left: 2 * reader.u32(), tail: false }),
            _ => {
                let bare_key = !S::ANY_KEYS && is_key(&stack) && matches!(tag, 97 | 98 | 110 | 111);
                if bare_key {
                    sink.quote();
                }
                if !leaf(tag, &mut reader, sink) {
                    return false;
                }
                if bare_key {
                    sink.quote();
                }
                None
            }
        };
        match opened {
            None => end(&mut stack, sink),
            Some(frame) => {
                let told = match frame.map {
                    true => sink.open_map(frame.left / 2),
                    false => sink.open_list(frame.left),
                };
                if !told {
                    return false;
                }
                stack.push(frame);
            }
        }
        while let Some(frame) = stack.pop_if(|frame| frame.left == 0) {
            if frame.tail {
                assert_eq!(reader.byte(), 106);
            }
            match frame.map {
                true => sink.close_map(),
                false => sink.close_list(),
            }
            end(&mut stack, sink);
        }
        if stack.is_empty() {
            assert!(reader.0.is_empty());
            return true;
        }
    }
}

fn is_key(stack: &[Frame]) -> bool {
    stack.last().is_some_and(|frame| frame.map && frame.left % 2 == 0)
}

/// A value is complete.
fn end<S: Sink>(stack: &mut [Frame], sink: &mut S) {
    match is_key(stack) {
        true => sink.key_end(),
        false => sink.value_end(),
    }
    if let Some(frame) = stack.last_mut() {
        frame.left -= 1;
    }
}

fn leaf<S: Sink>(tag: u8, reader: &mut Reader, sink: &mut S) -> bool {
    match tag {
        97 => sink.int(reader.byte().into()),
        98 => sink.int((reader.u32() as u32 as i32).into()),
        70 => sink.float(f64::from_be_bytes(*reader.take(8).first_chunk().expect("eight bytes"))),
        109 => {
            let len = reader.u32();
            return sink.text(reader.take(len));
        }
        110 | 111 => {
            let len = if tag == 110 { reader.byte().into() } else { reader.u32() };
            let negative = reader.byte() != 0;
            return integer(negative, reader.take(len), sink);
        }
        119 => {
            let len = reader.byte().into();
            match reader.take(len) {
                b"null" => sink.null(),
                b"true" => sink.bool(true),
                b"false" => sink.bool(false),
                name => panic!("an atom in a document: {name:?}"),
            }
        }
        tag => panic!("tag {tag} in a document"),
    }
    true
}

/// An integer by its little-endian bytes, told by the smallest type, as a walk over
/// the VM's terms does.
fn integer<S: Sink>(negative: bool, magnitude: &[u8], sink: &mut S) -> bool {
    let len = magnitude.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let magnitude = &magnitude[..len];
    let mut eight = [0; 8];
    if len <= 8 {
        eight[..len].copy_from_slice(magnitude);
        let n = u64::from_le_bytes(eight);
        if negative && n <= 1 << 63 {
            sink.int((n as i64).wrapping_neg());
            return true;
        }
        if !negative {
            match i64::try_from(n) {
                Ok(n) => sink.int(n),
                Err(_) => sink.uint(n),
            }
            return true;
        }
    }
    sink.big(negative, magnitude) == Big::Written
}

/// Reads what is known to be well formed.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len);
        self.0 = rest;
        taken
    }

    fn byte(&mut self) -> u8 {
        self.take(1)[0]
    }

    fn u32(&mut self) -> usize {
        u32::from_be_bytes(*self.take(4).first_chunk().expect("four bytes")) as usize
    }
}
