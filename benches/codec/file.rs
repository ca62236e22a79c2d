//! Group `file`: one `Buffer<f64>` in a file, in the page cache.
//!
//! A mapped file should cost the same at every length: its pages are not looked at. What reads
//! should cost what reading the bytes costs; the limit is `std::fs::read`.

use std::path::{Path, PathBuf};

use criterion::{Criterion, SamplingMode};
use pannier::{Buffer, CodecError};

pub(crate) fn bench(criterion: &mut Criterion) {
    let path = std::env::temp_dir().join(format!("pannier-bench-{}", std::process::id()));
    let file = Removed(path);
    for (len, name) in [(1 << 20, "1 MiB"), (64 << 20, "64 MiB"), (1 << 30, "1 GiB")] {
        let column = pannier::alloc_zeroed::<f64>(len / size_of::<f64>()).expect("memory").freeze();
        pannier::write_file(&file.0, &column).expect("room for the file");
        let mut group = criterion.benchmark_group(format!("file/{name}"));
        group.bench_function("map_file", |b| b.iter(|| map(&file.0)));
        group.bench_function("map_file and three pages", |b| {
            b.iter(|| {
                let column = map(&file.0).expect("a sound frame");
                column[0] + column[column.len() / 2] + column[column.len() - 1]
            });
        });
        if len <= 64 << 20 {
            group.sampling_mode(SamplingMode::Flat);
            group.bench_function("read_file", |b| {
                b.iter(|| pannier::read_file::<Buffer<f64>>(&file.0));
            });
            group.bench_function("std::fs::read", |b| b.iter(|| std::fs::read(&file.0)));
        }
        group.finish();
    }
}

#[expect(unsafe_code, reason = "it is what is measured")]
fn map(path: &Path) -> Result<Buffer<f64>, CodecError> {
    // SAFETY: the file is this program's, which does not write to it while this buffer lives.
    unsafe { pannier::map_file(path) }
}

/// The file goes with this, also when a bench panics.
struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
