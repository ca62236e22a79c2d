//! A host that forks: the child has no part in its parent's pools, and the parent never notices.
//!
//! The child of a process with threads may do little (fork(2)); this one asks the library what it
//! must answer there, and leaves without running anything that the test program registered.
#![expect(unsafe_code, reason = "forks")]

#[expect(dead_code, reason = "each test program uses its part")]
mod common;

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::{
    DEADLINE, Gate, Marked, eventually, exists, join, pass_through, shared_maps, watchdog,
};
use pannier::{Buffer, Error, JoinHandle, Pool, Shutdown, TaskError};
use rustix::process::{Pid, Signal, WaitOptions, waitpid};

pannier::premain!();

/// Runs checks in a forked child: how many of them held, when all did.
#[track_caller]
fn in_forked_child(checks: impl FnOnce(&mut Checks)) {
    // SAFETY: the child runs the checks, which take no lock of this process's but those of the
    // allocator, which glibc prepares for that, and ends without returning.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let mut done = Checks(0);
        let sound = catch_unwind(AssertUnwindSafe(|| checks(&mut done))).is_ok();
        let code = if sound { 0 } else { done.0 + 1 };
        // SAFETY: ends this process, without the exit handlers that are its parent's.
        unsafe { libc::_exit(code) };
    }
    let pid = Pid::from_raw(pid).expect("a child");
    let mut ended = None;
    let deadline = Instant::now() + DEADLINE;
    while ended.is_none() && Instant::now() < deadline {
        ended = waitpid(Some(pid), WaitOptions::NOHANG).expect("it is our child");
        std::thread::sleep(Duration::from_millis(1));
    }
    if ended.is_none() {
        let _gone = rustix::process::kill_process(pid, Signal::KILL);
        let _reaped = waitpid(Some(pid), WaitOptions::empty());
        panic!("the forked child hangs");
    }
    let code = ended.and_then(|(_, status)| status.exit_status());
    assert_eq!(code, Some(0), "the number of the check that failed");
}

/// Counts the checks that held, so that the parent can tell which did not.
struct Checks(i32);

impl Checks {
    fn holds(&mut self, holds: bool) {
        // Without the panic hook, which would print through locks that may be held for ever here.
        if !holds {
            std::panic::resume_unwind(Box::new(()));
        }
        self.0 += 1;
    }
}

fn is_forked<R>(result: Option<Result<R, TaskError>>) -> bool {
    matches!(result, Some(Err(TaskError::ForkedHandle)))
}

const NOW: Duration = Duration::ZERO;

/// What every operation on a pool of the parent's answers.
fn refuses_everything(checks: &mut Checks, pool: &Pool) {
    let handle = pool.submit(|x: u32| x, 1);
    checks.holds(handle.is_finished());
    checks.holds(!handle.cancel());
    handle.kill();
    checks.holds(is_forked(Some(handle.join())));
    checks.holds(is_forked(pool.map(|x: u32| x, 0..3).next()));
    checks.holds(is_forked(pool.map_with(5_u32, |c, x: u32| c + x, 0..3).next()));
    checks.holds(matches!(pool.alloc::<u8>(100), Err(Error::ForkedHandle)));
    checks.holds(matches!(pool.alloc_zeroed::<u8>(100), Err(Error::ForkedHandle)));
    checks.holds(pool.worker_pids().is_empty());
    let stats = pool.stats();
    checks.holds((stats.tasks_submitted, stats.workers_alive, stats.segments_live) == (0, 0, 0));
    let shutdown = pool.shutdown(Shutdown::Kill, NOW);
    checks.holds(matches!(shutdown, Err(Error::ForkedHandle)));
}

#[test]
fn a_forked_child_is_refused_and_the_parent_goes_on() {
    let pool = Marked::new(2);
    let pids = pool.worker_pids();
    let gate = Gate::new();
    let mut running = pool.submit(pass_through, gate.name());
    let arrival = gate.arrival();
    let mut finished = pool.submit(|x: u32| x + 1, 1);
    eventually("a task is finished", || finished.is_finished());
    let mut map = pool.map(|x: u32| x + 1, 0..100).chunk_size(1).in_flight(4);
    assert_eq!(map.next().unwrap().unwrap(), 1);

    in_forked_child(|checks| {
        refuses_everything(checks, &pool);
        checks.holds(running.is_finished() && !running.cancel());
        running.kill();
        checks.holds(is_forked(running.try_join()));
        checks.holds(is_forked(running.join_timeout(NOW)));
        checks.holds(is_forked(finished.try_join()));
        checks.holds(is_forked(map.next()));
        checks.holds(map.next().is_none());
    });

    drop(arrival);
    assert_eq!(join(running).unwrap(), 1);
    assert_eq!(join(finished).unwrap(), 2);
    assert_eq!(map.map(Result::unwrap).sum::<u32>(), (2..=100).sum());
    assert_eq!(pool.worker_pids(), pids);
    pool.end();
}

#[test]
fn what_a_forked_child_drops_stays_the_parents() {
    let pool = Marked::new(1);
    let pids = pool.worker_pids();
    let mut data = pool.alloc::<u64>(100_000).unwrap();
    data.fill(7);
    let data = data.freeze();
    let build = |()| pannier::alloc_zeroed::<u64>(100_000).expect("memory").freeze();
    let result = join(pool.submit(build, ())).unwrap();
    let gate = Gate::new();
    let running = pool.submit(pass_through, gate.name());
    let arrival = gate.arrival();
    let before = pool.stats();

    // What is moved into the child's checks is dropped there, in its copy of this memory, and is
    // forgotten here only by the fork: hence the wrappers.
    let (pool_copy, parts) = (std::mem::ManuallyDrop::new(pool), [data, result]);
    let parts = std::mem::ManuallyDrop::new(parts);
    let running = std::mem::ManuallyDrop::new(running);
    in_forked_child(|checks| {
        drop(std::mem::ManuallyDrop::into_inner(read_again(&running)));
        drop(std::mem::ManuallyDrop::into_inner(read_again(&parts)));
        drop(std::mem::ManuallyDrop::into_inner(read_again(&pool_copy)));
        checks.holds(shared_maps().is_empty());
    });
    let pool = std::mem::ManuallyDrop::into_inner(pool_copy);
    let [data, result] = std::mem::ManuallyDrop::into_inner(parts);
    let running = std::mem::ManuallyDrop::into_inner(running);

    assert!(pids.iter().all(|&pid| exists(pid)));
    assert_eq!(pool.stats().blocks_live, before.blocks_live);
    assert!(data.iter().all(|&item| item == 7) && result.iter().all(|&item| item == 0));
    drop(arrival);
    assert_eq!(join(running).unwrap(), 1);
    let sum = |data: Buffer<u64>| data.iter().sum::<u64>();
    assert_eq!(join(pool.submit(sum, data.clone())).unwrap(), 700_000);
    drop((data, result));
    eventually("no block is in use", || pool.stats().blocks_live == 0);
    assert_eq!(pool.worker_pids(), pids);
    pool.end();
}

#[test]
fn what_a_forked_child_maps_where_the_pools_memory_was_stays_its_own() {
    const OWN: u8 = 0xA5;
    let pool = Marked::new(1);
    let mut data = pool.alloc::<u64>(100_000).unwrap();
    data.fill(7);
    let data = data.freeze();
    let build = |()| pannier::alloc_zeroed::<u64>(100_000).expect("memory").freeze();
    let result = join(pool.submit(build, ())).unwrap();
    let holes = shared_maps();
    let is_in_hole =
        |buffer: &Buffer<u64>| holes.iter().any(|hole| hole.contains(&buffer.as_ptr().addr()));
    assert!(is_in_hole(&data) && is_in_hole(&result));

    let parts = std::mem::ManuallyDrop::new((pool, data, result));
    in_forked_child(|checks| {
        for hole in &holes {
            let Some(own) = map_at(hole) else { return checks.holds(false) };
            own.fill(OWN);
        }
        drop(std::mem::ManuallyDrop::into_inner(read_again(&parts)));
        for hole in &holes {
            // SAFETY: mapped above, readable, and nobody else's.
            let own = unsafe { std::slice::from_raw_parts(address(hole).cast_const(), hole.len()) };
            checks.holds(own.iter().all(|&byte| byte == OWN));
        }
    });
    let (pool, data, result) = std::mem::ManuallyDrop::into_inner(parts);
    assert!(data.iter().all(|&item| item == 7) && result.iter().all(|&item| item == 0));
    drop((data, result));
    eventually("no block is in use", || pool.stats().blocks_live == 0);
    pool.end();
}

fn address(hole: &Range<usize>) -> *mut u8 {
    std::ptr::with_exposed_provenance_mut(hole.start)
}

/// Memory of this process's own at a place where nothing is mapped; `None` if something is.
fn map_at(hole: &Range<usize>) -> Option<&'static mut [u8]> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
    let rights = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new map, which replaces none.
    let start = unsafe { libc::mmap(address(hole).cast(), hole.len(), rights, flags, -1, 0) };
    // SAFETY: mapped in the line above, for good, and known to nobody else.
    (start.addr() == hole.start)
        .then(|| unsafe { std::slice::from_raw_parts_mut(start.cast(), hole.len()) })
}

/// The same value once more, as a forked child has it.
fn read_again<T>(value: &T) -> T {
    // SAFETY: called in a forked child, where nobody else ever drops this copy: the process ends by
    // `_exit` when the checks are done.
    unsafe { std::ptr::read(value) }
}

#[test]
fn a_fork_while_another_thread_submits_hangs_nowhere() {
    let _watch = watchdog();
    let pool = Marked::new(1);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let busy = || {
            let mut handles: Vec<JoinHandle<u32>> = Vec::new();
            let mut sum = 0;
            while !over.load(Ordering::Relaxed) {
                handles.push(pool.submit(|x: u32| x, 1));
                if handles.len() == 100 {
                    sum += handles.drain(..).map(|h| join(h).expect("a number")).sum::<u32>();
                }
                drop(pool.alloc::<u8>(5_000));
            }
            sum + handles.into_iter().map(|h| join(h).expect("a number")).sum::<u32>()
        };
        let threads = [scope.spawn(busy), scope.spawn(busy)];
        let forks = catch_unwind(AssertUnwindSafe(|| {
            for _ in 0..30 {
                in_forked_child(|checks| refuses_everything(checks, &pool));
            }
        }));
        over.store(true, Ordering::Relaxed);
        let submitted: u32 =
            threads.map(|thread| thread.join().expect("no task is lost")).iter().sum();
        forks.expect("no child hangs or is let in");
        assert_eq!(pool.stats().tasks_completed, u64::from(submitted));
    });
    pool.end();
}

#[test]
fn a_task_that_forks_does_not_disturb_its_worker() {
    fn fork_and_wait(data: Buffer<u64>) -> (u32, i32, u64) {
        let mut built = pannier::alloc::<u64>(1_000).expect("memory");
        built.fill(1);
        // SAFETY: as in `in_forked_child`; the child only looks, and ends.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            let stranger = pannier::worker().is_none();
            // In the child the pool's maps are not there (and are not to be read).
            let left = shared_maps().len();
            // SAFETY: as in `in_forked_child`.
            unsafe { libc::_exit(if stranger { i32::try_from(left).unwrap_or(99) } else { 100 }) };
        }
        let pid = Pid::from_raw(pid).expect("a child");
        let ended = waitpid(Some(pid), WaitOptions::empty()).expect("it is our child");
        let code = ended.and_then(|(_, status)| status.exit_status()).unwrap_or(101);
        (std::process::id(), code, data.iter().chain(&built.freeze()).sum())
    }
    let pool = Marked::new(1);
    let pids = pool.worker_pids();
    for _ in 0..5 {
        let data: Buffer<u64> = vec![2; 1_000].into();
        let (pid, code, sum) = join(pool.submit(fork_and_wait, data)).unwrap();
        assert_eq!((pid, code, sum), (pids[0], 0, 3_000));
    }
    assert_eq!(pool.worker_pids(), pids);
    eventually("no block is in use", || pool.stats().blocks_live == 0);
    pool.end();
}

#[test]
fn a_child_that_a_task_forked_and_left_ends_with_the_worker() {
    fn leave_a_child(_: ()) -> u32 {
        // SAFETY: as in `in_forked_child`; the child only waits.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            loop {
                // SAFETY: waits for a signal, and touches nothing.
                unsafe { libc::pause() };
            }
        }
        pid.unsigned_abs()
    }
    let pool = Marked::new(1);
    let mut soonest = Duration::MAX;
    for _ in 0..5 {
        let child = join(pool.submit(leave_a_child, ())).unwrap();
        assert!(exists(child));
        // It has a copy of the worker's socket: that must not hide the worker's death.
        let (dead, died) = (pool.worker_pids()[0], pool.stats().workers_died);
        let killed = Instant::now();
        common::signal(dead, Signal::KILL);
        eventually("the death is seen", || pool.stats().workers_died > died);
        soonest = soonest.min(killed.elapsed());
        eventually("the worker is replaced", || pool.worker_pids().iter().any(|&pid| pid != dead));
        assert_eq!(join(pool.submit(|x: u32| x, 5)).unwrap(), 5);
        eventually("the child is dead", || common::is_dead(child));
    }
    // The machine may be busy with other tests, but not always just then.
    assert!(soonest < Duration::from_millis(100), "a death was seen after {soonest:?}");
    pool.end();
}

/// A pool of the child's, which works.
fn own_pool(checks: &mut Checks) -> Pool {
    let own = Pool::builder().workers(1).build();
    checks.holds(own.is_ok());
    let own = own.expect("it was checked");
    checks.holds(own.submit(|x: u32| x + 1, 1).join().is_ok_and(|sum| sum == 2));
    own
}

/// fork(2) leaves a lock of the dynamic linker's as it is.
#[test]
fn a_forked_child_builds_a_pool_whatever_threads_of_its_parent_ask_the_linker() {
    extern "C" fn look(_: *mut libc::dl_phdr_info, _: usize, _: *mut libc::c_void) -> i32 {
        0
    }
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let ask = || {
            while !over.load(Ordering::Relaxed) {
                // SAFETY: the function is what the call wants, and looks at nothing.
                unsafe { libc::dl_iterate_phdr(Some(look), std::ptr::null_mut()) };
            }
        };
        scope.spawn(ask);
        scope.spawn(ask);
        let forks = AssertUnwindSafe(|| {
            for _ in 0..10 {
                in_forked_child(|checks| drop(own_pool(checks)));
            }
        });
        let passed = catch_unwind(forks);
        over.store(true, Ordering::Relaxed);
        assert!(passed.is_ok(), "see above");
    });
}

#[test]
fn a_forked_child_builds_a_pool_of_its_own() {
    let pool = Marked::new(1);
    in_forked_child(|checks| {
        let own = own_pool(checks);
        checks.holds(is_forked(Some(pool.submit(|x: u32| x + 1, 1).join())));
        drop(own);
        checks.holds(common::children().is_empty());
    });
    assert_eq!(join(pool.submit(|x: u32| x, 5)).unwrap(), 5);
    pool.end();
}
