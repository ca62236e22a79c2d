//! The parent dies, or was never fit to be one: nothing that it started is left, and nothing grows.
//!
//! A program without the test harness, so that its `main` is its own: with the name of a part in the
//! environment it plays that part, else it runs the tests, which start it again for the parts.

#[expect(dead_code, reason = "each test program uses its part")]
mod common;
#[path = "common/family.rs"]
mod family;
#[path = "common/play.rs"]
mod play;
#[expect(dead_code, reason = "the example shows more")]
#[path = "../examples/parent/rounds.rs"]
mod rounds;
#[expect(dead_code, reason = "each test program uses its part")]
#[path = "common/runner.rs"]
mod runner;

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use common::{Gate, eventually, is_dead, stop, unique};
use family::{ends_when_killed, parent, parent_with_workers, refused, wait_for_the_end};
use pannier::{Buffer, Pool, StartMethod};
use play::{PART, Play, this_program};
use runner::{Test, say};
use rustix::process::Signal;

/// In a program that is to lose its file: another one takes its place.
const REPLACED: &str = "PANNIER_TEST_REPLACED";
/// In a worker that is to come late: the gate where it waits before `init`.
const LATE: &str = "PANNIER_TEST_LATE";

const TESTS: [Test; 11] = [
    ("workers_and_their_children_end_with_their_parent", || ends_when_killed("parent")),
    ("workers_that_start_while_their_parent_dies_end_too", start_without_parent),
    ("after_everything_is_killed_at_once_the_next_start_finds_nothing", killed_at_once),
    ("what_other_programs_of_the_same_user_do_at_their_end_touches_nobody_else", others_end),
    ("a_program_whose_file_is_deleted_or_replaced_goes_on_with_what_it_was", file_is_gone),
    ("a_parent_that_is_killed_again_and_again_leaves_nobody", killed_again_and_again),
    ("a_stopped_worker_ends_with_its_parent", stopped_ends_with_parent),
    ("workers_end_when_the_parent_exits_without_a_word", end_with_exit),
    ("a_program_without_init_is_refused_and_does_not_multiply", without_init),
    (
        "a_program_that_has_threads_before_init_has_workers_that_multiply_nothing",
        threads_before_init,
    ),
    ("a_pool_outlives_the_thread_that_built_it", thread_ends),
];

fn main() {
    if let Some(gate) = std::env::var(LATE).ok().filter(|_| std::env::var("PANNIER_WORKER").is_ok())
    {
        common::pass(&gate);
    }
    match std::env::var(PART) {
        Ok(part) => play(&part),
        Err(_) => {
            pannier::init();
            if !rounds::play() {
                runner::run(&TESTS);
            }
        }
    }
}

// ── the parts ────────────────────────────────────────────────────────────────

fn play(part: &str) {
    match part {
        "parent" => {
            pannier::init();
            parent(Pool::builder());
        }
        "parent that exits" => {
            pannier::init();
            let pool = parent_with_workers(Pool::builder());
            // Without dropping the pool.
            std::mem::forget(pool);
            std::process::exit(0);
        }
        "without init" => refused(&Pool::builder().workers(3).build()),
        "threads before init" => {
            // As the libraries do that start theirs when they are loaded.
            std::thread::spawn(|| {
                loop {
                    std::thread::park();
                }
            });
            pannier::init();
            threads();
        }
        "child of a task" => {
            pannier::init();
            say("an ordinary program");
        }
        "thread ends" => {
            pannier::init();
            thread_that_ends();
        }
        "loses its file" => {
            pannier::init();
            loses_its_file();
        }
        "keeps buffers" => {
            pannier::init();
            keeper_of_buffers();
        }
        other => panic!("no such part: {other}"),
    }
}

/// A worker's environment keeps its marker here; what its tasks start is no worker for that.
fn threads() {
    let pool = Pool::builder().workers(2).build().expect("workers start");
    let start_again = |()| {
        let program = std::env::current_exe().expect("a program");
        let output = Command::new(program).env(PART, "child of a task").output();
        String::from_utf8(output.expect("it starts").stdout).expect("text")
    };
    for handle in [(), ()].map(|()| pool.submit(start_again, ())) {
        say(handle.join().expect("a task").trim_end());
    }
    say("ready");
    wait_for_the_end();
}

fn loses_its_file() {
    let file = this_program();
    std::fs::remove_file(&file).expect("a copy of ours");
    if std::env::var_os(REPLACED).is_some() {
        std::fs::copy("/bin/false", &file).expect("the name is free");
    }
    for method in [StartMethod::Spawn, StartMethod::ForkServer] {
        let pool = Pool::builder().workers(2).start_method(method).build().expect("workers start");
        assert_eq!(pool.submit(|x: u32| x + 1, 1).join().expect("a task"), 2);
    }
    say("ready");
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

/// Has buffers on both sides, and looks at them again in the end.
fn keeper_of_buffers() {
    let pool = Pool::builder().workers(2).build().expect("workers start");
    let mut argument = pool.alloc::<u64>(1 << 20).expect("memory");
    argument.fill(7);
    let argument = argument.freeze();
    let double = |data: Buffer<u64>| -> Buffer<u64> { data.iter().map(|item| item * 2).collect() };
    let result = pool.submit(double, argument.clone()).join().expect("a task");
    say("ready");
    wait_for_the_end();
    assert!(argument.iter().all(|&item| item == 7) && result.iter().all(|&item| item == 14));
    let again = pool.submit(double, argument).join().expect("a task");
    assert_eq!(again, result);
}

// ── the tests ────────────────────────────────────────────────────────────────

/// How long a program that must not multiply is watched.
const WATCH: Duration = Duration::from_secs(5);

/// The body of `examples/parent`, whose figures say how soon.
fn killed_again_and_again() {
    let before = rounds::names();
    for number in 0..9 {
        let round = rounds::round(number, 4).expect("a program starts");
        assert_eq!(round.left, [0; 0], "round {number}: {:?}", round.deaths);
        assert_eq!(round.deaths.len(), 6, "round {number}: {:?}", round.deaths);
    }
    assert!(rounds::names().is_subset(&before), "{:?}", rounds::names());
}

fn stopped_ends_with_parent() {
    let mut play = Play::start("parent");
    let workers = play.numbers("worker");
    workers.into_iter().for_each(stop);
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

fn threads_before_init() {
    let mut play = Play::start("threads before init");
    assert_eq!(play.said, ["an ordinary program", "an ordinary program"]);
    drop(play.program.stdin.take());
    play.leaves_nobody();
}

fn start_without_parent() {
    let gate = Gate::new();
    let mut command = Command::new(this_program());
    command.env(LATE, gate.name());
    let mut play = Play::begin("parent", command);
    let late: Vec<_> = (0..4).map(|_| gate.arrival()).collect();
    play.program.kill().expect("it is there");
    play.program.wait().expect("it has ended");
    assert!(late.iter().all(|late| !is_dead(late.number)), "nobody has told them yet");
    drop(late);
    play.leaves_nobody();
}

fn killed_at_once() {
    let before = rounds::names();
    for _ in 0..3 {
        let play = Play::start("parent");
        // Also what a worker was just about to start: with parent and worker gone at once, nobody is
        // left who would end it.
        eventually("everything is killed", || {
            let cast = play.cast();
            for &pid in &cast {
                common::signal_if_there(pid, Signal::KILL);
            }
            cast.is_empty()
        });
        play.leaves_nobody();
        assert!(rounds::names().is_subset(&before), "{:?}", rounds::names());
    }
    let mut next = Play::start("thread ends");
    assert!(next.program.wait().expect("it ends").success());
    next.leaves_nobody();
}

fn others_end() {
    let mut keeper = Play::start("keeps buffers");
    Play::start("parent that exits").leaves_nobody();
    let mut killed = Play::start("keeps buffers");
    killed.program.kill().expect("it is there");
    killed.leaves_nobody();
    drop(keeper.program.stdin.take());
    assert!(keeper.program.wait().expect("it ends").success(), "its buffers are spoilt");
    keeper.leaves_nobody();
}

fn file_is_gone() {
    for is_replaced in [false, true] {
        let copy = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(unique("program"));
        std::fs::copy(this_program(), &copy).expect("room for a copy");
        let mut command = Command::new(&copy);
        if is_replaced {
            command.env(REPLACED, "yes");
        }
        let mut play = Play::begin("loses its file", command).listen();
        let status = play.program.wait().expect("it ends");
        assert_eq!(std::fs::remove_file(&copy).is_ok(), is_replaced);
        assert!(status.success(), "replaced: {is_replaced}");
        play.leaves_nobody();
    }
}

fn thread_ends() {
    let mut play = Play::start("thread ends");
    assert!(play.program.wait().expect("it ends").success());
    play.leaves_nobody();
}
