//! Large buffers through the pool: copied in, handed over, handed back (T3, T4).

use pannier::{Buffer, Function, Pool};

use crate::common::{Probe, Wait, faults, touch_pages};
use crate::contest::{Side, Times, at_most, contest, ratio, show_times};
use crate::warm_pool;

pub(crate) const ROWS: &[crate::Row] = &[
    ("1 MiB copied in and acknowledged", |name| copied(name, "T3", 1 << 20, (40, 20, 1.15))),
    ("16 MiB copied in and acknowledged", |name| copied(name, "T4", 16 << 20, (20, 5, 1.1))),
    ("256 MiB copied in and acknowledged", |name| copied(name, "T4", 256 << 20, (10, 1, 1.1))),
    ("256 MiB in place, untouched", untouched),
    ("256 MiB in place, each page touched", touched),
    ("256 MiB copied in, handed back", handed_back),
];

pub(crate) const LARGE: usize = 256 << 20;

pub(crate) fn touch(bytes: Buffer<u8>) -> usize {
    touch_pages(&bytes);
    bytes.len()
}

pub(crate) fn copy_in(pool: &Pool, bytes: &[u8]) -> Buffer<u8> {
    let mut block = pool.alloc(bytes.len()).unwrap();
    block.copy_from_slice(bytes);
    block.freeze()
}

/// Page faults so far, here and in the worker.
fn all_faults(pool: &Pool) -> (u64, u64) {
    (faults(), pool.submit(|()| faults(), ()).join().unwrap())
}

fn copied(name: &str, target: &str, len: usize, (turns, samples, at_best): (usize, usize, f64)) {
    let source = vec![7_u8; len];
    let mut spinning = Probe::start(len, Wait::Spin, None);
    let mut sleeping = Probe::start(len, Wait::SpinThenSleep, None);
    let pool = warm_pool(1);
    let pass = || assert_eq!(pool.submit(touch, copy_in(&pool, &source)).join().unwrap(), len);
    // Now and then the last block is not back yet and another is made.
    (0..20).for_each(|_| pass());
    let before = all_faults(&pool);
    let sides = vec![
        Side::limit("recycled shared memory, spinning", 1, &mut spinning, &source),
        Side::limit("the same, spinning and then asleep", 1, &mut sleeping, &source),
        Side::new("pool", 1, pass),
    ];
    let times = contest(turns, samples, sides);
    let after = all_faults(&pool);
    show_times(name, &times);
    println!("  faults: {} here, {} in the worker", after.0 - before.0, after.1 - before.1);
    // Where more threads run than there are CPUs, who only spins waits for his slice of time.
    let worst = ratio(&times[2], &times[0]).max(ratio(&times[2], &times[1]));
    at_most(target, "times the better limit", worst, at_best);
}

/// The parts of a row where the same block is passed again and again.
fn in_place(
    name: &str,
    (turns, samples): (usize, usize),
    mut probe: Probe,
    task: impl Function<Buffer<u8>, usize>,
) -> Vec<Times> {
    let pool = warm_pool(1);
    let buffer = copy_in(&pool, &vec![7; LARGE]);
    let pass = || assert_eq!(pool.submit(task, buffer.clone()).join().unwrap(), LARGE);
    (0..3).for_each(|_| pass());
    let sides = vec![
        Side::limit("two words and shared memory", 1, &mut probe, &[]),
        Side::new("pool", 1, pass),
    ];
    let times = contest(turns, samples, sides);
    show_times(name, &times);
    times
}

fn untouched(name: &str) {
    let probe = Probe::start(64, Wait::Spin, None);
    let times = in_place(name, (40, 100), probe, |bytes| bytes.len());
    at_most("T4", "µs", times[1].median().as_secs_f64() * 1e6, 1.0);
}

fn touched(name: &str) {
    let probe = Probe::start(LARGE, Wait::SpinThenSleep, None);
    let times = in_place(name, (20, 2), probe, touch);
    let more = times[1].median().as_secs_f64() - times[0].median().as_secs_f64();
    at_most("T4", "µs beyond the touching", more * 1e6, 1.0);
}

fn handed_back(name: &str) {
    let source = vec![7; LARGE];
    let mut probe = Probe::start(LARGE, Wait::SpinThenSleep, None);
    let pool = warm_pool(1);
    let pass = || {
        let given_back = pool.submit(|bytes: Buffer<u8>| bytes, copy_in(&pool, &source));
        touch_pages(&given_back.join().unwrap());
    };
    (0..3).for_each(|_| pass());
    let sides = vec![
        Side::limit("memcpy to recycled shared memory, touched", 1, &mut probe, &source),
        Side::new("pool", 1, pass),
    ];
    let times = contest(10, 1, sides);
    show_times(name, &times);
    at_most("T4", "times the limit", ratio(&times[1], &times[0]), 16.0 / 14.0);
}
