//! How long a worker takes to come into the world, and a pool to give its first result (T9).
//!
//! The ways take turns. What a worker takes is what a pool of several takes longer to be ready than a pool
//! of one, for each: an observer of a single start would have to share two CPUs with it.

use std::time::{Duration, Instant};

use pannier::{Pool, PoolBuilder, StartMethod};

pub(crate) const ROWS: &[crate::Row] =
    &[("start: each further worker", further), ("start: pool to first result", first_result)];

const WAYS: [(&str, StartMethod); 2] =
    [("spawn", StartMethod::Spawn), ("fork server", StartMethod::ForkServer)];
const ROUNDS: usize = 100;
/// Workers of a pool beyond its first.
const FURTHER: u32 = 16;

fn builder(method: StartMethod) -> PoolBuilder {
    Pool::builder().workers(1).start_method(method)
}

fn show(name: &str, mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    let at = |part: usize| times[times.len() * part / 100];
    println!("  {name:>42}{:>12.2?}{:>12.2?}{:>12.2?}", times[0], at(50), at(99));
    at(50)
}

fn judge(what: &str, median: Duration, target: Duration) {
    let met = if median <= target { "met" } else { "missed" };
    println!("  T9: {what}: {median:.2?}, target {target:.2?}: {met}");
}

fn further(name: &str) {
    println!("\n{name:44}{:>12}{:>12}{:>12}", "best", "median", "p99");
    let mut times = WAYS.map(|_| Vec::new());
    for _ in 0..ROUNDS {
        for ((_, method), times) in WAYS.into_iter().zip(&mut times) {
            let [one, many] = [1, 1 + FURTHER].map(|workers| {
                let builder = builder(method).workers(workers as usize);
                let began = Instant::now();
                let pool = builder.build().unwrap();
                let took = began.elapsed();
                drop(pool);
                took
            });
            times.push(many.saturating_sub(one) / FURTHER);
        }
    }
    let targets = [Duration::from_millis(1), Duration::from_micros(200)];
    for (((name, _), times), target) in WAYS.into_iter().zip(times).zip(targets) {
        judge(name, show(name, times), target);
    }
}

fn first_result(name: &str) {
    println!("\n{name:44}{:>12}{:>12}{:>12}", "best", "median", "p99");
    let mut times = WAYS.map(|_| Vec::new());
    for _ in 0..ROUNDS {
        for ((_, method), times) in WAYS.into_iter().zip(&mut times) {
            let began = Instant::now();
            let pool = builder(method).build().unwrap();
            assert_eq!(pool.submit(|x: u32| x + 1, 1).join().unwrap(), 2);
            times.push(began.elapsed());
        }
    }
    for ((name, _), times) in WAYS.into_iter().zip(times) {
        judge(name, show(name, times), Duration::from_millis(5));
    }
}
