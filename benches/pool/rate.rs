//! How many tasks, and items of a map, in a second (T6, T7).

use std::collections::VecDeque;

use pannier::Pool;

use crate::contest::{Side, at_least, contest, rate, show_rates};
use crate::peers::{Socket, Threads};
use crate::warm_pool;

pub(crate) const ROWS: &[crate::Row] = &[
    ("empty tasks, 1 worker, 1 in flight", |name| tasks(name, 1, 1)),
    ("empty tasks, 1 worker, 8 in flight", |name| tasks(name, 1, 8)),
    ("empty tasks, 1 worker, 64 in flight", |name| tasks(name, 1, 64)),
    ("empty tasks, 1 worker, 1000 in flight", |name| tasks(name, 1, 1_000)),
    ("empty tasks, 1 worker, all at once", |name| tasks(name, 1, ALL)),
    ("empty tasks, 2 workers, 1 in flight", |name| tasks(name, 2, 1)),
    ("empty tasks, 2 workers, 8 in flight", |name| tasks(name, 2, 8)),
    ("empty tasks, 2 workers, 64 in flight", |name| tasks(name, 2, 64)),
    ("empty tasks, 2 workers, 1000 in flight", |name| tasks(name, 2, 1_000)),
    ("empty tasks, 2 workers, all at once", |name| tasks(name, 2, ALL)),
    ("map of empty items, 1 worker", |name| map(name, 1)),
    ("map of empty items, 2 workers", |name| map(name, 2)),
];

/// Submitted at once, and then joined.
const ALL: usize = 100_000;
/// Messages that a socket holds for sure.
const SOCKET: usize = 64;

/// So many tasks, of which at most `window` are not joined yet.
pub(crate) fn run(pool: &Pool, count: usize, window: usize) {
    let mut flying = VecDeque::with_capacity(window);
    for _ in 0..count {
        if flying.len() == window {
            join_first(&mut flying);
        }
        flying.push_back(pool.submit(|()| (), ()));
    }
    while !flying.is_empty() {
        join_first(&mut flying);
    }
}

fn join_first(flying: &mut VecDeque<pannier::JoinHandle<()>>) {
    flying.pop_front().expect("something is in flight").join().unwrap();
}

/// As `run`, for a peer.
fn windowed(count: usize, window: usize, send: impl Fn(usize), receive: impl Fn(usize)) {
    for at in 0..count + window {
        if at >= window {
            receive(at - window);
        }
        if at < count {
            send(at);
        }
    }
}

fn tasks(name: &str, workers: usize, window: usize) {
    let count = match window {
        1 => 500,
        ALL => ALL,
        _ => 10_000,
    };
    let divisor = u32::try_from(count).unwrap();
    let threads = Threads::start(workers, |_: &mut ()| ());
    let sockets: Vec<_> = (0..workers).map(|_| Socket::start()).collect();
    let pool = warm_pool(workers);
    let by_threads = || windowed(count, window, |_| threads.send(()), |_| threads.receive());
    let socket = |at: usize| &sockets[at % workers];
    let by_sockets = || windowed(count, window, |at| socket(at).send(), |at| socket(at).receive());
    let mut sides = vec![Side::new("threads, channels of the std", divisor, by_threads)];
    if window <= SOCKET {
        sides.push(Side::new("processes, sockets", divisor, by_sockets));
    }
    sides.push(Side::new("pool", divisor, || run(&pool, count, window)));
    let times = contest(if window == ALL { 3 } else { 11 }, 1, sides);
    show_rates(name, &times);
    if window >= 64 {
        let ours = times.last().expect("the pool is the last side");
        at_least("T6", "tasks/s", rate(ours.median()), 500_000.0);
    }
}

fn map(name: &str, workers: usize) {
    const ITEMS: usize = 1_000_000;
    let divisor = u32::try_from(ITEMS).unwrap();
    let threads = Threads::start(workers, |_: &mut ()| ());
    let pool = warm_pool(workers);
    let sides = vec![
        Side::new("threads, an item at a time", divisor, || {
            windowed(ITEMS, 1_000, |_| threads.send(()), |_| threads.receive());
        }),
        Side::new("pool.map", divisor, || {
            let results = pool.map(|()| (), std::iter::repeat_n((), ITEMS));
            assert_eq!(results.map(Result::unwrap).count(), ITEMS);
        }),
        Side::new("pool.map, chunks of 10,000", divisor, || {
            let results = pool.map(|()| (), std::iter::repeat_n((), ITEMS)).chunk_size(10_000);
            assert_eq!(results.map(Result::unwrap).count(), ITEMS);
        }),
    ];
    let times = contest(5, 1, sides);
    show_rates(name, &times);
    at_least("T7", "items/s", rate(times[1].median()), 10e6);
}
