//! Cost against the size of the work, the number of buffers held, and age (T15).
//!
//! The rows that compare one side with itself run on one CPU.

use pannier::channel::Channel;
use pannier::{Buffer, Pool};
use rustix::thread::{sched_getaffinity, sched_setaffinity};

use crate::common::{Probe, Wait, pin, time};
use crate::contest::{Side, at_most, contest, ratio, show_rates};
use crate::copy::{copy_in, touch};
use crate::peers::start_channel;
use crate::rate::run;
use crate::warm_pool;

pub(crate) const ROWS: &[crate::Row] = &[
    ("growth: n tasks, 64 in flight", |name| tasks(name, |_| 64)),
    ("growth: n tasks at once", |name| tasks(name, |count| count)),
    ("growth: bytes copied in", bytes),
    ("growth: buffers held", |name| on_one_cpu(|| held(name))),
    ("growth: tasks done before", |name| on_one_cpu(|| age_of_pool(name))),
    ("growth: values sent before, channel", |name| on_one_cpu(|| age_of_channel(name))),
];

/// What a ratio may be that should be 1: the noise of a shared machine.
const FLAT: f64 = 1.1;

/// The exponent of the power of the work that fits the costs best.
fn exponent(points: &[(usize, f64)]) -> f64 {
    let logs: Vec<_> = points.iter().map(|&(work, cost)| ((work as f64).ln(), cost.ln())).collect();
    let count = logs.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| logs.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let both: f64 = logs.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    both / logs.iter().map(|point| (point.0 - x).powi(2)).sum::<f64>()
}

/// Numbers of tasks, and how often each is measured in a round. The last takes long: one round does.
const COUNTS: [(usize, u32); 4] = [(1_000, 10), (10_000, 3), (100_000, 1), (1_000_000, 1)];
const ROUNDS: usize = 3;

fn tasks(name: &str, window: fn(usize) -> usize) {
    let pool = warm_pool(2);
    let mut taken = COUNTS.map(|_| Vec::new());
    for round in 0..ROUNDS {
        for (&(count, calls), taken) in COUNTS.iter().zip(&mut taken) {
            if round == 1 || count < 1_000_000 {
                let all = time(|| (0..calls).for_each(|_| run(&pool, count, window(count))));
                taken.push(all / calls);
            }
        }
    }
    println!("\n{name:44}{:>12}{:>14}", "median", "each task");
    let mut points = Vec::new();
    for ((count, _), mut taken) in COUNTS.into_iter().zip(taken) {
        taken.sort_unstable();
        let median = taken[taken.len() / 2];
        println!("  {count:>42}{median:>12.2?}{:>14.2?}", median.div_f64(count as f64));
        points.push((count, median.as_secs_f64()));
    }
    at_most("T15", "exponent", exponent(&points), 1.05);
}

/// Beside the limit, since caches hold the shorter ones: the ratio must not grow.
fn bytes(name: &str) {
    let source = vec![7; 256 << 20];
    println!("\n{name:44}{:>12}{:>12}{:>12}", "limit", "pool", "ratio");
    let mut ratios = Vec::new();
    for power in (10..=28).step_by(2) {
        let source = &source[..1 << power];
        let mut probe = Probe::start(source.len(), Wait::SpinThenSleep, None);
        let pool = warm_pool(1);
        let pass = || {
            let len = pool.submit(touch, copy_in(&pool, source)).join().unwrap();
            assert_eq!(len, source.len());
        };
        (0..20).for_each(|_| pass());
        let sides = vec![Side::limit("limit", 1, &mut probe, source), Side::new("pool", 1, pass)];
        let times = contest(5, if power < 24 { 100 } else { 2 }, sides);
        let (limit, ours) = (times[0].median(), times[1].median());
        let ratio = ratio(&times[1], &times[0]);
        println!("  {:>42}{limit:>12.2?}{ours:>12.2?}{ratio:>12.2}", source.len());
        ratios.push((source.len(), ratio));
    }
    at_most("T15", "exponent of the ratio", exponent(&ratios), 0.05);
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

/// Tasks in a sample, and how many of these each side has.
const STEADY: u32 = 2_000;
const SAMPLES: usize = 40;
const OLD: usize = 1_000_000;

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
    flat(name, sides);
}

fn age_of_pool(name: &str) {
    let (young, old) = (warm_pool(1), warm_pool(1));
    run(&old, OLD, 64);
    let sides = vec![
        Side::new("among its first 160,000 tasks", STEADY, || run(&young, STEADY as usize, 64)),
        Side::new("after 1,000,000 tasks", STEADY, || run(&old, STEADY as usize, 64)),
    ];
    flat(name, sides);
}

fn age_of_channel(name: &str) {
    let ((young, mut one), (old, mut other)) = (start_channel(), start_channel());
    exchange(&old, OLD);
    let sides = vec![
        Side::new("among its first 160,000 values", STEADY, || exchange(&young, STEADY as usize)),
        Side::new("after 1,000,000 values", STEADY, || exchange(&old, STEADY as usize)),
    ];
    flat(name, sides);
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

/// Who is awake at the same time is chance on two CPUs, and makes a factor of two for minutes.
fn on_one_cpu(act: impl FnOnce()) {
    let before = sched_getaffinity(None).unwrap();
    pin(Some(0));
    // Threads and processes that are started inherit it.
    act();
    sched_setaffinity(None, &before).unwrap();
}

/// Compares the last side with the first by their best samples, which the machine disturbed least.
fn flat(name: &str, sides: Vec<Side<'_>>) {
    let times = contest(SAMPLES, 1, sides);
    show_rates(name, &times);
    let [first, .., last] = &times[..] else { unreachable!("at least two sides") };
    let ratio = last.least().as_secs_f64() / first.least().as_secs_f64();
    at_most("T15", "times the cost of the first, by the best", ratio, FLAT);
}
