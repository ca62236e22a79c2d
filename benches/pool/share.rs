//! One large array to many tasks (T12): time, and memory of all processes.

use std::sync::Arc;
use std::time::Duration;

use pannier::{Buffer, Pool};

use crate::common::{time, touch_pages};
use crate::contest::{Times, at_most, show_times};
use crate::copy::{LARGE, copy_in, touch};
use crate::peers::Threads;
use crate::warm_pool;

pub(crate) const ROWS: &[crate::Row] = &[("256 MiB to 32 tasks, 2 workers", shared)];

const TASKS: usize = 32;
const ROUNDS: usize = 5;

fn by_threads(threads: &Threads<Arc<Vec<u8>>>, array: Arc<Vec<u8>>) {
    (0..TASKS).for_each(|_| threads.send(array.clone()));
    (0..TASKS).for_each(|_| assert_eq!(threads.receive().len(), LARGE));
}

fn by_pool(pool: &Pool, array: &Buffer<u8>) {
    let handles: Vec<_> = (0..TASKS).map(|_| pool.submit(touch, array.clone())).collect();
    handles.into_iter().for_each(|handle| assert_eq!(handle.join().unwrap(), LARGE));
}

/// From the heap, as a map's context: the library copies it.
fn by_map(pool: &Pool, array: Buffer<u8>) {
    let touch_all = |array: &Buffer<u8>, _: usize| touch(array.clone());
    let lens = pool.map_with(array, touch_all, 0..TASKS).chunk_size(1);
    lens.for_each(|len| assert_eq!(len.unwrap(), LARGE));
}

fn shared(name: &str) {
    let source = vec![7; LARGE];
    let threads = Threads::start(2, |array: &mut Arc<Vec<u8>>| touch_pages(array));
    let mut taken = vec![Vec::new(); 6];
    for _ in 0..ROUNDS {
        let mut round = threads_round(&threads, &source).to_vec();
        round.extend(pool_round(&source));
        round.extend(map_round(&source));
        taken.iter_mut().zip(round).for_each(|(all, one)| all.push(one));
    }
    let names = [
        "threads, copied to new memory",
        "threads, copied to the same memory",
        "pool, cold: its first array",
        "pool, warm: the next array",
        "map_with of a heap buffer, cold",
        "map_with of a heap buffer, warm",
    ];
    let times: Vec<_> = names.iter().zip(taken).map(|(name, all)| Times::new(name, all)).collect();
    show_times(name, &times);
    at_most("T12", "s cold", times[2].median().as_secs_f64(), 0.2);
    at_most("T12", "s warm", times[3].median().as_secs_f64(), 0.07);
    memory(&source);
}

fn threads_round(threads: &Threads<Arc<Vec<u8>>>, source: &[u8]) -> [Duration; 2] {
    let mut array = Arc::default();
    let cold = time(|| {
        array = Arc::new(source.to_vec());
        by_threads(threads, array.clone());
    });
    let warm = time(|| {
        Arc::get_mut(&mut array).expect("all threads have answered").copy_from_slice(source);
        by_threads(threads, array.clone());
    });
    [cold, warm]
}

fn pool_round(source: &[u8]) -> [Duration; 2] {
    let pool = warm_pool(2);
    let next = || time(|| by_pool(&pool, &copy_in(&pool, source)));
    [next(), next()]
}

fn map_round(source: &[u8]) -> [Duration; 2] {
    let pool = warm_pool(2);
    [source.to_vec(), source.to_vec()].map(|array| {
        // The workers give a context back a moment after its map has gone.
        while pool.stats().blocks_live > 0 {
            std::thread::yield_now();
        }
        time(|| by_map(&pool, array.into()))
    })
}

/// What the array takes while all workers have it.
fn memory(source: &[u8]) {
    let pool = warm_pool(2);
    let before = memory_of_all(&pool);
    let array = copy_in(&pool, source);
    by_pool(&pool, &array);
    let copies = |bytes: u64| bytes as f64 / LARGE as f64;
    let more = copies(memory_of_all(&pool).saturating_sub(before));
    println!("  segments: {:.3} copies", copies(pool.stats().segment_bytes));
    at_most("T12", "copies more in memory (PSS of all)", more, 1.05);
}

/// The memory of this process and the workers, each shared page counted once.
fn memory_of_all(pool: &Pool) -> u64 {
    let pids = pool.worker_pids().into_iter().chain([std::process::id()]);
    pids.map(proportional_bytes).sum()
}

fn proportional_bytes(pid: u32) -> u64 {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = maps.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}
