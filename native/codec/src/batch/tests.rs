use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug, PartialEq)]
enum Value {
    Int(i64),
    Float(f64),
    Atom(String),
    Binary(Vec<u8>),
    List(Vec<Value>, Option<Box<Value>>),
    Tuple(Vec<Value>),
    /// Sorted by nothing but the order of making.
    Map(Vec<(Value, Value)>),
    Bits,
}

/// One bit that is set.
const BITS: [u8; 8] = [131, 77, 0, 0, 0, 1, 1, 128];

/// Values laid out as the encoder wants them: by number.
#[derive(Default)]
struct Tree {
    nodes: Vec<Node>,
    atoms: HashMap<String, usize>,
}

enum Node {
    Int(i64),
    Float(f64),
    Atom(String),
    Binary(Vec<u8>),
    List(Vec<usize>, Option<usize>),
    Tuple(Vec<usize>),
    Map(Vec<usize>, Vec<usize>),
    Bits,
}

impl Tree {
    fn add(&mut self, value: &Value) -> usize {
        let node = match value {
            Value::Int(n) => Node::Int(*n),
            Value::Float(f) => Node::Float(*f),
            Value::Atom(name) => {
                let next = self.atoms.len();
                self.atoms.entry(name.clone()).or_insert(next);
                Node::Atom(name.clone())
            }
            Value::Binary(bytes) => Node::Binary(bytes.clone()),
            Value::List(elements, tail) => {
                let elements = elements.iter().map(|e| self.add(e)).collect();
                Node::List(elements, tail.as_ref().map(|tail| self.add(tail)))
            }
            Value::Tuple(elements) => Node::Tuple(elements.iter().map(|e| self.add(e)).collect()),
            Value::Map(pairs) => Node::Map(
                pairs.iter().map(|(k, _)| self.add(k)).collect(),
                pairs.iter().map(|(_, v)| self.add(v)).collect(),
            ),
            Value::Bits => Node::Bits,
        };
        self.nodes.push(node);
        self.nodes.len() - 1
    }
}

impl<'a> Source<'a> for &'a Tree {
    type Term = usize;

    fn view(&self, term: usize) -> View<'a, usize> {
        match &self.nodes[term] {
            Node::Int(n) => View::Int(*n),
            Node::Float(f) => View::Float(*f),
            Node::Atom(_) => View::Atom,
            Node::Binary(bytes) => View::Binary(bytes),
            Node::List(..) => View::List,
            Node::Tuple(elements) => View::Tuple(elements),
            Node::Map(keys, _) => View::Map(keys.len()),
            Node::Bits => View::Other { short: false },
        }
    }

    fn word(&self, term: usize) -> u64 {
        match &self.nodes[term] {
            Node::Atom(name) => 2 * self.atoms[name] as u64 + 1,
            _ => 2 * term as u64,
        }
    }

    fn atom_name(&self, term: usize, out: &mut Vec<u8>) {
        if let Node::Atom(name) = &self.nodes[term] {
            out.extend_from_slice(name.as_bytes());
        }
    }

    fn elements(
        &self,
        list: usize,
        max: usize,
        out: &mut Vec<usize>,
    ) -> Result<Option<usize>, Busy> {
        match &self.nodes[list] {
            Node::List(elements, _) if elements.len() > max => Err(Busy),
            Node::List(elements, tail) => {
                out.extend(elements);
                Ok(*tail)
            }
            _ => Ok(None),
        }
    }

    fn flat(&self, map: usize, size: usize) -> Option<(&'a [usize], &'a [usize])> {
        match &self.nodes[map] {
            Node::Map(keys, values) if size <= 32 => Some((keys, values)),
            _ => None,
        }
    }

    fn pairs(&self, map: usize, each: &mut impl FnMut(usize, usize)) {
        if let Node::Map(keys, values) = &self.nodes[map] {
            keys.iter().zip(values).for_each(|(k, v)| each(*k, *v));
        }
    }

    fn external(&self, _term: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(&BITS);
    }
}

/// Makes values, each by number; knows no atom that starts with "new".
#[derive(Default)]
struct Made {
    values: Vec<Value>,
}

impl Made {
    fn add(&mut self, value: Value) -> usize {
        self.values.push(value);
        self.values.len() - 1
    }

    fn all(&self, terms: &[usize]) -> Vec<Value> {
        terms.iter().map(|term| self.values[*term].clone()).collect()
    }
}

impl Sink for Made {
    type Term = usize;

    fn int(&mut self, value: i64) -> usize {
        self.add(Value::Int(value))
    }

    fn float(&mut self, value: f64) -> Option<usize> {
        value.is_finite().then(|| self.add(Value::Float(value)))
    }

    fn atom(&mut self, name: &str) -> Option<usize> {
        (!name.starts_with("new")).then(|| self.add(Value::Atom(name.into())))
    }

    fn binary(&mut self, bytes: &[u8]) -> usize {
        self.add(Value::Binary(bytes.into()))
    }

    fn list(&mut self, elements: &[usize], tail: Option<usize>) -> usize {
        let tail = tail.map(|tail| Box::new(self.values[tail].clone()));
        self.add(Value::List(self.all(elements), tail))
    }

    fn tuple(&mut self, elements: &[usize]) -> usize {
        self.add(Value::Tuple(self.all(elements)))
    }

    fn map(&mut self, keys: &[usize], values: &[usize]) -> Option<usize> {
        let keys = self.all(keys);
        if (1..keys.len()).any(|i| keys[..i].contains(&keys[i])) {
            return None;
        }
        let values = self.all(values);
        Some(self.add(Value::Map(keys.into_iter().zip(values).collect())))
    }

    fn pairs(&mut self, pairs: &[usize]) -> Option<usize> {
        let keys: Vec<usize> = pairs.iter().step_by(2).copied().collect();
        let values: Vec<usize> = pairs.iter().skip(1).step_by(2).copied().collect();
        self.map(&keys, &values)
    }

    fn external(&mut self, checked: &[u8]) -> Result<usize, External> {
        match checked == BITS {
            true => Ok(self.add(Value::Bits)),
            false => Err(External::Invalid),
        }
    }
}

const LIMITS: Limits = Limits { max_bytes: 1 << 20, safe: true, max_work: u64::MAX };

fn encoded(values: &[Value]) -> Vec<u8> {
    let mut tree = Tree::default();
    let list = tree.add(&Value::List(values.into(), None));
    encode(&&tree, list, u64::MAX).unwrap()
}

fn decoded(input: &[u8], limits: &Limits) -> Result<Value, Error> {
    let mut made = Made::default();
    let list = decode(input, &mut made, limits)?;
    Ok(made.values[list].clone())
}

fn binary(text: &str) -> Value {
    Value::Binary(text.as_bytes().into())
}

fn message(n: i64) -> Value {
    Value::Map(vec![
        (binary("id"), Value::Int(n)),
        (binary("jsonrpc"), binary("2.0")),
        (binary("method"), binary("tools/call")),
        (
            binary("params"),
            Value::Map(vec![(binary("name"), binary("a name of more than 16 bytes"))]),
        ),
    ])
}

#[test]
fn what_recurs_is_written_once() {
    let one = encoded(&[message(1)]).len();
    let many: Vec<Value> = (0..50).map(message).collect();
    let bytes = encoded(&many);
    // Shape, number, two values, shape, value.
    assert_eq!(bytes.len(), one + 49 * 6);
    assert_eq!(decoded(&bytes, &LIMITS), Ok(Value::List(many, None)));
}

#[test]
fn references_count_as_often_as_they_are_made() {
    let many = vec![Value::Binary(vec![7; 64]); 1000];
    let bytes = encoded(&many);
    assert!(bytes.len() < 1100);
    let flat = 8 * (1000 * 2 + 1000 * 10);
    let limits = Limits { max_bytes: flat, ..LIMITS };
    assert!(decoded(&bytes, &limits).is_ok());
    let limits = Limits { max_bytes: flat - 8, ..LIMITS };
    assert_eq!(decoded(&bytes, &limits), Err(Error::TooLarge));
}

#[test]
fn work_is_bounded_on_both_sides() {
    let many: Vec<Value> = (0..1000).map(message).collect();
    let mut tree = Tree::default();
    let list = tree.add(&Value::List(many.clone(), None));
    for work in [0, 10, 999, 5000] {
        assert_eq!(encode(&&tree, list, work), Err(Busy));
    }
    let list = tree.add(&Value::List(vec![Value::Bits], None));
    assert_eq!(encode(&&tree, list, 1_000_000), Err(Busy));
    let bytes = encoded(&many);
    for max_work in [0, 10, 999, 5000] {
        let limits = Limits { max_work, ..LIMITS };
        assert_eq!(decoded(&bytes, &limits), Err(Error::Busy));
    }
}

#[test]
fn deep_terms_take_no_stack() {
    let n = 200_000;
    let mut bytes = vec![MAGIC, VERSION, 1];
    bytes.extend(std::iter::repeat_n(format::LIST + 1, n));
    bytes.push(format::LIST);
    let mut depth = Depth::default();
    let limits = Limits { max_bytes: 64 << 20, ..LIMITS };
    decode(&bytes, &mut depth, &limits).unwrap();
    assert_eq!(depth.lists, n + 2);
    assert_eq!(decode(&bytes, &mut depth, &LIMITS), Err(Error::TooLarge));
}

/// Only counts the lists (a nested `Value` would be dropped by recursion).
#[derive(Default)]
struct Depth {
    lists: usize,
}

impl Sink for Depth {
    type Term = ();
    fn int(&mut self, _: i64) {}
    fn float(&mut self, _: f64) -> Option<()> {
        None
    }
    fn atom(&mut self, _: &str) -> Option<()> {
        None
    }
    fn binary(&mut self, _: &[u8]) {}
    fn list(&mut self, _: &[()], _: Option<()>) {
        self.lists += 1;
    }
    fn tuple(&mut self, _: &[()]) {}
    fn map(&mut self, _: &[()], _: &[()]) -> Option<()> {
        None
    }
    fn pairs(&mut self, _: &[()]) -> Option<()> {
        None
    }
    fn external(&mut self, _: &[u8]) -> Result<(), External> {
        Err(External::Invalid)
    }
}

fn key() -> impl Strategy<Value = Value> {
    prop_oneof![
        prop::sample::select(vec!["id", "jsonrpc", "method", "params"]).prop_map(binary),
        prop::sample::select(vec!["ok", "error", "größe"]).prop_map(|a| Value::Atom(a.into())),
        prop::collection::vec(any::<u8>(), 0..70).prop_map(Value::Binary),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(Value::Int),
        (-70i64..70).prop_map(Value::Int),
        (-1e300..1e300).prop_map(Value::Float),
        key(),
        Just(Value::Bits),
    ];
    leaf.prop_recursive(5, 200, 8, |inner| {
        let list = prop::collection::vec(inner.clone(), 0..10);
        prop_oneof![
            list.clone().prop_map(|l| Value::List(l, None)),
            (prop::collection::vec(inner.clone(), 1..4), key())
                .prop_map(|(l, tail)| Value::List(l, Some(Box::new(tail)))),
            list.prop_map(Value::Tuple),
            prop::collection::vec((key(), inner.clone()), 0..40).prop_map(map),
            prop::collection::vec((inner.clone(), inner), 0..4).prop_map(map),
        ]
    })
}

/// Without equal keys.
fn map(pairs: Vec<(Value, Value)>) -> Value {
    let mut unique: Vec<(Value, Value)> = Vec::new();
    for (key, value) in pairs {
        if unique.iter().all(|(k, _)| *k != key) {
            unique.push((key, value));
        }
    }
    Value::Map(unique)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn decoding_gives_the_terms_back(values in prop::collection::vec(value(), 0..8)) {
        let limits = Limits { max_bytes: u64::MAX, ..LIMITS };
        prop_assert_eq!(decoded(&encoded(&values), &limits), Ok(Value::List(values, None)));
    }

    #[test]
    fn damaged_input_is_a_value_or_an_error(
        values in prop::collection::vec(value(), 1..4),
        damages in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in 0usize..20,
    ) {
        let mut bytes = encoded(&values);
        for (at, byte) in damages {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(bytes.len().saturating_sub(cut));
        let _ = decoded(&bytes, &LIMITS);
    }

    #[test]
    fn noise_is_a_value_or_an_error(noise in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decoded(&[&[MAGIC, VERSION], &noise[..]].concat(), &LIMITS);
    }
}
