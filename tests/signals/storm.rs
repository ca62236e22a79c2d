//! Signals that interrupt every system call, in all threads of the parent and of the workers.

use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pannier::{Buffer, Pool};
use rustix::process::Signal;

use crate::common::{join, signal_if_there};
use crate::runner::say;

/// Tries of a task: workers are killed too, and several kills may hit the same task.
const ATTEMPTS: u32 = 20;
const EVERY: Duration = Duration::from_micros(100);

/// The part.
pub(crate) fn withstand() {
    raise();
    let pool = Pool::builder().workers(2).attempts(ATTEMPTS).build().expect("workers start");
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let works = [
            scope.spawn(|| (0..600).for_each(|number| small(&pool, number))),
            scope.spawn(|| (0..100).for_each(|len| large(&pool, 1 + 500 * len))),
            scope.spawn(|| (0..3).for_each(|_| map(&pool))),
        ];
        scope.spawn(|| {
            // Starts are interrupted as well.
            while !over.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(100));
                if let Some(&pid) = pool.worker_pids().first() {
                    signal_if_there(pid, Signal::KILL);
                }
            }
        });
        let ended: Vec<bool> = works.into_iter().map(|work| work.join().is_ok()).collect();
        over.store(true, Ordering::Relaxed);
        assert_eq!(ended, [true; 3], "a result was wrong");
    });
    drop(pool);
    say("ready");
}

fn small(pool: &Pool, number: u64) {
    let square = |number: u64| {
        raise();
        number * number
    };
    assert_eq!(join(pool.submit(square, number)).expect("a task"), number * number);
}

fn large(pool: &Pool, len: usize) {
    let double = |numbers: Buffer<u64>| {
        raise();
        let mut doubled = pannier::alloc::<u64>(numbers.len()).expect("memory");
        doubled.iter_mut().zip(&numbers).for_each(|(to, from)| *to = from * 2);
        doubled.freeze()
    };
    let mut numbers = pool.alloc::<u64>(len).expect("memory");
    numbers.fill(7);
    let doubled = join(pool.submit(double, numbers.freeze())).expect("a task");
    assert!(doubled.len() == len && doubled.iter().all(|&number| number == 14));
}

fn map(pool: &Pool) {
    let sum: u64 = pool.map(|number: u64| number + 1, 0..5_000).map(|sum| sum.expect("one")).sum();
    assert_eq!(sum, (1..=5_000).sum());
}

/// From now on all threads of this process are interrupted.
fn raise() {
    static RAISED: Once = Once::new();
    RAISED.call_once(|| {
        extern "C" fn nothing(_: libc::c_int) {}
        let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
        let nothing: extern "C" fn(libc::c_int) = nothing;
        // SAFETY: zeros are a valid `sigaction`: no flags, so nothing is restarted.
        unsafe { action.assume_init_mut() }.sa_sigaction = nothing as libc::sighandler_t;
        // SAFETY: initialised above, and the function does nothing.
        unsafe { libc::sigaction(libc::SIGUSR1, action.as_ptr(), std::ptr::null_mut()) };
        std::thread::spawn(|| {
            loop {
                interrupt_all();
                std::thread::sleep(EVERY);
            }
        });
    });
}

fn interrupt_all() {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let threads = threads.filter_map(|thread| thread.file_name().to_str()?.parse().ok());
    for thread in threads {
        let (process, thread): (u32, u32) = (std::process::id(), thread);
        // SAFETY: the call takes numbers; a thread that has ended meanwhile is an error.
        unsafe { libc::syscall(libc::SYS_tgkill, process, thread, libc::SIGUSR1) };
    }
}
