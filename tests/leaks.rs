//! Nothing is left behind: descriptors, maps, threads, children before = after.
//!
//! One test, because everything here is counted for the whole process.

#[expect(dead_code, reason = "each test program uses its part")]
mod common;

use common::{Gate, attempt, children, count, eventually, join, kill_oneself, shared_maps, tell};
use pannier::{Buffer, Pool, TaskError};

pannier::premain!();

/// What a process has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Belongings {
    descriptors: usize,
    shared_maps: usize,
    threads: usize,
    children: usize,
}

fn belongings() -> Belongings {
    Belongings {
        descriptors: count("fd"),
        shared_maps: shared_maps().len(),
        threads: count("task"),
        children: children().len(),
    }
}

/// Does something, and sees that everything is as before.
fn leaves_nothing(what: &str, act: impl FnOnce()) {
    let before = belongings();
    act();
    // A thread that was joined may still be leaving: its entry goes a little later.
    let mut after = belongings();
    eventually_or(|| {
        after = belongings();
        after == before
    });
    assert_eq!(after, before, "{what}");
}

/// As `eventually`, for conditions that the caller tells better.
fn eventually_or(mut is_so: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
    while !is_so() && std::time::Instant::now() < deadline {
        std::thread::yield_now();
    }
}

#[test]
fn nothing_is_left_behind() {
    // Whatever is made once and kept (the page of the epoch, say) is made now. A joined thread
    // may still be leaving, and must not be counted as one that was there before.
    let threads = count("task");
    drop(build(1));
    eventually("the first pool's thread has left", || count("task") == threads);
    leaves_nothing("an idle pool", || drop(build(3)));
    leaves_nothing("a pool that worked", || work(&build(2)));
    leaves_nothing("a pool whose workers died", || lose_workers(&build(2)));
    leaves_nothing("a pool whose tasks were killed", || kill_tasks(&build(2)));
    leaves_nothing("results that outlive their pool", outlive);
    leaves_nothing("a pool that did not start", || {
        let none = Pool::builder().workers(2).env("LD_PRELOAD", "").env_clear().workers(0).build();
        assert!(none.is_err());
    });
    leaves_nothing("fifty pools", || {
        for _ in 0..50 {
            let pool = build(1);
            assert_eq!(join(pool.submit(|x: u32| x + 1, 1)).expect("a sum"), 2);
        }
    });
    leaves_nothing("two thousand tasks", two_thousand_tasks);
    leaves_nothing("two hundred deaths", two_hundred_deaths);
}

fn build(workers: usize) -> Pool {
    Pool::builder().workers(workers).build().expect("workers start")
}

/// In shared memory of the pool's.
fn column(pool: &Pool, len: usize) -> Buffer<f64> {
    let mut column = pool.alloc(len).expect("memory");
    column.fill(0.5);
    column.freeze()
}

fn double(column: Buffer<f64>) -> Buffer<f64> {
    let mut doubled = pannier::alloc(column.len()).expect("memory");
    for (to, from) in doubled.iter_mut().zip(&column) {
        *to = from * 2.0;
    }
    doubled.freeze()
}

fn work(pool: &Pool) {
    for len in [1_000, 100_000, 1_000_000] {
        let shared = pool.submit(double, column(pool, len));
        let heap = pool.submit(double, vec![0.5; len].into());
        for doubled in [shared, heap].map(|handle| join(handle).expect("a column")) {
            assert!(doubled.iter().all(|&item| item == 1.0));
        }
    }
    let long = "long ".repeat(100_000);
    assert_eq!(join(pool.submit(|text: String| text, long.clone())).expect("a text"), long);
    let context = column(pool, 10_000);
    let sum: f64 = pool
        .map_with(context, |column, at: usize| column[at], 0..500)
        .map(Result::unwrap_or_default)
        .sum();
    assert_eq!(sum, 250.0);
    nothing_is_in_use(pool);
}

fn nothing_is_in_use(pool: &Pool) {
    eventually("no block is in use", || pool.stats().blocks_live == 0);
}

fn die_once(column: Buffer<f64>) -> Buffer<f64> {
    let doubled = double(column);
    if attempt() == 1 {
        kill_oneself();
    }
    doubled
}

fn lose_workers(pool: &Pool) {
    let columns: Vec<_> = (0..6).map(|_| column(pool, 50_000)).collect();
    let handles: Vec<_> =
        columns.iter().map(|column| pool.submit(die_once, column.clone())).collect();
    for doubled in handles.into_iter().map(|handle| join(handle).expect("the second attempt")) {
        assert!(doubled.iter().all(|&item| item == 1.0));
    }
    let poison = join(pool.submit(|_: Buffer<f64>| -> () { kill_oneself() }, columns[0].clone()));
    assert!(matches!(poison, Err(TaskError::WorkerDied(_))), "{poison:?}");
    drop(columns);
    nothing_is_in_use(pool);
}

fn kill_tasks(pool: &Pool) {
    let gate = Gate::new();
    let wait = |(gate, number, column): (String, u32, Buffer<f64>)| {
        tell(&gate, number);
        column
    };
    let task = |number| pool.submit(wait, (gate.name(), number, column(pool, 50_000)));
    let mut handles: Vec<_> = (0..6).map(|number| Some(task(number))).collect();
    for _ in 0..6 {
        let running = gate.arrival();
        let handle = handles[running.number as usize].take().expect("a task runs once");
        handle.kill();
        let killed = join(handle);
        assert!(matches!(killed, Err(TaskError::Killed)), "{killed:?}");
    }
    nothing_is_in_use(pool);
}

fn outlive() {
    let pool = build(1);
    let argument = column(&pool, 100_000);
    let result = join(pool.submit(double, argument.clone())).expect("a column");
    drop(pool);
    assert!(argument.iter().zip(&result).all(|(from, to)| from * 2.0 == *to));
}

fn two_thousand_tasks() {
    // One worker, and all arguments and results at once: every round needs the same memory.
    let pool = build(1);
    let mut warm = None;
    for round in 0..50 {
        let columns: Vec<_> = (0..40).map(|n| column(&pool, 2_000 + 100 * n)).collect();
        let handles: Vec<_> = columns.iter().map(|c| pool.submit(double, c.clone())).collect();
        let results: Vec<_> = handles.into_iter().map(|h| join(h).expect("a column")).collect();
        assert!(results.iter().all(|result| result.iter().all(|&item| item == 1.0)));
        drop((columns, results));
        nothing_is_in_use(&pool);
        let now = belongings();
        if round == 9 {
            warm = Some(now);
        }
        if let Some(warm) = warm {
            assert!(now.descriptors <= warm.descriptors, "round {round}: {warm:?}, {now:?}");
            assert!(now.shared_maps <= warm.shared_maps, "round {round}: {warm:?}, {now:?}");
            assert_eq!((now.threads, now.children), (warm.threads, warm.children));
        }
    }
}

fn two_hundred_deaths() {
    let pool = build(2);
    let mut warm = None;
    for round in 0..10 {
        let handles: Vec<_> =
            (0..20).map(|_| pool.submit(die_once, column(&pool, 2_000))).collect();
        for handle in handles {
            join(handle).expect("the second attempt");
        }
        nothing_is_in_use(&pool);
        eventually("workers are back", || pool.worker_pids().len() == 2 && children().len() == 2);
        let now = belongings();
        // What workers have of their own comes and goes with them.
        let flat = |warm: Belongings| {
            now.descriptors <= warm.descriptors + 4 && now.shared_maps <= warm.shared_maps + 4
        };
        assert!(warm.is_none_or(flat), "round {round}: {warm:?}, {now:?}");
        if round == 2 {
            warm = Some(now);
        }
    }
    assert_eq!(pool.stats().workers_died, 200);
}
