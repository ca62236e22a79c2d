//! Where bytes lie, shown by their addresses and by what the kernel says of them: nothing is copied
//! that need not be, and nothing is written that somebody reads.

#[expect(dead_code, reason = "each test program uses its part")]
mod common;

use std::sync::{Mutex, PoisonError};

use common::{
    Gate, Marked, attempt, eventually, failure, join, kill_oneself, lies_in_shared_memory, pass,
    rights, shared_maps, tell,
};
use pannier::{Buffer, Error, Pool, TaskError, ValueError};
use serde::{Deserialize, Serialize};

pannier::premain!();

const LEN: usize = 1 << 17;

fn column(pool: &Pool, value: f64) -> Buffer<f64> {
    let mut column = pool.alloc(LEN).expect("a megabyte");
    column.fill(value);
    column.freeze()
}

/// What a worker finds of a buffer that was sent to it: shared, and mapped only for reading.
fn looks_shared(column: Buffer<f64>) -> (bool, bool) {
    (lies_in_shared_memory(&column), is_read_only(column.as_ptr().addr()))
}

fn is_read_only(address: usize) -> bool {
    rights(address).as_deref() == Some("r--s")
}

// ── no copy ──────────────────────────────────────────────────────────────────

#[test]
fn a_buffer_lies_in_shared_memory_on_both_sides() {
    let pool = Marked::new(1);
    let column = column(&pool, 0.5);
    assert!(lies_in_shared_memory(&column));
    assert_eq!(join(pool.submit(looks_shared, column.clone())).unwrap(), (true, true));
    let stats = pool.stats();
    assert_eq!((stats.payload_copies, stats.payload_copied_bytes), (0, 0));
    assert_eq!(stats.bytes_out_of_band, 8 * LEN as u64);
    drop(column);
    pool.end();
}

/// The same with a type that asks for a copy, so that both checks are seen to fail.
#[derive(Serialize, Deserialize)]
struct Copied {
    #[serde(with = "pannier::pod")]
    values: Vec<f64>,
}

#[test]
fn a_value_that_is_copied_is_noticed_by_address_and_by_counter() {
    let pool = Marked::new(1);
    let copied = Copied { values: vec![0.5; LEN] };
    assert!(!lies_in_shared_memory(&copied.values));
    let look = |copied: Copied| {
        assert_eq!(copied.values, [0.5; LEN]);
        lies_in_shared_memory(&copied.values)
    };
    assert!(!join(pool.submit(look, copied)).unwrap());
    let stats = pool.stats();
    assert!(stats.payload_copies >= 2, "into shared memory and out: {stats:?}");
    assert!(stats.payload_copied_bytes >= 16 * LEN as u64, "{stats:?}");
    pool.end();
}

#[test]
fn frames_of_shared_buffers_are_written_self_contained() {
    let pool = Pool::builder().workers(1).build().unwrap();
    let mut column = pool.alloc::<u64>(10_000).unwrap();
    column.iter_mut().zip(0..).for_each(|(item, n)| *item = n);
    let column = column.freeze();
    assert!(column.is_shared());
    let mut stream = Vec::new();
    pannier::to_writer(&mut stream, &column).unwrap();
    let made: Buffer<u64> = pool.submit(|n: u64| (0..n).collect(), 10_000).join().unwrap();
    drop(pool);
    assert_eq!(pannier::to_vec(&made).unwrap(), stream);
    let read: Buffer<u64> = pannier::from_slice(&stream).unwrap();
    assert_eq!(read, column);
}

#[test]
fn a_heap_buffer_is_copied_once_however_often_it_is_sent() {
    let pool = Marked::new(2);
    let heap: Buffer<f64> = vec![0.25; LEN].into();
    assert!(!lies_in_shared_memory(&heap));
    let handles: Vec<_> = (0..10).map(|_| pool.submit(looks_shared, heap.clone())).collect();
    for handle in handles {
        assert_eq!(join(handle).unwrap(), (true, true));
    }
    assert_eq!(join(pool.submit(looks_shared, heap.slice(1_000..90_000))).unwrap(), (true, true));
    let stats = pool.stats();
    assert_eq!((stats.payload_copies, stats.payload_copied_bytes), (1, 8 * LEN as u64));
    drop(heap);
    eventually("the copy is given up with the buffer", || pool.stats().blocks_live == 0);
    pool.end();
}

#[test]
fn a_result_that_is_built_in_place_arrives_without_a_copy() {
    let pool = Marked::new(1);
    let build = |value: f64| {
        let mut built = pannier::alloc::<f64>(LEN).expect("a megabyte");
        built.fill(value);
        (lies_in_shared_memory(&built), built.freeze())
    };
    let (was_shared, built) = join(pool.submit(build, 0.75)).unwrap();
    assert!(was_shared && lies_in_shared_memory(&built));
    assert!(is_read_only(built.as_ptr().addr()));
    assert!(built.len() == LEN && built.iter().all(|&item| item == 0.75));
    assert_eq!(pool.stats().payload_copies, 0);
    drop(built);
    eventually("the result is given up", || pool.stats().blocks_live == 0);
    pool.end();
}

#[test]
fn a_result_from_the_heap_is_copied_once() {
    let pool = Marked::new(1);
    let build = |value: f64| Buffer::from(vec![value; LEN]);
    let built = join(pool.submit(build, 0.75)).unwrap();
    assert!(lies_in_shared_memory(&built) && built.iter().all(|&item| item == 0.75));
    assert_eq!(pool.stats().payload_copies, 1);
    drop(built);
    pool.end();
}

#[test]
fn an_argument_that_comes_back_is_the_same_bytes() {
    let pool = Marked::new(1);
    let column = column(&pool, 0.5);
    let echo = |column: Buffer<f64>| (column.slice(1_000..2_000), column.slice(5..), column);
    let (part, rest, whole) = join(pool.submit(echo, column.clone())).unwrap();
    assert_eq!(whole.as_ptr(), column.as_ptr());
    assert_eq!(rest.as_ptr(), &raw const column[5]);
    assert_eq!((part.as_ptr(), part.len()), (&raw const column[1_000], 1_000));
    let stats = pool.stats();
    assert_eq!((stats.payload_copies, stats.blocks_live), (0, 1));
    drop((part, rest, whole, column));
    eventually("nothing refers to the block any more", || pool.stats().blocks_live == 0);
    pool.end();
}

#[test]
fn slices_of_one_buffer_share_its_block() {
    let pool = Marked::new(2);
    let column = column(&pool, 1.0);
    let sum = |part: Buffer<f64>| part.iter().sum::<f64>();
    let parts = (0..64).map(|at| column.slice(at * 2_048..(at + 1) * 2_048));
    let handles: Vec<_> = parts.map(|part| pool.submit(sum, part)).collect();
    assert_eq!(pool.stats().blocks_live, 1);
    for handle in handles {
        assert_eq!(join(handle).unwrap(), 2_048.0);
    }
    let stats = pool.stats();
    assert_eq!((stats.payload_copies, stats.blocks_live), (0, 1));
    drop(column);
    pool.end();
}

#[test]
fn a_shared_context_is_not_copied_for_any_item_or_worker() {
    let pool = Marked::new(2);
    let column = column(&pool, 2.0);
    let look = |column: &Buffer<f64>, at: usize| lies_in_shared_memory(column) && column[at] == 2.0;
    let seen: Result<Vec<bool>, _> = pool.map_with(column.clone(), look, 0..200).collect();
    assert_eq!(seen.unwrap(), [true; 200]);
    let stats = pool.stats();
    assert_eq!((stats.payload_copies, stats.blocks_live), (0, 1));
    drop(column);
    eventually("workers forget the context", || pool.stats().blocks_live == 0);
    pool.end();
}

#[test]
fn a_result_that_is_sent_on_is_copied_to_where_workers_may_read_it_once() {
    let pool = Marked::new(2);
    let build = |value: f64| {
        let mut built = pannier::alloc::<f64>(LEN).expect("a megabyte");
        built.fill(value);
        built.freeze()
    };
    let built = join(pool.submit(build, 3.0)).unwrap();
    let handles: Vec<_> = (0..6).map(|_| pool.submit(looks_shared, built.clone())).collect();
    for handle in handles {
        assert_eq!(join(handle).unwrap(), (true, true));
    }
    assert_eq!(pool.stats().payload_copies, 1);
    drop(built);
    pool.end();
}

// ── how long bytes live ──────────────────────────────────────────────────────

#[test]
fn results_outlive_their_worker_and_their_pool() {
    let mut pool = Marked::new(1);
    let build = |value: u64| {
        let mut built = pannier::alloc::<u64>(LEN).expect("a megabyte");
        built.fill(value);
        (std::process::id(), built.freeze())
    };
    let (pid, first) = join(pool.submit(build, 11)).unwrap();
    assert!(matches!(
        failure(pool.submit(|()| -> () { kill_oneself() }, ())),
        TaskError::WorkerDied(_)
    ));
    pool.is_whole_without(&[pid]);
    let others: Vec<_> = (0..20).map(|value| join(pool.submit(build, value)).unwrap().1).collect();
    assert!(first.iter().all(|&item| item == 11));
    pool.end();
    assert!(first.iter().all(|&item| item == 11) && lies_in_shared_memory(&first));
    for (value, other) in (0..).zip(&others) {
        assert!(other.iter().all(|&item| item == value));
    }
    let place = first.as_ptr().addr();
    drop((first, others));
    // Another test may have got the same addresses, for as long as it lasts.
    eventually("its memory is given back", || {
        !shared_maps().iter().any(|map| map.contains(&place))
    });
}

/// What a task keeps for later ones.
static KEPT: Mutex<Vec<Buffer<u64>>> = Mutex::new(Vec::new());

fn keep(data: Buffer<u64>) {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner).push(data);
}

fn let_go(_: ()) -> Vec<bool> {
    let kept = std::mem::take(&mut *KEPT.lock().unwrap_or_else(PoisonError::into_inner));
    kept.iter().zip(0..).map(|(data, value)| data.iter().all(|&item| item == value)).collect()
}

#[test]
fn what_a_worker_keeps_stays_as_it_was_while_other_blocks_are_used_again() {
    let pool = Marked::new(1);
    let fresh = |value: u64| {
        let mut data = pool.alloc::<u64>(2_000).unwrap();
        data.fill(value);
        data.freeze()
    };
    for value in 0..10 {
        join(pool.submit(keep, fresh(value))).unwrap();
    }
    assert_eq!(pool.stats().blocks_live, 10);
    let sum = |data: Buffer<u64>| data.iter().sum::<u64>();
    for value in 1_000..1_200 {
        assert_eq!(join(pool.submit(sum, fresh(value))).unwrap(), value * 2_000);
    }
    assert_eq!(join(pool.submit(let_go, ())).unwrap(), [true; 10]);
    eventually("what is let go of is free", || pool.stats().blocks_live == 0);
    pool.end();
}

#[test]
fn what_a_worker_kept_is_free_when_it_dies() {
    let pool = Marked::build(Pool::builder().workers(1).attempts(1));
    let data: Buffer<u64> = pool.alloc_zeroed(2_000).unwrap().freeze();
    join(pool.submit(keep, data)).unwrap();
    assert_eq!(pool.stats().blocks_live, 1);
    failure(pool.submit(|()| -> () { kill_oneself() }, ()));
    assert_eq!(pool.stats().blocks_live, 0);
    pool.end();
}

#[test]
fn a_result_that_its_worker_keeps_stays_as_it_was() {
    let pool = Marked::new(1);
    let build_and_keep = |value: u64| {
        let mut built = pannier::alloc::<u64>(2_000).expect("a little");
        built.fill(value);
        let built = built.freeze();
        keep(built.clone());
        built
    };
    let results: Vec<_> = (0..10).map(|v| join(pool.submit(build_and_keep, v)).unwrap()).collect();
    for (value, result) in (0..).zip(results) {
        assert!(result.iter().all(|&item| item == value));
    }
    assert_eq!(join(pool.submit(let_go, ())).unwrap(), [true; 10]);
    eventually("what is let go of is free", || pool.stats().blocks_live == 0);
    pool.end();
}

// ── writing again ────────────────────────────────────────────────────────────

#[test]
fn a_buffer_is_not_writable_while_a_task_with_it_is_unfinished() {
    let pool = Marked::new(1);
    let gate = Gate::new();
    let data = pool.alloc_zeroed::<u64>(2_000).unwrap().freeze();
    let hold = |(gate, data): (String, Buffer<u64>)| {
        pass(&gate);
        data.len()
    };
    let running = pool.submit(hold, (gate.name(), data.clone()));
    let arrival = gate.arrival();
    let data = data.try_into_mut().expect_err("a task reads it");
    // The one that waits counts too.
    let waiting = pool.submit(|data: Buffer<u64>| data.len(), data.clone());
    drop(arrival);
    assert_eq!(join(running).unwrap(), 2_000);
    assert_eq!(join(waiting).unwrap(), 2_000);
    let mut data = Some(data);
    eventually("it is writable again", || match data.take().unwrap().try_into_mut() {
        Ok(mut writable) => {
            writable.fill(1);
            true
        }
        Err(refused) => {
            data = Some(refused);
            false
        }
    });
    pool.end();
}

#[test]
fn a_buffer_is_not_writable_while_a_worker_keeps_it() {
    let pool = Marked::new(1);
    let data = pool.alloc_zeroed::<u64>(2_000).unwrap().freeze();
    join(pool.submit(keep, data.clone())).unwrap();
    let data = data.try_into_mut().expect_err("a worker keeps it");
    let another = data.clone();
    let data = data.try_into_mut().expect_err("there is another handle");
    drop(another);
    assert_eq!(join(pool.submit(let_go, ())).unwrap(), [true]);
    let mut data = Some(data);
    eventually("it is writable again", || match data.take().unwrap().try_into_mut() {
        Ok(_) => true,
        Err(refused) => {
            data = Some(refused);
            false
        }
    });
    pool.end();
}

#[test]
fn a_result_is_not_writable_here() {
    let pool = Marked::new(1);
    let build = |()| pannier::alloc_zeroed::<u64>(2_000).expect("a little").freeze();
    let result = join(pool.submit(build, ())).unwrap();
    let result = result.try_into_mut().expect_err("its memory is mapped for reading");
    assert_eq!(result.into_mut().unwrap().len(), 2_000);
    pool.end();
}

#[test]
fn a_heap_buffer_that_was_sent_is_written_and_sent_anew() {
    let pool = Marked::new(1);
    let mut data: Buffer<u64> = vec![1; 2_000].into();
    let sum = |data: Buffer<u64>| data.iter().sum::<u64>();
    for value in 1..10 {
        assert_eq!(join(pool.submit(sum, data.clone())).unwrap(), 2_000 * value);
        let mut writable = data.try_into_mut().expect("the worker has a copy");
        writable.fill(value + 1);
        data = writable.freeze();
    }
    drop(data);
    eventually("no copy is left", || pool.stats().blocks_live == 0);
    pool.end();
}

// ── limits and sizes ─────────────────────────────────────────────────────────

fn out_of_memory(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if matches!(error.downcast_ref(), Some(Error::OutOfMemory { .. })) {
            return true;
        }
        cause = error.source();
    }
    false
}

#[test]
fn memory_beyond_the_limit_is_a_typed_error_and_the_pool_goes_on() {
    let pool = Marked::build(Pool::builder().workers(1).memory_limit(4 << 20));
    let error = pool.alloc::<u8>(5 << 20).unwrap_err();
    assert!(
        matches!(error, Error::OutOfMemory { wanted, limit, .. } if wanted == 5 << 20 && limit == 4 << 20)
    );
    let kept = pool.alloc::<u8>(3 << 20).unwrap();
    assert!(matches!(pool.alloc::<u8>(2 << 20), Err(Error::OutOfMemory { .. })));

    // A heap buffer that cannot be copied into shared memory fails its task.
    let too_much: Buffer<u8> = vec![0; 2 << 20].into();
    let error = failure(pool.submit(|data: Buffer<u8>| data.len(), too_much));
    let TaskError::Encode(ValueError { source, .. }) = &error else { panic!("{error:?}") };
    assert!(out_of_memory(source), "{source:?}");

    // A worker is told the same.
    let in_worker = |()| matches!(pannier::alloc::<u8>(2 << 20), Err(Error::OutOfMemory { .. }));
    assert!(join(pool.submit(in_worker, ())).unwrap());
    let result = |()| Buffer::from(vec![0_u8; 2 << 20]);
    let error = failure(pool.submit(result, ()));
    assert!(matches!(&error, TaskError::Encode(_)), "{error:?}");

    drop(kept);
    let data: Buffer<u8> = pool.alloc_zeroed(3 << 20).unwrap().freeze();
    assert_eq!(join(pool.submit(|data: Buffer<u8>| data.len(), data)).unwrap(), 3 << 20);
    assert_eq!(join(pool.submit(|()| attempt(), ())).unwrap(), 1);
    assert_eq!(pool.stats().workers_died, 0);
    pool.end();
}

#[test]
fn a_frame_that_does_not_fit_the_limit_fails_its_task_alone() {
    let pool = Marked::build(Pool::builder().workers(1).attempts(1).memory_limit(1 << 20));
    let numbers: Vec<u64> = (0..400_000).map(|n| n << 20).collect();
    let error = failure(pool.submit(|numbers: Vec<u64>| numbers.len(), numbers));
    let TaskError::Encode(ValueError { source, .. }) = &error else { panic!("{error:?}") };
    assert!(out_of_memory(source), "{source:?}");
    let result = |()| (0..400_000_u64).map(|n| n << 20).collect::<Vec<_>>();
    let error = failure(pool.submit(result, ()));
    assert!(matches!(&error, TaskError::Encode(_)), "{error:?}");
    assert_eq!(join(pool.submit(|()| attempt(), ())).unwrap(), 1);
    pool.end();
}

#[test]
fn scratch_that_a_task_does_not_return_is_given_back() {
    let pool = Marked::build(Pool::builder().workers(1).memory_limit(8 << 20));
    let scratch = |len: usize| {
        // Two at once, and no two tasks of the same length.
        let blocks = [len, len / 2].map(|len| pannier::alloc::<u8>(len).map(|block| block.len()));
        blocks.iter().all(Result::is_ok)
    };
    for mebibytes in (1..=5).chain((1..=5).rev()) {
        assert!(join(pool.submit(scratch, mebibytes << 20)).unwrap(), "{mebibytes} MiB");
        eventually("no block is in use", || pool.stats().blocks_live == 0);
    }
    let all_in_one = |()| (1..=7).all(|n| pannier::alloc::<u8>(n << 20).is_ok());
    assert!(join(pool.submit(all_in_one, ())).unwrap());
    pool.end();
}

#[test]
fn memory_of_results_that_are_gone_serves_results_of_other_lengths() {
    let pool = Marked::build(Pool::builder().workers(2).memory_limit(8 << 20));
    let build = |len: usize| pannier::alloc_zeroed::<u8>(len).expect("memory").freeze();
    for mebibytes in (1..=7).chain((1..=7).rev()) {
        assert_eq!(join(pool.submit(build, mebibytes << 20)).unwrap().len(), mebibytes << 20);
        let argument = pool.alloc_zeroed::<u8>((8 - mebibytes) << 20).unwrap().freeze();
        let len = |argument: Buffer<u8>| argument.len();
        assert_eq!(join(pool.submit(len, argument.clone())).unwrap(), argument.len());
    }
    assert_eq!(pool.stats().workers_died, 0);
    pool.end();
}

#[test]
fn frames_of_every_size_travel_both_ways() {
    let pool = Marked::new(1);
    // Around the largest packet, and where lengths take another byte.
    for len in [0, 1, 65_000, 65_400, 65_535, 65_536, 65_537, 66_000, 200_000, 3_000_000] {
        let text: String = ('a'..='z').cycle().take(len).collect();
        let turned = join(pool.submit(|text: String| text.to_uppercase(), text.clone())).unwrap();
        assert!(turned == text.to_uppercase(), "{len}");
    }
    let numbers: Vec<u64> = (0..300_000).collect();
    let more = |numbers: Vec<u64>| numbers.into_iter().map(|n| n + 1).collect::<Vec<_>>();
    let more = join(pool.submit(more, numbers)).unwrap();
    assert!(more.into_iter().eq(1..300_001));
    assert_eq!(pool.stats().workers_died, 0);
    eventually("no block is in use", || pool.stats().blocks_live == 0);
    pool.end();
}

#[test]
fn a_thousand_buffers_travel_in_one_value() {
    let pool = Marked::new(1);
    let parts: Vec<Buffer<u64>> = (0..1_000)
        .map(|value| {
            let mut part = pool.alloc(600).unwrap();
            part.fill(value);
            part.freeze()
        })
        .collect();
    let turn = |mut parts: Vec<Buffer<u64>>| {
        parts.reverse();
        parts
    };
    let turned = join(pool.submit(turn, parts.clone())).unwrap();
    for (part, turned) in parts.iter().zip(turned.iter().rev()) {
        assert_eq!((part.as_ptr(), part.len()), (turned.as_ptr(), turned.len()));
    }
    assert_eq!(pool.stats().payload_copies, 0);
    drop((parts, turned));
    eventually("no block is in use", || pool.stats().blocks_live == 0);
    pool.end();
}

#[test]
fn what_a_dead_worker_was_building_is_given_back() {
    let pool = Marked::build(Pool::builder().workers(1).attempts(1));
    let gate = Gate::new();
    let build = |gate: String| -> () {
        let mut built = pannier::alloc::<u64>(LEN).expect("a megabyte");
        built.fill(1);
        tell(&gate, 0);
        kill_oneself()
    };
    let handle = pool.submit(build, gate.name());
    let arrival = gate.arrival();
    assert_eq!(pool.stats().blocks_live, 1);
    drop(arrival);
    failure(handle);
    let stats = pool.stats();
    assert_eq!((stats.blocks_live, stats.segments_live, stats.segment_bytes), (0, 0, 0));
    pool.end();
}
