//! Signals and terminals: Ctrl-C, Ctrl-Z and a hang-up are the program's to decide on, workers follow it
//! and say nothing; and a program may treat its children and its signals as it likes.
//!
//! A program without the test harness, so that its `main` is its own: with the name of a part in the
//! environment it plays that part, else it runs the tests, which start it again for the parts.
#![expect(unsafe_code, reason = "sets dispositions, and sends signals to single threads")]

#[expect(dead_code, reason = "each test program uses its part")]
mod common;
#[expect(dead_code, reason = "each test program uses its part")]
#[path = "common/play.rs"]
mod play;
#[expect(dead_code, reason = "each test program uses its part")]
#[path = "common/runner.rs"]
mod runner;
#[path = "signals/storm.rs"]
mod storm;
#[path = "signals/terminal.rs"]
mod terminal;

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{
    DEADLINE, Gate, children, eventually, failure, join, kill_oneself, pass_through, quiet, signal,
};
use pannier::{ExitStatus, Pool, Shutdown, StartMethod, TaskError};
use play::{PART, Play};
use runner::{Test, say};
use rustix::process::{Signal, WaitOptions, getpid, set_child_subreaper, wait};
use terminal::Terminal;

/// The gate at which the task of a part waits.
const GATE: &str = "PANNIER_TEST_GATE";

const TESTS: [Test; 13] = [
    ("ctrl_c_ends_the_program_once_and_quietly", || ctrl_c("\x03")),
    ("ctrl_c_twice_is_no_different", || ctrl_c("\x03\x03")),
    ("a_program_that_wants_to_can_finish_its_tasks_at_ctrl_c", drains),
    ("a_second_ctrl_c_ends_a_program_that_finishes_its_tasks", drains_no_longer),
    ("tasks_go_on_at_ctrl_z_and_their_results_are_there_afterwards", ctrl_z),
    ("a_terminal_that_hangs_up_ends_everything", hang_up),
    ("a_program_that_is_terminated_leaves_nobody", terminated),
    ("deaths_are_seen_where_children_are_ignored", || bears_deaths("ignores children")),
    ("deaths_are_seen_where_somebody_waits_for_all_children", || bears_deaths("waits for all")),
    ("deaths_are_seen_in_a_subreaper_that_reaps", || bears_deaths("subreaper")),
    ("results_are_right_in_a_storm_of_signals", in_a_storm),
    ("workers_begin_with_the_signals_of_a_new_program", dispositions),
    ("workers_say_nothing_when_they_end_or_die", says_nothing),
];

fn main() {
    match std::env::var(PART) {
        Ok(part) => {
            pannier::init();
            act(&part);
        }
        Err(_) => {
            // Who started the tests may ignore some, as a shell does for what it runs in the background.
            for signal in [libc::SIGINT, libc::SIGQUIT, libc::SIGHUP, libc::SIGTERM, libc::SIGTSTP]
            {
                set(signal, libc::SIG_DFL);
            }
            runner::run(&TESTS);
        }
    }
}

// ── the parts ────────────────────────────────────────────────────────────────

fn act(part: &str) {
    match part {
        "shell" => terminal::shell(),
        "waits" => {
            let pool = Pool::builder().workers(2).build().expect("workers start");
            let task = pool.submit(pass_through, gate());
            say("ready");
            say(&format!("result {}", task.join().expect("a task")));
        }
        "drains" => drain(),
        "ignores children" => {
            set(libc::SIGCHLD, libc::SIG_IGN);
            bear_deaths();
        }
        "waits for all" => {
            reap_all();
            bear_deaths();
        }
        "subreaper" => {
            set_child_subreaper(Some(getpid())).expect("the kernel can do that");
            reap_all();
            bear_deaths();
        }
        "storm" => storm::withstand(),
        "deaf" => deaf(),
        "quiet" => quietly(),
        other => panic!("no such part: {other}"),
    }
}

fn gate() -> String {
    std::env::var(GATE).expect("the part has a gate")
}

fn set(signal: libc::c_int, action: libc::sighandler_t) {
    // SAFETY: callers pass a disposition without code, or a function that is safe at any moment.
    unsafe { libc::signal(signal, action) };
}

/// Finishes its tasks at the first SIGINT. The second one ends it.
fn drain() {
    static ASKED: AtomicBool = AtomicBool::new(false);
    extern "C" fn ask(signal: libc::c_int) {
        ASKED.store(true, Ordering::Relaxed);
        set(signal, libc::SIG_DFL);
    }
    let action: extern "C" fn(libc::c_int) = ask;
    set(libc::SIGINT, action as libc::sighandler_t);
    let pool = Pool::builder().workers(2).build().expect("workers start");
    let mut task = pool.submit(pass_through, gate());
    say("ready");
    eventually("the user asks", || ASKED.load(Ordering::Relaxed));
    say("draining");
    pool.shutdown(Shutdown::Graceful, 4 * DEADLINE).expect("the workers end");
    say(&format!("result {}", task.try_join().expect("it has ended").expect("a task")));
    signal(std::process::id(), Signal::INT);
}

/// Whatever child ends is reaped by a thread that asks nobody.
fn reap_all() {
    std::thread::spawn(|| {
        loop {
            if wait(WaitOptions::empty()).is_err() {
                // There is no child just now.
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    });
}

/// Workers die in ways that this program does not see the kernel's account of, however they came to be.
fn bear_deaths() {
    for method in [StartMethod::Spawn, StartMethod::ForkServer] {
        let pool = Pool::builder().workers(2).attempts(1).start_method(method);
        let pool = pool.build().expect("workers start");
        (0..10).for_each(|code| bear_some_deaths(&pool, code));
        drop(pool);
        eventually("no child is left", || children().is_empty());
    }
    say("ready");
}

fn bear_some_deaths(pool: &Pool, code: i32) {
    let exits = failure(pool.submit(|code: i32| -> () { std::process::exit(code) }, code));
    assert_died(&exits, |status| status == ExitStatus::Exited(code));
    let leaves_a_child = |()| -> () {
        quiet("sleep", &["1000"]).spawn().expect("sleep is installed");
        std::process::abort()
    };
    let aborts = failure(pool.submit(leaves_a_child, ()));
    let by_abort = |status| matches!(status, ExitStatus::Signaled { signal: libc::SIGABRT, .. });
    assert_died(&aborts, by_abort);
    eventually("all workers are there", || pool.worker_pids().len() == 2);
    let idle = pool.worker_pids()[0];
    signal(idle, Signal::KILL);
    eventually("it is replaced", || {
        let pids = pool.worker_pids();
        pids.len() == 2 && !pids.contains(&idle)
    });
    assert_eq!(join(pool.submit(|x: u32| x + 1, 5)).expect("a task"), 6);
}

/// Whatever became of a worker's body, its death is told, and its status unless the kernel is old.
fn assert_died(error: &TaskError, is_wanted: impl Fn(ExitStatus) -> bool) {
    let TaskError::WorkerDied(death) = error else { panic!("{error:?}") };
    let is_lost = death.status == ExitStatus::Unknown && !remembers();
    assert!(is_wanted(death.status) || is_lost, "{death}");
}

/// Whether the kernel remembers how a process ended that somebody has waited for: since 6.15.
fn remembers() -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
    let version: (u32, u32) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    version >= (6, 15)
}

/// Ignores and blocks what it can, and says what its workers have of that.
fn deaf() {
    for signal in [libc::SIGINT, libc::SIGCHLD, libc::SIGUSR2, libc::SIGQUIT, libc::SIGTSTP] {
        set(signal, libc::SIG_IGN);
    }
    set(libc::SIGPIPE, libc::SIG_DFL);
    let mut all = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the call initialises the set that it is given.
    unsafe { libc::sigfillset(all.as_mut_ptr()) };
    // SAFETY: the set was initialised in the line above; the old mask is not asked for.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), std::ptr::null_mut()) };
    let pool = Pool::builder().workers(2).build().expect("workers start");
    let all_begun = |()| {
        // The C library blocks all signals in a thread until it has begun.
        let is_unborn = |line: &String| line.starts_with("SigBlk:\tffff");
        let mut lines = Vec::new();
        eventually("each thread has begun", || {
            lines = masks();
            !lines.iter().any(is_unborn)
        });
        lines
    };
    for line in join(pool.submit(all_begun, ())).expect("a task") {
        say(&line);
    }
    say("ready");
}

/// What this process's threads block and ignore, as proc_pid_status(5) has it.
fn masks() -> Vec<String> {
    let threads = std::fs::read_dir("/proc/self/task").expect("proc is mounted");
    let paths = threads.map(|thread| thread.expect("a thread").path().join("status"));
    let status: Vec<String> =
        paths.map(|path| std::fs::read_to_string(path).expect("a status")).collect();
    let wanted = |line: &&str| ["SigBlk", "SigIgn"].iter().any(|word| line.starts_with(word));
    let lines = status.iter().flat_map(|status| status.lines().filter(wanted));
    lines.map(str::to_owned).collect()
}

/// Every clean way to end, and deaths without a word.
fn quietly() {
    let gate = gate();
    for how in [Shutdown::Graceful, Shutdown::Cancel, Shutdown::Kill] {
        let pool = Pool::builder().workers(2).attempts(1).build().expect("workers start");
        assert_eq!(join(pool.submit(|x: u32| x, 5)).expect("a task"), 5);
        let exits = failure(pool.submit(|()| -> () { std::process::exit(1) }, ()));
        assert_died(&exits, |status| status == ExitStatus::Exited(1));
        failure(pool.submit(|()| -> () { kill_oneself() }, ()));
        let endless = |()| -> () {
            loop {
                std::thread::park();
            }
        };
        let running = pool.submit(endless, ());
        running.kill();
        failure(running);
        drop(pool.submit(endless, ()));
        let patience = if how == Shutdown::Kill { DEADLINE } else { Duration::from_millis(100) };
        pool.shutdown(how, patience).expect("the workers end");
    }
    drop(Pool::builder().workers(3).build().expect("workers start"));
    say("ready");
    let pool = Pool::builder().workers(2).build().expect("workers start");
    let _lost = join(pool.submit(pass_through, gate));
}

// ── the tests ────────────────────────────────────────────────────────────────

fn ctrl_c(keys: &str) {
    let (gate, mut terminal) = started("waits");
    let _arrival = gate.arrival();
    terminal.type_keys(keys);
    assert_eq!(terminal.report(), format!("signal {}", libc::SIGINT));
    assert_eq!(terminal.end(), "ready\r\n", "nobody else says anything");
}

/// A part on a terminal, and the gate at which its task waits.
fn started(part: &str) -> (Gate, Terminal) {
    let gate = Gate::new();
    let mut terminal = Terminal::start(part, &gate.name());
    terminal.wait_for("ready");
    (gate, terminal)
}

fn drains() {
    let (gate, mut terminal) = started("drains");
    let arrival = gate.arrival();
    terminal.type_keys("\x03");
    terminal.wait_for("draining");
    drop(arrival);
    assert_eq!(terminal.report(), format!("signal {}", libc::SIGINT));
    assert_eq!(terminal.end(), "ready\r\ndraining\r\nresult 1\r\n");
}

fn drains_no_longer() {
    let (gate, mut terminal) = started("drains");
    let _arrival = gate.arrival();
    terminal.type_keys("\x03");
    terminal.wait_for("draining");
    terminal.type_keys("\x03");
    assert_eq!(terminal.report(), format!("signal {}", libc::SIGINT));
    assert_eq!(terminal.end(), "ready\r\ndraining\r\n");
}

fn ctrl_z() {
    let (gate, mut terminal) = started("waits");
    let arrival = gate.arrival();
    terminal.type_keys("\x1a");
    assert_eq!(terminal.report(), "stopped");
    // Its worker is not, and ends the task meanwhile.
    drop(arrival);
    terminal.go_on();
    assert_eq!(terminal.report(), "code 0");
    assert_eq!(terminal.end(), "ready\r\nresult 1\r\n");
}

fn hang_up() {
    let (gate, terminal) = started("waits");
    let _arrival = gate.arrival();
    terminal.hang_up();
}

/// A part whose standard error is read; and what it wrote there until nobody had it any more.
fn heard(
    part: &str,
    gate: &Gate,
    end: impl FnOnce(&mut Play),
) -> (std::process::ExitStatus, String) {
    let mut play =
        Play::start_with(part, |command| command.env(GATE, gate.name()).stderr(Stdio::piped()));
    let mut stderr = play.program.stderr.take().expect("a pipe");
    end(&mut play);
    let patience = common::watchdog();
    let mut text = String::new();
    stderr.read_to_string(&mut text).expect("text");
    drop(patience);
    (play.leaves_nobody(), text)
}

fn terminated() {
    let gate = Gate::new();
    let (status, text) = heard("waits", &gate, |play| {
        let _arrival = gate.arrival();
        signal(play.program.id(), Signal::TERM);
        play.program.wait().expect("it ends");
    });
    assert_eq!((status.signal(), &*text), (Some(libc::SIGTERM), ""));
}

fn bears_deaths(part: &str) {
    assert!(Play::start(part).leaves_nobody().success());
}

fn in_a_storm() {
    assert!(Play::start("storm").leaves_nobody().success());
}

fn dispositions() {
    let mut play = Play::start("deaf");
    assert!(play.said.len() >= 4, "at least two threads: {:?}", play.said);
    // 32 and 33 are the C library's, which lets nobody touch them.
    let threads_own = 0b11_u64 << 31;
    let policy = 1_u64 << (libc::SIGPIPE - 1) | 1 << (libc::SIGTTOU - 1);
    for line in &play.said {
        let (name, mask) = line.split_once(':').expect("a line of proc_pid_status(5)");
        let mask = u64::from_str_radix(mask.trim(), 16).expect("a mask") & !threads_own;
        assert_eq!(mask, if name == "SigIgn" { policy } else { 0 }, "{line}");
    }
    assert_eq!(play.hear(), None);
    assert!(play.leaves_nobody().success());
}

fn says_nothing() {
    let gate = Gate::new();
    let (status, text) = heard("quiet", &gate, |play| {
        // Its last task waits there.
        let _arrival = gate.arrival();
        signal(play.program.id(), Signal::KILL);
    });
    assert_eq!((status.signal(), &*text), (Some(libc::SIGKILL), ""));
}
