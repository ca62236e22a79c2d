//! When a pool's memory is used up: who waits and is served, who is refused, what lies in a file. Never
//! a signal, and never a wait for what does not come.

#[expect(dead_code, reason = "each test program uses its part")]
mod common;

use std::path::PathBuf;

use common::{
    Arrival, Gate, Marked, eventually, failure, join, kill_oneself, pass, rights, signal, watchdog,
};
use pannier::{Buffer, Error, Function, JoinHandle, Pool, PoolBuilder, Shutdown, TaskError};
use rustix::process::Signal;

pannier::premain!();

const MIB: usize = 1 << 20;

fn limited(workers: usize, mebibytes: u64) -> PoolBuilder {
    Pool::builder().workers(workers).memory_limit(mebibytes << 20)
}

/// Bytes that fill a block of their own.
fn bytes(mebibytes: usize, value: u8) -> Buffer<u8> {
    vec![value; mebibytes * MIB].into()
}

/// In a task: another one, in a block of the worker's.
fn next_of(bytes: &Buffer<u8>) -> Buffer<u8> {
    bytes.iter().map(|byte| byte + 1).collect()
}

fn sum(bytes: &Buffer<u8>) -> u64 {
    bytes.iter().map(|&byte| u64::from(byte)).sum()
}

/// A task that waits at a gate with three mebibytes, and then does something with them.
fn held(pool: &Pool, then: impl Function<Buffer<u8>, u64>) -> (JoinHandle<u64>, Arrival) {
    let gate = Gate::new();
    let task = move |(gate, bytes): (String, Buffer<u8>)| {
        pass(&gate);
        then(bytes)
    };
    let task = pool.submit(task, (gate.name(), bytes(3, 1)));
    (task, gate.arrival())
}

fn is_out_of_memory(error: &(dyn std::error::Error + 'static)) -> bool {
    let here = matches!(error.downcast_ref(), Some(Error::OutOfMemory { .. }));
    here || error.source().is_some_and(is_out_of_memory)
}

/// The folder of the tests' own files, which is on a disk.
fn disk() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
}

// ── waiting ──────────────────────────────────────────────────────────────────

#[test]
fn arguments_wait_for_the_memory_of_the_tasks_before_them() {
    let _alive = watchdog();
    let pool = Marked::build(limited(2, 8));
    let handles: Vec<_> =
        (0..60).map(|n| pool.submit(|bytes: Buffer<u8>| sum(&bytes), bytes(2, n))).collect();
    for (handle, n) in handles.into_iter().zip(0..) {
        assert_eq!(join(handle).expect("it waited for its turn"), n * 2 * MIB as u64);
    }
    let stats = pool.stats();
    assert!(stats.segment_bytes <= 8 << 20, "{stats:?}");
    assert!(stats.blocks_peak <= 4, "{stats:?}");
    pool.end();
}

#[test]
fn a_map_takes_its_results_before_it_asks_for_more_memory() {
    let _alive = watchdog();
    let pool = Marked::build(limited(2, 16));
    let items = (0..40).map(|n| bytes(2, n));
    let results = pool.map(|bytes: Buffer<u8>| next_of(&bytes), items);
    for (result, n) in results.chunk_size(1).in_flight(30).zip(1..) {
        let result = result.expect("there is memory for the next");
        assert!(result.len() == 2 * MIB && result.iter().all(|&byte| byte == n), "{n}");
    }
    pool.end();
}

#[test]
fn what_a_task_leaves_behind_when_it_dies_is_waited_for() {
    let _alive = watchdog();
    let pool = Marked::build(limited(1, 4).attempts(1));
    let (doomed, arrival) = held(&pool, |_| kill_oneself());
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| pool.alloc::<u8>(3 * MIB).map(|_| ()));
        eventually("somebody waits", || pool.stats().memory_waits > 0);
        drop(arrival);
        waiting.join().expect("it does not panic").expect("the dead task's memory");
    });
    assert!(matches!(failure(doomed), TaskError::WorkerDied(_)));
    pool.end();
}

#[test]
fn a_worker_waits_for_the_memory_that_a_buffer_here_gives_back() {
    let _alive = watchdog();
    let pool = Marked::build(limited(2, 4));
    let gate = Gate::new();
    let busy = pool.submit(|gate: String| pass(&gate), gate.name());
    let arrival = gate.arrival();
    let kept = pool.alloc::<u8>(3 * MIB).expect("it is free");
    let build = pool.submit(|n: usize| -> Buffer<u8> { (0..n).map(|_| 7).collect() }, 3 * MIB);
    eventually("the worker waits", || pool.stats().memory_waits > 0);
    drop(kept);
    assert_eq!(join(build).expect("its turn has come").len(), 3 * MIB);
    drop(arrival);
    join(busy).expect("it was let through");
    pool.end();
}

#[test]
fn contexts_that_are_being_given_up_are_waited_for() {
    let _alive = watchdog();
    let pool = Marked::build(limited(2, 8));
    for n in 0..20 {
        let sums = pool.map_with(bytes(3, n), |bytes, _: u8| sum(bytes), 0..2);
        let sums: Vec<u64> = sums.map(|sum| sum.expect("it has room")).collect();
        assert_eq!(sums, [u64::from(n) * 3 * MIB as u64; 2]);
    }
    pool.end();
}

#[test]
fn copies_that_buffers_remember_make_room_for_others() {
    let pool = Marked::build(limited(1, 4));
    let heap: Vec<Buffer<u8>> = (0..8).map(|n| bytes(1, n)).collect();
    for buffer in &heap {
        join(pool.submit(|bytes: Buffer<u8>| sum(&bytes), buffer.clone())).expect("it has room");
    }
    assert!(pool.stats().segment_bytes <= 4 << 20);
    drop(heap);
    pool.end();
}

// ── refusing ─────────────────────────────────────────────────────────────────

#[test]
fn nobody_waits_for_what_the_program_itself_keeps() {
    let pool = Marked::build(limited(1, 4));
    let kept = pool.alloc::<u8>(3 * MIB).expect("it is free");
    let refused = pool.alloc::<u8>(2 * MIB).expect_err("there is no task to wait for");
    assert!(matches!(refused, Error::OutOfMemory { wanted: 0x20_0000, limit: 0x40_0000, .. }));
    let failed = failure(pool.submit(|bytes: Buffer<u8>| sum(&bytes), bytes(2, 1)));
    assert!(is_out_of_memory(&failed), "{failed}");
    assert_eq!(pool.stats().memory_waits, 0);
    drop(kept);
    pool.end();
}

#[test]
fn nobody_waits_for_more_than_there_can_be() {
    let _alive = watchdog();
    let pool = Marked::build(limited(1, 4));
    let gate = Gate::new();
    let busy = pool.submit(|gate: String| pass(&gate), gate.name());
    let arrival = gate.arrival();
    assert!(matches!(pool.alloc::<u8>(5 * MIB), Err(Error::OutOfMemory { .. })));
    drop(arrival);
    join(busy).expect("it was let through");
    pool.end();
}

#[test]
fn a_pool_that_must_not_wait_refuses_at_once() {
    let _alive = watchdog();
    let pool = Marked::build(limited(1, 4).wait_for_memory(false));
    let (busy, arrival) = held(&pool, |bytes| sum(&bytes));
    assert!(matches!(pool.alloc::<u8>(2 * MIB), Err(Error::OutOfMemory { .. })));
    drop(arrival);
    assert_eq!(join(busy).expect("it was let through"), 3 * MIB as u64);
    assert_eq!(pool.stats().memory_waits, 0);
    pool.end();
}

#[test]
fn of_workers_that_wait_for_each_other_one_is_refused_and_the_others_go_on() {
    let _alive = watchdog();
    let pool = Marked::build(limited(2, 8));
    let gate = Gate::new();
    let handles: Vec<_> = (0..2)
        .map(|_| {
            pool.submit(
                |gate: String| -> Result<Buffer<u8>, String> {
                    let first = pannier::alloc::<u8>(3 * MIB).map_err(|error| error.to_string())?;
                    pass(&gate);
                    // With the first of each there is room for no second.
                    let second = pannier::alloc::<u8>(3 * MIB);
                    drop(first);
                    second.map(|block| block.freeze()).map_err(|error| error.to_string())
                },
                gate.name(),
            )
        })
        .collect();
    let arrivals = [gate.arrival(), gate.arrival()];
    drop(arrivals);
    let results: Vec<_> = handles.into_iter().map(|h| join(h).expect("it ends")).collect();
    let refused = results.iter().filter(|result| result.is_err()).count();
    assert!(refused <= 1, "{refused} of two");
    assert!(pool.stats().memory_waits >= 1);
    drop(results);
    pool.end();
}

#[test]
fn whoever_waits_is_told_of_the_end_of_the_pool() {
    let _alive = watchdog();
    let pool = Marked::build(limited(1, 4));
    let (busy, arrival) = held(&pool, |bytes| sum(&bytes));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| pool.submit(|bytes: Buffer<u8>| sum(&bytes), bytes(2, 1)));
        eventually("somebody waits", || pool.stats().memory_waits > 0);
        pool.shutdown(Shutdown::Kill, common::DEADLINE).expect("nobody remains");
        let late = waiting.join().expect("it does not panic");
        assert!(matches!(failure(late), TaskError::PoolClosed));
    });
    assert!(matches!(failure(busy), TaskError::Killed));
    drop(arrival);
    pool.end();
}

#[test]
fn a_worker_that_dies_while_it_waits_for_memory_is_forgotten() {
    let _alive = watchdog();
    let mut pool = Marked::build(limited(2, 4).attempts(1));
    let gate = Gate::new();
    let busy = pool.submit(|gate: String| pass(&gate), gate.name());
    let arrival = gate.arrival();
    let kept = pool.alloc::<u8>(3 * MIB).expect("it is free");
    let others: Vec<u32> =
        pool.worker_pids().into_iter().filter(|&pid| pid != arrival.number).collect();
    let build = |n: usize| -> Buffer<u8> { (0..n).map(|_| 7).collect() };
    let waits = pool.submit(build, 3 * MIB);
    eventually("the worker waits", || pool.stats().memory_waits > 0);
    signal(others[0], Signal::KILL);
    assert!(matches!(failure(waits), TaskError::WorkerDied(_)));
    drop(kept);
    drop(arrival);
    join(busy).expect("it was let through");
    pool.is_whole_without(&others);
    assert_eq!(join(pool.submit(build, 3 * MIB)).expect("it has room").len(), 3 * MIB);
    pool.end();
}

// ── files ────────────────────────────────────────────────────────────────────

#[test]
fn arguments_over_the_limit_lie_in_files_that_workers_read() {
    let pool = Marked::build(limited(2, 4).spill(disk()));
    let buffers: Vec<Buffer<u8>> = (0..6)
        .map(|n| {
            let mut block = pool.alloc::<u8>(2 * MIB).expect("memory, or a file");
            block.fill(n);
            block.freeze()
        })
        .collect();
    let stats = pool.stats();
    assert!(stats.segment_bytes <= 4 << 20 && stats.file_bytes >= 8 << 20, "{stats:?}");
    for (buffer, n) in buffers.iter().zip(0..) {
        let look = pool.submit(
            |bytes: Buffer<u8>| (rights(bytes.as_ptr().addr()), sum(&bytes)),
            buffer.clone(),
        );
        let found = join(look).expect("it can be read");
        assert_eq!(found, (Some("r--s".to_owned()), n * 2 * MIB as u64));
    }
    assert_eq!(pool.stats().payload_copies, 0);
    drop(buffers);
    pool.end();
}

#[test]
fn results_are_not_put_into_files() {
    let pool = Marked::build(limited(1, 4).spill(disk()));
    let kept = pool.alloc::<u8>(3 * MIB).expect("it is free");
    let build = |n: usize| pannier::alloc::<u8>(n).map(|_| ()).map_err(|error| error.to_string());
    let refused = join(pool.submit(build, 2 * MIB)).expect("it ends").expect_err("no memory");
    assert!(refused.contains("memory"), "{refused}");
    assert_eq!(pool.stats().file_bytes, 0);
    drop(kept);
    pool.end();
}

#[test]
fn a_folder_that_is_memory_is_refused_when_the_pool_is_built() {
    let refused = limited(1, 4).spill("/dev/shm").build();
    assert!(matches!(refused, Err(Error::SpillInMemory { .. })), "{refused:?}");
    let refused = limited(1, 4).spill("/nonexistent").build();
    assert!(matches!(refused, Err(Error::Io(_))), "{refused:?}");
}
