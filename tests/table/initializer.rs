//! The rows of the initializer: in the first workers, in one that takes the place of a dead one, in all
//! that do.
//!
//! Promises: each case counts the starts, so that none of them may become a storm.

use std::time::{Duration, Instant};

use pannier::{Error, ExitStatus, Pool, PoolBuilder, StartFailed, StartFailure, TaskError, worker};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use crate::assert_status;
use crate::common::{
    DEADLINE, Gate, MARK, Marked, attempt, eventually, is_stopped, join, marked, pass,
    pass_through, signal, unique, watchdog,
};
use crate::trick::{Mishap, PLANNED};

const MISHAPS: [Mishap; 11] = [
    Mishap::Panic,
    Mishap::PanicTwice,
    Mishap::Error,
    Mishap::Exit(0),
    Mishap::Exit(1),
    Mishap::Abort,
    Mishap::Segv,
    Mishap::StackOverflow,
    Mishap::OutOfMemory,
    Mishap::Kill,
    Mishap::CloseAll,
];

/// What an initializer is to do: it waits at a gate first, in the workers that are meant.
#[derive(Serialize, Deserialize)]
struct Orders {
    mishap: Mishap,
    gate: String,
    /// By how many of their slot they are, from 1.
    first: u32,
    last: u32,
}

fn prepare(orders: Orders) -> Result<(), &'static str> {
    let generation = worker().expect("it runs in a worker").generation;
    if !(orders.first..=orders.last).contains(&generation) {
        return Ok(());
    }
    pass(&orders.gate);
    orders.mishap.happen()
}

/// Two workers, of which some come to grief in the initializer.
fn builder(mishap: Mishap, gate: &Gate, first: u32, last: u32) -> PoolBuilder {
    let orders = Orders { mishap, gate: gate.name(), first, last };
    let builder = Pool::builder().workers(2).attempts(1).env("RUST_BACKTRACE", "0");
    builder.try_initializer(prepare, orders)
}

/// Whether a start failed as it must have.
#[track_caller]
fn is_told(name: &str, mishap: Mishap, failed: &StartFailed) {
    match (mishap, &failed.cause) {
        (Mishap::Panic, StartFailure::Initializer(panicked)) => {
            assert_eq!(panicked.message, PLANNED, "{name}");
        }
        (Mishap::Error, StartFailure::InitializerFailed(error)) => {
            assert_eq!(error.to_string(), PLANNED, "{name}");
        }
        (Mishap::Panic | Mishap::Error, other) => panic!("{name}: {other:?}"),
        (_, StartFailure::InitializerDied) => {
            assert_status(name, mishap, failed.status);
            let (text, status) = (failed.to_string(), failed.status.to_string());
            assert!(text.contains(&status), "{name}: {text} without {status}");
            return;
        }
        (_, other) => panic!("{name}: {other:?}"),
    }
    // Who tells that it is unfit is not kept.
    let is_killed = matches!(failed.status, ExitStatus::Signaled { signal: libc::SIGKILL, .. });
    assert!(is_killed, "{name}: {}", failed.status);
}

#[test]
fn a_mishap_in_the_initializer_fails_the_build_with_its_cause() {
    for mishap in MISHAPS {
        let name = format!("{mishap:?} in each initializer");
        let _alive = watchdog();
        let (gate, mark) = (Gate::new(), unique("mark"));
        let builder = builder(mishap, &gate, 1, u32::MAX).env(MARK, &mark);
        let built = std::thread::scope(|scope| {
            // Both are on their way before one fails.
            scope.spawn(|| [gate.arrival(), gate.arrival()]);
            builder.build()
        });
        match built {
            Err(Error::StartFailed(failed)) => is_told(&name, mishap, &failed),
            other => panic!("{name}: {other:?}"),
        }
        assert!(gate.is_deserted(), "{name}: more than two were started");
        eventually("nobody is left", || marked(&mark).is_empty());
    }
}

#[test]
fn a_mishap_in_the_initializer_of_a_replacement_costs_a_start_and_no_task() {
    for mishap in MISHAPS {
        let name = format!("{mishap:?} in one initializer");
        let gate = Gate::new();
        let mut pool = Marked::build(builder(mishap, &gate, 2, 2));
        let pids = pool.worker_pids();
        signal(pids[0], Signal::KILL);
        let arrival = gate.arrival();
        let neighbour = Gate::new();
        let running = pool.submit(pass_through, neighbour.name());
        let running_at = neighbour.arrival();
        assert_eq!(running_at.number, pids[1], "{name}: nobody else is ready");
        let unfit = arrival.number;
        drop(arrival);
        pool.is_whole_without(&[pids[0], unfit]);
        assert!(pool.worker_pids().contains(&pids[1]), "{name}: the other worker lives");
        drop(running_at);
        assert_eq!(join(running).ok(), Some(1), "{name}");
        for _ in 0..8 {
            assert_eq!(join(pool.submit(|()| attempt(), ())).ok(), Some(1), "{name}");
        }
        let stats = pool.stats();
        assert_eq!((stats.workers_started, stats.workers_died), (4, 1), "{name}");
        assert!(gate.is_deserted(), "{name}");
        pool.end();
    }
}

/// Of one worker's replacements.
const STARTS: u64 = 5;
/// What lies between them at least: 10 ms after the first, and each time twice as much.
const BACKOFF: Duration = Duration::from_millis(10 + 20 + 40 + 80);

#[test]
fn a_mishap_in_the_initializer_of_every_replacement_is_tried_again_while_somebody_works() {
    for mishap in MISHAPS {
        let name = format!("{mishap:?} in all later initializers");
        let gate = Gate::new();
        let pool = Marked::build(builder(mishap, &gate, 2, u32::MAX));
        let pids = pool.worker_pids();
        signal(pids[0], Signal::KILL);
        let mut arrival = gate.arrival();
        let began = Instant::now();
        for start in 1..STARTS {
            assert_eq!(pool.stats().workers_started, 2 + start, "{name}");
            let who = join(pool.submit(|()| (std::process::id(), attempt()), ()));
            assert_eq!(who.ok(), Some((pids[1], 1)), "{name}: the other works");
            drop(arrival);
            arrival = gate.arrival();
        }
        assert!(began.elapsed() >= BACKOFF, "{name}: {:?}", began.elapsed());
        // With nobody at work it is hopeless.
        signal(pids[1], Signal::KILL);
        eventually("the pool is broken", || pool.worker_pids().is_empty());
        match join(pool.submit(|()| (), ())) {
            Err(TaskError::PoolBroken(failed)) => is_told(&name, mishap, &failed),
            other => panic!("{name}: {other:?}"),
        }
        drop(arrival);
        eventually("all are gone", || pool.processes().is_empty());
        assert_eq!(pool.stats().workers_started, 2 + STARTS, "{name}");
        assert!(gate.is_deserted(), "{name}");
        pool.end();
    }
}

#[test]
fn a_worker_that_is_stopped_in_its_initializer_keeps_nobody_waiting() {
    let gate = Gate::new();
    let pool = Marked::build(builder(Mishap::Stop, &gate, 2, u32::MAX));
    let pids = pool.worker_pids();
    signal(pids[0], Signal::KILL);
    let arrival = gate.arrival();
    let stopped = arrival.number;
    drop(arrival);
    eventually("it is stopped", || is_stopped(stopped));
    for _ in 0..20 {
        let who = join(pool.submit(|()| (std::process::id(), attempt()), ()));
        assert_eq!(who.ok(), Some((pids[1], 1)));
    }
    assert_eq!(pool.stats().workers_started, 3);
    let began = Instant::now();
    pool.end();
    assert!(began.elapsed() < DEADLINE / 2, "it took {:?}", began.elapsed());
    assert!(gate.is_deserted(), "nobody is started at the end");
}
