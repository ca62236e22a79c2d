//! Workers that are copies, of a fork server or of the program itself, and workers of programs that are not
//! where they were: they have what they should, and end with the program.
//!
//! A program without the test harness, as `parent.rs` is.

#![expect(unsafe_code, reason = "ignores children, and has workers made by fork")]

#[expect(dead_code, reason = "each test program uses its part")]
mod common;
#[path = "common/play.rs"]
mod play;
#[path = "common/runner.rs"]
mod runner;

use std::io::{Read, Write};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Instant;

use common::{eventually, is_dead, processes, quiet, signal, state, stop, unique};
use pannier::{Error, ExitStatus, Pool, PoolBuilder, StartFailure, StartMethod, TaskError};
use play::{BOUND, PART, Play, this_program};
use runner::{Test, say};
use rustix::process::{Signal, WaitOptions};

const TESTS: [Test; 11] = [
    ("forked_workers_and_their_children_end_with_their_parent", end_with_forking_parent),
    ("stopped_forked_workers_end_with_their_parent_whoever_inherits_them", stopped_and_inherited),
    ("a_stopped_fork_server_ends_with_its_parent_and_so_do_its_workers", stopped_server),
    ("a_parent_that_dies_while_its_fork_server_starts_leaves_nobody", end_while_preloading),
    ("workers_that_are_copies_of_the_program_end_with_it", end_with_copied_parent),
    ("workers_that_are_copies_have_what_the_program_had_and_not_its_end", copies),
    ("a_pool_whose_zygote_died_goes_on_until_it_needs_another_worker", zygote_dies),
    ("a_host_that_ignores_its_children_hears_how_workers_end", ignored_children),
    ("a_host_that_waits_for_everybody_hears_how_workers_end", waits_for_all),
    ("a_program_that_a_loader_started_is_told_so", through_loader),
    ("a_program_whose_file_was_deleted_or_replaced_has_workers_all_the_same", without_file),
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
        "ignored children" => {
            // SAFETY: no handler is installed.
            unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
            play_deaths();
        }
        "waits for all" => {
            std::thread::spawn(|| {
                loop {
                    let _anybody = rustix::process::wait(WaitOptions::empty());
                    std::thread::yield_now();
                }
            });
            play_deaths();
        }
        "copies" => play_copies(),
        "zygote dies" => play_zygote_dies(),
        "without its file" => play_without_file(),
        other => panic!("no such part: {other}"),
    }
}

/// The program's file is deleted, and then another stands in its place.
fn play_without_file() {
    let file = std::env::current_exe().expect("a program");
    std::fs::remove_file(&file).expect("it is a copy that nobody needs");
    for method in [StartMethod::Spawn, StartMethod::ForkServer] {
        let pool = Pool::builder().workers(1).start_method(method).build().expect("workers start");
        assert_eq!(pool.submit(|x: u32| x + 1, 1).join().expect("a task"), 2);
        std::fs::write(&file, "another program").expect("a file");
    }
    say("ready");
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

/// Whatever became of a worker's body, its death is told, and its status unless the kernel is old.
fn play_deaths() {
    let methods = [StartMethod::Spawn, StartMethod::ForkServer];
    for method in methods {
        let pool = Pool::builder().workers(2).attempts(1).start_method(method);
        let pool = pool.build().expect("workers start");
        for round in 0..20 {
            let exit = pool.submit(|code: i32| -> () { std::process::exit(code) }, round).join();
            is_told(exit, ExitStatus::Exited(round));
            let abort = pool.submit(|()| -> () { std::process::abort() }, ()).join();
            let Err(TaskError::WorkerDied(death)) = abort else { panic!("it died") };
            let by_abort =
                matches!(death.status, ExitStatus::Signaled { signal: libc::SIGABRT, .. });
            assert!(by_abort || death.status == ExitStatus::Unknown && !remembers(), "{death}");
        }
        assert_eq!(pool.submit(|x: u32| x + 1, 1).join().expect("a task"), 2);
    }
    say("ready");
}

fn is_told(outcome: Result<(), TaskError>, status: ExitStatus) {
    let Err(TaskError::WorkerDied(death)) = outcome else { panic!("it died") };
    let unknown = death.status == ExitStatus::Unknown && !remembers();
    assert!(death.status == status || unknown, "{death}");
}

/// Whether the kernel remembers how a process ended that somebody has waited for: since 6.15.
fn remembers() -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
    let version: (u32, u32) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    version >= (6, 15)
}

fn play_zygote_dies() {
    let pool = copying().workers(1).build().expect("workers start");
    let [worker] = pool.worker_pids()[..] else { panic!("one worker") };
    let own = std::process::id();
    let is_zygote = |pid: &u32| *pid != worker && state(*pid).is_some_and(|(_, of)| of == own);
    let zygote = processes().find(is_zygote).expect("a zygote");
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

/// A pool with a busy worker, an idle one, one with a child, and one that started a group.
fn parent_with_workers(builder: PoolBuilder) -> Pool {
    let pool = builder.workers(4).build().expect("workers start");
    let child = |()| quiet("sleep", &["1000"]).spawn().map(|child| child.id()).ok();
    let child = pool.submit(child, ()).join().expect("a task").expect("sleep is installed");
    let busy = |()| -> () {
        let mut number = 0_u64;
        loop {
            number = std::hint::black_box(number + 1);
        }
    };
    drop(pool.submit(busy, ()));
    // Deaf to the signal that the kernel sends at the parent's death.
    let deaf = |()| -> () {
        let mut child =
            quiet("sh", &["-c", "trap '' TERM HUP; sleep 1000"]).spawn().expect("sh is installed");
        let _never = child.wait();
    };
    drop(pool.submit(deaf, ()));
    let pids = pool.worker_pids();
    assert_eq!(pids.len(), 4);
    for pid in pids {
        say(&format!("worker {pid}"));
    }
    say(&format!("child {child}"));
    pool
}

fn parent(builder: PoolBuilder) {
    let pool = parent_with_workers(builder);
    say("ready");
    wait_for_the_end();
    drop(pool);
}

/// Until the test has no more interest in this process.
fn wait_for_the_end() {
    let _over = std::io::stdin().read(&mut [0]);
}

fn refused(built: &pannier::Result<Pool>) {
    let text = match built {
        Ok(_) => "built".to_owned(),
        Err(Error::NotInitialised) => "not initialised".to_owned(),
        Err(Error::StartFailed(failed)) if matches!(failed.cause, StartFailure::Exited) => {
            format!("start failed: {}", failed.status)
        }
        Err(Error::StartFailed(failed)) if matches!(failed.cause, StartFailure::Loader { .. }) => {
            "start failed: a loader".to_owned()
        }
        Err(other) => format!("{other:?}"),
    };
    say(&text);
    say("ready");
    wait_for_the_end();
}

// ── the tests ────────────────────────────────────────────────────────────────

fn end_with_forking_parent() {
    ends_with("forking parent");
}

fn end_with_copied_parent() {
    ends_with("copied parent");
}

fn copies() {
    let play = Play::start("copies");
    assert_eq!(play.said, ["said once", "farewell"]);
    play.leaves_nobody();
}

fn ignored_children() {
    plays_well("ignored children");
}

fn waits_for_all() {
    plays_well("waits for all");
}

fn zygote_dies() {
    plays_well("zygote dies");
}

fn plays_well(part: &str) {
    let mut play = Play::start(part);
    assert!(play.program.wait().expect("it ends").success());
    play.leaves_nobody();
}

fn ends_with(part: &str) {
    let mut play = Play::start(part);
    let (workers, child) = (play.numbers("worker"), play.numbers("child"));
    assert_eq!((workers.len(), child.len()), (4, 1), "{:?}", play.said);
    assert!(workers.iter().chain(&child).all(|&pid| !is_dead(pid)));
    let in_files = files_in_shared_memory();
    assert!(in_files.is_empty(), "{in_files:?}");
    play.program.kill().expect("it is there");
    let began = Instant::now();
    eventually("the workers are gone", || workers.iter().all(|&pid| is_dead(pid)));
    eventually("the child of a worker is gone", || is_dead(child[0]));
    assert!(began.elapsed() < BOUND, "it took {:?}", began.elapsed());
    play.leaves_nobody();
    let in_files = files_in_shared_memory();
    assert!(in_files.is_empty(), "{in_files:?}");
}

/// Files of this library's in the places where names of shared memory live.
fn files_in_shared_memory() -> Vec<std::path::PathBuf> {
    let entries =
        ["/dev/shm", "/tmp"].into_iter().filter_map(|place| std::fs::read_dir(place).ok());
    let paths = entries.flatten().flatten().map(|entry| entry.path());
    let ours = |path: &std::path::PathBuf| {
        path.file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.starts_with("pannier"))
    };
    paths.filter(ours).collect()
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
    assert_eq!(play.said, ["start failed: a loader"]);
    drop(play.program.stdin.take());
    play.leaves_nobody();
}

fn without_file() {
    let folder = std::env::temp_dir().join(unique("file"));
    std::fs::create_dir(&folder).expect("a folder of its own");
    let copy = folder.join("program");
    std::fs::copy(this_program(), &copy).expect("room for a copy");
    let mut play = Play::begin("without its file", Command::new(&copy)).listen();
    let ended = play.program.wait().expect("it ends");
    std::fs::remove_dir_all(&folder).expect("it is ours");
    assert!(ended.success());
    play.leaves_nobody();
}
