//! Cases of docs/FAILURES.md that have no better place, each with its number there.

#[expect(dead_code, reason = "each test program uses its part")]
mod common;
#[path = "common/group.rs"]
mod group;
#[expect(dead_code, reason = "each test program uses its part")]
#[path = "common/trick.rs"]
mod trick;

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake};
use std::time::{Duration, Instant};

use common::{
    DEADLINE, Gate, Marked, attempt, eventually, failure, is_dead, join, pass, pass_through,
    signal, signal_if_there, stop, tell, watchdog,
};
use group::Group;
use pannier::{Buffer, Error, ExitStatus, JoinHandle, Pool, Shutdown, TaskError};
use rustix::process::{Resource, Rlimit, Signal, setrlimit};
use serde::{Deserialize, Serialize};
use trick::{Mishap, Moment, Trick};

pannier::premain!();

/// Which process ran it, and which start of it that was.
fn runner() -> (u32, u32) {
    (std::process::id(), attempt())
}

/// So many empty tasks that a worker is sent many at a time.
fn warm(pool: &Pool) {
    (0..300).for_each(|_| join(pool.submit(|()| (), ())).expect("an empty task"));
}

/// Numbers that look random (xorshift), from a seed that is told when a test fails.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

// ── 1, 2, 4, 5: what lies between parent and worker ──────────────────────────

#[test]
fn a_task_that_its_worker_has_not_read_when_it_dies_is_not_charged() {
    let mut pool = Marked::build(Pool::builder().workers(1).attempts(1));
    let pid = pool.worker_pids()[0];
    stop(pid);
    let unread: Vec<_> = (0..2).map(|_| pool.submit(|()| runner(), ())).collect();
    signal(pid, Signal::KILL);
    for handle in unread {
        let (runner, attempt) = join(handle).expect("nobody had begun it");
        assert!(runner != pid && attempt == 1, "{runner}, {attempt}");
    }
    assert_eq!((pool.stats().tasks_retried, pool.stats().workers_died), (0, 1));
    pool.is_whole_without(&[pid]);
    pool.end();
}

#[test]
fn a_worker_that_is_stopped_anywhere_holds_up_what_it_has_begun_and_nothing_else() {
    const SEED: u64 = 0x5EED_0002;
    let mut random = Random(SEED);
    let mut pool = Marked::new(3);
    for round in 0..20 {
        let data: Buffer<u64> = vec![round; 1_000].into();
        let sum = |data: Buffer<u64>| data.iter().sum::<u64>();
        let handles: Vec<_> = (0..300).map(|_| pool.submit(sum, data.clone())).collect();
        let pids = pool.worker_pids();
        let pid = pids[usize::try_from(random.below(3)).expect("a small number")];
        (0..random.below(100_000)).for_each(|_| std::hint::spin_loop());
        stop(pid);
        eventually(&format!("the others go on, round {round} of seed {SEED:#x}"), || {
            handles.iter().filter(|handle| !handle.is_finished()).count() <= 1
        });
        signal_if_there(pid, Signal::KILL);
        for handle in handles {
            assert_eq!(join(handle).expect("a sum"), round * 1_000);
        }
        pool.is_whole_without(&[pid]);
    }
    eventually("no block is in use", || pool.stats().blocks_live <= 1);
    pool.end();
}

/// Of 15,000 bytes, which travel in the message: a ring has room for a few.
fn long_texts(pool: &Pool) -> Vec<JoinHandle<(usize, u32)>> {
    let len = |text: String| (text.len(), attempt());
    (0..2_000).map(|_| pool.submit(len, "x".repeat(15_000))).collect()
}

#[test]
fn a_worker_that_reads_nothing_and_dies_keeps_nobody_waiting() {
    let mut pool = Marked::new(1);
    warm(&pool);
    let pid = pool.worker_pids()[0];
    stop(pid);
    // Its ring is full after some of them; none of these waits.
    let handles = long_texts(&pool);
    signal_if_there(pid, Signal::KILL);
    for handle in handles {
        assert_eq!(join(handle).expect("a length"), (15_000, 1));
    }
    pool.is_whole_without(&[pid]);
    pool.end();
}

#[test]
fn a_worker_that_reads_nothing_for_a_while_misses_nothing() {
    let pool = Marked::new(1);
    warm(&pool);
    let pid = pool.worker_pids()[0];
    stop(pid);
    let handles = long_texts(&pool);
    assert!(handles.iter().all(|handle| !handle.is_finished()));
    signal(pid, Signal::CONT);
    for handle in handles {
        assert_eq!(join(handle).expect("a length"), (15_000, 1));
    }
    assert_eq!(pool.stats().workers_died, 0);
    pool.end();
}

#[test]
fn a_pool_whose_worker_reads_nothing_is_dropped_in_bounded_time() {
    let pool = Marked::new(1);
    warm(&pool);
    stop(pool.worker_pids()[0]);
    let handles = long_texts(&pool);
    let began = Instant::now();
    pool.end();
    assert!(began.elapsed() < DEADLINE / 2, "it took {:?}", began.elapsed());
    for handle in handles {
        assert!(matches!(failure(handle), TaskError::Cancelled | TaskError::Killed));
    }
}

#[test]
fn more_tiny_tasks_than_any_pipe_holds_bells_come_back() {
    // Without optimisation each takes several times as long; a pipe holds 65,536 bytes.
    let count = if cfg!(debug_assertions) { 70_000 } else { 1_000_000 };
    let pool = Marked::new(2);
    let handles: Vec<_> = (0..count).map(|n| pool.submit(|n: u32| n ^ 1, n)).collect();
    for (n, handle) in (0..).zip(handles) {
        assert_eq!(join(handle).ok(), Some(n ^ 1));
    }
    pool.end();
}

// ── 3: memory ────────────────────────────────────────────────────────────────

#[test]
fn a_worker_that_the_kernel_kills_for_its_memory_is_suspected_of_that() {
    let Some(group) = Group::new(64 << 20) else { return skip("no group of version 1 to be made") };
    let pool = Marked::build(Pool::builder().workers(2).attempts(1));
    let (gate, beside_gate) = (Gate::new(), Gate::new());
    let beside = pool.submit(pass_through, beside_gate.name());
    let beside_arrival = beside_gate.arrival();
    let hog = |gate: String| -> usize {
        pass(&gate);
        std::hint::black_box(vec![7_u8; 256 << 20]).len()
    };
    let hog = pool.submit(hog, gate.name());
    let arrival = gate.arrival();
    group.take(arrival.number);
    drop(arrival);
    let error = failure(hog);
    let TaskError::WorkerDied(death) = &error else { panic!("{error:?}") };
    assert!(matches!(death.status, ExitStatus::Signaled { signal: 9, .. }), "{death}");
    assert!(death.oom_suspected && death.to_string().contains("ran out of memory"), "{death}");
    drop(beside_arrival);
    assert_eq!(join(beside).expect("another worker's task"), 1);
    pool.end();
}

/// When a task began and ended, by the clock of the machine.
type Span = (Duration, Duration);

fn now() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::try_from(now).expect("the machine has been started")
}

/// Takes more memory than its first worker may have. Its second says when it had it.
fn hog((first, second): (String, String)) -> Span {
    if attempt() == 1 {
        pass(&first);
        std::hint::black_box(vec![7_u8; 256 << 20]);
    }
    let began = now();
    pass(&second);
    (began, now())
}

#[test]
fn tasks_that_die_of_want_of_memory_at_once_are_retried_one_after_the_other() {
    let Some(group) = Group::new(64 << 20) else { return skip("no group of version 1 to be made") };
    let mut pool = Marked::build(Pool::builder().workers(3).attempts(2));
    let (first, second) = (Gate::new(), Gate::new());
    let hogs = [0, 1, 2].map(|_| pool.submit(hog, (first.name(), second.name())));
    let arrivals = [first.arrival(), first.arrival(), first.arrival()];
    let pids = arrivals.each_ref().map(|arrival| arrival.number);
    pids.iter().for_each(|&pid| group.take(pid));
    drop(arrivals);

    let mut retries = Vec::new();
    for left in (0..3).rev() {
        let retry = second.arrival();
        pool.is_whole_without(&pids);
        // All have died, and each of the workers could have another. Others go on.
        assert_eq!(pool.stats().workers_died, 3);
        for n in 0..100 {
            assert_eq!(join(pool.submit(|n: u32| n + 1, n)).expect("an ordinary task"), n + 1);
        }
        eventually("those before it are done, those behind it are not", || {
            hogs.iter().filter(|hog| !hog.is_finished()).count() == left + 1
        });
        retries.push(retry.number);
    }
    let mut spans = hogs.map(|hog| join(hog).expect("the second attempt"));
    spans.sort();
    let is_after = |pair: &[Span]| pair[0].1 <= pair[1].0;
    assert!(spans.windows(2).all(is_after), "they overlap: {spans:?}, on {retries:?}");
    assert_eq!((pool.stats().workers_died, pool.stats().tasks_retried), (3, 3));
    pool.end();
}

/// Says that a test cannot be made here: fine at home, not where everything must run.
fn skip(why: &str) {
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "not to be tested here: {why}");
}

// ── 6: the end of the pool ───────────────────────────────────────────────────

#[test]
fn arguments_that_cannot_be_written_and_the_end_of_the_pool_do_not_meet() {
    let _alive = watchdog();
    for _ in 0..20 {
        let pool = Marked::new(1);
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let submits = scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let trick = Trick::new(Moment::Submitting, Mishap::Error);
                    let error = failure(pool.submit(trick::perform, trick));
                    assert!(matches!(error, TaskError::Encode(_)), "{error:?}");
                    match join(pool.submit(|x: u32| x, 5)) {
                        Ok(five) => assert_eq!(five, 5),
                        Err(error) => assert!(matches!(error, TaskError::PoolClosed), "{error:?}"),
                    }
                }
            });
            join(pool.submit(|()| (), ())).expect("an empty task");
            pool.shutdown(Shutdown::Graceful, DEADLINE).expect("nobody remains");
            over.store(true, Ordering::Relaxed);
            submits.join().expect("every submission has an answer of its own");
        });
        pool.end();
    }
}

// ── 9, 10, 11: results ───────────────────────────────────────────────────────

#[derive(Serialize, Deserialize)]
struct Halves {
    first: Buffer<u64>,
    /// Ends the worker when the first half is written and the second is not.
    between: Trick,
    second: Buffer<u64>,
}

#[test]
fn a_result_that_is_half_written_when_its_worker_dies_is_never_seen() {
    for moment in [Moment::Encoding, Moment::Dropping] {
        let pool = Marked::new(1);
        let halves = |between: Trick| {
            let half = |value: u64| -> Buffer<u64> { (0..50_000).map(|n| n * value).collect() };
            Halves { first: half(attempt().into()), between, second: half(3) }
        };
        let trick = Trick::new(moment, Mishap::Kill).once();
        let result = join(pool.submit(halves, trick)).expect("the second attempt");
        let is_whole = |half: &Buffer<u64>, value| {
            half.len() == 50_000
                && half.iter().zip(0..).all(|(&item, n): (_, u64)| item == n * value)
        };
        assert!(is_whole(&result.first, 2) && is_whole(&result.second, 3), "{moment:?}");
        assert_eq!((pool.stats().workers_died, pool.stats().tasks_retried), (1, 1));
        drop(result);
        eventually("no block is in use", || pool.stats().blocks_live == 0);
        pool.end();
    }
}

/// Keeps whoever calls it.
struct Keeper {
    is_here: AtomicBool,
    until: Mutex<Receiver<()>>,
}

impl Wake for Keeper {
    fn wake(self: Arc<Self>) {
        self.is_here.store(true, Ordering::SeqCst);
        let _let_go = self.until.lock().expect("nobody panics here").recv_timeout(DEADLINE);
    }
}

#[test]
fn results_that_a_dead_worker_had_sent_and_nobody_had_read_all_count() {
    let mut pool = Marked::new(1);
    // A waker that keeps the pool's own thread, so that for a while nobody reads results. It is that
    // of the last of many empty tasks, after which a worker is sent many at a time.
    let mut empty = Vec::new();
    let (let_go, until) = channel();
    let keeper = Arc::new(Keeper { is_here: AtomicBool::new(false), until: Mutex::new(until) });
    let waker = keeper.clone().into();
    eventually("the last is not done yet", || {
        empty.extend((0..500).map(|_| pool.submit(|()| (), ())));
        let last = pin!(empty.last_mut().expect("there are many"));
        last.poll(&mut Context::from_waker(&waker)).is_pending()
    });
    eventually("the pool's thread is kept", || keeper.is_here.load(Ordering::SeqCst));

    let gate = Gate::new();
    let sent: Vec<_> =
        (0..3).map(|n| pool.submit(|n: u64| (runner(), vec![n; 1_000]), n)).collect();
    let running = pool.submit(pass_through, gate.name());
    let unread: Vec<_> = (0..3).map(|_| pool.submit(|()| runner(), ())).collect();
    // One task after the other: when this one runs, those before it are done.
    let arrival = gate.arrival();
    let pid = arrival.number;
    assert!(sent.iter().all(|handle| !handle.is_finished()), "somebody reads");
    signal(pid, Signal::KILL);
    eventually("it is dead", || is_dead(pid));
    let_go.send(()).expect("the keeper waits");

    for (n, handle) in (0..).zip(sent) {
        let (runner, values) = join(handle).expect("it was sent");
        assert_eq!((runner, values), ((pid, 1), vec![n; 1_000]), "it was not run again");
    }
    drop(gate.arrival());
    assert_eq!(join(running).expect("the second attempt"), 2);
    for handle in unread {
        let (runner, attempt) = join(handle).expect("nobody had begun it");
        assert!(runner != pid && attempt == 1, "{runner}, {attempt}");
    }
    assert_eq!((pool.stats().workers_died, pool.stats().tasks_retried), (1, 1));
    pool.is_whole_without(&[pid]);
    pool.end();
}

// ── 28, 31: workers that do not die, and that die all the time ───────────────

#[test]
fn a_worker_that_the_kernel_keeps_from_dying_is_reported_in_bounded_time() {
    let Some(freezer) = Freezer::new() else { return skip("no group of version 1 to be made") };
    let pool = Marked::new(2);
    let gate = Gate::new();
    let running = pool.submit(pass_through, gate.name());
    let arrival = gate.arrival();
    freezer.0.take(arrival.number);
    freezer.set("FROZEN");
    let began = Instant::now();
    let shut = pool.shutdown(Shutdown::Kill, Duration::from_millis(100));
    assert!(began.elapsed() < DEADLINE / 2, "it took {:?}", began.elapsed());
    match shut {
        Err(Error::WorkersRemain { pids, .. }) => assert_eq!(pids, [arrival.number]),
        other => panic!("{other:?}"),
    }
    assert!(matches!(failure(running), TaskError::Killed));
    freezer.set("THAWED");
    pool.shutdown(Shutdown::Kill, DEADLINE).expect("now it dies of the signal that it was sent");
    pool.end();
}

/// A control group that keeps whoever is in it, also from dying.
struct Freezer(Group);

impl Freezer {
    fn new() -> Option<Self> {
        Group::of("freezer").map(Freezer)
    }

    fn set(&self, state: &str) {
        self.0.write("freezer.state", state);
        eventually("it takes hold", || self.0.read("freezer.state") == state);
    }
}

impl Drop for Freezer {
    fn drop(&mut self) {
        // Also when the test fails: nothing of it is to remain.
        self.0.write("freezer.state", "THAWED");
    }
}

/// One of a buffer's values, from a task that waits first.
fn first_of((gate, data): (String, Buffer<u64>)) -> (u32, u64) {
    pass(&gate);
    (std::process::id(), data[0])
}

/// Two tasks at once, each on a worker of its own.
#[track_caller]
fn works_on_two(pool: &Pool, avoided: u32) {
    let gate = Gate::new();
    let argument = |value| (gate.name(), vec![value; 10_000].into());
    let tasks = [4, 5].map(|value| pool.submit(first_of, argument(value)));
    let arrivals = [gate.arrival(), gate.arrival()];
    let pids = [arrivals[0].number, arrivals[1].number];
    assert!(pids[0] != pids[1] && !pids.contains(&avoided), "{pids:?}, not {avoided}");
    drop(arrivals);
    assert_eq!(tasks.map(|task| join(task).expect("a value").1), [4, 5]);
}

#[test]
fn a_worker_that_outlives_its_kill_is_replaced_and_keeps_its_memory_and_no_shutdown_waits_for_it() {
    let Some(freezer) = Freezer::new() else { return skip("no group of version 1 to be made") };
    let mut pool = Marked::new(2);
    let gate = Gate::new();
    let argument: Buffer<u64> = vec![3; 10_000].into();
    let task = pool.task().timeout(Duration::from_secs(2));
    let running = task.submit(first_of, (gate.name(), argument.clone()));
    let arrival = gate.arrival();
    let pid = arrival.number;
    freezer.0.take(pid);
    freezer.set("FROZEN");
    assert!(matches!(failure(running), TaskError::TimedOut { .. }));
    pool.is_whole_without(&[pid]);
    assert_eq!((pool.stats().workers_quarantined, pool.stats().workers_died), (1, 1));
    (0..5).for_each(|_| works_on_two(&pool, pid));
    drop(argument);
    eventually("only its block is in use", || pool.stats().blocks_live == 1);
    (0..5).for_each(|_| works_on_two(&pool, pid));
    eventually("its block is in use still", || pool.stats().blocks_live == 1);

    let began = Instant::now();
    match pool.shutdown(Shutdown::Graceful, Duration::MAX) {
        Err(Error::WorkersRemain { pids, .. }) => assert_eq!(pids, [pid]),
        other => panic!("{other:?}"),
    }
    assert!(began.elapsed() < DEADLINE / 2, "it took {:?}", began.elapsed());
    assert_eq!((pool.stats().blocks_live, pool.stats().workers_quarantined), (1, 1));
    freezer.set("THAWED");
    pool.shutdown(Shutdown::Kill, DEADLINE).expect("now it dies of the signal that it was sent");
    assert_eq!((pool.stats().blocks_live, pool.stats().workers_quarantined), (0, 0));
    drop(arrival);
    pool.end();
}

#[test]
fn a_task_whose_worker_neither_works_nor_dies_is_charged_and_runs_elsewhere() {
    let Some(freezer) = Freezer::new() else { return skip("no group of version 1 to be made") };
    let mut pool = Marked::build(Pool::builder().workers(2).attempts(2));
    let (thread_gate, gate) = (Gate::new(), Gate::new());
    let argument: Buffer<u64> = vec![3; 10_000].into();
    let task = |(thread_gate, gate, data): (String, String, Buffer<u64>)| {
        if attempt() == 1 {
            // One thread that the kernel keeps is enough to keep the process.
            let kept = rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs();
            std::thread::spawn(move || {
                pass(&gate);
                Mishap::CloseAll.happen()
            });
            tell(&thread_gate, kept);
        }
        (runner(), data[0])
    };
    let running = pool.submit(task, (thread_gate.name(), gate.name(), argument.clone()));
    let (thread, arrival) = (thread_gate.arrival(), gate.arrival());
    let pid = arrival.number;
    freezer.0.take_thread(thread.number);
    freezer.set("FROZEN");
    // Its socket ends, and it is killed.
    drop(arrival);
    let began = Instant::now();
    let ((runner, attempt), value) = join(running).expect("the second attempt");
    assert!(began.elapsed() < DEADLINE / 2, "it took {:?}", began.elapsed());
    assert_eq!((attempt, value), (2, 3));
    assert_ne!(runner, pid);
    pool.is_whole_without(&[pid]);
    let stats = pool.stats();
    assert_eq!((stats.workers_quarantined, stats.workers_died, stats.tasks_retried), (1, 1, 1));
    drop(argument);
    works_on_two(&pool, pid);
    eventually("only its block is in use", || pool.stats().blocks_live == 1);

    freezer.set("THAWED");
    eventually("it is dead", || pool.stats().workers_quarantined == 0);
    assert!(!common::exists(pid), "it is left, or its body");
    eventually("no block is in use", || pool.stats().blocks_live == 0);
    works_on_two(&pool, pid);
    assert_eq!(pool.stats().workers_died, 1, "it dies once");
    drop(thread);
    pool.end();
}

#[test]
fn nothing_is_lost_while_workers_are_killed_at_random() {
    const SEED: u64 = 0x5EED_0031;
    const ENOUGH: u64 = 20;
    let pool = Marked::build(Pool::builder().workers(3).attempts(100));
    let double = |data: Buffer<u64>| -> Buffer<u64> { data.iter().map(|item| item * 2).collect() };
    let over = AtomicBool::new(false);
    let mut tasks = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = Random(SEED);
            while !over.load(Ordering::Relaxed) {
                // Not faster than work is done, or the pool rightly gives up.
                let enough = pool.stats().tasks_completed + 20;
                while !over.load(Ordering::Relaxed) && pool.stats().tasks_completed < enough {
                    std::thread::yield_now();
                }
                (0..random.below(20_000)).for_each(|_| std::hint::spin_loop());
                let pids = pool.worker_pids();
                let at = usize::try_from(random.below(3)).expect("a small number");
                if let Some(&pid) = pids.get(at) {
                    signal_if_there(pid, Signal::KILL);
                }
            }
        });
        let some = || {
            let handles: Vec<_> = (0..1_000_u64)
                .map(|n| pool.submit(double, vec![n; 600 + usize::try_from(n % 7).unwrap()].into()))
                .collect();
            tasks += 1_000;
            for (n, handle) in (0..).zip(handles) {
                let doubled =
                    join(handle).unwrap_or_else(|why| panic!("{n} of seed {SEED:#x}: {why}"));
                assert!(doubled.iter().all(|&item| item == n * 2), "{n} of seed {SEED:#x}");
            }
            pool.stats().workers_died >= ENOUGH
        };
        // However seldom the killer gets to run.
        let passed = catch_unwind(AssertUnwindSafe(|| eventually("enough have died", some)));
        over.store(true, Ordering::Relaxed);
        passed.unwrap_or_else(|panic| resume_unwind(panic));
    });
    let stats = pool.stats();
    assert_eq!((stats.tasks_completed, stats.tasks_failed), (tasks, 0));
    eventually("no block is in use", || pool.stats().blocks_live == 0);
    pool.end();
}

// ── 37: descriptors ──────────────────────────────────────────────────────────

#[test]
fn a_worker_without_a_descriptor_for_the_memory_that_it_is_sent_is_replaced() {
    let mut pool = Marked::build(Pool::builder().workers(1).attempts(1));
    let use_up = |()| {
        // Standard input, output and error have all the numbers that are left; what is open stays.
        let limit = rustix::process::getrlimit(Resource::Nofile);
        let limit = Rlimit { current: Some(3), ..limit };
        setrlimit(Resource::Nofile, limit).expect("less is allowed");
        std::process::id()
    };
    let pid = join(pool.submit(use_up, ())).expect("a task");
    let sum = |data: Buffer<u64>| (data.iter().sum::<u64>(), runner());
    let (sum, (runner, attempt)) = join(pool.submit(sum, vec![3; 100_000].into())).expect("a sum");
    assert_eq!((sum, attempt), (300_000, 1));
    assert_ne!(runner, pid);
    assert_eq!((pool.stats().workers_died, pool.stats().tasks_retried), (1, 0));
    pool.is_whole_without(&[pid]);
    pool.end();
}

// ── 50, 53: programs ─────────────────────────────────────────────────────────

/// How many pools can be built inside of each other from here.
fn nest(_: ()) -> Result<u32, String> {
    if std::env::var_os("PANNIER_WORKER").is_some() {
        return Err("the marker of a worker is left in its environment".to_owned());
    }
    match Pool::builder().workers(1).build() {
        Ok(pool) => pool.submit(nest, ()).join().map_err(|error| error.to_string())?.map(|n| n + 1),
        Err(Error::TooDeep { depth: 10, limit: 10, .. }) => Ok(0),
        Err(other) => Err(other.to_string()),
    }
}

#[test]
fn a_task_builds_a_pool_of_its_own_and_pools_are_nested_so_deep_and_no_deeper() {
    let pool = Marked::new(1);
    assert_eq!(join(pool.submit(nest, ())).expect("a number"), Ok(9));
    pool.end();
}

const ABORTING: &str = r#"
fn main() {
    pannier::init();
    let pool = pannier::Pool::builder().workers(1).attempts(1).build().unwrap();
    let died = pool.submit(|text: String| -> () { panic!("{text}") }, "planned".to_owned()).join();
    let Err(pannier::TaskError::WorkerDied(death)) = died else { panic!("{died:?}") };
    assert_eq!(death.phase, pannier::Phase::Running);
    assert!(pool.submit(|x: u32| x + 1, 1).join().is_ok_and(|sum| sum == 2));
    println!("{}", death.status);
}
"#;

#[test]
fn in_a_program_that_aborts_on_panic_a_panic_is_a_death() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(common::unique("aborting"));
    std::fs::create_dir(&folder).expect("a folder of our own");
    let built = build_aborting(&folder);
    let output = built
        .map(|program| common::quiet(&program, &[]).stdout(std::process::Stdio::piped()).output());
    std::fs::remove_dir_all(&folder).expect("it is ours");
    let output = output.expect("the program is built").expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.trim() == "signal 6 (SIGABRT)", "{output:?}");
}

/// With the library as it was built for this test: only the program itself is compiled otherwise, as
/// the standard library is neither.
fn build_aborting(folder: &Path) -> Option<String> {
    let (source, program) = (folder.join("main.rs"), folder.join("program"));
    std::fs::write(&source, ABORTING).expect("a file of our own");
    let deps = std::env::current_exe().expect("this program has a file");
    let deps = deps.parent().expect("it lies in a folder");
    let is_library = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with("libpannier-") && name.ends_with(".rlib")
    };
    let entries = std::fs::read_dir(deps).expect("the folder is there");
    let mut libraries: Vec<PathBuf> =
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_library).collect();
    // There is one for each set of features. The newest that has all that the program needs will do.
    libraries.sort_by_key(|path| path.metadata().and_then(|meta| meta.modified()).ok());
    let builds = |library: &&PathBuf| {
        let mut rustc = Command::new("rustc");
        rustc.args(["--edition", "2024", "-C", "panic=abort", "-L"]).arg(deps);
        rustc.arg("--extern").arg(format!("pannier={}", library.display()));
        rustc.arg("-o").args([&program, &source]);
        rustc.output().expect("the compiler is there").status.success()
    };
    libraries.iter().rev().find(builds)?;
    Some(program.display().to_string())
}
