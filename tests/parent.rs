//! The parent dies, or was never fit to be one: nothing that it started is left, and nothing grows.
//!
//! A program without the test harness, so that its `main` is its own: with the name of a part in the
//! environment it plays that part, else it runs the tests, which start it again for the parts.

#[expect(dead_code, reason = "each test program uses its part")]
mod common;
#[path = "common/runner.rs"]
mod runner;

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{environment, eventually, is_dead, processes, quiet, signal, state, unique};
use pannier::{Error, Pool, StartFailure};
use runner::{Test, say};
use rustix::process::Signal;

/// The part that a process of this program plays.
const PART: &str = "PANNIER_TEST_PART";
/// What all processes of one test carry, however deep they are.
const MARK: &str = "PANNIER_TEST_MARK";

const TESTS: [Test; 6] = [
    ("workers_and_their_children_end_with_their_parent", end_with_parent),
    ("a_stopped_worker_ends_with_its_parent", stopped_ends_with_parent),
    ("workers_end_when_the_parent_exits_without_a_word", end_with_exit),
    ("a_program_without_init_is_refused_and_does_not_multiply", without_init),
    ("a_program_that_calls_init_too_late_is_told_so_and_does_not_multiply", late_init),
    ("a_pool_outlives_the_thread_that_built_it", thread_ends),
];

fn main() {
    match std::env::var(PART) {
        Ok(part) => play(&part),
        Err(_) => runner::run(&TESTS),
    }
}

// ── the parts ────────────────────────────────────────────────────────────────

fn play(part: &str) {
    match part {
        "parent" => {
            pannier::init();
            parent();
        }
        "parent that exits" => {
            pannier::init();
            let pool = parent_with_workers();
            // Without dropping the pool.
            std::mem::forget(pool);
            std::process::exit(0);
        }
        "without init" => refused(&Pool::builder().workers(3).build()),
        "late init" => {
            // A thread that is there when a worker would have to change its environment.
            std::thread::spawn(|| {
                loop {
                    std::thread::park();
                }
            });
            pannier::init();
            refused(&Pool::builder().workers(2).build());
        }
        "thread ends" => {
            pannier::init();
            thread_that_ends();
        }
        other => panic!("no such part: {other}"),
    }
}

/// A pool with a busy worker, an idle one, one with a child, and one that started a group.
fn parent_with_workers() -> Pool {
    let pool = Pool::builder().workers(4).build().expect("workers start");
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

fn parent() {
    let pool = parent_with_workers();
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
        Err(other) => format!("{other:?}"),
    };
    say(&text);
    say("ready");
    wait_for_the_end();
}

fn thread_that_ends() {
    let build = std::thread::spawn(|| {
        let pool = Pool::builder().workers(2).build().expect("workers start");
        pool.submit(|x: u32| x, 1).join().expect("a task");
        pool
    });
    let pool = build.join().expect("the thread ends");
    let pids = pool.worker_pids();
    for number in 0..100_u32 {
        assert_eq!(pool.submit(|x: u32| x, number).join().expect("a task"), number);
    }
    assert_eq!(pool.worker_pids(), pids);
    say("ready");
}

// ── the tests ────────────────────────────────────────────────────────────────

/// This program in a part, with all that it starts.
struct Play {
    program: Child,
    mark: String,
    /// What it said, up to "ready".
    said: Vec<String>,
}

impl Play {
    fn start(part: &str) -> Self {
        let mark = unique("play");
        let mut program = Command::new(std::env::current_exe().expect("a program"))
            .env(PART, part)
            .env(MARK, &mark)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program starts");
        let stdout = BufReader::new(program.stdout.take().expect("a pipe"));
        // A part that hangs is ended, which ends its pipe.
        let patience = common::watchdog();
        let lines = stdout.lines().map(|line| line.expect("text"));
        let said = lines.take_while(|line| line != "ready").collect();
        drop(patience);
        Play { program, mark, said }
    }

    /// The numbers that it said behind this word.
    fn numbers(&self, word: &str) -> Vec<u32> {
        let numbers =
            self.said.iter().filter_map(|line| line.strip_prefix(word)?.trim().parse().ok());
        numbers.collect()
    }

    /// All living processes of this play.
    fn cast(&self) -> Vec<u32> {
        let wanted = format!("{MARK}={}", self.mark);
        processes().filter(|&pid| !is_dead(pid) && environment(pid).contains(&wanted)).collect()
    }

    /// All that it started is gone soon after it.
    fn leaves_nobody(mut self) {
        let began = Instant::now();
        self.program.wait().expect("it has ended");
        let cast = || self.cast();
        eventually("nothing that it started is left", || cast().is_empty());
        assert!(began.elapsed() < BOUND, "it took {:?}", began.elapsed());
    }
}

/// Within which everything ends; milliseconds, on a machine that has nothing else to do.
const BOUND: Duration = Duration::from_secs(5);
/// How long a program that must not multiply is watched.
const WATCH: Duration = Duration::from_secs(5);

fn end_with_parent() {
    let mut play = Play::start("parent");
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

fn stopped_ends_with_parent() {
    let mut play = Play::start("parent");
    let workers = play.numbers("worker");
    for &pid in &workers {
        signal(pid, Signal::STOP);
        eventually("it is stopped", || state(pid).is_some_and(|(state, _)| state == 'T'));
    }
    play.program.kill().expect("it is there");
    play.leaves_nobody();
}

fn end_with_exit() {
    let play = Play::start("parent that exits");
    assert_eq!(play.numbers("worker").len(), 4, "{:?}", play.said);
    play.leaves_nobody();
}

/// Watches for a while that there are no more processes than there were.
fn does_not_multiply(play: &Play) {
    let over = Instant::now() + WATCH;
    while Instant::now() < over {
        let cast = play.cast();
        assert_eq!(cast, [play.program.id()], "it multiplies");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn without_init() {
    let mut play = Play::start("without init");
    assert_eq!(play.said, ["not initialised"]);
    does_not_multiply(&play);
    drop(play.program.stdin.take());
    play.leaves_nobody();
}

fn late_init() {
    let mut play = Play::start("late init");
    assert_eq!(play.said, ["start failed: exit code 113"]);
    does_not_multiply(&play);
    drop(play.program.stdin.take());
    play.leaves_nobody();
}

fn thread_ends() {
    let mut play = Play::start("thread ends");
    assert!(play.program.wait().expect("it ends").success());
    play.leaves_nobody();
}
