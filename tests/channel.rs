//! Channels between processes: what is sent arrives, whatever its size, and nothing else does.
//!
//! A program without the test harness: with the name of a part in the environment it plays that
//! part, else it runs the tests, one after the other, which start it again for the parts.
#![expect(clippy::unwrap_used, reason = "tests, though not in the harness that the lint knows")]

#[path = "channel/ends.rs"]
mod ends;
#[path = "channel/exchange.rs"]
mod exchange;
#[path = "channel/hostile.rs"]
mod hostile;
#[path = "channel/parts.rs"]
mod parts;
#[expect(dead_code, reason = "each test program uses its part")]
#[path = "common/proc.rs"]
mod proc;
#[path = "channel/waiting.rs"]
mod waiting;

use std::io::Write;
use std::panic::catch_unwind;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// How long anything may take; generous, because the machine may be busy with other tests.
const DEADLINE: Duration = Duration::from_secs(30);

type Test = (&'static str, fn());

fn main() {
    match std::env::var(parts::PART) {
        Ok(part) => parts::play(&part),
        Err(_) => run_tests(),
    }
}

/// As libtest and nextest expect it: `--list`, names with or without `--exact`, nothing ignored.
fn run_tests() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let names = arguments.iter().filter(|word| !word.starts_with('-') && *word != "terse");
    let names: Vec<&str> = names.map(String::as_str).collect();
    let is_wanted = |test: &str| {
        let fits = |name: &&str| if has("--exact") { *name == test } else { test.contains(name) };
        names.is_empty() || names.iter().any(fits)
    };
    if has("--ignored") {
        return;
    }
    let tests = [exchange::TESTS, waiting::TESTS, ends::TESTS, hostile::TESTS].concat();
    let mut failed = 0;
    for (name, test) in tests.into_iter().filter(|(name, _)| is_wanted(name)) {
        if has("--list") {
            say(&format!("{name}: test"));
            continue;
        }
        let passed = watched(name, test);
        say(&format!("test {name} ... {}", if passed { "ok" } else { "FAILED" }));
        failed += i32::from(!passed);
    }
    std::process::exit(failed.min(1));
}

/// Runs a test; a program that hangs is ended.
fn watched(name: &'static str, test: fn()) -> bool {
    let (over, watch) = channel::<()>();
    let watcher = std::thread::spawn(move || {
        if watch.recv_timeout(4 * DEADLINE) == Err(RecvTimeoutError::Timeout) {
            say(&format!("{name} hangs"));
            std::process::abort();
        }
    });
    let passed = catch_unwind(test).is_ok();
    drop(over);
    watcher.join().expect("the watcher only waits");
    passed
}

fn say(line: &str) {
    let mut out = std::io::stdout();
    writeln!(out, "{line}").and_then(|()| out.flush()).expect("somebody listens");
}
