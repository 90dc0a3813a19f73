//! Shared state: values that are stored once and read in part (`terms::held`).

use rustler::{Encoder, Env, ListIterator, Resource, ResourceArc, Term};
use terms::held::{Found, Held};

use crate::{atoms, schedule};

/// A shared value. The table that refers to it and the readers that just looked it
/// up keep it; the last one frees it.
pub struct Value(Option<Held>);

#[rustler::resource_impl]
impl Resource for Value {}

impl Drop for Value {
    fn drop(&mut self) {
        let Some(held) = self.0.take_if(|held| held.bytes() > schedule::SHARED_DROP_HERE) else {
            return;
        };
        // A thread that cannot be had drops the closure, and so frees it here.
        let _ = std::thread::Builder::new().spawn(move || drop(held));
    }
}

/// Copies a value.
#[rustler::nif(schedule = "DirtyCpu")]
fn shared_new(value: Term) -> ResourceArc<Value> {
    ResourceArc::new(Value(Some(Held::new(value))))
}

fn read<'a>(
    env: Env<'a>,
    value: &Value,
    path: ListIterator<'a>,
    max_parts: Option<usize>,
) -> Term<'a> {
    let found = value.0.as_ref().map(|held| held.read(env, path, max_parts));
    match found {
        Some(Found::Copied(part)) => (atoms::ok(), part).encode(env),
        Some(Found::Large) => atoms::large().to_term(env),
        Some(Found::Missing) | None => atoms::not_found().to_term(env),
    }
}

/// `{ok, Part}` for a list of map keys, `not_found`, or `large`: ask
/// `shared_read_dirty`.
#[rustler::nif]
fn shared_read<'a>(env: Env<'a>, value: ResourceArc<Value>, path: ListIterator<'a>) -> Term<'a> {
    read(env, &value, path, Some(schedule::SHARED_READ_PARTS))
}

#[rustler::nif(schedule = "DirtyCpu")]
fn shared_read_dirty<'a>(
    env: Env<'a>,
    value: ResourceArc<Value>,
    path: ListIterator<'a>,
) -> Term<'a> {
    read(env, &value, path, None)
}
