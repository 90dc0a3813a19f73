//! From the word a caller names an instance by (its name or its pid) to the
//! instance, without a lock and without touching a shared counter.
//!
//! A macro, since statics and thread-locals cannot be generic: each kind of
//! instance has a registry of its own.

macro_rules! registry {
    ($name:ident, $instance:path) => {
        pub mod $name {
            use std::cell::RefCell;
            use std::collections::HashMap;
            use std::sync::atomic::{AtomicU64, Ordering};
            use std::sync::{Arc, LazyLock};

            use parking_lot::RwLock;
            use rustler::{LocalPid, Term};

            use $instance as Instance;

            /// An atom or a local pid: immediates, so equal words are equal terms.
            #[derive(Clone, Copy, PartialEq, Eq, Hash)]
            pub struct Name(usize);

            impl Name {
                pub fn of(term: Term) -> Option<Name> {
                    let immediate = term.is_atom() || term.decode::<LocalPid>().is_ok();
                    immediate.then(|| Name(terms::word::of(term)))
                }
            }

            static INSTANCES: LazyLock<RwLock<HashMap<Name, Arc<Instance>>>> =
                LazyLock::new(RwLock::default);

            /// Goes up with every change of `INSTANCES`: what a thread remembers from an
            /// older version is worth nothing.
            static VERSION: AtomicU64 = AtomicU64::new(0);

            const REMEMBERED: usize = 8;

            #[derive(Default)]
            struct Memory {
                version: u64,
                entries: [Option<(usize, Arc<Instance>)>; REMEMBERED],
            }

            thread_local! {
                static MEMORY: RefCell<Memory> = RefCell::default();
            }

            /// Runs `f` with the instance of that name. An instance that ended meanwhile may
            /// be seen, closed: it refuses everything.
            pub fn with<R>(name: Term, f: impl FnOnce(&Instance) -> R) -> Option<R> {
                let word = terms::word::of(name);
                MEMORY.with_borrow_mut(|memory| {
                    let version = VERSION.load(Ordering::Acquire);
                    if memory.version != version {
                        *memory = Memory { version, ..Memory::default() };
                    }
                    // Pids of neighbours and atoms differ from bit 4 and bit 6 on.
                    let place = &mut memory.entries[((word >> 4) ^ (word >> 6)) % REMEMBERED];
                    match place {
                        Some((known, instance)) if *known == word => Some(f(instance)),
                        _ => {
                            let instance = INSTANCES.read().get(&Name::of(name)?).cloned()?;
                            let (_, instance) = place.insert((word, instance));
                            Some(f(instance))
                        }
                    }
                })
            }

            pub fn insert(names: &[Name], instance: &Arc<Instance>) {
                let mut instances = INSTANCES.write();
                for name in names {
                    instances.insert(*name, Arc::clone(instance));
                }
                VERSION.fetch_add(1, Ordering::Release);
            }

            /// Forgets the names, unless they belong to a newer instance by now.
            pub fn remove(names: &[Name], instance: &Arc<Instance>) {
                let mut instances = INSTANCES.write();
                for name in names {
                    if instances.get(name).is_some_and(|known| Arc::ptr_eq(known, instance)) {
                        instances.remove(name);
                    }
                }
                VERSION.fetch_add(1, Ordering::Release);
            }
        }
    };
}

registry!(cache_registry, crate::cache::Instance);
registry!(outbox_registry, crate::outbox::Instance);
