//! The bookkeeping of the batch buffer alone: no terms, no processes.
use criterion::{criterion_group, criterion_main, Criterion, Throughput};
use outbox::{Batch, Limits, Outbox, Outcome, To};
use std::hint::black_box;

struct Numbers {
    dest: u64,
    items: Vec<u64>,
}

impl Batch for Numbers {
    fn len(&self) -> usize {
        self.items.len()
    }
}

fn outbox() -> Outbox<Numbers> {
    let outbox = Outbox::new(Limits { batch_size: 100, timeout_us: 10_000, max_pending: 1 << 40 });
    outbox.add_lane();
    outbox
}

fn push(outbox: &Outbox<Numbers>, dest: u64, item: u64) {
    let hash = dest.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let pushed = outbox.push(
        To { hash, lane: 0 },
        || item,
        |batch| batch.dest == dest,
        || Numbers { dest, items: Vec::with_capacity(100) },
        |batch| batch.items.push(item),
    );
    black_box(pushed.is_ok());
}

fn drain(outbox: &Outbox<Numbers>) {
    let _ = outbox.collect(0, u64::MAX, usize::MAX);
    while let Some(batch) = outbox.pop(0) {
        outbox.settle(Outcome { delivered: batch.items.len() as u64, ..Outcome::default() });
    }
}

fn benches(c: &mut Criterion) {
    let mut group = c.benchmark_group("outbox");
    group.sample_size(20);
    for dests in [1, 60, 600] {
        const MESSAGES: u64 = 60_000;
        group.throughput(Throughput::Elements(MESSAGES));
        group.bench_function(format!("push and pop, {dests} destinations"), |b| {
            let outbox = outbox();
            b.iter(|| {
                for i in 0..MESSAGES {
                    push(&outbox, i % dests, i);
                }
                drain(&outbox);
            });
        });
    }
    group.finish();
}

criterion_group!(group, benches);
criterion_main!(group);
