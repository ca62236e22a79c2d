//! The master test: a worker is killed at its every system call, from the first of its start to the last of
//! its end, and nothing is lost.
//!
//! A program without the test harness: the first worker of a session starts itself again under strace(1).
//! In the first session that only writes down the calls; then each of them is a session of its own, in which
//! the worker is killed when it enters that call.

#[expect(dead_code, reason = "each test program uses its part")]
mod common;
#[path = "common/runner.rs"]
mod runner;

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use common::{Marked, attempt, eventually, join, unique};
use pannier::{Buffer, Pool};
use runner::{Test, say, step};

const TESTS: [Test; 1] =
    [("a_worker_that_dies_at_any_system_call_loses_nothing", dies_at_every_call)];

fn main() {
    die_at_the_planned_call();
    pannier::init();
    runner::run(&TESTS);
}

/// In a worker: what strace is to do.
const TRACE: &str = "PANNIER_TEST_TRACE";
/// In a worker: a file that does not exist until one of them is the one to be traced.
const TAKEN: &str = "PANNIER_TEST_TAKEN";

/// In the first worker of a session: starts it again, with a tracer that is its grandchild, so that it stays
/// the process that the pool has started.
fn die_at_the_planned_call() {
    let Ok(trace) = std::env::var(TRACE) else { return };
    let taken = std::env::var_os(TAKEN).expect("it is set with the other");
    if OpenOptions::new().write(true).create_new(true).open(taken).is_err() {
        return;
    }
    let mut strace = Command::new("strace");
    strace.args(["-D", "-f", "-q"]).args(trace.split(' '));
    let program = std::env::current_exe().expect("this program has a file");
    panic!("strace is needed for this test: {}", strace.arg(program).exec());
}

/// A system call of a worker's: the name, and how often the thread has made it.
type Call = (String, u32);

fn dies_at_every_call() {
    let calls = record();
    assert!(calls.len() > 100, "{calls:?}");
    let mut deaths = BTreeMap::new();
    for (name, count) in &calls {
        let trace = format!("-o /dev/null -e inject={name}:signal=SIGKILL:when={count}");
        *deaths.entry(session(&trace)).or_insert(0) += 1;
        step();
    }
    say(&format!("{} calls: {deaths:?}", calls.len()));
    let enough = |death| deaths.get(&death).is_some_and(|&count| count >= 10);
    assert!(enough(Death::Start) && enough(Death::Work), "{deaths:?}");
}

/// The calls of a worker that is left alone, in their order.
fn record() -> Vec<Call> {
    let record = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(unique("record"));
    let death = session(&format!("-o {}", record.display()));
    let text = std::fs::read_to_string(&record).expect("strace writes it down");
    std::fs::remove_file(&record).expect("it is ours");
    assert_eq!(death, Death::End);
    let mut counts: BTreeMap<(&str, &str), u32> = BTreeMap::new();
    let mut calls: Vec<Call> = Vec::new();
    for line in text.lines() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        // Also lines about signals, ends, and calls that go on.
        let Some((name, _)) = rest.trim_start().split_once('(') else { continue };
        if !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            continue;
        }
        let count = counts.entry((thread, name)).or_default();
        *count += 1;
        let call = (name.to_owned(), *count);
        if !calls.contains(&call) {
            calls.push(call);
        }
    }
    calls
}

/// When the worker died.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Death {
    Start,
    Work,
    /// When it was asked to end, or not at all: it did not make the call this time.
    End,
}

/// What each task gives back: the start of it that came to an end, and twice the argument.
fn double(data: Buffer<u64>) -> (u32, Buffer<u64>) {
    let mut doubled = pannier::alloc(data.len()).expect("memory");
    for (to, from) in doubled.iter_mut().zip(&data) {
        *to = from * 2;
    }
    (attempt(), doubled.freeze())
}

/// A whole life: a start, tasks with buffers, their results, nothing to do, the end.
fn session(trace: &str) -> Death {
    let taken = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(unique("taken"));
    let builder = Pool::builder().workers(1).env(TRACE, trace).env(TAKEN, &taken);
    let pool = Marked::build(builder);
    let mut column = pool.alloc::<u64>(3_000).expect("memory");
    column.fill(5);
    let column = column.freeze();
    let shared = pool.submit(double, column.clone());
    let heap = pool.submit(double, vec![7; 5_000].into());
    // Its result is too long for a message.
    let text = pool.submit(|len: usize| "x".repeat(len), 100_000);
    let context = pool.map_with(column, |column, at: usize| column[at], 0..4);
    let context: Vec<u64> = context.map(|item| item.expect("an item")).collect();
    assert_eq!(context, [5; 4], "{trace}");
    let mut attempts = 0;
    for (handle, item) in [(shared, 10), (heap, 14)] {
        let (attempt, doubled) = join(handle).unwrap_or_else(|error| panic!("{trace}: {error}"));
        assert!(doubled.iter().all(|&doubled| doubled == item), "{trace}");
        attempts += u64::from(attempt - 1);
    }
    assert_eq!(join(text).map(|text| text.len()).ok(), Some(100_000), "{trace}");
    eventually("no block is in use", || pool.stats().blocks_live == 0);
    let stats = pool.stats();
    // Each was answered once, and one death costs one task at most one attempt.
    assert_eq!((stats.tasks_completed, stats.tasks_failed), (7, 0), "{trace}: {stats:?}");
    assert!(stats.workers_died <= 1, "{trace}: {stats:?}");
    assert!(attempts <= stats.tasks_retried, "{trace}: {stats:?}");
    assert!(stats.tasks_retried <= stats.workers_died, "{trace}: {stats:?}");
    // The next one may not have been started yet, when it had nothing to do.
    let death = match (stats.workers_died, stats.workers_started) {
        (1, _) => Death::Work,
        (_, 1) => Death::End,
        _ => Death::Start,
    };
    pool.end();
    std::fs::remove_file(&taken).expect("the first worker has made it");
    death
}
