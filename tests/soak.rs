//! Tasks of all kinds while workers are killed, stopped and timed out: the body of `examples/soak`, for a moment.
//!
//! A program without the test harness, so that it can be started again as a worker.
//! `cargo run --release --example soak` kills 10,000 workers.

#[path = "../examples/soak/run/mod.rs"]
mod run;
#[expect(dead_code, reason = "each test program uses its part")]
#[path = "common/runner.rs"]
mod runner;

use std::time::Duration;

use run::Plan;
use runner::Test;

const TESTS: [Test; 1] =
    [("of_tasks_whose_workers_are_killed_none_is_lost_or_delivered_twice", two_hundred_kills)];

fn main() {
    pannier::init();
    runner::run(&TESTS);
}

fn two_hundred_kills() {
    let plan = Plan { kills: 200, time: Duration::from_secs(80), seed: 11 };
    let report = run::run(&plan).expect("workers start");
    assert!(report.is_sound() && report.kills >= plan.kills, "{report:?}");
    assert!(report.timeouts > 0 && report.resizes > 0 && report.stops > 0, "{report:?}");
}
