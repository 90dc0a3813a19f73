//! Terms for the batch codec, standing in for the VM's. Equal terms are one node,
//! so that comparing them is comparing numbers.

use std::collections::HashMap;

use codec::batch::{Busy, External, Sink, Source, View};

#[derive(Clone, PartialEq, Eq, Hash)]
enum Node {
    Int(i64),
    /// By its bits.
    Float(u64),
    Atom(String),
    Binary(Vec<u8>),
    List(Vec<u32>, Option<u32>),
    Tuple(Vec<u32>),
    /// Keys in order of their numbers, and the values to them.
    Map(Vec<u32>, Vec<u32>),
    External(Vec<u8>),
}

#[derive(Default)]
pub struct Terms {
    nodes: Vec<Node>,
    ids: HashMap<Node, u32>,
    /// What the terms made so far take in a VM at least, in bytes, each counted as
    /// often as it was asked for.
    pub made: u64,
}

impl Terms {
    fn node(&mut self, node: Node, bytes: usize) -> u32 {
        self.made += bytes as u64;
        let nodes = &mut self.nodes;
        *self.ids.entry(node.clone()).or_insert_with(|| {
            nodes.push(node);
            nodes.len() as u32 - 1
        })
    }

    /// A map in one order, whatever order it is told in; `None` for equal keys.
    fn map_of(&mut self, pairs: impl Iterator<Item = [u32; 2]>) -> Option<u32> {
        let mut pairs: Vec<[u32; 2]> = pairs.collect();
        pairs.sort_unstable_by_key(|[key, _]| *key);
        if pairs.windows(2).any(|two| two[0][0] == two[1][0]) {
            return None;
        }
        let (keys, values) = pairs.iter().map(|[key, value]| (*key, *value)).unzip();
        Some(self.node(Node::Map(keys, values), 16 * pairs.len()))
    }

    fn get(&self, term: u32) -> &Node {
        &self.nodes[term as usize]
    }
}

impl Sink for Terms {
    type Term = u32;

    fn int(&mut self, value: i64) -> u32 {
        self.node(Node::Int(value), 0)
    }

    fn float(&mut self, value: f64) -> Option<u32> {
        value.is_finite().then(|| self.node(Node::Float(value.to_bits()), 16))
    }

    fn atom(&mut self, name: &str) -> Option<u32> {
        // Some do not exist.
        (!name.starts_with('?')).then(|| self.node(Node::Atom(name.to_owned()), 0))
    }

    fn binary(&mut self, bytes: &[u8]) -> u32 {
        self.node(Node::Binary(bytes.to_vec()), 16 + bytes.len())
    }

    fn list(&mut self, elements: &[u32], tail: Option<u32>) -> u32 {
        // An improper list's tail is not a list, whatever the input says.
        match tail.map(|tail| (tail, self.get(tail).clone())) {
            Some((_, Node::List(more, last))) => {
                let all = [elements, &more].concat();
                self.node(Node::List(all, last), 16 * elements.len())
            }
            _ => self.node(Node::List(elements.to_vec(), tail), 16 * elements.len()),
        }
    }

    fn tuple(&mut self, elements: &[u32]) -> u32 {
        self.node(Node::Tuple(elements.to_vec()), 8 * (1 + elements.len()))
    }

    fn map(&mut self, keys: &[u32], values: &[u32]) -> Option<u32> {
        assert_eq!(keys.len(), values.len());
        self.map_of(keys.iter().zip(values).map(|(key, value)| [*key, *value]))
    }

    fn pairs(&mut self, pairs: &[u32]) -> Option<u32> {
        self.map_of(pairs.chunks_exact(2).map(|pair| [pair[0], pair[1]]))
    }

    fn external(&mut self, checked: &[u8]) -> Result<u32, External> {
        Ok(self.node(Node::External(checked.to_vec()), 0))
    }
}

impl<'a> Source<'a> for &'a Terms {
    type Term = u32;

    fn view(&self, term: u32) -> View<'a, u32> {
        match self.nodes.get(term as usize).expect("a term of these") {
            Node::Int(value) => View::Int(*value),
            Node::Float(bits) => View::Float(f64::from_bits(*bits)),
            Node::Atom(_) => View::Atom,
            Node::Binary(bytes) => View::Binary(bytes),
            Node::List(..) => View::List,
            Node::Tuple(elements) => View::Tuple(elements),
            Node::Map(keys, _) => View::Map(keys.len()),
            Node::External(bytes) => View::Other { short: bytes.len() < 64 },
        }
    }

    fn word(&self, term: u32) -> u64 {
        term.into()
    }

    fn atom_name(&self, term: u32, out: &mut Vec<u8>) {
        let Node::Atom(name) = self.get(term) else { panic!("no atom") };
        out.extend_from_slice(name.as_bytes());
    }

    fn elements(&self, list: u32, max: usize, out: &mut Vec<u32>) -> Result<Option<u32>, Busy> {
        let Node::List(elements, tail) = self.get(list) else { panic!("no list") };
        if elements.len() > max {
            return Err(Busy);
        }
        out.extend_from_slice(elements);
        Ok(*tail)
    }

    fn flat(&self, map: u32, size: usize) -> Option<(&'a [u32], &'a [u32])> {
        let Node::Map(keys, values) = &self.nodes[map as usize] else { panic!("no map") };
        assert_eq!(keys.len(), size);
        // As in the VM.
        (size <= 32).then_some((keys, values))
    }

    fn pairs(&self, map: u32, each: &mut impl FnMut(u32, u32)) {
        let Node::Map(keys, values) = self.get(map) else { panic!("no map") };
        keys.iter().zip(values).for_each(|(key, value)| each(*key, *value));
    }

    fn external(&self, term: u32, out: &mut Vec<u8>) {
        let Node::External(bytes) = self.get(term) else { panic!("no external term") };
        out.extend_from_slice(bytes);
    }
}

/// A batch of documents in external term format.
pub fn batch_of(documents: &[Vec<u8>]) -> Vec<u8> {
    let mut terms = Terms::default();
    let documents: Vec<u32> =
        documents.iter().map(|document| terms.read(&mut &document[1..])).collect();
    let list = terms.list(&documents, None);
    batch_encode(&terms, list)
}

fn batch_encode(terms: &Terms, list: u32) -> Vec<u8> {
    codec::batch::encode(&terms, list, u64::MAX).expect("no limit on the work")
}

impl Terms {
    /// Reads a document, which is one of ours: by recursion, trusting it.
    fn read(&mut self, etf: &mut &[u8]) -> u32 {
        let tag = take(etf, 1)[0];
        match tag {
            97 => self.int(take(etf, 1)[0].into()),
            98 => self.int((len(etf) as u32 as i32).into()),
            106 => self.list(&[], None),
            109 => {
                let len = len(etf);
                let bytes = take(etf, len);
                self.binary(bytes)
            }
            119 => {
                let len = take(etf, 1)[0].into();
                let name = std::str::from_utf8(take(etf, len)).expect("a name");
                self.atom(name).expect("it exists")
            }
            108 => {
                let elements: Vec<u32> = (0..len(etf)).map(|_| self.read(etf)).collect();
                take(etf, 1);
                self.list(&elements, None)
            }
            116 => {
                let pairs: Vec<u32> = (0..2 * len(etf)).map(|_| self.read(etf)).collect();
                Sink::pairs(self, &pairs).expect("no key twice")
            }
            tag => {
                let size = match tag {
                    70 => 8,
                    110 => usize::from(etf[0]) + 2,
                    _ => panic!("tag {tag} in a document"),
                };
                let bytes = [&[131, tag], take(etf, size)].concat();
                Sink::external(self, &bytes).expect("it is taken as it is")
            }
        }
    }
}

fn take<'a>(etf: &mut &'a [u8], len: usize) -> &'a [u8] {
    let (taken, rest) = etf.split_at(len);
    *etf = rest;
    taken
}

fn len(etf: &mut &[u8]) -> usize {
    u32::from_be_bytes(*take(etf, 4).first_chunk().expect("four bytes")) as usize
}
