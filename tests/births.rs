//! Workers that are copies, of a fork server or of the program itself, and workers of programs that are not
//! where they were: they have what they should, and end with the program.
//!
//! What all start methods have in common is in `parent.rs` and `signals.rs`.
//!
//! A program without the test harness, as `parent.rs` is.

#![expect(unsafe_code, reason = "ignores children, and has workers made by fork")]

#[expect(dead_code, reason = "each test program uses its part")]
mod common;
#[path = "common/family.rs"]
mod family;
#[path = "common/play.rs"]
mod play;
#[expect(dead_code, reason = "only the look for files is used")]
#[path = "../examples/parent/rounds.rs"]
mod rounds;
#[expect(dead_code, reason = "each test program uses its part")]
#[path = "common/runner.rs"]
mod runner;

use std::io::Write;
use std::process::Command;
use std::sync::OnceLock;

use common::{eventually, processes, signal, state, stop};
use family::{ends_when_killed, parent, refused};
use pannier::{ExitStatus, Pool, PoolBuilder, StartFailure, StartMethod, TaskError};
use play::{PART, Play, this_program};
use runner::{Test, say};
use rustix::process::{Signal, WaitOptions};

const TESTS: [Test; 10] = [
    ("forked_workers_and_their_children_end_with_their_parent", || {
        ends_when_killed("forking parent");
    }),
    ("stopped_forked_workers_end_with_their_parent_whoever_inherits_them", stopped_and_inherited),
    ("a_stopped_fork_server_ends_with_its_parent_and_so_do_its_workers", stopped_server),
    ("a_parent_that_dies_while_its_fork_server_starts_leaves_nobody", end_while_preloading),
    ("workers_that_are_copies_of_the_program_end_with_it", || ends_when_killed("copied parent")),
    ("workers_that_are_copies_have_what_the_program_had_and_not_its_end", copies),
    ("a_pool_whose_zygote_died_goes_on_until_it_needs_another_worker", zygote_dies),
    ("a_zygote_outlives_a_pool_that_grows_and_shrinks_at_once", grow_and_shrink),
    ("what_is_preloaded_is_printed_once", preload_prints),
    ("a_program_that_a_loader_started_is_told_so", through_loader),
];

fn main() {
    match std::env::var(PART) {
        Ok(part) => play(&part),
        Err(_) => runner::run(&TESTS),
    }
}

// ── the parts ────────────────────────────────────────────────────────────────

fn play(part: &str) {
    pannier::init();
    let forking = Pool::builder().start_method(StartMethod::ForkServer);
    match part {
        "forking parent" => parent(forking),
        "copied parent" => parent(copying()),
        "parent of a server that never gets ready" => {
            let waits = |()| {
                say("ready");
                loop {
                    std::thread::park();
                }
            };
            refused(&forking.workers(2).preload(waits).build());
        }
        "through a loader" => refused(&Pool::builder().workers(2).build()),
        "copies" => play_copies(),
        "zygote dies" => play_zygote_dies(),
        "grow and shrink" => play_grow_and_shrink(),
        "preload prints" => {
            let whispers = |()| std::io::stdout().write_all(b"loaded ").expect("a pipe");
            let pool = forking.workers(2).preload(whispers).build().expect("workers start");
            drop(pool);
            say("once");
        }
        other => panic!("no such part: {other}"),
    }
}

fn copying() -> PoolBuilder {
    // SAFETY: this part has one thread, and nothing that cannot be copied.
    unsafe { Pool::builder().fork() }
}

static LOADED: OnceLock<u32> = OnceLock::new();

/// What a program has registered for its end.
extern "C" fn farewell() {
    say("farewell");
}

fn play_copies() {
    LOADED.set(std::process::id()).expect("once");
    // SAFETY: the function lives as long as the program.
    assert_eq!(unsafe { libc::atexit(farewell) }, 0);
    // No end of line: it stays here until somebody flushes.
    let whisper = |text: &str| std::io::stdout().write_all(text.as_bytes()).expect("a pipe");
    whisper("said ");
    let pool = copying().workers(2).env("OF_WORKERS", "yes").build().expect("workers start");
    whisper("once");
    let seen = |()| (LOADED.get().copied(), std::env::var("OF_WORKERS").is_ok());
    for _ in 0..8 {
        assert_eq!(pool.submit(seen, ()).join().expect("a task"), (Some(std::process::id()), true));
    }
    assert!(std::env::var("OF_WORKERS").is_err());
    let gone = pool.submit(|()| -> () { std::process::abort() }, ()).join();
    let Err(TaskError::WorkerDied(death)) = gone else { panic!("it aborts") };
    let by_abort = matches!(death.status, ExitStatus::Signaled { signal: libc::SIGABRT, .. });
    assert!(by_abort, "{death}");
    assert_eq!(pool.submit(|x: u32| x + 1, 1).join().expect("another worker"), 2);
    drop(pool);
    whisper("\n");
    // Farewell follows, from this process alone.
}

/// The only worker of a pool, and its zygote.
fn worker_and_zygote(pool: &Pool) -> (u32, u32) {
    let [worker] = pool.worker_pids()[..] else { panic!("one worker") };
    let own = std::process::id();
    let is_zygote = |pid: &u32| *pid != worker && state(*pid).is_some_and(|(_, of)| of == own);
    (worker, processes().find(is_zygote).expect("a zygote"))
}

fn play_zygote_dies() {
    let pool = copying().workers(1).build().expect("workers start");
    let (worker, zygote) = worker_and_zygote(&pool);
    signal(zygote, Signal::KILL);
    eventually("it is gone", || state(zygote).is_none());
    assert_eq!(pool.submit(|x: u32| x + 1, 1).join().expect("a task"), 2);
    signal(worker, Signal::KILL);
    let mut broken = None;
    eventually("the pool is broken", || {
        broken = pool.submit(|x: u32| x, 1).join().err();
        matches!(broken, Some(TaskError::PoolBroken(_)))
    });
    let Some(TaskError::PoolBroken(failed)) = broken else { unreachable!("seen above") };
    assert!(matches!(failed.cause, StartFailure::ServerDied), "{failed}");
    say("ready");
}

/// The zygote is asked for a worker that is not wanted any more when it could make it.
fn play_grow_and_shrink() {
    let pool = copying().workers(1).build().expect("workers start");
    let (_, zygote) = worker_and_zygote(&pool);
    let descriptors = || std::fs::read_dir("/proc/self/fd").expect("descriptors").count();
    let before = descriptors();
    stop(zygote);
    pool.resize(3).expect("a number");
    eventually("it is asked", || descriptors() >= before + 2);
    pool.resize(1).expect("a number");
    signal(zygote, Signal::CONT);
    pool.resize(2).expect("a number");
    eventually("another worker is there", || pool.worker_pids().len() == 2);
    assert!(state(zygote).is_some());
    assert_eq!(pool.submit(|x: u32| x + 1, 1).join().expect("a task"), 2);
    say("ready");
}

// ── the tests ────────────────────────────────────────────────────────────────

fn copies() {
    let play = Play::start("copies");
    assert_eq!(play.said, ["said once", "farewell"]);
    play.leaves_nobody();
}

fn plays_well(part: &str) {
    let mut play = Play::start(part);
    assert!(play.program.wait().expect("it ends").success());
    play.leaves_nobody();
}

fn zygote_dies() {
    plays_well("zygote dies");
}

fn grow_and_shrink() {
    plays_well("grow and shrink");
}

fn preload_prints() {
    let play = Play::start("preload prints");
    assert_eq!(play.said, ["loaded once"]);
    play.leaves_nobody();
}

/// This process takes the place of their parent, in the same session: their groups are no orphans, so
/// the kernel does not wake them.
fn stopped_and_inherited() {
    let own = rustix::process::getpid();
    rustix::process::set_child_subreaper(Some(own)).expect("any process may");
    let mut play = Play::start("forking parent");
    play.numbers("worker").into_iter().for_each(stop);
    play.program.kill().expect("it is there");
    play.leaves_nobody();
    rustix::process::set_child_subreaper(None).expect("as above");
    let reap = || rustix::process::wait(WaitOptions::NOHANG);
    eventually("what was inherited is buried", || !matches!(reap(), Ok(Some(_))));
}

fn stopped_server() {
    let mut play = Play::start("forking parent");
    let (workers, program) = (play.numbers("worker"), play.program.id());
    let is_server = |&pid: &u32| {
        !workers.contains(&pid) && state(pid).is_some_and(|(_, parent)| parent == program)
    };
    let server: Vec<u32> = play.cast().into_iter().filter(is_server).collect();
    let [server] = server[..] else { panic!("one server: {server:?}") };
    stop(server);
    play.program.kill().expect("it is there");
    play.leaves_nobody();
}

fn end_while_preloading() {
    let mut play = Play::start("parent of a server that never gets ready");
    play.program.kill().expect("it is there");
    play.leaves_nobody();
}

fn through_loader() {
    let loaders = ["/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"];
    let Some(loader) = loaders.into_iter().find(|file| std::path::Path::new(file).exists()) else {
        assert!(std::env::var_os("CI").is_none(), "no loader is known here");
        return;
    };
    let mut program = Command::new(loader);
    program.arg(this_program());
    let mut play = Play::begin("through a loader", program).listen();
    assert_eq!(play.said, ["a loader"]);
    drop(play.program.stdin.take());
    play.leaves_nobody();
}
