//! The five cases. Each takes the start method of the pools that it builds, and panics if it fails.

use std::hint::black_box;
use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use pannier::{Buffer, Data, Error, Function, JoinHandle, Pool, Shutdown, StartMethod, TaskError};
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
use rustix::process::{Pid, Signal, kill_process};

use crate::fork::{Checks, Fork, fork};
use crate::numbers;

pub(crate) type Case = (&'static str, fn(StartMethod));

pub(crate) const CASES: [Case; 5] = [
    ("a lock is held by another thread", lock_is_held),
    ("OpenMP here, in workers, after fork", openmp),
    ("BLAS here, in workers, after fork", blas),
    ("a pool that was used, in a forked child", used_pool),
    ("a pool that is built in a forked child", cold_pool),
];

/// Times that each thing is done, since what hangs does not hang every time.
const ROUNDS: usize = 5;

fn build(method: StartMethod) -> pannier::Result<Pool> {
    let builder = Pool::builder().workers(2).start_method(method);
    match method {
        StartMethod::ForkServer => builder.env(BLAS_THREADS, "1").build(),
        _ => builder.build(),
    }
}

/// OpenBLAS starts threads when it is loaded, which a fork server must not have. By this it starts them
/// later, in the workers.
const BLAS_THREADS: &str = "OPENBLAS_NUM_THREADS";

/// A fork server that has the threads of OpenBLAS is refused, and the error says what to do.
pub(crate) fn is_refused_with_its_threads() -> bool {
    if !numbers::has_blas() {
        return true;
    }
    let builder = Pool::builder().workers(2).start_method(StartMethod::ForkServer);
    match builder.env(BLAS_THREADS, "2").build() {
        Err(Error::StartFailed(failed)) => failed.to_string().contains(BLAS_THREADS),
        _ => false,
    }
}

/// Whether tasks come back, also from a worker that has just been born.
fn works(pool: &Pool, work: impl Function<(), bool>) -> bool {
    let all_right = || {
        let handles: Vec<_> = (0..8).map(|_| pool.submit(work, ())).collect();
        handles.into_iter().all(|handle| handle.join().is_ok_and(|right| right))
    };
    let is_right = all_right();
    let killed = pool.worker_pids().first().is_some_and(|&pid| kill(pid));
    is_right && killed && all_right()
}

fn kill(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| kill_process(pid, Signal::KILL).is_ok())
}

// ── a lock is held by another thread ─────────────────────────────────────────

static OWN_LOCK: Mutex<u64> = Mutex::new(0);

/// What hangs where a lock was copied that nobody will ever give up.
fn take_locks(_: ()) -> bool {
    let printed = writeln!(std::io::stdout(), "a task prints").is_ok();
    let counted = OWN_LOCK.lock().is_ok_and(|mut count| {
        *count += 1;
        *count > 0
    });
    let allocated = black_box(vec![1_u8; 300_000]).len() == 300_000;
    let has_path = std::env::var_os("PATH").is_some();
    let started = std::thread::spawn(|| 1).join().is_ok_and(|one| one == 1);
    printed && counted && allocated && has_path && started
}

fn lock_is_held(method: StartMethod) {
    let over = AtomicBool::new(false);
    let (held, is_held) = channel();
    std::thread::scope(|scope| {
        // Two locks are held all the time, and those of the allocator most of it.
        scope.spawn(|| {
            let out = std::io::stdout().lock();
            let own = OWN_LOCK.lock().expect("nobody has panicked with it");
            held.send(()).expect("somebody listens");
            while !over.load(Ordering::Relaxed) {
                black_box(vec![1_u8; 200_000]);
            }
            drop((out, own));
        });
        is_held.recv().expect("the thread has them");
        let passed = std::panic::catch_unwind(|| {
            for _ in 0..ROUNDS {
                let pool = build(method).expect("workers start");
                assert!(works(&pool, take_locks), "tasks take locks");
                fork_among_submitters(&pool, method);
            }
        });
        over.store(true, Ordering::Relaxed);
        passed.expect("nothing hangs");
    });
}

/// The host forks while two threads are in the midst of operations on the pool.
fn fork_among_submitters(pool: &Pool, method: StartMethod) {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let busy = || {
            while !over.load(Ordering::Relaxed) {
                let handles: Vec<_> = (0..50).map(|_| pool.submit(|x: u32| x, 1)).collect();
                assert!(handles.into_iter().all(|handle| handle.join().is_ok_and(|x| x == 1)));
                drop(pool.alloc::<u8>(5_000));
            }
        };
        let threads = [scope.spawn(busy), scope.spawn(busy)];
        for _ in 0..ROUNDS {
            match fork() {
                Fork::Parent(child) => child.ends_well(),
                Fork::Child(mut checks) => {
                    refuses(&mut checks, pool);
                    builds_its_own(&mut checks, method, take_locks);
                    checks.over()
                }
            }
        }
        over.store(true, Ordering::Relaxed);
        for thread in threads {
            thread.join().expect("no task is lost");
        }
    });
}

// ── the threads of other libraries ───────────────────────────────────────────

fn openmp(method: StartMethod) {
    in_all_places(method, numbers::openmp, false);
}

fn blas(method: StartMethod) {
    // OpenBLAS prepares its threads for fork, so the child may use it too.
    in_all_places(method, numbers::blas, true);
}

/// Before there is a pool, beside it, in its workers, and after fork: in the workers of the child, and
/// in the child itself if the library permits that.
fn in_all_places(method: StartMethod, work: impl Function<(), bool>, in_child: bool) {
    assert!(work(()), "before there is a pool");
    for _ in 0..ROUNDS {
        let pool = build(method).expect("workers start");
        std::thread::scope(|scope| {
            let beside = scope.spawn(move || (0..10).all(|_| work(())));
            assert!(works(&pool, work), "in workers");
            assert!(beside.join().is_ok_and(|right| right), "beside the pool");
        });
        match fork() {
            Fork::Parent(child) => child.ends_well(),
            Fork::Child(mut checks) => {
                checks.holds(!in_child || work(()));
                refuses(&mut checks, &pool);
                builds_its_own(&mut checks, method, work);
                drop(pool);
                checks.over()
            }
        }
        assert!(work(()) && works(&pool, work), "after the fork");
    }
}

/// What becomes of a forked child that uses OpenMP itself after its parent has: not ours to change,
/// and shown because it tells that these cases would notice.
pub(crate) fn openmp_itself() -> &'static str {
    assert!(numbers::openmp(()));
    match fork() {
        Fork::Parent(child) => match child.verdict() {
            None => "hangs, as GNU OpenMP does",
            Some(0) => "does not hang",
            Some(_) => "fails",
        },
        Fork::Child(mut checks) => {
            checks.holds(numbers::openmp(()));
            checks.over()
        }
    }
}

// ── the child ────────────────────────────────────────────────────────────────

fn is_forked<R>(result: Option<Result<R, TaskError>>) -> bool {
    matches!(result, Some(Err(TaskError::ForkedHandle)))
}

/// Every operation on a pool of the parent's says whose it is.
fn refuses(checks: &mut Checks, pool: &Pool) {
    let handle = pool.submit(|x: u32| x, 1);
    checks.holds(handle.is_finished() && !handle.cancel());
    handle.kill();
    checks.holds(is_forked(Some(handle.join())));
    checks.holds(is_forked(pool.map(|x: u32| x, 0..3).next()));
    checks.holds(matches!(pool.alloc::<u8>(100), Err(Error::ForkedHandle)));
    checks.holds(pool.worker_pids().is_empty());
    let shutdown = pool.shutdown(Shutdown::Kill, Duration::ZERO);
    checks.holds(matches!(shutdown, Err(Error::ForkedHandle)));
}

fn refuses_task<R: Data>(checks: &mut Checks, mut handle: JoinHandle<R>) {
    checks.holds(handle.is_finished() && !handle.cancel());
    handle.kill();
    checks.holds(is_forked(handle.try_join()));
    checks.holds(is_forked(handle.join_timeout(Duration::ZERO)));
}

/// The child may have a pool of its own, which leaves nothing behind either.
fn builds_its_own(checks: &mut Checks, method: StartMethod, work: impl Function<(), bool>) {
    let Ok(pool) = build(method) else { return checks.holds(false) };
    checks.holds(works(&pool, work));
    let data: Buffer<u64> = vec![3; 50_000].into();
    let sum = pool.submit(|data: Buffer<u64>| data.iter().sum::<u64>(), data).join();
    checks.holds(sum.is_ok_and(|sum| sum == 150_000));
    drop(pool);
    // It had no other children.
    let left = rustix::process::wait(rustix::process::WaitOptions::NOHANG);
    checks.holds(left.is_err_and(|error| error == rustix::io::Errno::CHILD));
}

/// The child maps something where the parent's buffer was, and lets go of the buffer: what it mapped
/// stays.
fn hole_is_the_childs(checks: &mut Checks, data: Buffer<u64>) {
    const PAGE: usize = 4096;
    let first = data.as_ptr();
    let start = first.with_addr(first.addr() / PAGE * PAGE).cast_mut().cast();
    let (prot, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
    let len = size_of_val::<[u64]>(&data).next_multiple_of(PAGE);
    // SAFETY: the kernel refuses if anything is mapped there.
    let map = unsafe { mmap_anonymous(start, len, prot, flags | MapFlags::FIXED_NOREPLACE) };
    checks.holds(map.is_ok_and(|map| map == start));
    // SAFETY: the map of the lines above, which is as long and zeroed, and which nobody else knows.
    let own = unsafe { std::slice::from_raw_parts_mut(start.cast::<u8>(), len) };
    own.fill(0xAB);
    drop(data);
    checks.holds(black_box(own).iter().all(|&byte| byte == 0xAB));
}

fn used_pool(method: StartMethod) {
    for _ in 0..ROUNDS {
        assert!(numbers::both(()));
        let pool = build(method).expect("workers start");
        assert!(works(&pool, numbers::both));
        let mut data = pool.alloc::<u64>(100_000).expect("memory");
        data.fill(7);
        let data = data.freeze();
        let build_one = |()| pannier::alloc_zeroed::<u64>(100_000).expect("memory").freeze();
        let result = pool.submit(build_one, ()).join().expect("a buffer");
        let finished = pool.submit(|x: u32| x + 1, 1);
        let unfinished = pool.submit(|data: Buffer<u64>| data.iter().sum::<u64>(), data.clone());
        let pids = pool.worker_pids();
        let before = pool.stats().segments_live;
        match fork() {
            Fork::Parent(child) => child.ends_well(),
            Fork::Child(mut checks) => {
                refuses(&mut checks, &pool);
                refuses_task(&mut checks, finished);
                refuses_task(&mut checks, unfinished);
                hole_is_the_childs(&mut checks, data);
                hole_is_the_childs(&mut checks, result);
                drop(pool);
                builds_its_own(&mut checks, method, numbers::blas);
                checks.over()
            }
        }
        assert_eq!(finished.join().expect("the parent's task"), 2);
        assert_eq!(unfinished.join().expect("the parent's task"), 700_000);
        assert!(data.iter().all(|&item| item == 7) && result.iter().all(|&item| item == 0));
        assert_eq!((pool.worker_pids(), pool.stats().segments_live), (pids, before));
        assert!(works(&pool, numbers::both));
    }
}

fn cold_pool(method: StartMethod) {
    assert!(numbers::both(()));
    for round in 0..ROUNDS {
        // Its parent has one that was never used, or none at all.
        let unused = (round % 2 == 1).then(|| build(method).expect("workers start"));
        match fork() {
            Fork::Parent(child) => child.ends_well(),
            Fork::Child(mut checks) => {
                builds_its_own(&mut checks, method, numbers::both);
                unused.iter().for_each(|pool| refuses(&mut checks, pool));
                drop(unused);
                builds_its_own(&mut checks, method, numbers::both);
                checks.over()
            }
        }
        assert!(unused.is_none_or(|pool| works(&pool, numbers::both)));
    }
}
