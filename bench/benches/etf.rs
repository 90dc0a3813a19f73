//! The check before `binary_to_term`: bytes a second, on messages and on terms that
//! are mostly one kind.

use std::hint::black_box;

use codec::etf::{scan, Limits};
use criterion::{criterion_group, criterion_main, BenchmarkId, Criterion, Throughput};

const LIMITS: Limits = Limits { max_bytes: 64 << 20, max_depth: None, safe: true };

/// A term as JSON decoders give it: maps with binary keys.
fn message(text: &[u8]) -> Vec<u8> {
    let mut out = vec![131, 116, 0, 0, 0, 4];
    for (key, value) in [(&b"jsonrpc"[..], &b"2.0"[..]), (b"method", b"tools/call")] {
        binary(&mut out, key);
        binary(&mut out, value);
    }
    binary(&mut out, b"id");
    out.extend([97, 7]);
    binary(&mut out, b"params");
    out.extend([116, 0, 0, 0, 1]);
    binary(&mut out, b"text");
    binary(&mut out, text);
    out
}

fn binary(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(109);
    out.extend((bytes.len() as u32).to_be_bytes());
    out.extend(bytes);
}

fn list(element: &[u8], count: u32) -> Vec<u8> {
    let mut out = vec![131, 108];
    out.extend(count.to_be_bytes());
    out.extend(element.repeat(count as usize));
    out.push(106);
    out
}

fn inputs() -> Vec<(&'static str, Vec<u8>)> {
    let text = erlmcp_flow_bench::message_lines()
        .ok()
        .and_then(|lines| lines.into_iter().max_by_key(Vec::len))
        .unwrap_or_else(|| vec![b'x'; 1000]);
    let one = message(&text[..text.len().min(300)]);
    vec![
        ("messages", list(&one[1..], 200)),
        ("message", one),
        ("small integers", list(&[97, 1], 20_000)),
        ("empty lists", list(&[106], 40_000)),
        ("atoms", list(&[119, 2, b'o', b'k'], 10_000)),
    ]
}

fn bench(c: &mut Criterion) {
    let mut group = c.benchmark_group("etf/scan");
    group.sample_size(20).measurement_time(std::time::Duration::from_secs(2));
    let limited = Limits { max_depth: Some(512), ..LIMITS };
    for (name, input) in inputs() {
        group.throughput(Throughput::Bytes(input.len() as u64));
        group.bench_with_input(BenchmarkId::new("free", name), &input, |b, input| {
            b.iter(|| scan(black_box(input), &LIMITS))
        });
        group.bench_with_input(BenchmarkId::new("depth", name), &input, |b, input| {
            b.iter(|| scan(black_box(input), &limited))
        });
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
