//! Group `buffer`: one `Buffer<f64>` of 64 KiB to 256 MiB.
//!
//! What copies nothing should cost the same at every length. What copies once should cost what the
//! copy costs: the limit is `memcpy` to memory that is as new as that of the others.

use bytes::Bytes;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, SamplingMode, Throughput};
use pannier::{Buffer, Decoder, Encoder};
use serde_bytes::ByteBuf;

pub(crate) fn bench(criterion: &mut Criterion) {
    for (len, name) in LENGTHS {
        let column: Buffer<f64> = (0..len / size_of::<f64>()).map(|n| n as f64).collect();
        let mut group = criterion.benchmark_group(format!("buffer/{name}"));
        parts(&mut group, &column);
        in_place(&mut group, &column);
        group.throughput(Throughput::Bytes(len as u64)).sampling_mode(SamplingMode::Flat);
        copied_out(&mut group, &column);
        copied_in(&mut group, &column);
        group.finish();
    }
}

/// Metadata, and the buffer itself handed over. No peer has this.
fn parts(group: &mut BenchmarkGroup<'_, WallTime>, column: &Buffer<f64>) {
    let (encoder, decoder) = (Encoder::new(), Decoder::new());
    let mut sink = Vec::new();
    group.bench_function("to_parts", |b| {
        b.iter(|| {
            sink.clear();
            encoder.to_parts(column, &mut sink)
        });
    });
    sink.clear();
    let metadata = encoder.to_parts(column, &mut sink).expect("a plain value");
    group.bench_function("from_parts", |b| {
        b.iter(|| decoder.from_parts::<Buffer<f64>>(&metadata, &mut sink));
    });
}

/// From one frame, in place. `from_bytes` gives a buffer that keeps the frame alive, and no peer
/// has that; `from_slice` and rmp-serde give a slice that the frame must outlive. With a checksum
/// in the frame that of its head is verified.
fn in_place(group: &mut BenchmarkGroup<'_, WallTime>, column: &Buffer<f64>) {
    for (name, checksum) in [("from_bytes", false), ("from_bytes checksum", true)] {
        let frame = Encoder::new().checksum(checksum).to_vec(column).expect("a plain value");
        let frame = Bytes::from(frame);
        let read = || pannier::from_bytes::<Buffer<f64>>(frame.clone());
        let first = read().expect("a sound frame").as_ptr().cast();
        assert!(frame.as_ptr_range().contains(&first), "read in place");
        group.bench_function(name, |b| b.iter(read));
    }
    let framed = pannier::to_vec(column).expect("a plain value");
    group.bench_function("from_slice borrowed", |b| {
        b.iter(|| pannier::from_slice::<&serde_bytes::Bytes>(&framed));
    });
    let plain = rmp_serde::to_vec(&lent(column)).expect("a plain value");
    group.bench_function("rmp-serde borrowed", |b| {
        b.iter(|| rmp_serde::from_slice::<&serde_bytes::Bytes>(&plain));
    });
}

/// To one new `Vec<u8>` with the bytes in it. `to_vec lent` writes bytes that serde only lends, as
/// rmp-serde and postcard do. Of the checksums only ours reads the bytes once more.
fn copied_out(group: &mut BenchmarkGroup<'_, WallTime>, column: &Buffer<f64>) {
    let checksum = Encoder::new().checksum(true);
    group.bench_function("memcpy", |b| b.iter(|| bytemuck::cast_slice::<f64, u8>(column).to_vec()));
    group.bench_function("to_vec", |b| b.iter(|| pannier::to_vec(column)));
    group.bench_function("to_vec checksum", |b| b.iter(|| checksum.to_vec(column)));
    group.bench_function("to_vec lent", |b| b.iter(|| pannier::to_vec(&lent(column))));
    group.bench_function("to_vec rmp-serde", |b| b.iter(|| rmp_serde::to_vec(&lent(column))));
    group.bench_function("to_vec postcard", |b| b.iter(|| postcard::to_stdvec(&lent(column))));
}

/// From one frame to bytes of one's own.
fn copied_in(group: &mut BenchmarkGroup<'_, WallTime>, column: &Buffer<f64>) {
    let framed = pannier::to_vec(column).expect("a plain value");
    let plain = rmp_serde::to_vec(&lent(column)).expect("a plain value");
    group.bench_function("own", |b| b.iter(|| pannier::from_slice::<ByteBuf>(&framed)));
    group.bench_function("own rmp-serde", |b| b.iter(|| rmp_serde::from_slice::<ByteBuf>(&plain)));
}

fn lent(column: &Buffer<f64>) -> &serde_bytes::Bytes {
    serde_bytes::Bytes::new(bytemuck::cast_slice(column))
}

const LENGTHS: [(usize, &str); 4] =
    [(64 << 10, "64 KiB"), (1 << 20, "1 MiB"), (16 << 20, "16 MiB"), (256 << 20, "256 MiB")];
