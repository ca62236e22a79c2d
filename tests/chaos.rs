//! Deaths on purpose: repeatable, and survived.

#[expect(dead_code, reason = "each test program uses its part")]
mod common;

use std::time::Duration;

use common::{Marked, attempt, join};
use pannier::{Chaos, Error, Pool, TaskError};

pannier::premain!();

/// Which start of each task came through, or that none did.
fn attempts_of(seed: u64) -> Vec<Option<u32>> {
    let chaos = Chaos::seeded(seed).kill(0.2);
    let pool = Marked::build(Pool::builder().workers(2).attempts(2).chaos(chaos));
    let handles: Vec<_> = (0..60).map(|_| pool.submit(|()| attempt(), ())).collect();
    let outcomes = handles.into_iter().map(|handle| match join(handle) {
        Ok(attempt) => Some(attempt),
        Err(TaskError::WorkerDied(_)) => None,
        Err(other) => panic!("{other}"),
    });
    let outcomes = outcomes.collect();
    pool.end();
    outcomes
}

#[test]
fn the_same_seed_kills_the_same_tasks_at_the_same_attempts() {
    let once = attempts_of(7);
    assert_eq!(once, attempts_of(7));
    assert_ne!(once, attempts_of(8));
    assert!(once.contains(&Some(2)), "{once:?}");
}

#[test]
fn a_map_comes_through_deaths_delays_and_failed_starts() {
    let chaos = Chaos::seeded(3).kill(0.1).delay(0.2, Duration::from_millis(2)).fail_start(0.3);
    let pool = Marked::build(Pool::builder().workers(2).attempts(50).chaos(chaos));
    let results: Result<Vec<u64>, _> = pool.map(|n: u64| n + 1, 0..300).chunk_size(7).collect();
    assert_eq!(results.expect("fifty attempts"), (1..=300).collect::<Vec<_>>());
    assert!(pool.stats().workers_died > 0);
    pool.end();
}

#[test]
fn a_plan_without_probabilities_changes_nothing() {
    let pool = Marked::build(Pool::builder().workers(1).chaos(Chaos::seeded(1)));
    assert_eq!(pool.map(|n: u32| n, 0..100).map(Result::unwrap).sum::<u32>(), 4950);
    assert_eq!(pool.stats().workers_started, 1);
    pool.end();
}

#[test]
fn the_first_workers_start_whatever_the_plan_says() {
    let chaos = Chaos::seeded(1).fail_start(1.0).kill(1.0);
    let pool = Pool::builder().workers(2).attempts(3).chaos(chaos).build().expect("they start");
    let error = join(pool.submit(|()| (), ())).expect_err("nobody can run it");
    assert!(matches!(error, TaskError::PoolBroken(_) | TaskError::WorkerDied(_)), "{error}");
    assert!(!matches!(pool.alloc::<u8>(1), Err(Error::ForkedHandle)));
}
