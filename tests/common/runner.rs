//! Runs the tests of a program whose `main` is its own, as libtest and nextest expect it.
//!
//! Promises: a test that panics fails alone; a program that hangs is ended, and the test named.

use std::io::Write;
use std::panic::catch_unwind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

pub(crate) type Test = (&'static str, fn());

/// Of one test, or of a [`step`] of one; generous, because the machine may be busy with others.
const AT_MOST: Duration = Duration::from_secs(120);

/// Those that are done.
static STEPS: AtomicU64 = AtomicU64::new(0);

/// A test that does many things has done one of them: the next may take as long again.
pub(crate) fn step() {
    STEPS.fetch_add(1, Ordering::Relaxed);
}

/// One after the other: `--list`, names with or without `--exact`, `--skip`, nothing ignored.
pub(crate) fn run(tests: &[Test]) {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut skipped = Vec::new();
    while let Some(at) = arguments.iter().position(|argument| argument == "--skip") {
        skipped.extend(arguments.drain(at..arguments.len().min(at + 2)).nth(1));
    }
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let names = arguments.iter().filter(|word| !word.starts_with('-') && *word != "terse");
    let names: Vec<&str> = names.map(String::as_str).collect();
    let is_wanted = |test: &str| {
        let fits = |name: &&str| if has("--exact") { *name == test } else { test.contains(name) };
        let is_skipped = skipped.iter().any(|name| test.contains(&**name));
        !is_skipped && (names.is_empty() || names.iter().any(fits))
    };
    if has("--ignored") {
        return;
    }
    let mut failed = 0;
    for &(name, test) in tests.iter().filter(|(name, _)| is_wanted(name)) {
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
        let mut seen = STEPS.load(Ordering::Relaxed);
        while watch.recv_timeout(AT_MOST) == Err(RecvTimeoutError::Timeout) {
            let steps = STEPS.load(Ordering::Relaxed);
            if std::mem::replace(&mut seen, steps) == steps {
                say(&format!("{name} hangs after {steps} steps"));
                std::process::abort();
            }
        }
    });
    let passed = catch_unwind(test).is_ok();
    drop(over);
    watcher.join().expect("the watcher only waits");
    passed
}

/// Also for the parts that a program plays.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout();
    writeln!(out, "{line}").and_then(|()| out.flush()).expect("somebody listens");
}
