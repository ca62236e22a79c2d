//! The pool from the outside: values and buffers go to workers and back.

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
