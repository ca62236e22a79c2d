//! What encoding and decoding cost, each beside a peer or a limit that does the same work.
//!
//! `cargo bench --bench codec`, or with a part of a name behind it: `cargo bench --bench codec small`.
//! A name is group, direction or size, and who. docs/BENCHMARKS.md tells what came out.

mod buffer;
mod descriptors;
#[cfg(feature = "shm")]
mod file;
mod messages;

use std::time::Duration;

use criterion::Criterion;

fn main() {
    // Many names, so little time for each: the median settles long before criterion's defaults.
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    messages::bench(&mut criterion);
    buffer::bench(&mut criterion);
    descriptors::bench(&mut criterion);
    #[cfg(feature = "shm")]
    file::bench(&mut criterion);
    criterion.final_summary();
}
