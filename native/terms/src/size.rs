//! How much memory a term takes once it is copied.

use rustler::{Binary, MapIterator, Term, TermType};

use crate::imm::Imm;

const WORD: usize = std::mem::size_of::<usize>();

/// A binary up to this many bytes is copied with its heap; a longer one is shared.
pub const HEAP_BINARY: usize = 64;

/// What a shared binary takes on the heap besides its bytes.
const SHARED: usize = 6 * WORD;

/// Bytes of heap that a copy of the term takes, and the bytes of the binaries that
/// it keeps alive; an estimate for funs, references and the like, and for the
/// inner nodes of maps with more than 32 keys.
///
/// The VM knows this number and does not tell NIFs, so the term is walked, with a
/// stack of our own (a deep term must not overflow the scheduler's).
pub fn of(term: Term) -> usize {
    let mut bytes = 0;
    let mut todo = vec![term];
    while let Some(term) = todo.pop() {
        match term.get_type() {
            TermType::List => bytes += list(term, &mut todo),
            TermType::Tuple => {
                if let Ok(items) = rustler::types::tuple::get_tuple(term) {
                    bytes += (1 + items.len()) * WORD;
                    todo.extend(items);
                }
            }
            TermType::Map => {
                let before = todo.len();
                if let Some(pairs) = MapIterator::new(term) {
                    pairs.for_each(|(key, value)| todo.extend([key, value]));
                }
                let n = (todo.len() - before) / 2;
                // Up to 32 keys: the map, and the tuple of keys (the empty one is
                // shared). Above: a trie of cells.
                bytes += match n {
                    0 => 3 * WORD,
                    1..=32 => (4 + 2 * n) * WORD,
                    _ => (8 + 4 * n) * WORD,
                };
            }
            TermType::Binary => {
                bytes += match Binary::from_term(term) {
                    Ok(b) if b.len() <= HEAP_BINARY => 2 * WORD + b.len().next_multiple_of(WORD),
                    Ok(b) => SHARED + b.len(),
                    // A bitstring: a reference into a binary of unknown size.
                    Err(_) => SHARED + HEAP_BINARY,
                }
            }
            TermType::Float => bytes += 2 * WORD,
            // Small ones are none, but nobody counts those; big ones by their digits
            // cannot be asked for: a guess that is right to 128 bits.
            TermType::Integer if term.decode::<i64>().is_err() => bytes += 3 * WORD,
            TermType::Fun => bytes += 8 * WORD,
            TermType::Ref => bytes += 4 * WORD,
            TermType::Pid | TermType::Port if Imm::of(term).is_none() => bytes += 3 * WORD,
            _ => {}
        }
    }
    bytes
}

fn list<'a>(term: Term<'a>, todo: &mut Vec<Term<'a>>) -> usize {
    let mut bytes = 0;
    let mut rest = term;
    while let Ok((head, tail)) = rest.list_get_cell() {
        bytes += 2 * WORD;
        // Immediates are most of most lists (strings): do not queue them.
        if !head.is_integer() && !head.is_atom() {
            todo.push(head);
        }
        rest = tail;
    }
    if !rest.is_empty_list() {
        todo.push(rest);
    }
    bytes
}
