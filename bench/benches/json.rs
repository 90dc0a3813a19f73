//! JSON and MessagePack between bytes: text to external term format, and what the
//! encoder does besides walking the term.

use std::hint::black_box;

use codec::document::{Decode, Keys, Limits, Repeats, Sink};
use codec::{json, msgpack};
use criterion::{criterion_group, criterion_main, Criterion, Throughput};

const LIMITS: Limits =
    Limits { max_bytes: 64 << 20, max_depth: 512, keys: Keys::Binaries, budget: u64::MAX };

fn decode(c: &mut Criterion) {
    let mut lines = erlmcp_flow_bench::message_lines().unwrap_or_default();
    lines.sort_by_key(Vec::len);
    let median = lines.get(lines.len() / 2).cloned().unwrap_or_default();
    let schema = erlmcp_flow_bench::schema().unwrap_or_default();
    let mut group = c.benchmark_group("json/decode");
    for (name, text) in [("median", &median), ("schema", &schema)] {
        group.throughput(Throughput::Bytes(text.len() as u64));
        let mut decoder = json::Decoder::default();
        group.bench_function(name, |b| {
            b.iter(|| {
                decoder.decode(black_box(text), &LIMITS, Repeats::Trust).map(|d| d.etf.len())
            });
        });
    }
    group.throughput(Throughput::Bytes(lines.iter().map(|l| l.len() as u64).sum()));
    let mut decoder = json::Decoder::default();
    group.bench_function("all messages", |b| {
        b.iter(|| {
            for line in &lines {
                let _len =
                    black_box(decoder.decode(line, &LIMITS, Repeats::Trust).map(|d| d.etf.len()));
            }
        });
    });
    group.finish();
}

/// Texts as they are in messages, told to both writers.
fn write(c: &mut Criterion) {
    fn texts<S: Sink + Default>(c: &mut Criterion, name: &str) {
        let mut writer = S::default();
        let long = "A description of a tool, with \"quotes\" in it. ".repeat(20);
        let texts = ["jsonrpc", "2.0", "method", "tools/call", "größer", long.as_str()];
        c.bench_function(name, |b| {
            b.iter(|| {
                writer.begin();
                for text in texts {
                    let _is_text = writer.text(black_box(text.as_bytes()));
                    writer.value_end();
                }
                writer.float(black_box(0.1));
                writer.value_end();
                writer.finish().len()
            });
        });
    }
    texts::<json::Writer>(c, "json/write texts");
    texts::<msgpack::Writer>(c, "msgpack/write texts");
}

/// The worst text there is: escapes only, and the longest integers.
fn worst(c: &mut Criterion) {
    let escapes = format!("\"{}\"", "\\n".repeat(16_000));
    let digits = "9".repeat(json::MAX_DIGITS);
    let mut group = c.benchmark_group("json/worst");
    for (name, text) in [("escapes", &escapes), ("digits", &digits)] {
        group.throughput(Throughput::Bytes(text.len() as u64));
        let mut decoder = json::Decoder::default();
        group.bench_function(name, |b| {
            b.iter(|| {
                let text = black_box(text.as_bytes());
                decoder.decode(text, &LIMITS, Repeats::Trust).map(|d| d.etf.len())
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(std::time::Duration::from_millis(500))
        .measurement_time(std::time::Duration::from_secs(2));
    targets = decode, write, worst
}
criterion_main!(benches);
