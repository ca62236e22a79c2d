//! The places of a pool: workers that are replaced in time, that rest when there is nothing to do, and
//! that come and go when the pool is resized.

#[expect(dead_code, reason = "each test program uses its part")]
mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use common::{DEADLINE, Gate, Marked, eventually, is_dead, join, pass, signal_if_there, watchdog};
use pannier::{Buffer, Error, Pool, Shutdown};
use rustix::process::Signal;

pannier::premain!();

fn who(_: u32) -> u32 {
    std::process::id()
}

// ── replaced ─────────────────────────────────────────────────────────────────

#[test]
fn a_worker_is_replaced_after_so_many_tasks() {
    let _alive = watchdog();
    let pool = Marked::build(Pool::builder().workers(2).max_tasks_per_worker(5));
    let mut tasks_of: std::collections::BTreeMap<u32, u32> = std::collections::BTreeMap::new();
    let handles: Vec<_> = (0..100).map(|n| pool.submit(who, n)).collect();
    for handle in handles {
        *tasks_of.entry(join(handle).expect("nobody dies under it")).or_default() += 1;
    }
    assert!(tasks_of.len() >= 20, "{tasks_of:?}");
    assert!(tasks_of.values().all(|&tasks| tasks <= 5), "{tasks_of:?}");
    assert_eq!(pool.stats().tasks_retried, 0);
    eventually("there are two again", || pool.worker_pids().len() == 2);
    pool.end();
}

#[test]
fn the_successor_is_ready_before_the_old_one_leaves() {
    let _alive = watchdog();
    let pool = Marked::build(Pool::builder().workers(1).max_tasks_per_worker(1));
    for n in 0..10 {
        let old = join(pool.submit(who, n)).unwrap();
        // Of both there is one at any time.
        eventually("it is replaced", || {
            let ready = pool.worker_pids();
            assert!(!ready.is_empty(), "nobody is ready");
            !ready.contains(&old)
        });
        eventually("the old one is gone", || is_dead(old));
    }
    pool.end();
}

#[test]
fn a_worker_that_keeps_much_memory_is_replaced() {
    let _alive = watchdog();
    let pool = Marked::build(Pool::builder().workers(1).max_worker_memory(256 << 20));
    let before = join(pool.submit(who, 0)).unwrap();
    let leak = |megabytes: usize| Vec::leak(vec![1_u8; megabytes << 20]).len();
    join(pool.submit(leak, 400)).unwrap();
    eventually("it is replaced", || !pool.worker_pids().contains(&before));
    eventually("the next one is at work", || join(pool.submit(who, 0)).unwrap() != before);
    assert_eq!(pool.stats().tasks_failed, 0);
    pool.end();
}

// ── resting ──────────────────────────────────────────────────────────────────

#[test]
fn workers_without_work_end_and_come_again_when_there_is_some() {
    let _alive = watchdog();
    let idle = Duration::from_millis(100);
    let pool = Marked::build(Pool::builder().workers(3).idle_timeout(idle));
    for round in 0..3 {
        let results = pool.map(who, 0..30).chunk_size(1);
        assert_eq!(results.map(Result::unwrap).count(), 30, "round {round}");
        eventually("nobody is left", || pool.worker_pids().is_empty());
    }
    assert_eq!(pool.stats().tasks_failed, 0);
    pool.end();
}

#[test]
fn as_many_come_again_as_there_is_work_for() {
    let _alive = watchdog();
    let idle = Duration::from_millis(100);
    let pool = Marked::build(Pool::builder().workers(3).idle_timeout(idle));
    eventually("nobody is left", || pool.worker_pids().is_empty());
    let gate = Gate::new();
    let tasks: Vec<_> =
        (0..3).map(|_| pool.submit(|gate: String| pass(&gate), gate.name())).collect();
    // Each waits for the others in a worker of its own.
    let arrivals = [gate.arrival(), gate.arrival(), gate.arrival()];
    let pids: BTreeSet<u32> = arrivals.iter().map(|arrival| arrival.number).collect();
    assert_eq!(pids.len(), 3);
    drop(arrivals);
    tasks.into_iter().for_each(|task| join(task).expect("it was let through"));
    pool.end();
}

// ── resized ──────────────────────────────────────────────────────────────────

#[test]
fn a_pool_grows_and_shrinks_while_it_works() {
    let _alive = watchdog();
    let pool = Marked::build(Pool::builder().workers(1));
    let kept: Buffer<u64> = (0..10_000).collect();
    let handles: Vec<_> = (0..300)
        .map(|n| {
            if n % 20 == 0 {
                pool.resize(1 + n as usize / 20 % 5).expect("a number of workers");
            }
            pool.submit(|(n, kept): (u64, Buffer<u64>)| kept[n as usize], (n, kept.clone()))
        })
        .collect();
    for (handle, n) in handles.into_iter().zip(0..) {
        assert_eq!(join(handle).expect("nobody dies under it"), n);
    }
    for workers in [4, 2, 5, 1] {
        pool.resize(workers).expect("a number of workers");
        eventually("there are as many", || pool.worker_pids().len() == workers);
        assert_eq!(pool.workers(), workers);
    }
    let stats = pool.stats();
    assert_eq!((stats.tasks_retried, stats.tasks_failed), (0, 0), "{stats:?}");
    drop(kept);
    pool.end();
}

#[test]
fn who_is_not_needed_any_more_finishes_what_it_runs_and_what_waits_there_runs_elsewhere() {
    let _alive = watchdog();
    let pool = Marked::build(Pool::builder().workers(2));
    let gate = Gate::new();
    let running: Vec<_> =
        (0..2).map(|_| pool.submit(|gate: String| pass(&gate), gate.name())).collect();
    let arrivals = [gate.arrival(), gate.arrival()];
    let behind: Vec<_> = (0..4).map(|n| pool.submit(who, n)).collect();
    pool.resize(1).expect("a number of workers");
    drop(arrivals);
    running.into_iter().for_each(|task| join(task).expect("it may finish"));
    for task in behind {
        let _pid = join(task).expect("somebody runs it");
    }
    eventually("there is one", || pool.worker_pids().len() == 1);
    assert!(matches!(pool.resize(0), Err(Error::Setting { name: "workers", .. })));
    pool.end();
}

#[test]
fn workers_that_die_while_the_pool_is_resized_lose_nothing() {
    let _alive = watchdog();
    let pool = Marked::build(Pool::builder().workers(3).attempts(100));
    let handles: Vec<_> = (0..200)
        .map(|n: u32| {
            if n % 10 == 0 {
                pool.resize(1 + (n as usize / 10) % 4).expect("a number of workers");
                if let Some(&pid) = pool.worker_pids().first() {
                    signal_if_there(pid, Signal::KILL);
                }
            }
            pool.submit(|n: u32| n, n)
        })
        .collect();
    for (handle, n) in handles.into_iter().zip(0..) {
        assert_eq!(join(handle).expect("it is tried again"), n);
    }
    pool.shutdown(Shutdown::Graceful, DEADLINE).expect("nobody remains");
    pool.end();
}
