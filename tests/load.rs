//! A load as a service has it leaves nothing and loses nothing: the body of `examples/load`.
//!
//! A program without the test harness, so that it can be started again as a worker and as the other
//! end of a channel. Buffers go up to 4 MiB, and `cargo test --release --test load` sends 100,000
//! frames; `cargo run --release --example load` goes to 64 MiB, and as far as one likes.

#[expect(dead_code, reason = "each test program uses its part")]
#[path = "common/runner.rs"]
mod runner;
#[path = "../examples/load/service/mod.rs"]
mod service;

use runner::Test;
use service::Plan;

/// Without optimisation each frame takes several times as long.
const FRAMES: u64 = if cfg!(debug_assertions) { 20_000 } else { 100_000 };

const TESTS: [Test; 1] =
    [("mixed_frames_are_all_answered_and_what_is_held_stays_flat", mixed_frames)];

fn main() {
    pannier::init();
    if !service::play() {
        runner::run(&TESTS);
    }
}

fn mixed_frames() {
    let plan =
        Plan { frames: FRAMES, time: None, rate: None, seed: 7, kills: 20, largest: 4 << 20 };
    let report = service::run(&plan, |_| ()).expect("a pool and a channel start");
    assert_eq!(report.faults(), Vec::<String>::new(), "{report:?}");
    assert_eq!((report.resolved, report.killed), (plan.frames, plan.kills));
}
