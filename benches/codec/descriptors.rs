//! Group `descriptors`: many buffers of 4 KiB in one value.
//!
//! Nothing is copied; the cost of each buffer should not grow with their number.

use bytes::Bytes;
use criterion::{Criterion, Throughput};
use pannier::{Buffer, Decoder, Encoder};

pub(crate) fn bench(criterion: &mut Criterion) {
    for count in [1, 16, 256, 4_096] {
        let buffers: Vec<Buffer> = (0..count).map(|_| vec![7; LEN].into()).collect();
        let mut group = criterion.benchmark_group(format!("descriptors/{count}"));
        group.throughput(Throughput::Elements(count));
        let (encoder, decoder, mut sink) = (Encoder::new(), Decoder::new(), Vec::new());
        group.bench_function("to_parts", |b| {
            b.iter(|| {
                sink.clear();
                encoder.to_parts(&buffers, &mut sink)
            });
        });
        sink.clear();
        let metadata = encoder.to_parts(&buffers, &mut sink).expect("a plain value");
        group.bench_function("from_parts", |b| {
            b.iter(|| decoder.from_parts::<Vec<Buffer>>(&metadata, &mut sink));
        });
        let frame = Bytes::from(pannier::to_vec(&buffers).expect("a plain value"));
        group.bench_function("from_bytes", |b| {
            b.iter(|| pannier::from_bytes::<Vec<Buffer>>(frame.clone()));
        });
        group.finish();
    }
}

const LEN: usize = 4 << 10;
