//! The cache's core beside quick_cache and moka: 64-bit keys and values, 10,000 of
//! them. Ours keeps LRU order, deadlines and counts under a lock a shard; quick_cache
//! keeps no deadlines (and marks instead of moving), moka does its keeping later, in
//! batches. Time is given to ours; moka reads a clock.

use std::hint::black_box;
use std::time::Duration;

use cache::{Cache, Limits, Store};
use criterion::{criterion_group, criterion_main, Criterion, Throughput};

#[derive(Default)]
struct Numbers;

impl Store for Numbers {
    type Entry = (u64, u64);
    type Key<'a> = u64;
    type Value<'a> = u64;

    fn is(&self, entry: &(u64, u64), key: u64) -> bool {
        entry.0 == key
    }

    fn insert(&mut self, key: u64, value: u64) -> (u64, u64) {
        (key, value)
    }

    fn replace(&mut self, entry: &mut (u64, u64), value: u64) {
        entry.1 = value;
    }

    fn remove(&mut self, _: (u64, u64)) {}

    fn bytes(&self) -> usize {
        0
    }
}

const ENTRIES: usize = 10_000;
const TTL: u64 = 3_600_000;

/// One set of functions for all three.
trait Side: Sync {
    fn get(&self, key: u64) -> Option<u64>;
    fn put(&self, key: u64, value: u64);
}

struct Ours(Cache<Numbers>);

fn hash(key: u64) -> u32 {
    (key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as u32
}

impl Side for Ours {
    fn get(&self, key: u64) -> Option<u64> {
        self.0.get(hash(key), key, key >> 20, true, |_, entry| entry.1)
    }

    fn put(&self, key: u64, value: u64) {
        self.0.put(hash(key), key, value, 0, key >> 20, None);
    }
}

impl Side for quick_cache::sync::Cache<u64, u64> {
    fn get(&self, key: u64) -> Option<u64> {
        quick_cache::sync::Cache::get(self, &key)
    }

    fn put(&self, key: u64, value: u64) {
        self.insert(key, value);
    }
}

impl Side for moka::sync::Cache<u64, u64> {
    fn get(&self, key: u64) -> Option<u64> {
        moka::sync::Cache::get(self, &key)
    }

    fn put(&self, key: u64, value: u64) {
        self.insert(key, value);
    }
}

fn sides() -> Vec<(&'static str, Box<dyn Side>)> {
    let limits = Limits { capacity: ENTRIES, ttl: TTL, max_bytes: usize::MAX };
    let moka = moka::sync::Cache::builder()
        .max_capacity(ENTRIES as u64)
        .time_to_live(Duration::from_millis(TTL))
        .build();
    vec![
        ("cache", Box::new(Ours(Cache::new(limits)))),
        ("quick_cache", Box::new(quick_cache::sync::Cache::<u64, u64>::new(ENTRIES))),
        ("moka", Box::new(moka)),
    ]
}

fn shuffled(i: u64) -> u64 {
    i * 7_919 % ENTRIES as u64
}

fn one_thread(c: &mut Criterion) {
    for what in ["get", "put", "evict"] {
        let mut group = c.benchmark_group(format!("cache {what}"));
        group.throughput(Throughput::Elements(1_000)).sample_size(10);
        group.measurement_time(Duration::from_secs(1)).warm_up_time(Duration::from_millis(300));
        for (name, side) in sides() {
            (0..ENTRIES as u64).for_each(|key| side.put(key, key));
            let mut next = 0_u64;
            group.bench_function(name, |b| {
                b.iter(|| {
                    for _ in 0..1_000 {
                        next += 1;
                        match what {
                            "get" => _ = black_box(side.get(shuffled(next))),
                            "put" => side.put(shuffled(next), next),
                            _ => side.put(ENTRIES as u64 + next, next),
                        }
                    }
                });
            });
        }
        group.finish();
    }
}

fn two_threads(c: &mut Criterion) {
    let mut group = c.benchmark_group("cache get, two threads");
    group.throughput(Throughput::Elements(40_000)).sample_size(10);
    group.measurement_time(Duration::from_secs(1)).warm_up_time(Duration::from_millis(300));
    for (name, side) in sides() {
        (0..ENTRIES as u64).for_each(|key| side.put(key, key));
        let side = side.as_ref();
        group.bench_function(name, |b| {
            b.iter(|| {
                std::thread::scope(|scope| {
                    for thread in 0..2 {
                        scope.spawn(move || {
                            for i in 0..20_000 {
                                black_box(side.get(shuffled(i + thread * 5_000)));
                            }
                        });
                    }
                });
            });
        });
    }
    group.finish();
}

criterion_group!(benches, one_thread, two_threads);
criterion_main!(benches);
