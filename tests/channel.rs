//! Channels between processes: what is sent arrives, whatever its size, and nothing else does.
//!
//! A program without the test harness: with the name of a part in the environment it plays that
//! part, else it runs the tests, one after the other, which start it again for the parts.
#![expect(clippy::unwrap_used, reason = "tests, though not in the harness that the lint knows")]

#[path = "channel/counters.rs"]
mod counters;
#[path = "channel/ends.rs"]
mod ends;
#[path = "channel/exchange.rs"]
mod exchange;
#[expect(dead_code, reason = "each test program uses its part")]
#[path = "common/group.rs"]
mod group;
#[path = "channel/hostile.rs"]
mod hostile;
#[path = "channel/limits.rs"]
mod limits;
#[path = "channel/parts.rs"]
mod parts;
#[expect(dead_code, reason = "each test program uses its part")]
#[path = "common/proc.rs"]
mod proc;
#[expect(dead_code, reason = "each test program uses its part")]
#[path = "common/runner.rs"]
mod runner;
#[path = "channel/waiting.rs"]
mod waiting;

use std::time::Duration;

use runner::Test;

/// How long anything may take; generous, because the machine may be busy with other tests.
const DEADLINE: Duration = Duration::from_secs(30);

fn main() {
    match std::env::var(parts::PART) {
        Ok(part) => parts::play(&part),
        Err(_) => {
            let with_peers = [exchange::TESTS, waiting::TESTS, ends::TESTS, hostile::TESTS];
            let by_figures = [counters::TESTS, limits::TESTS];
            runner::run(&[with_peers.concat(), by_figures.concat()].concat());
        }
    }
}
