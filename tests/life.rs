//! The life of tasks: how long they may run, who waits for the queue, who is told of the end.

#[expect(dead_code, reason = "each test program uses its part")]
mod common;

use std::sync::mpsc::channel;
use std::time::Duration;

use common::{
    DEADLINE, Gate, Marked, attempt, eventually, failure, join, kill_oneself, pass, signal, stop,
    watchdog,
};
use pannier::{Buffer, JoinHandle, Pool, Shutdown, TaskError, TrySubmitError};
use rustix::process::Signal;

pannier::premain!();

/// Short, but long enough to begin something on a busy machine.
const SHORT: Duration = Duration::from_secs(1);

fn hang(_: ()) {
    loop {
        std::thread::park();
    }
}

fn is_timeout(error: &TaskError) -> bool {
    matches!(error, TaskError::TimedOut { after, .. } if *after == SHORT)
}

// ── timeouts ─────────────────────────────────────────────────────────────────

#[test]
fn a_task_that_runs_too_long_is_ended_with_its_worker_and_not_tried_again() {
    let mut pool = Marked::build(Pool::builder().workers(2).task_timeout(SHORT));
    let pids = pool.worker_pids();
    let gate = Gate::new();
    let hung = pool.submit(
        |gate: String| {
            // Lets the test know its process; nobody lets it go on.
            pass(&gate);
        },
        gate.name(),
    );
    let arrival = gate.arrival();
    let error = failure(hung);
    assert!(is_timeout(&error), "{error:?}");
    pool.is_whole_without(&[arrival.number]);
    assert_eq!(pool.stats().tasks_retried, 0);
    let others = pool.worker_pids().iter().filter(|pid| pids.contains(pid)).count();
    assert_eq!(others, 1, "the other worker lives");
    assert_eq!(join(pool.submit(u32::count_ones, 7)).expect("the pool is at work"), 3);
    pool.end();
}

#[test]
fn what_waits_behind_a_task_that_is_timed_out_runs_elsewhere_uncharged() {
    let pool = Marked::build(Pool::builder().workers(1).attempts(1));
    let hung = pool.task().timeout(SHORT).submit(hang, ());
    let behind: Vec<_> = (0..10_u32).map(|n| pool.submit(|n: u32| n, n)).collect();
    for (handle, n) in behind.into_iter().zip(0..) {
        assert_eq!(join(handle).expect("it is not charged"), n);
    }
    assert!(is_timeout(&failure(hung)));
    pool.end();
}

#[test]
fn of_a_map_the_item_that_hangs_is_timed_out_and_no_other() {
    let pool = Marked::new(2);
    let hang_on_some = |n: u32| if n % 10 == 3 { hang(()) } else { assert_eq!(attempt(), 1) };
    let map = pool.map(hang_on_some, 0..30).chunk_size(6).timeout(SHORT);
    for (result, n) in map.zip(0..) {
        match result {
            Err(error) => assert!(n % 10 == 3 && is_timeout(&error), "{n}: {error:?}"),
            Ok(()) => assert_ne!(n % 10, 3),
        }
    }
    pool.end();
}

#[test]
fn items_of_a_chunk_have_their_time_each_for_itself() {
    let pool = Marked::new(1);
    // Each item takes less than the limit; all of the chunk take more.
    let wait = |n: u32| {
        std::thread::sleep(SHORT / 5);
        n
    };
    let map = pool.map(wait, 0..8).chunk_size(8).timeout(SHORT);
    assert_eq!(map.map(Result::unwrap).collect::<Vec<_>>(), (0..8).collect::<Vec<_>>());
    pool.end();
}

#[test]
fn a_stopped_worker_is_ended_by_the_timeout_of_its_task() {
    let mut pool = Marked::build(Pool::builder().workers(1));
    let gate = Gate::new();
    let task = pool.task().timeout(SHORT * 5).submit(|gate: String| pass(&gate), gate.name());
    let arrival = gate.arrival();
    stop(arrival.number);
    assert!(matches!(failure(task), TaskError::TimedOut { .. }));
    pool.is_whole_without(&[arrival.number]);
    pool.end();
}

#[test]
fn work_that_a_stopped_worker_has_not_begun_runs_elsewhere_uncharged() {
    let mut pool = Marked::build(Pool::builder().workers(1).attempts(1));
    let stopped = pool.worker_pids()[0];
    stop(stopped);
    let task = pool.task().timeout(SHORT).submit(|()| attempt(), ());
    assert_eq!(join(task).expect("the next worker runs it"), 1);
    pool.is_whole_without(&[stopped]);
    pool.end();
}

#[test]
fn a_result_that_is_there_in_time_counts() {
    let pool = Marked::build(Pool::builder().workers(1).task_timeout(Duration::from_secs(20)));
    let handles: Vec<_> = (0..2_000_u32).map(|n| pool.submit(|n: u32| n, n)).collect();
    for (handle, n) in handles.into_iter().zip(0..) {
        assert_eq!(join(handle).expect("it is quick"), n);
    }
    assert_eq!(pool.stats().workers_died, 0);
    pool.end();
}

// ── the queue ────────────────────────────────────────────────────────────────

#[test]
fn a_full_queue_gives_the_arguments_back_or_lets_wait() {
    let _alive = watchdog();
    let pool = Marked::build(Pool::builder().workers(1).queue_limit(2));
    let gate = Gate::new();
    let running = pool.submit(|gate: String| pass(&gate), gate.name());
    let arrival = gate.arrival();
    let queued: Vec<_> = (0..2).map(|n| pool.try_submit(|n: u32| n, n).expect("room")).collect();
    let refused = pool.try_submit(|text: String| text.len(), "back".to_owned());
    assert!(matches!(refused, Err(TrySubmitError::Full(text)) if text == "back"));
    let (submitted, received) = channel();
    std::thread::scope(|scope| {
        scope.spawn(|| submitted.send(pool.submit(|n: u32| n, 2)).expect("the test waits"));
        let early = received.recv_timeout(SHORT);
        assert!(early.is_err(), "it does not wait for the queue");
        drop(arrival);
        let late = received.recv_timeout(DEADLINE).expect("it has its turn");
        assert_eq!(join(late).unwrap(), 2);
    });
    join(running).expect("it was let through");
    for (handle, n) in queued.into_iter().zip(0..) {
        assert_eq!(join(handle).unwrap(), n);
    }
    pool.end();
}

#[test]
fn what_finds_no_memory_comes_back_from_try_submit() {
    let pool = Marked::build(Pool::builder().workers(1).memory_limit(1 << 20));
    let kept = pool.alloc::<u8>(1 << 20).expect("it is free");
    let large: Buffer<u8> = vec![1; 1 << 20].into();
    let refused = pool.try_submit(|bytes: Buffer<u8>| bytes.len(), large.clone());
    assert!(matches!(refused, Err(TrySubmitError::Full(back)) if back == large));
    drop(kept);
    let accepted = pool.try_submit(|bytes: Buffer<u8>| bytes.len(), large);
    assert_eq!(join(accepted.expect("there is room")).unwrap(), 1 << 20);
    pool.end();
}

#[test]
fn a_pool_that_is_shut_down_gives_the_arguments_back() {
    let pool = Pool::builder().workers(1).build().unwrap();
    pool.shutdown(Shutdown::Graceful, DEADLINE).expect("nobody remains");
    let refused = pool.task().try_submit(|text: String| text.len(), "back".to_owned());
    assert!(matches!(refused, Err(TrySubmitError::Closed(text)) if text == "back"));
}

// ── handles ──────────────────────────────────────────────────────────────────

#[test]
fn a_callback_gets_the_result_once_and_may_submit_again() {
    let _alive = watchdog();
    let pool = std::sync::Arc::new(Pool::builder().workers(2).build().unwrap());
    let (results, received) = channel();
    for n in 0..50_u32 {
        let (pool, results) = (pool.clone(), results.clone());
        pool.clone().submit(|n: u32| n + 1, n).on_done(move |result| {
            let again = pool.submit(|n: u32| n * 10, result.expect("it is small"));
            results.send(join(again).expect("it is small")).expect("the test waits");
        });
    }
    drop(results);
    let mut received: Vec<u32> = received.iter().collect();
    received.sort_unstable();
    assert_eq!(received, (1..=50).map(|n| n * 10).collect::<Vec<_>>());
}

#[test]
fn a_callback_that_submits_a_task_that_kills_its_worker_does_not_lock_up() {
    let _alive = watchdog();
    let pool = std::sync::Arc::new(Pool::builder().workers(2).attempts(1).build().unwrap());
    let (results, received) = channel();
    let inner = pool.clone();
    pool.submit(|()| (), ()).on_done(move |result| {
        result.expect("nothing happens in it");
        let crash: JoinHandle<()> = inner.submit(|()| kill_oneself(), ());
        results.send(failure(crash)).expect("the test waits");
    });
    let error = received.recv_timeout(DEADLINE).expect("in time");
    assert!(matches!(error, TaskError::WorkerDied(_)), "{error}");
    assert_eq!(join(pool.submit(u32::count_ones, 7)).unwrap(), 3);
}

#[test]
fn a_callback_that_panics_harms_nobody_and_one_that_comes_late_is_called() {
    let _alive = watchdog();
    let pool = Pool::builder().workers(1).build().unwrap();
    let finished = pool.submit(u32::count_ones, 7);
    eventually("it is finished", || finished.is_finished());
    std::panic::set_hook(Box::new(|_| {}));
    pool.submit(|()| (), ()).on_done(|_| panic!("on purpose"));
    let (results, received) = channel();
    finished.on_done(move |result| results.send(result.unwrap()).unwrap());
    assert_eq!(received.recv_timeout(DEADLINE).expect("in time"), 3);
    let _ = std::panic::take_hook();
}

#[test]
fn callbacks_are_told_of_the_end_of_the_pool() {
    let _alive = watchdog();
    let pool = Pool::builder().workers(1).build().unwrap();
    let (results, received) = channel();
    for _ in 0..3 {
        let results = results.clone();
        pool.submit(hang, ()).on_done(move |result| results.send(result.is_err()).unwrap());
    }
    drop(results);
    pool.shutdown(Shutdown::Kill, DEADLINE).expect("nobody remains");
    assert_eq!(received.iter().collect::<Vec<_>>(), [true; 3]);
}

#[test]
fn an_abort_handle_ends_a_task_that_another_thread_joins() {
    let pool = Marked::new(1);
    let forever = pool.submit(hang, ());
    let behind = pool.submit(u32::count_ones, 7);
    let (abort, withdraw) = (forever.abort_handle(), behind.abort_handle());
    assert!(withdraw.cancel() && behind.is_finished());
    assert!(!abort.is_finished());
    let killer = std::thread::spawn(move || abort.kill());
    assert!(matches!(failure(forever), TaskError::Killed));
    assert!(matches!(failure(behind), TaskError::Cancelled));
    killer.join().expect("it does not panic");
    pool.end();
}

#[test]
fn a_handle_may_kill_its_task_when_it_is_dropped() {
    let mut pool = Marked::new(1);
    let gate = Gate::new();
    let handle = pool.submit(|gate: String| pass(&gate), gate.name()).kill_on_drop(true);
    let arrival = gate.arrival();
    drop(handle);
    pool.is_whole_without(&[arrival.number]);
    let kept = pool.submit(u32::count_ones, 7).kill_on_drop(true);
    assert_eq!(join(kept).expect("joining is not dropping"), 3);
    pool.end();
}

// ── the initializer ──────────────────────────────────────────────────────────

static STATE: std::sync::OnceLock<Buffer<u64>> = std::sync::OnceLock::new();

fn keep(numbers: Buffer<u64>) {
    STATE.set(numbers).expect("it runs once in each worker");
}

fn state(at: usize) -> u64 {
    STATE.get().map_or(0, |numbers| numbers[at])
}

#[test]
fn every_worker_runs_the_initializer_before_its_first_task_and_so_does_the_next() {
    let numbers: Buffer<u64> = (0..100_000).collect();
    let mut pool = Marked::build(Pool::builder().workers(2).initializer(keep, numbers));
    let results = pool.map(state, 0..100).chunk_size(1);
    assert_eq!(results.map(Result::unwrap).sum::<u64>(), 4950);
    let pids = pool.worker_pids();
    pids.iter().for_each(|&pid| signal(pid, Signal::KILL));
    pool.is_whole_without(&pids);
    assert_eq!(join(pool.submit(state, 70_000)).unwrap(), 70_000);
    pool.end();
}

fn cause(built: pannier::Result<Pool>) -> pannier::StartFailed {
    match built {
        Err(pannier::Error::StartFailed(failed)) => failed,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_initializer_that_fails_breaks_the_pool_with_its_cause() {
    let mark = common::unique("mark");
    let build = || Pool::builder().workers(2).env(common::MARK, &mark);
    let failed = cause(build().initializer(|()| panic!("no model"), ()).build());
    let told = matches!(&failed.cause, pannier::StartFailure::Initializer(panicked) if panicked.message == "no model");
    assert!(told, "{failed}");
    let open = |path: String| std::fs::read(path).map(|_| ());
    let failed = cause(build().try_initializer(open, "/nonexistent".into()).build());
    assert!(failed.to_string().contains("No such file"), "{failed}");
    let failed = cause(build().initializer(|()| std::process::exit(7), ()).build());
    assert!(matches!(failed.cause, pannier::StartFailure::InitializerDied), "{failed}");
    assert_eq!(failed.status, pannier::ExitStatus::Exited(7));
    let failed = cause(build().initializer(|()| std::process::abort(), ()).build());
    assert!(failed.status.to_string().contains("SIGABRT"), "{failed}");
    eventually("nobody is left", || common::marked(&mark).is_empty());
}

#[test]
fn an_initializer_that_fails_later_is_tried_again_while_others_work() {
    let first_of_second = |()| {
        let worker = pannier::worker().expect("it runs in a worker");
        assert!(worker.id == 0 || worker.generation != 2, "once");
    };
    let mut pool = Marked::build(Pool::builder().workers(2).initializer(first_of_second, ()));
    let second = pool.worker_pids()[1];
    signal(second, Signal::KILL);
    pool.is_whole_without(&[second]);
    assert_eq!(join(pool.submit(u32::count_ones, 7)).unwrap(), 3);
    pool.end();
}
