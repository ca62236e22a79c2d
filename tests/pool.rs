//! The pool from the outside: values and buffers go to workers and back.

use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier};
use std::time::Duration;

use pannier::{Buffer, Pool, Shutdown, TaskError};

pannier::premain!();

fn pool(workers: usize) -> Pool {
    Pool::builder().workers(workers).build().expect("workers start")
}

#[test]
fn a_closure_runs_in_another_process() {
    let pool = pool(1);
    let pid = pool.submit(|()| std::process::id(), ()).join().unwrap();
    assert_ne!(pid, std::process::id());
    assert_eq!(pool.worker_pids(), [pid]);
}

#[test]
fn threads_that_wait_side_by_side_all_hear_their_answers() {
    const THREADS: usize = 2;
    let (pool, together) = (Arc::new(pool(2)), Arc::new(Barrier::new(THREADS)));
    let (done, all_done) = channel();
    for _ in 0..THREADS {
        let (pool, together, done) = (pool.clone(), together.clone(), done.clone());
        // Not scoped: one that hangs must not keep the test from failing.
        std::thread::spawn(move || {
            for _ in 0..1_000 {
                let handles: Vec<_> = (0..10).map(|x: u32| pool.submit(|x: u32| x, x)).collect();
                let sum: u32 = handles.into_iter().map(|handle| handle.join().unwrap()).sum();
                assert_eq!(sum, 45);
                // The last one to wait has nobody behind it who would wake it by chance.
                together.wait();
            }
            done.send(()).unwrap();
        });
    }
    for _ in 0..THREADS {
        all_done.recv_timeout(Duration::from_secs(60)).expect("a thread waits for ever");
    }
}

#[test]
fn a_map_gives_results_in_order() {
    let pool = pool(2);
    let squares: Vec<u64> = pool.map(|x: u64| x * x, 0..1_000).map(Result::unwrap).collect();
    assert!(squares.iter().zip(0..).all(|(square, x): (&u64, u64)| *square == x * x));
}

#[test]
fn a_shared_buffer_goes_there_and_back_without_a_copy() {
    let pool = pool(1);
    let mut column = pool.alloc::<f64>(1 << 18).unwrap();
    column.fill(0.5);
    let column = column.freeze();
    let echo = pool.submit(|column: Buffer<f64>| column.slice(1..), column.clone()).join().unwrap();
    assert_eq!(echo.as_ptr(), &raw const column[1]);
    assert_eq!(pool.stats().payload_copies, 0);
}

#[test]
fn a_graceful_shutdown_finishes_what_was_submitted() {
    let pool = pool(2);
    let handles: Vec<_> = (0..50).map(|x: u32| pool.submit(|x: u32| x + 1, x)).collect();
    pool.shutdown(Shutdown::Graceful, Duration::from_secs(60)).unwrap();
    for (handle, x) in handles.into_iter().zip(0..) {
        assert_eq!(handle.join().unwrap(), x + 1);
    }
    let late = pool.submit(|x: u32| x, 1).join();
    assert!(matches!(late, Err(TaskError::PoolClosed)));
}

/// Cannot be written when it is true.
#[derive(serde::Deserialize)]
struct Stubborn(bool);

impl serde::Serialize for Stubborn {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 {
            return Err(serde::ser::Error::custom("too stubborn"));
        }
        serializer.serialize_newtype_struct("Stubborn", &self.0)
    }
}

#[test]
fn items_that_cannot_be_written_fail_alone() {
    let pool = pool(1);
    for chunk in [1, 3] {
        let items = [true, true, true, false, true].map(Stubborn);
        let results = pool.map(|Stubborn(is): Stubborn| is, items).chunk_size(chunk);
        let results: Vec<_> = results.collect();
        for (item, result) in results.iter().enumerate() {
            match result {
                Ok(is) => assert_eq!((item, *is), (3, false)),
                Err(TaskError::Encode(error)) => {
                    assert_eq!(error.task.item, Some(item as u64));
                    assert!(error.source.to_string().contains("too stubborn"));
                }
                Err(other) => panic!("{other}"),
            }
        }
    }
}

#[test]
fn maps_over_one_buffer_one_after_the_other_and_beside_tasks_leave_workers_alone() {
    let pool = pool(2);
    let mut column = pool.alloc::<u64>(1 << 16).unwrap();
    column.fill(1);
    let column = column.freeze();
    for _ in 0..30 {
        let beside = pool.submit(|column: Buffer<u64>| column.len(), column.clone());
        let sum = |column: &Buffer<u64>, k: usize| column[k..].iter().sum::<u64>();
        let mut sums = pool.map_with(column.clone(), sum, 0..8).chunk_size(1);
        assert_eq!(sums.next().unwrap().unwrap(), 1 << 16);
        drop(sums);
        assert_eq!(beside.join().unwrap(), 1 << 16);
    }
    let stats = pool.stats();
    assert_eq!((stats.workers_died, stats.payload_copies), (0, 0));
}

/// What a task keeps from call to call.
static KEPT: std::sync::Mutex<Option<Buffer<u64>>> = std::sync::Mutex::new(None);

#[test]
fn a_worker_keeps_an_argument_as_long_as_it_likes() {
    let pool = pool(1);
    let keep = |buffer: Buffer<u64>| drop(KEPT.lock().unwrap().replace(buffer));
    let give_back = |()| KEPT.lock().unwrap().take().unwrap();
    let check = |(): ()| KEPT.lock().unwrap().as_ref().unwrap().iter().all(|&item| item == 7);
    for round in 0..10 {
        let mut argument = pool.alloc::<u64>(1 << 12).unwrap();
        argument.fill(7);
        pool.submit(keep, argument.freeze()).join().unwrap();
        // Nobody here has it any more; the memory must not be used for this one.
        let mut other = pool.alloc::<u64>(1 << 12).unwrap();
        other.fill(round);
        assert!(pool.submit(check, ()).join().unwrap());
        let back = pool.submit(give_back, ()).join().unwrap();
        assert!(back.iter().all(|&item| item == 7));
        assert!(back.try_into_mut().is_ok(), "the worker has let go of it");
    }
    assert_eq!(pool.stats().workers_died, 0);
}

#[test]
fn results_that_find_no_memory_are_an_error_and_not_a_death() {
    let pool = Pool::builder().workers(1).memory_limit(1 << 20).build().unwrap();
    let large = |n: usize| vec![u64::MAX; n];
    assert_eq!(pool.submit(large, 1_000).join().unwrap().len(), 1_000);
    let Err(TaskError::Encode(error)) = pool.submit(large, 1 << 20).join() else { panic!() };
    assert!(error.source.to_string().contains("memory"), "{}", error.source);
    assert!(error.type_name.contains("Vec<u64>"));
    assert_eq!(pool.submit(large, 10_000).join().unwrap().len(), 10_000);
    assert_eq!(pool.stats().workers_died, 0);
}
