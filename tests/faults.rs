//! Between two system calls: workers and parents die, or dawdle, at each step of the protocol, and nothing
//! is lost, told twice or left.
//!
//! A program without the test harness, since it plays the parent that dies too. The library is built with
//! `fault-points`: see `src/sys/fault.rs`. Then it also audits its ledger after every event, and panics when
//! that does not balance.

#![expect(unsafe_code, reason = "a task forks")]

#[expect(dead_code, reason = "each test program uses its part")]
mod common;
#[path = "common/runner.rs"]
mod runner;

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::panic::AssertUnwindSafe;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{
    Gate, MARK, Marked, children, eventually, is_dead, join, marked, pass, signal_if_there, state,
    unique, watchdog,
};
use pannier::{Buffer, ExitStatus, JoinHandle, Pool, PoolBuilder, StartFailure, Stats, TaskError};
use runner::{Test, say, step};
use rustix::process::Signal;

const TESTS: [Test; 7] = [
    ("a_pool_whose_workers_all_die_before_they_begin_anything_breaks_and_says_so", no_progress),
    ("a_result_that_was_published_without_a_bell_before_its_worker_died_counts", no_bell),
    ("workers_die_at_each_step_and_nothing_is_lost", workers_die),
    ("workers_are_killed_when_they_have_stopped_at_each_step_and_nothing_is_lost", workers_stop),
    ("workers_dawdle_at_each_step_and_nothing_is_lost", workers_dawdle),
    ("parents_die_at_each_step_and_nobody_is_left", parents_die),
    ("parents_dawdle_at_each_step_and_nothing_is_lost", parents_dawdle),
];

/// This program is the parent that has the faults, and not the test.
const PART: &str = "PANNIER_TEST_PART";
/// What the library reads.
const FAULTS: &str = "PANNIER_FAULTS";

fn main() {
    pannier::init();
    if std::env::var_os(PART).is_some() {
        let stats = session(Pool::builder());
        assert_eq!(stats.workers_died, STRUCK);
        return;
    }
    runner::run(&TESTS);
}

/// The steps of a worker.
const OF_WORKERS: [&str; 19] = [
    "worker.after_hello",
    "worker.after_welcome",
    "worker.after_claim",
    "worker.before_run",
    "worker.after_run",
    "worker.after_write",
    "worker.after_keeping",
    "worker.after_publish",
    "worker.after_bell",
    "worker.before_idle",
    "worker.after_idle",
    "worker.after_attach",
    "worker.after_request",
    "worker.before_grant",
    "worker.before_released",
    "worker.after_released",
    "worker.before_forgotten",
    "worker.before_end",
    // One that is not there: the session is what it is without.
    "worker.nowhere",
];

/// The steps of a parent.
const OF_PARENTS: [&str; 16] = [
    "parent.before_start",
    "parent.after_start",
    "parent.before_dispatch",
    "parent.after_hold",
    "parent.after_publish",
    "parent.after_dispatch",
    "parent.after_pop",
    "parent.after_adopt",
    "parent.before_deliver",
    "parent.before_answer",
    "parent.after_answer",
    "parent.before_grant",
    "parent.after_grant",
    "parent.after_revoke",
    "parent.during_bury",
    "parent.after_bury",
];

const PASSAGES: [u32; 3] = [1, 2, 5];

// ── the session ──────────────────────────────────────────────────────────────

/// What a worker keeps from task to task.
static KEPT: Mutex<Option<Buffer<u64>>> = Mutex::new(None);

fn double(data: Buffer<u64>) -> Buffer<u64> {
    data.iter().map(|item| item * 2).collect()
}

/// Goes on using its argument, and lets go of the one before, which the parent is told between two tasks.
fn keep(data: Buffer<u64>) -> u64 {
    let sum = data.iter().sum();
    let before = KEPT.lock().expect("nobody panics here").replace(data);
    std::thread::spawn(move || drop(before)).join().expect("it only drops");
    sum
}

/// Ends its worker when it is started first.
fn strike(gate: String) -> u32 {
    pass(&gate);
    let attempt = common::attempt();
    if attempt == 1 {
        common::kill_oneself();
    }
    attempt
}

/// Tasks of [`strike`] in a session.
const STRUCK: u64 = 2;

fn argument(pool: &Pool, len: usize, value: u64) -> Buffer<u64> {
    let mut argument = pool.alloc(len).expect("memory");
    argument.fill(value);
    argument.freeze()
}

/// Cancels tasks that lie behind others; how many, since a worker may die of its fault just then.
fn take_back(pool: &Pool) -> u64 {
    let gate = Gate::new();
    let busy = [0; 2].map(|_| pool.submit(|gate: String| pass(&gate), gate.name()));
    let arrivals = [0; 2].map(|_| gate.arrival());
    let behind = [0; 2].map(|_| pool.submit(double, argument(pool, 600, 4)));
    let cancelled = behind.map(|handle| {
        let is_cancelled = handle.cancel();
        match join(handle) {
            Err(TaskError::Cancelled) => assert!(is_cancelled),
            result => assert!(!is_cancelled && result.expect("a result").iter().all(|&i| i == 8)),
        }
        u64::from(is_cancelled)
    });
    drop((arrivals, gate));
    busy.into_iter().for_each(|handle| join(handle).expect("it was let through"));
    cancelled.iter().sum()
}

/// All that a pool does, with each result looked at; what was counted when it was over.
fn session(builder: PoolBuilder) -> Stats {
    let pool = Marked::build(builder.workers(2).attempts(5));
    let mut doubled = Vec::new();
    let mut kept: Vec<JoinHandle<u64>> = Vec::new();
    for n in 0..12 {
        let len = 1_000 << (n % 4);
        doubled.push((len, n, pool.submit(double, argument(&pool, len, n))));
        doubled.push((len, n, pool.submit(double, vec![n; len].into())));
        kept.push(pool.submit(keep, argument(&pool, 600, n)));
    }
    let text = pool.submit(|len: usize| "x".repeat(len), 100_000);
    for round in 0..6 {
        let context = argument(&pool, 600, round);
        let items = pool.map_with(context, |context, at: usize| context[at] + 1, 0..8);
        let items: Vec<u64> = items.chunk_size(2).map(|item| item.expect("an item")).collect();
        assert_eq!(items, [round + 1; 8]);
    }
    for (len, n, handle) in doubled {
        let result = join(handle).expect("a result");
        assert!(result.len() == len && result.iter().all(|&item| item == n * 2), "{n}");
    }
    for (n, handle) in (0..).zip(kept) {
        assert_eq!(join(handle).expect("a sum"), 600 * n);
    }
    let cancelled = take_back(&pool);
    // Each worker keeps one argument, at most.
    eventually("no other block is in use", || pool.stats().blocks_live <= 2);
    assert_eq!(join(text).expect("a text").len(), 100_000);
    // Now that each place has had its first worker for long enough.
    let gate = Gate::new();
    let struck: Vec<_> = (0..STRUCK).map(|_| pool.submit(strike, gate.name())).collect();
    // Each in a worker of its own: one that had died already would be tried again in the other's.
    let arrivals = [0; 2].map(|_| gate.arrival());
    drop((arrivals, gate));
    for handle in struck {
        assert!(join(handle).expect("a later attempt") >= 2);
    }
    eventually("no block is in use", || pool.stats().blocks_live == 0);
    let stats = pool.stats();
    let counts = (stats.tasks_submitted, stats.tasks_completed, stats.tasks_failed);
    assert_eq!(counts, (91, 91 - cancelled, cancelled), "{stats:?}");
    pool.end();
    stats
}

// ── the tests ────────────────────────────────────────────────────────────────

/// Every step, at its first, second and fifth passage, with each of these mishaps.
fn each_step(of: &[&str], mishaps: &[&str], act: impl Fn(&str) -> bool) {
    let mut happened: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
    for &point in of {
        for (mishap, count) in mishaps.iter().flat_map(|mishap| PASSAGES.map(|n| (mishap, n))) {
            if act(&format!("{point}:{mishap}@{count}")) {
                happened.entry(point).or_default().push(count);
            }
            step();
        }
    }
    happened.iter().for_each(|(point, counts)| say(&format!("{point}: {counts:?}")));
    let missed: Vec<&&str> = of.iter().filter(|point| !happened.contains_key(**point)).collect();
    let expected: &[&&str] =
        if of.contains(&"worker.nowhere") { &[&"worker.nowhere"] } else { &[] };
    assert_eq!(missed, expected, "steps that no session passed");
}

/// In a task: a process that has the worker's socket, which then does not end with the worker.
fn leave_a_child(_: ()) -> (u32, u32) {
    // SAFETY: the child only waits for a signal, and touches nothing.
    if unsafe { libc::fork() } == 0 {
        loop {
            // SAFETY: as above.
            unsafe { libc::pause() };
        }
    }
    (std::process::id(), common::attempt())
}

/// Nobody joins, nobody is rung for, and the socket goes on: only the death makes the pool look.
fn no_bell() {
    let builder = Pool::builder().workers(1).env(FAULTS, "worker.after_publish:kill@3");
    let pool = Marked::build(builder);
    let first = pool.worker_pids()[0];
    for n in 1..=4 {
        let handle = pool.submit(leave_a_child, ());
        eventually("it is finished", || handle.is_finished());
        let (pid, attempt) = join(handle).expect("a result");
        assert_eq!((pid == first, attempt), (n <= 3, 1), "number {n}");
    }
    assert_eq!((pool.stats().workers_died, pool.stats().tasks_retried), (1, 0));
    pool.end();
}

/// Else the task would go from worker to worker for ever, and nobody would be charged.
fn no_progress() {
    let builder = Pool::builder().workers(2).env(FAULTS, "worker.after_claim:kill@0");
    let pool = Marked::build(builder);
    let handles = [0; 3].map(|_| pool.submit(|x: u32| x, 1));
    for handle in handles {
        let Err(TaskError::PoolBroken(failed)) = join(handle) else { panic!("it is broken") };
        assert!(matches!(failed.cause, StartFailure::NoProgress { deaths: 16.., .. }), "{failed}");
        let is_killed = matches!(failed.status, ExitStatus::Signaled { signal: libc::SIGKILL, .. });
        assert!(is_killed, "{failed}");
    }
    assert_eq!(pool.stats().tasks_retried, 0);
    pool.end();
}

fn workers_die() {
    each_step(&OF_WORKERS, &["kill", "abort"], ends_workers);
}

/// Whether a worker has died of it in a session.
fn ends_workers(fault: &str) -> bool {
    let _alive = watchdog();
    let stats = session(Pool::builder().env(FAULTS, fault));
    // Two die in any case. At its end a worker's death is not counted.
    stats.workers_started > 4 || stats.workers_died > STRUCK || fault.contains("before_end")
}

fn workers_stop() {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // As somebody would who finds that a worker does not go on.
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let stopped = |pid: &u32| state(*pid).is_some_and(|(state, _)| state == 'T');
                for pid in children().into_iter().filter(stopped) {
                    signal_if_there(pid, Signal::KILL);
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let steps = AssertUnwindSafe(|| each_step(&OF_WORKERS, &["stop"], ends_workers));
        let passed = std::panic::catch_unwind(steps);
        over.store(true, Ordering::Relaxed);
        assert!(passed.is_ok(), "see above");
    });
}

fn workers_dawdle() {
    each_step(&OF_WORKERS, &["delay"], |fault| {
        let stats = session(Pool::builder().env(FAULTS, fault));
        assert_eq!(stats.workers_died, STRUCK, "{fault}");
        !fault.contains("nowhere")
    });
}

/// Plays a session whose parent has a fault; whether it was killed.
fn play(fault: &str) -> bool {
    let mark = unique("play");
    let program = std::env::current_exe().expect("this program has a file");
    let mut command = Command::new(program);
    command.env(PART, "parent").env(FAULTS, fault).env(MARK, &mark).stdin(Stdio::null());
    let status = command.status().expect("this program starts");
    eventually("nothing that it started is left", || marked(&mark).into_iter().all(is_dead));
    assert!(status.success() || status.signal() == Some(libc::SIGKILL), "{fault}: {status}");
    !status.success()
}

fn parents_die() {
    each_step(&OF_PARENTS, &["kill"], play);
}

fn parents_dawdle() {
    each_step(&OF_PARENTS, &["delay"], |fault| {
        assert!(!play(fault), "{fault}: it was to be late and not dead");
        true
    });
}
