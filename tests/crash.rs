//! Workers that die cost what ran on them, and nothing else. Each way to go at each moment is in the
//! table, `table.rs`; here are the stories around it.
//!
//! Each test has a pool of its own whose processes are marked, so that the tests may run side by
//! side and each can still see that nothing of its pool is left.
#![expect(unsafe_code, reason = "tasks that do to their process what no task should")]

#[expect(dead_code, reason = "each test program uses its part")]
mod common;
#[expect(dead_code, reason = "each test program uses its part")]
#[path = "common/trick.rs"]
mod trick;

use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{
    DEADLINE, Gate, Marked, attempt, eventually, failure, is_dead, join, kill_oneself, pass,
    pass_through, quiet, signal, stop, tell, watchdog,
};
use pannier::{Buffer, ExitStatus, JoinHandle, Phase, Pool, TaskError};
use rustix::process::Signal;
use trick::{Mishap, Moment, PLANNED, Trick, perform};

pannier::premain!();

// ── on this side ─────────────────────────────────────────────────────────────

#[test]
fn an_argument_that_cannot_be_written_fails_alone() {
    let pool = Marked::new(1);
    let error = failure(pool.submit(perform, Trick::new(Moment::Submitting, Mishap::Error)));
    let TaskError::Encode(value) = error else { panic!("{error:?}") };
    assert!(value.type_name.ends_with("Trick"));
    let error = failure(pool.submit(perform, Trick::new(Moment::Submitting, Mishap::Panic)));
    let TaskError::Panicked(panicked) = error else { panic!("{error:?}") };
    assert_eq!(panicked.message, PLANNED);
    assert!(panicked.task.is_some());
    assert_eq!(join(pool.submit(|x: u32| x, 5)).unwrap(), 5);
    pool.end();
}

#[test]
fn a_result_that_cannot_be_read_fails_alone() {
    let pool = Marked::new(1);
    let error = failure(pool.submit(perform, Trick::new(Moment::Joining, Mishap::Error)));
    let TaskError::Decode(value) = error else { panic!("{error:?}") };
    assert!(value.type_name.ends_with("Trick"));
    let error = failure(pool.submit(perform, Trick::new(Moment::Joining, Mishap::Panic)));
    let TaskError::Panicked(panicked) = error else { panic!("{error:?}") };
    assert_eq!(panicked.message, PLANNED);
    assert!(panicked.task.is_some());
    assert_eq!(join(pool.submit(|x: u32| x, 5)).unwrap(), 5);
    pool.end();
}

// ── idle workers ─────────────────────────────────────────────────────────────

/// The pool has lost an idle worker, and nothing else.
fn lost_an_idle_worker(mut pool: Marked, dead: u32) {
    pool.is_whole_without(&[dead]);
    let handles: Vec<_> = (0..20).map(|_| pool.submit(|()| attempt(), ())).collect();
    for handle in handles {
        assert_eq!(join(handle).ok(), Some(1));
    }
    let stats = pool.stats();
    assert_eq!((stats.tasks_failed, stats.tasks_retried, stats.workers_died), (0, 0, 1));
    pool.end();
}

#[test]
fn an_idle_worker_that_a_thread_of_an_earlier_task_ends_costs_no_task() {
    for mishap in [Mishap::Exit(0), Mishap::Abort, Mishap::Segv] {
        let pool = Marked::new(2);
        let gate = Gate::new();
        let leave_a_thread = |(gate, mishap): (String, Mishap)| {
            std::thread::spawn(move || {
                pass(&gate);
                mishap.happen()
            });
        };
        join(pool.submit(leave_a_thread, (gate.name(), mishap))).unwrap();
        let arrival = gate.arrival();
        let dead = arrival.number;
        drop(arrival);
        lost_an_idle_worker(pool, dead);
    }
}

#[test]
fn an_idle_worker_that_somebody_kills_costs_no_task() {
    let pool = Marked::new(2);
    let dead = pool.worker_pids()[1];
    signal(dead, Signal::KILL);
    lost_an_idle_worker(pool, dead);
}

// ── one of a hundred ─────────────────────────────────────────────────────────

fn kill_at_57(number: u32) -> u32 {
    if number == 57 {
        kill_oneself();
    }
    number * 2
}

fn kill_at_57_once(number: u32) -> u32 {
    if attempt() == 1 { kill_at_57(number) } else { number * 2 }
}

#[test]
fn of_a_hundred_tasks_one_that_kills_its_worker_fails_alone() {
    let mut pool = Marked::build(Pool::builder().workers(2).attempts(1));
    let pids = pool.worker_pids();
    let handles: Vec<_> = (0..100).map(|number| pool.submit(kill_at_57, number)).collect();
    for (number, handle) in (0..).zip(handles) {
        match join(handle) {
            Ok(double) => assert_eq!(double, number * 2),
            Err(TaskError::WorkerDied(death)) => {
                assert_eq!((number, death.attempts), (57, 1));
                assert!(pids.contains(&death.pid));
                pool.is_whole_without(&[death.pid]);
            }
            Err(other) => panic!("{number}: {other:?}"),
        }
    }
    let stats = pool.stats();
    assert_eq!((stats.tasks_completed, stats.tasks_failed, stats.tasks_retried), (99, 1, 0));
    pool.end();
}

#[test]
fn of_a_hundred_tasks_one_that_kills_its_worker_once_is_retried() {
    let pool = Marked::new(2);
    let handles: Vec<_> = (0..100).map(|number| pool.submit(kill_at_57_once, number)).collect();
    for (number, handle) in (0..).zip(handles) {
        assert_eq!(join(handle).unwrap(), number * 2);
    }
    let stats = pool.stats();
    assert_eq!((stats.tasks_completed, stats.tasks_failed), (100, 0));
    // A retry may be taken back from a worker that has not begun it, and is sent again.
    assert!(stats.tasks_retried >= 1 && stats.workers_died == 1, "{stats:?}");
    pool.end();
}

#[test]
fn a_poison_task_fails_alone_after_its_attempts() {
    let mut pool = Marked::build(Pool::builder().workers(1).attempts(3));
    let gate = Gate::new();
    let poison = pool.submit(
        |gate: String| -> () {
            pass(&gate);
            kill_oneself()
        },
        gate.name(),
    );
    let behind: Vec<_> = (0..5).map(|_| pool.submit(|()| attempt(), ())).collect();
    let mut dead = Vec::new();
    for _ in 0..3 {
        // By now the first of the others is behind it.
        dead.push(gate.arrival().number);
    }
    let error = failure(poison);
    let TaskError::WorkerDied(death) = error else { panic!("{error:?}") };
    assert_eq!((death.attempts, death.pid, death.phase), (3, dead[2], Phase::Running));
    for handle in behind {
        assert_eq!(join(handle).unwrap(), 1);
    }
    pool.is_whole_without(&dead);
    let stats = pool.stats();
    assert_eq!((stats.tasks_retried, stats.workers_died, stats.tasks_failed), (2, 3, 1));
    pool.end();
}

#[test]
fn in_a_map_an_item_that_kills_its_worker_fails_alone() {
    let _watch = watchdog();
    let pool = Marked::build(Pool::builder().workers(2).attempts(1));
    let results: Vec<_> = pool.map(kill_at_57, 0..100).chunk_size(7).collect();
    assert_eq!(results.len(), 100);
    for (number, result) in (0..).zip(results) {
        match result {
            Ok(double) => assert_eq!(double, number * 2),
            Err(TaskError::WorkerDied(death)) => {
                assert_eq!((number, death.attempts), (57, 1));
                assert_eq!(death.task.item, Some(57));
                assert!(death.task.function.ends_with("kill_at_57"));
                assert!(matches!(death.status, ExitStatus::Signaled { signal: 9, .. }));
            }
            Err(other) => panic!("{number}: {other:?}"),
        }
    }
    let stats = pool.stats();
    assert_eq!((stats.tasks_completed, stats.tasks_failed, stats.workers_died), (99, 1, 1));
    pool.end();
}

#[test]
fn in_a_map_an_item_that_kills_its_worker_once_is_retried() {
    let _watch = watchdog();
    let pool = Marked::new(2);
    let mut numbers = 0..;
    for result in pool.map(kill_at_57_once, 0..100).chunk_size(7) {
        assert_eq!(Some(result.unwrap()), numbers.next().map(|number: u32| number * 2));
    }
    assert_eq!(numbers.next(), Some(100));
    let stats = pool.stats();
    assert_eq!((stats.tasks_completed, stats.tasks_failed, stats.workers_died), (100, 0, 1));
    pool.end();
}

#[test]
fn items_of_a_map_that_cannot_be_written_fail_alone() {
    let _watch = watchdog();
    let pool = Marked::new(1);
    // In chunks where all fail, some, and none.
    let item = |n: u32| if n < 8 || n == 10 { Moment::Submitting } else { Moment::Never };
    let items = (0..16).map(|n| Trick::new(item(n), Mishap::Error));
    let results: Vec<_> = pool.map(perform, items).chunk_size(4).collect();
    assert_eq!(results.len(), 16);
    for (number, result) in (0..).zip(results) {
        match result {
            Ok(_) => assert_eq!(item(number), Moment::Never, "{number}"),
            Err(error) => {
                assert!(matches!(error, TaskError::Encode(_)), "{number}: {error:?}");
                assert_eq!(item(number), Moment::Submitting, "{number}");
                assert_eq!(error.task().and_then(|task| task.item), Some(number.into()));
            }
        }
    }
    pool.end();
}

#[test]
fn every_mishap_of_an_item_names_the_item() {
    let _watch = watchdog();
    let pool = Marked::build(Pool::builder().workers(1).attempts(1));
    let moments = [Moment::Decoding, Moment::Running, Moment::Encoding];
    for (moment, mishap) in
        moments.into_iter().flat_map(|at| [(at, Mishap::Panic), (at, Mishap::Abort)])
    {
        let items = (0..9).map(|n| Trick::new(if n == 4 { moment } else { Moment::Never }, mishap));
        let results: Vec<_> = pool.map(perform, items).chunk_size(9).collect();
        for (number, result) in (0..).zip(results) {
            match result {
                Ok(_) => assert_ne!(number, 4, "{mishap:?} while {moment:?}"),
                Err(error) => {
                    let item = error.task().and_then(|task| task.item);
                    assert_eq!((number, item), (4, Some(4)), "{moment:?}: {error:?}");
                }
            }
        }
    }
    pool.end();
}

// ── other ways to go ─────────────────────────────────────────────────────────

#[test]
fn a_stopped_worker_is_ended_by_killing_its_task() {
    let mut pool = Marked::new(1);
    let gate = Gate::new();
    let stopped = pool.submit(pass_through, gate.name());
    let behind = pool.submit(|()| attempt(), ());
    let arrival = gate.arrival();
    stop(arrival.number);
    stopped.kill();
    assert!(matches!(failure(stopped), TaskError::Killed));
    assert_eq!(join(behind).unwrap(), 1);
    pool.is_whole_without(&[arrival.number]);
    pool.end();
}

#[test]
fn a_worker_that_closes_its_descriptors_is_replaced_and_its_task_retried() {
    let pool = Marked::new(1);
    let close_all_once = |()| {
        if attempt() == 1 {
            // SAFETY: the library's descriptors are closed under it, to see what it makes of that;
            // nothing else in this process has any.
            unsafe { libc::close_range(3, u32::MAX, 0) };
            loop {
                std::thread::park();
            }
        }
        attempt()
    };
    assert_eq!(join(pool.submit(close_all_once, ())).unwrap(), 2);
    let stats = pool.stats();
    assert_eq!((stats.workers_died, stats.tasks_retried), (1, 1));
    pool.end();
}

#[test]
fn a_worker_that_closes_its_descriptors_and_returns_is_replaced_too() {
    let pool = Marked::new(1);
    let close_all_once = |()| {
        if attempt() == 1 {
            // SAFETY: as in the test above.
            unsafe { libc::close_range(3, u32::MAX, 0) };
        }
        attempt()
    };
    // The result lies in shared memory: it counts if it was there before the end of the socket was
    // noticed, and else the task runs again.
    assert!((1..=2).contains(&join(pool.submit(close_all_once, ())).unwrap()));
    eventually("a worker without descriptors is replaced", || {
        assert_eq!(join(pool.submit(|x: u32| x, 5)).unwrap(), 5);
        pool.stats().workers_died == 1
    });
    assert_eq!(join(pool.submit(|x: u32| x, 6)).unwrap(), 6);
    pool.end();
}

#[test]
fn a_task_that_writes_to_its_input_dies_and_the_retry_sees_it_intact() {
    fn spoil_once(data: Buffer<u64>) -> u64 {
        if attempt() == 1 {
            let first = data.as_ptr().cast_mut();
            // SAFETY: none; the kernel refuses the write and ends this process.
            unsafe { first.write_volatile(666) };
        }
        data.iter().sum()
    }
    let pool = Marked::new(1);
    let mut data = pool.alloc::<u64>(100_000).unwrap();
    data.fill(3);
    let data = data.freeze();
    assert_eq!(join(pool.submit(spoil_once, data.clone())).unwrap(), 300_000);
    assert!(data.iter().all(|&item| item == 3));
    assert_eq!(pool.stats().workers_died, 1);

    let error = failure(
        Pool::builder()
            .workers(1)
            .attempts(1)
            .build()
            .unwrap()
            .submit(spoil_once, vec![1_u64; 10_000].into()),
    );
    let TaskError::WorkerDied(death) = error else { panic!("{error:?}") };
    assert!(matches!(death.status, ExitStatus::Signaled { signal: libc::SIGSEGV, .. }), "{death}");
    drop(data);
    pool.end();
}

// ── on request ───────────────────────────────────────────────────────────────

#[test]
fn killing_a_running_task_fails_this_task_only() {
    let mut pool = Marked::build(Pool::builder().workers(2).attempts(1));
    let (gate, other) = (Gate::new(), Gate::new());
    let killed = pool.submit(pass_through, gate.name());
    let arrival = gate.arrival();
    let beside = pool.submit(pass_through, other.name());
    let beside_arrival = other.arrival();
    let behind: Vec<_> = (0..4).map(|_| pool.submit(|()| attempt(), ())).collect();
    killed.kill();
    assert!(matches!(failure(killed), TaskError::Killed));
    drop(beside_arrival);
    assert_eq!(join(beside).unwrap(), 1);
    for handle in behind {
        assert_eq!(join(handle).unwrap(), 1);
    }
    pool.is_whole_without(&[arrival.number]);
    assert_eq!(pool.stats().tasks_retried, 0);
    pool.end();
}

#[test]
fn cancelling_is_in_time_until_the_task_is_started() {
    let pool = Marked::new(1);
    let gate = Gate::new();
    let running = pool.submit(pass_through, gate.name());
    let arrival = gate.arrival();
    let sent = pool.submit(|()| attempt(), ());
    let queued = pool.submit(|()| attempt(), ());
    let last = pool.submit(|()| attempt(), ());
    assert!(!running.cancel());
    assert!(sent.cancel(), "the worker has it and has not begun it");
    assert!(matches!(failure(sent), TaskError::Cancelled));
    assert!(queued.cancel());
    assert!(!queued.cancel(), "it is withdrawn already");
    assert!(matches!(failure(queued), TaskError::Cancelled));
    drop(arrival);
    for handle in [running, last] {
        assert_eq!(join(handle).unwrap(), 1);
    }
    pool.end();
}

#[test]
fn a_task_behind_another_outlives_many_that_are_taken_back() {
    let pool = Marked::new(1);
    // Empty tasks bring the worker's credit up.
    for _ in 0..200 {
        join(pool.submit(|()| (), ())).unwrap();
    }
    let gate = Gate::new();
    let running = pool.submit(pass_through, gate.name());
    let arrival = gate.arrival();
    let behind = pool.submit(|()| attempt(), ());
    for number in 0..500 {
        let taken = pool.submit(|bytes: Vec<u8>| bytes.len(), vec![0; 3_000]);
        assert!(taken.cancel(), "number {number}");
        assert!(matches!(failure(taken), TaskError::Cancelled));
    }
    drop(arrival);
    assert_eq!(join(running).unwrap(), 1);
    assert_eq!(join(behind).unwrap(), 1);
    assert_eq!(pool.stats().workers_died, 0);
    pool.end();
}

#[test]
fn what_waits_behind_a_long_task_is_moved_although_new_tasks_keep_coming() {
    let pool = Marked::new(2);
    // Empty tasks bring the workers' credit up.
    let warm: Vec<_> = (0..2_000).map(|_| pool.submit(|()| (), ())).collect();
    warm.into_iter().for_each(|handle| join(handle).unwrap());
    let gate = Gate::new();
    let running = pool.submit(pass_through, gate.name());
    let arrival = gate.arrival();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let stats = pool.stats();
                if stats.tasks_submitted - stats.tasks_completed < 1_000 {
                    (0..100).for_each(|_| drop(pool.submit(|()| (), ())));
                }
            }
        });
        let behind: Vec<_> = (0..100).map(|_| pool.submit(|()| attempt(), ())).collect();
        for handle in behind {
            assert_eq!(join(handle).unwrap(), 1);
        }
        over.store(true, Ordering::Relaxed);
    });
    drop(arrival);
    assert_eq!(join(running).unwrap(), 1);
    pool.end();
}

#[test]
fn a_pool_that_is_dropped_begins_nothing_more() {
    let pool = Marked::new(1);
    let gate = Gate::new();
    let running = pool.submit(pass_through, gate.name());
    let arrival = gate.arrival();
    let behind = pool.submit(|()| attempt(), ());
    let closer = std::thread::scope(|scope| {
        let closing = scope.spawn(|| pool.shutdown(pannier::Shutdown::Cancel, DEADLINE));
        assert!(matches!(failure(behind), TaskError::Cancelled));
        drop(arrival);
        closing.join().unwrap()
    });
    closer.unwrap();
    assert_eq!(join(running).unwrap(), 1);
    pool.end();
}

// ── scribbling ───────────────────────────────────────────────────────────────

/// Writes nonsense over the words by which this worker tells what it has published.
fn scribble(gate: String) -> u32 {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("proc is mounted");
    let up = maps
        .lines()
        .find_map(|line| line.contains("pannier-up").then_some(line.split_once('-')?.0));
    let start = usize::from_str_radix(up.expect("a worker has it"), 16).expect("an address");
    let words = std::ptr::with_exposed_provenance_mut::<u64>(start);
    for word in 16..512 {
        // SAFETY: in the worker's own, writable map. What the library makes of it is the question.
        unsafe { words.wrapping_add(word).write_volatile(u64::MAX - 1) };
    }
    pass_through(gate)
}

#[test]
fn a_worker_that_scribbles_over_its_words_dies_and_no_other() {
    for is_killed in [false, true] {
        let pool = Marked::new(2);
        let gate = Gate::new();
        let scribbling = pool.submit(scribble, gate.name());
        let arrival = gate.arrival();
        if is_killed {
            scribbling.kill();
            assert!(matches!(failure(scribbling), TaskError::Killed));
        } else {
            // Looking is enough to find it out. Its status is nonsense too, so whatever it ran pays.
            eventually("the task is charged", || {
                assert_eq!(join(pool.submit(|x: u32| x, 5)).unwrap(), 5);
                scribbling.is_finished()
            });
            assert!(matches!(failure(scribbling), TaskError::WorkerDied(_)));
        }
        drop(arrival);
        assert_eq!(join(pool.submit(|x: u32| x, 6)).unwrap(), 6);
        pool.end();
    }
}

// ── together ─────────────────────────────────────────────────────────────────

#[test]
fn workers_that_die_together_lose_nothing() {
    for workers in 1..=16 {
        let mut pool = Marked::new(workers);
        let gate = Gate::new();
        let running: Vec<_> =
            (0..workers).map(|_| pool.submit(pass_through, gate.name())).collect();
        let arrivals: Vec<_> = (0..workers).map(|_| gate.arrival()).collect();
        let behind: Vec<_> = (0..3 * workers).map(|_| pool.submit(|()| attempt(), ())).collect();
        let dead: Vec<u32> = arrivals.iter().map(|arrival| arrival.number).collect();
        for &pid in &dead {
            signal(pid, Signal::KILL);
        }
        for _ in 0..workers {
            drop(gate.arrival());
        }
        for handle in running {
            assert_eq!(join(handle).unwrap(), 2, "of {workers}");
        }
        for handle in behind {
            assert_eq!(join(handle).unwrap(), 1, "of {workers}");
        }
        pool.is_whole_without(&dead);
        pool.end();
    }
}

#[test]
fn idle_workers_that_die_together_are_all_replaced() {
    let mut pool = Marked::new(4);
    let dead = pool.worker_pids();
    for &pid in &dead {
        signal(pid, Signal::KILL);
    }
    let handles: Vec<_> = (0..40).map(|_| pool.submit(|()| attempt(), ())).collect();
    for handle in handles {
        assert_eq!(join(handle).unwrap(), 1);
    }
    pool.is_whole_without(&dead);
    pool.end();
}

// ── what workers start ───────────────────────────────────────────────────────

fn start_sleeping() -> u32 {
    quiet("sleep", &["1000"]).spawn().expect("sleep is installed").id()
}

#[test]
fn a_worker_that_dies_takes_its_children_with_it() {
    for mishap in [Mishap::Exit(0), Mishap::Abort, Mishap::Kill] {
        let pool = Marked::build(Pool::builder().workers(1).attempts(1));
        let gate = Gate::new();
        let leave_a_child = |(gate, mishap): (String, Mishap)| {
            tell(&gate, start_sleeping());
            mishap.happen().expect("the worker dies");
        };
        let handle = pool.submit(leave_a_child, (gate.name(), mishap));
        let arrival = gate.arrival();
        let child = arrival.number;
        assert!(!is_dead(child));
        drop(arrival);
        assert!(matches!(failure(handle), TaskError::WorkerDied(_)));
        eventually("the child of the worker is dead", || is_dead(child));
        pool.end();
    }
}

#[test]
fn a_killed_task_takes_its_children_with_it() {
    let pool = Marked::new(1);
    let gate = Gate::new();
    let handle = pool.submit(|gate: String| tell(&gate, start_sleeping()), gate.name());
    let arrival = gate.arrival();
    handle.kill();
    assert!(matches!(failure(handle), TaskError::Killed));
    eventually("the child of the worker is dead", || is_dead(arrival.number));
    pool.end();
}

#[test]
fn a_pool_that_is_dropped_takes_the_children_of_its_workers_with_it() {
    let pool = Marked::new(1);
    let child = join(pool.submit(|()| start_sleeping(), ())).unwrap();
    assert!(!is_dead(child));
    pool.end();
    eventually("the child of the worker is dead", || is_dead(child));
}

#[test]
fn a_pool_that_is_dropped_while_a_worker_dies_leaves_nothing() {
    for _ in 0..10 {
        let pool = Marked::new(2);
        let handles: Vec<JoinHandle<()>> =
            (0..4).map(|_| pool.submit(|()| -> () { kill_oneself() }, ())).collect();
        pool.end();
        for handle in handles {
            // Whichever was first; what counts is that there is an answer.
            let error = failure(handle);
            let known = matches!(
                error,
                TaskError::WorkerDied(_) | TaskError::Cancelled | TaskError::Killed
            );
            assert!(known, "{error:?}");
        }
    }
}

#[test]
fn a_busy_pool_is_dropped_in_bounded_time() {
    let pool = Marked::new(2);
    let handles: Vec<JoinHandle<()>> = (0..6)
        .map(|_| {
            pool.submit(
                |()| -> () {
                    loop {
                        std::thread::park()
                    }
                },
                (),
            )
        })
        .collect();
    let began = std::time::Instant::now();
    pool.end();
    assert!(began.elapsed() < DEADLINE / 2, "it took {:?}", began.elapsed());
    for handle in handles {
        assert!(matches!(failure(handle), TaskError::Killed | TaskError::Cancelled));
    }
}

#[test]
fn the_exit_of_a_child_that_a_task_started_is_the_tasks_to_see() {
    let pool = Marked::new(1);
    let run = |()| {
        let status = quiet("sh", &["-c", "kill -9 $$"]).status();
        status.expect("sh is installed").signal()
    };
    assert_eq!(join(pool.submit(run, ())).unwrap(), Some(9));
    pool.end();
}
