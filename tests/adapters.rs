//! Bridges to other crates: frames over ipc-channel, memory with a name, Python at the other end.
//!
//! A program without the test harness: with the name of a part in the environment it plays that
//! part, else it runs the tests, one after the other, which start it again for the parts.
#![expect(clippy::unwrap_used, reason = "tests, though not in the harness that the lint knows")]

#[path = "adapters/frames.rs"]
mod frames;
#[path = "adapters/hostile.rs"]
mod hostile;
#[path = "adapters/parts.rs"]
mod parts;
#[expect(dead_code, reason = "each test program uses its part")]
#[path = "common/proc.rs"]
mod proc;
#[path = "adapters/python.rs"]
mod python;
#[expect(dead_code, reason = "each test program uses its part")]
#[path = "common/runner.rs"]
mod runner;
#[path = "adapters/segments.rs"]
mod segments;
#[path = "adapters/sweep.rs"]
mod sweep;

use runner::Test;

/// After all others: what this program made in `/dev/shm` is gone.
const LAST: &[Test] = &[("nothing_is_left_in_dev_shm", nothing_left)];

fn main() {
    match std::env::var(parts::PART) {
        Ok(part) => parts::play(&part),
        Err(_) => {
            let (frames, segments) = (frames::TESTS, segments::TESTS);
            let others = [hostile::TESTS, sweep::TESTS, python::TESTS, LAST].concat();
            runner::run(&[frames, segments, &others].concat());
        }
    }
}

fn nothing_left() {
    let own = format!("-{}-", std::process::id());
    let left = segments::listed().into_iter().filter(|name| name.contains(&own));
    assert_eq!(left.collect::<Vec<_>>(), [""; 0]);
}
