//! Cost against the size of the work, the number of buffers held, and age (T15).

use std::time::Duration;

use pannier::channel::Channel;
use pannier::{Buffer, Pool};

use crate::common::time;
use crate::contest::{Side, at_most, contest, ratio, show_rates};
use crate::copy::{copy_in, touch};
use crate::peers::start_channel;
use crate::rate::run;
use crate::warm_pool;

pub(crate) const ROWS: &[crate::Row] = &[
    ("growth: n tasks, 64 in flight", |name| tasks(name, |_| 64)),
    ("growth: n tasks at once", |name| tasks(name, |count| count)),
    ("growth: bytes copied in", bytes),
    ("growth: buffers held", held),
    ("growth: tasks done before", age_of_pool),
    ("growth: values sent before, channel", age_of_channel),
];

/// What a ratio may be that should be 1: the noise of a shared machine.
const FLAT: f64 = 1.1;

/// The exponent of the power of the work that fits the times best.
fn exponent(points: &[(usize, Duration)]) -> f64 {
    let logs = points.iter().map(|&(work, taken)| ((work as f64).ln(), taken.as_secs_f64().ln()));
    let logs: Vec<_> = logs.collect();
    let count = logs.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| logs.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let both: f64 = logs.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    both / logs.iter().map(|point| (point.0 - x).powi(2)).sum::<f64>()
}

fn best_of(count: usize, mut act: impl FnMut()) -> Duration {
    (0..count).map(|_| time(&mut act)).min().expect("at least one")
}

fn show_growth(name: &str, unit: &str, points: &[(usize, Duration)]) {
    println!("\n{name:44}{:>12}{:>14}", "best", format!("each {unit}"));
    for (work, taken) in points {
        let each = taken.as_secs_f64() / *work as f64 * 1e9;
        println!("  {work:>42}{taken:>12.2?}{each:>11.3} ns");
    }
}

fn tasks(name: &str, window: fn(usize) -> usize) {
    let pool = warm_pool(2);
    let measure = |(count, rounds): (usize, usize)| {
        (count, best_of(rounds, || run(&pool, count, window(count))))
    };
    let points = [(1_000, 20), (10_000, 5), (100_000, 3), (1_000_000, 1)].map(measure);
    show_growth(name, "task", &points);
    at_most("T15", "exponent", exponent(&points), 1.05);
}

fn bytes(name: &str) {
    let source = vec![7; 256 << 20];
    let pool = warm_pool(1);
    let measure = |power: u32| {
        let len = 1_usize << power;
        let pass =
            || assert_eq!(pool.submit(touch, copy_in(&pool, &source[..len])).join().unwrap(), len);
        (len, best_of(if power < 24 { 200 } else { 8 }, pass))
    };
    let points: Vec<_> = (10..=28).step_by(2).map(measure).collect();
    show_growth(name, "byte", &points);
    // Below, the price of the task itself is most of it; from 64 MiB on caches hold nothing.
    let large: Vec<_> = points.into_iter().filter(|point| point.0 >= 1 << 20).collect();
    at_most("T15", "exponent from 1 MiB on", exponent(&large), 1.2);
}

fn increment(bytes: Buffer<u8>) -> Buffer<u8> {
    let mut more = pannier::alloc::<u8>(bytes.len()).unwrap();
    more[0] = bytes[0] + 1;
    more.freeze()
}

/// The results of tasks with a small buffer each, 50 of them in flight.
fn with_buffers(pool: &Pool, count: usize) -> impl Iterator<Item = Buffer<u8>> {
    let fifty = |_| {
        let submit = |_| pool.submit(increment, copy_in(pool, &[7; 64]));
        let handles: Vec<_> = (0..50).map(submit).collect();
        handles.into_iter().map(|handle| handle.join().unwrap())
    };
    (0..count / 50).flat_map(fifty)
}

/// A pool of which so many buffers are held, half of them made here and half by its worker.
fn pool_with(count: usize) -> (Pool, Vec<Buffer<u8>>) {
    let pool = warm_pool(1);
    let mut held: Vec<_> = with_buffers(&pool, count / 2).collect();
    held.extend((0..count / 2).map(|_| copy_in(&pool, &[7; 64])));
    (pool, held)
}

const STEADY: u32 = 2_000;

fn held(name: &str) {
    let pools = [0, 1_000, 100_000].map(pool_with);
    let side = |name, at: usize| {
        let pool = &pools[at].0;
        Side::new(name, STEADY, || {
            assert!(with_buffers(pool, STEADY as usize).all(|bytes| bytes[0] == 8));
        })
    };
    let sides = vec![
        side("no buffer held", 0),
        side("1,000 buffers held", 1),
        side("100,000 buffers held", 2),
    ];
    let times = contest(15, 1, sides);
    show_rates(name, &times);
    at_most("T15", "times the cost of none", ratio(&times[2], &times[0]), FLAT);
}

const YOUNG: usize = 10_000;
const OLD: usize = 1_000_000;

fn age_of_pool(name: &str) {
    let (young, old) = (warm_pool(1), warm_pool(1));
    run(&old, OLD, 64);
    let sides = vec![
        Side::new("10,000 tasks after 10,000 to 170,000", YOUNG as u32, || run(&young, YOUNG, 64)),
        Side::new("10,000 tasks after 1,000,000", YOUNG as u32, || run(&old, YOUNG, 64)),
    ];
    compare_ages(name, sides);
}

fn age_of_channel(name: &str) {
    let ((young, mut one), (old, mut other)) = (start_channel(), start_channel());
    exchange(&old, OLD);
    let sides = vec![
        Side::new("10,000 values after 10,000 to 170,000", YOUNG as u32, || {
            exchange(&young, YOUNG)
        }),
        Side::new("10,000 values after 1,000,000", YOUNG as u32, || exchange(&old, YOUNG)),
    ];
    compare_ages(name, sides);
    drop((young, old));
    one.wait().unwrap();
    other.wait().unwrap();
}

/// So many values there and back, 64 of them on the way.
fn exchange(channel: &Channel<u64, u64>, count: usize) {
    for at in 0..count + 64 {
        if at >= 64 {
            assert_eq!(channel.recv().unwrap(), at as u64 - 64);
        }
        if at < count {
            channel.send(at as u64).unwrap();
        }
    }
}

fn compare_ages(name: &str, sides: Vec<Side<'_>>) {
    let times = contest(15, 1, sides);
    show_rates(name, &times);
    at_most("T15", "times the cost of the young one", ratio(&times[1], &times[0]), FLAT);
}
