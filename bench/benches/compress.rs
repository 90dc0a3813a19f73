//! Compression of MCP messages: the three formats by size, and libdeflate's
//! levels on one size.

use std::hint::black_box;
use std::time::Duration;

use codec::compress::{compress, decompress, Algorithm};
use criterion::{criterion_group, criterion_main, BenchmarkId, Criterion, Throughput};

fn json(len: usize) -> Vec<u8> {
    let mut text = erlmcp_flow_bench::message_lines().expect("bench/data").join(&b'\n');
    text.extend(erlmcp_flow_bench::schema().expect("bench/data"));
    text.into_iter().cycle().take(len).collect()
}

fn pack(algorithm: Algorithm, input: &[u8], level: Option<u8>) -> Vec<u8> {
    compress(algorithm, input, level, usize::MAX).expect("room")
}

fn formats(c: &mut Criterion) {
    for (name, len) in [("1K", 1 << 10), ("10K", 10 << 10), ("100K", 100 << 10), ("1M", 1 << 20)] {
        let input = json(len);
        for (direction, packing) in [("compress", true), ("decompress", false)] {
            let mut group = c.benchmark_group(direction);
            group.throughput(Throughput::Bytes(len as u64));
            for (format, algorithm) in
                [("zlib", Algorithm::Zlib), ("lz4", Algorithm::Lz4), ("zstd", Algorithm::Zstd)]
            {
                let packed = pack(algorithm, &input, None);
                group.bench_function(BenchmarkId::new(format, name), |b| {
                    b.iter(|| {
                        if packing {
                            pack(algorithm, black_box(&input), None)
                        } else {
                            decompress(algorithm, black_box(&packed), len).expect("good data")
                        }
                    });
                });
            }
            group.finish();
        }
    }
}

fn zlib_levels(c: &mut Criterion) {
    let input = json(10 << 10);
    let mut group = c.benchmark_group("zlib level, 10K");
    for level in [1, 4, 6, 9] {
        group.bench_function(BenchmarkId::from_parameter(level), |b| {
            b.iter(|| pack(Algorithm::Zlib, black_box(&input), Some(level)));
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600));
    targets = formats, zlib_levels
}
criterion_main!(benches);
