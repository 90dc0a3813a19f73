//! Many maps with the same keys, made faster than one by one.

use rustler::sys;

use crate::walk::{boxed, Maker, Reader, Word, MAX_FLAT};

/// A reference made for nothing but to mark the places of values in templates: no
/// other term has its word, since nobody can get at it.
#[derive(Clone, Copy)]
pub struct Mark<'a>(Word<'a>);

impl<'a> Mark<'a> {
    pub(crate) fn new(maker: Maker<'a>) -> Self {
        // SAFETY: makes a term in a live environment.
        Mark(Word::new(unsafe { sys::enif_make_ref(maker.env().as_c_arg()) }))
    }
}

/// A map whose keys are there and whose values are not: maps of the same shape are
/// copies of it, which share its keys and need no sorting.
///
/// The NIF interface can copy a map with one value changed, but not with several.
/// The other values are put in place in the copy, before anyone else sees it. This
/// relies on a flat map holding its values as consecutive words in key order, so it
/// is only done on releases of the VM where it was tried ([`crate::layout`]); and
/// there too it is looked for first: see `locate` and `fill`.
pub struct Template<'a> {
    len: usize,
    /// For each key in the map's order, where its value stands among those given.
    order: [u8; MAX_FLAT],
    /// The first key in the map's order.
    first: Word<'a>,
    /// With the mark as every value.
    map: Word<'a>,
    mark: Word<'a>,
    /// Where the values start in the map, in words.
    values_at: usize,
}

impl<'a> Template<'a> {
    pub(crate) fn new(maker: Maker<'a>, keys: &[Word<'a>], mark: Mark<'a>) -> Option<Self> {
        let mark = mark.0;
        let marks = [mark; MAX_FLAT];
        let map = maker.map(keys, marks.get(..keys.len())?)?;
        let mut template = Template {
            len: 0,
            order: [0; MAX_FLAT],
            first: *keys.first()?,
            map,
            mark,
            values_at: 0,
        };
        Reader::new(maker.env()).pairs(map, &mut |key, _| {
            if let Some(from) = keys.iter().position(|k| *k == key) {
                if template.len == 0 {
                    template.first = key;
                }
                if let Some(place) = template.order.get_mut(template.len) {
                    *place = from as u8;
                    template.len += 1;
                }
            }
        });
        if template.len != keys.len() {
            return None;
        }
        template.values_at = template.locate()?;
        Some(template)
    }

    /// Where the values start in this map, if it is laid out as expected.
    fn locate(&self) -> Option<usize> {
        let words = boxed(self.map)?;
        let n = self.len;
        // SAFETY: a flat map has a head of some words and then its values. No word
        // behind the first value is read unless it starts a run of marks, and no word
        // behind the first one that is no mark: all of these lie in the map, as no
        // other term holds the mark. A map with a longer head is not used.
        unsafe {
            let first = (1..=3).find(|at| *words.add(*at) == self.mark)?;
            (first..first + n).all(|at| *words.add(at) == self.mark).then_some(first)
        }
    }

    /// The map with these values, given in the order of the keys that the template
    /// was made with. `None` when there are not as many, or the VM does not copy as
    /// expected.
    #[inline(always)]
    pub fn fill(&self, maker: Maker<'a>, values: &[Word<'a>]) -> Option<Word<'a>> {
        if values.len() != self.len {
            return None;
        }
        let mut copy = sys::ErlNifTerm::default();
        // SAFETY: map, key and value are terms of this environment.
        let made = unsafe {
            sys::enif_make_map_update(
                maker.env().as_c_arg(),
                self.map.0,
                self.first.0,
                values.get(usize::from(self.order[0]))?.0,
                &mut copy,
            )
        };
        let copy = Word::new(copy);
        if made == 0 || copy == self.map {
            return None;
        }
        let words = boxed(copy)?;
        for (i, from) in self.order.iter().enumerate().take(self.len).skip(1) {
            let value = *values.get(usize::from(*from))?;
            // SAFETY: the copy is of the same size as the template, in which `locate`
            // found the mark in these very words, so they are in it. It was made in
            // this call and nothing else refers to it, so it may be written; a word
            // that holds the mark is a value (nothing else ever holds it), and any
            // term of the environment may take its place: there is no collection
            // before the NIF returns, so old and new need not be told apart.
            unsafe {
                let word = words.add(self.values_at + i);
                if *word != self.mark {
                    return None;
                }
                *word = value;
            }
        }
        Some(copy)
    }
}
