//! How workers come into the world: by a fork server, which may die at any moment, and by other ways.
#![expect(unsafe_code, reason = "tasks that do to their process what no task should")]

#[expect(dead_code, reason = "each test program uses its part")]
mod common;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Instant;

use common::{
    DEADLINE, Gate, MARK, Marked, eventually, failure, is_dead, join, marked, pass_through,
    refusal, signal, state, stop, unique, watchdog,
};
use pannier::{
    Buffer, ExitStatus, Function, Pool, PoolBuilder, RemoteError, StartFailure, StartMethod,
    TaskError,
};
use rustix::process::Signal;

pannier::premain!();

/// A pool with a fork server.
fn forking() -> PoolBuilder {
    Pool::builder().start_method(StartMethod::ForkServer)
}

/// The fork server of a pool: its process that is no worker.
#[track_caller]
fn server_of(pool: &Marked) -> u32 {
    let workers = pool.worker_pids();
    let mut others = Vec::new();
    eventually("there is a fork server", || {
        others = pool.processes();
        others.retain(|pid| !workers.contains(pid) && !is_dead(*pid));
        others.len() == 1
    });
    others[0]
}

// ── workers of a fork server are workers ─────────────────────────────────────

#[test]
fn workers_of_a_fork_server_are_children_of_the_pools_process() {
    let pool = Marked::build(forking().workers(3));
    let server = server_of(&pool);
    let (own, pids) = (std::process::id(), pool.worker_pids());
    assert_eq!(pids.len(), 3);
    assert!(pids.iter().chain([&server]).all(|&pid| state(pid).expect("it lives").1 == own));
    let who = |()| (std::process::id(), rustix::process::getpgrp().as_raw_nonzero().get());
    for _ in 0..8 {
        let (pid, group) = join(pool.submit(who, ())).expect("a task");
        assert!(pids.contains(&pid));
        assert_eq!(u32::try_from(group), Ok(pid), "it leads a group of its own");
    }
    pool.end();
    assert!(is_dead(server));
}

#[test]
fn a_forked_worker_has_threads_and_memory_and_a_standard_output() {
    let pool = Marked::build(forking().workers(1));
    let sum = |data: Buffer<u64>| {
        let half = data.len() / 2;
        let (left, right) = (data.slice(..half), data.slice(half..));
        let left = std::thread::spawn(move || left.iter().sum::<u64>());
        let right = right.iter().sum::<u64>() + left.join().expect("a thread");
        let mut result = pannier::alloc::<u64>(10_000).expect("memory");
        result.fill(right);
        println!("a worker prints");
        result.freeze()
    };
    let mut data = pool.alloc::<u64>(10_000).expect("memory");
    data.fill(3);
    let result = join(pool.submit(sum, data.freeze())).expect("a task");
    assert!(result.is_shared() && result.iter().all(|&sum| sum == 30_000));
    drop(result);
    pool.end();
}

/// The worker that runs this dies by one of these signals, and is replaced.
#[track_caller]
fn dies_by(act: impl Function<(), ()>, signals: &[i32]) {
    let mut pool = Marked::build(forking().workers(2).attempts(1));
    let pids = pool.worker_pids();
    let death = match failure(pool.submit(act, ())) {
        TaskError::WorkerDied(death) => death,
        other => panic!("{other}"),
    };
    let ExitStatus::Signaled { signal, .. } = death.status else { panic!("{death}") };
    assert!(signals.contains(&signal) && pids.contains(&death.pid), "{death}");
    pool.is_whole_without(&[death.pid]);
    assert_eq!(join(pool.submit(|x: u32| x + 1, 1)).ok(), Some(2));
    pool.end();
}

#[test]
fn a_forked_worker_aborts_by_the_signal_for_that() {
    dies_by(|()| std::process::abort(), &[libc::SIGABRT]);
}

#[test]
fn a_forked_worker_can_send_itself_a_signal() {
    // SAFETY: sends this thread a signal, which ends the process.
    dies_by(|()| assert_eq!(unsafe { libc::raise(libc::SIGUSR2) }, 0), &[libc::SIGUSR2]);
}

#[test]
fn a_stack_overflow_in_a_forked_worker_is_its_death() {
    fn deeper(depth: u64) -> u64 {
        let room = std::hint::black_box([depth; 64]);
        if depth == u64::MAX { 0 } else { deeper(depth + 1) + room[7] }
    }
    let overflow = |()| {
        std::hint::black_box(deeper(0));
    };
    dies_by(overflow, &[libc::SIGABRT, libc::SIGSEGV]);
}

#[test]
fn a_panic_in_a_forked_worker_is_a_result() {
    let pool = Marked::build(forking().workers(1));
    let pids = pool.worker_pids();
    let error = failure(pool.submit(|()| -> u32 { panic!("a planned panic") }, ()));
    let TaskError::Panicked(panicked) = error else { panic!("{error}") };
    assert_eq!(panicked.message, "a planned panic");
    assert!(panicked.location.is_some_and(|place| place.contains("tests/start.rs")));
    assert_eq!(pool.worker_pids(), pids);
    pool.end();
}

#[test]
fn a_forked_worker_may_have_a_pool_of_its_own() {
    let pool = Marked::build(forking().workers(1));
    let nested = |method: bool| {
        let method = if method { StartMethod::ForkServer } else { StartMethod::Spawn };
        let pool = Pool::builder().workers(2).start_method(method).build();
        pool.and_then(|pool| Ok(pool.submit(|x: u32| x + 1, 1).join()?)).map_err(RemoteError::new)
    };
    for method in [false, true] {
        let inner = join(pool.submit(nested, method)).expect("a task");
        assert_eq!(inner.expect("a pool in a worker"), 2);
    }
    pool.end();
}

#[test]
fn the_environment_of_the_builder_is_that_of_the_forked_workers() {
    let pool = Marked::build(forking().workers(1).env_clear().env("ONLY", "this"));
    let names = |()| std::env::vars().map(|(name, _)| name).collect::<Vec<_>>();
    let names: BTreeSet<_> = join(pool.submit(names, ())).expect("a task").into_iter().collect();
    assert_eq!(names, ["ONLY", "PANNIER_DEPTH", "PANNIER_TEST_MARK"].map(String::from).into());
    pool.end();
}

#[test]
fn workers_are_killed_before_the_program_when_memory_runs_out() {
    let score = |pid: u32| -> i32 {
        let score = std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj"));
        score.expect("a process").trim().parse().expect("a number")
    };
    let own = score(std::process::id());
    for method in [StartMethod::Spawn, StartMethod::ForkServer] {
        let pool = Marked::build(Pool::builder().workers(2).start_method(method));
        for pid in pool.worker_pids() {
            assert!(score(pid) >= (own + 100).min(1000), "{method:?}");
        }
        pool.end();
    }
}

// ── what is preloaded ────────────────────────────────────────────────────────

static LOADED: OnceLock<u32> = OnceLock::new();

#[test]
fn what_is_preloaded_is_there_in_every_worker_and_was_made_once() {
    let load = |()| LOADED.set(std::process::id()).expect("once");
    let mut pool = Marked::build(forking().workers(2).preload(load));
    let server = server_of(&pool);
    let loaded_by = |()| LOADED.get().copied();
    for _ in 0..8 {
        assert_eq!(join(pool.submit(loaded_by, ())).expect("a task"), Some(server));
    }
    let gone = pool.worker_pids()[0];
    signal(gone, Signal::KILL);
    pool.is_whole_without(&[gone]);
    for _ in 0..8 {
        assert_eq!(join(pool.submit(loaded_by, ())).expect("a task"), Some(server));
    }
    pool.end();
}

#[test]
fn a_preload_that_leaves_a_thread_behind_is_refused() {
    let load = |()| {
        std::thread::spawn(|| {
            loop {
                std::thread::park();
            }
        });
    };
    let failed = refusal(forking().workers(2).preload(load));
    assert!(matches!(failed.cause, StartFailure::Threads { count: 2, .. }), "{failed}");
    assert!(failed.to_string().contains("2 threads"), "{failed}");
}

#[test]
fn a_preload_that_panics_is_told_with_its_message() {
    let failed = refusal(forking().workers(1).preload(|()| panic!("no table")));
    let StartFailure::Initializer(panicked) = &failed.cause else { panic!("{failed}") };
    assert_eq!(panicked.message, "no table");
    assert!(failed.to_string().contains("no table"), "{failed}");
}

#[test]
fn a_preload_that_ends_its_process_is_told_with_what_it_printed() {
    let load = |()| {
        eprintln!("cannot load");
        std::process::exit(7);
    };
    let failed = refusal(forking().workers(1).preload(load));
    assert!(matches!(failed.cause, StartFailure::Exited), "{failed}");
    assert_eq!(failed.status, ExitStatus::Exited(7));
    assert_eq!(failed.stderr_tail.as_deref().map(str::trim), Some("cannot load"));
}

#[test]
fn a_program_with_threads_is_not_forked() {
    // SAFETY: it is refused before anything is copied: the test harness has threads.
    let failed = refusal(unsafe { Pool::builder().workers(1).fork() });
    assert!(matches!(failed.cause, StartFailure::Threads { count: 2.., .. }), "{failed}");
}

// ── the death of a fork server ───────────────────────────────────────────────

#[test]
fn a_fork_server_that_is_killed_idle_is_replaced_when_it_is_needed_and_nobody_notices() {
    let mut pool = Marked::build(forking().workers(2));
    let (server, pids) = (server_of(&pool), pool.worker_pids());
    let gate = Gate::new();
    let running = pool.submit(pass_through, gate.name());
    let arrival = gate.arrival();
    signal(server, Signal::KILL);
    eventually("its body is gone", || state(server).is_none());
    assert_eq!(pool.worker_pids(), pids);
    drop(arrival);
    assert_eq!(join(running).ok(), Some(1));
    signal(pids[0], Signal::KILL);
    pool.is_whole_without(&pids[..1]);
    let other = server_of(&pool);
    assert_ne!(other, server);
    assert!(pool.worker_pids().contains(&pids[1]), "the other worker lives");
    pool.end();
}

/// Kills the server while it is stopped with a request that waits for it: in mid-request.
#[test]
fn a_fork_server_that_dies_with_a_request_costs_a_restart_and_no_worker() {
    let mut pool = Marked::build(forking().workers(2));
    let (server, pids) = (server_of(&pool), pool.worker_pids());
    stop(server);
    signal(pids[0], Signal::KILL);
    // The other worker is heard while the start waits.
    let twice = |x: u32| 2 * x;
    eventually("the death is told", || pool.worker_pids().len() == 1);
    for number in 0..100 {
        assert_eq!(join(pool.submit(twice, number)).ok(), Some(2 * number));
    }
    signal(server, Signal::KILL);
    pool.is_whole_without(&pids[..1]);
    assert!(pool.worker_pids().contains(&pids[1]));
    assert_ne!(server_of(&pool), server);
    pool.end();
}

#[test]
fn a_pool_with_a_fork_server_that_is_stopped_can_be_dropped() {
    let pool = Marked::build(forking().workers(2));
    let (server, pids) = (server_of(&pool), pool.worker_pids());
    stop(server);
    signal(pids[0], Signal::KILL);
    eventually("the death is told", || pool.worker_pids().len() == 1);
    pool.end();
    assert!(state(server).is_none());
}

/// Kills the server at each stop on its way from a request to the answer: before and after each call
/// of the kernel, so also between the birth of a worker and the word of it.
#[test]
fn a_fork_server_that_dies_at_any_call_leaves_no_worker_that_nobody_knows() {
    let mut calls = BTreeSet::new();
    for steps in 0.. {
        let _patience = watchdog();
        let mut pool = Marked::build(forking().workers(2));
        let (server, pids) = (server_of(&pool), pool.worker_pids());
        let traced = Traced::seize(server);
        signal(pids[0], Signal::KILL);
        let call = traced.kill_after(steps);
        pool.is_whole_without(&pids[..1]);
        assert!(pool.worker_pids().contains(&pids[1]), "after {steps} stops");
        let workers = pool.worker_pids();
        let others = pool.processes().into_iter().filter(|pid| !workers.contains(pid)).count();
        assert!(others <= 1, "after {steps} stops, besides the server: {:?}", pool.processes());
        assert_eq!(join(pool.submit(|x: u32| x + 1, 1)).ok(), Some(2));
        pool.end();
        // Between request and answer it waits for nothing.
        let waits = [libc::SYS_poll, libc::SYS_ppoll].map(number_of);
        if calls.contains(&number_of(libc::SYS_sendmsg)) && call.is_some_and(|c| waits.contains(&c))
        {
            break;
        }
        calls.extend(call);
    }
    assert!(calls.contains(&number_of(libc::SYS_clone3)), "{calls:?}");
}

fn number_of(call: libc::c_long) -> u64 {
    u64::try_from(call).expect("a number of a call")
}

/// A process that is stopped before and after each of its calls of the kernel.
struct Traced {
    pid: libc::pid_t,
}

impl Traced {
    fn seize(pid: u32) -> Self {
        let traced = Traced { pid: pid.try_into().expect("a process number") };
        // Stops of calls can be told from signals.
        traced.trace(libc::PTRACE_SEIZE, libc::PTRACE_O_TRACESYSGOOD);
        traced.trace(libc::PTRACE_INTERRUPT, 0);
        traced.wait();
        traced
    }

    /// Lets it go on for so many stops, and kills it; the call that it was about to make.
    fn kill_after(&self, steps: u32) -> Option<u64> {
        for _ in 0..=steps {
            self.trace(libc::PTRACE_SYSCALL, 0);
            self.wait();
        }
        // SAFETY: zeros are valid in all of its parts, which are numbers.
        let mut facts: libc::ptrace_syscall_info = unsafe { std::mem::zeroed() };
        let (size, place) = (size_of_val(&facts), &raw mut facts);
        let question = libc::PTRACE_GET_SYSCALL_INFO;
        // SAFETY: the process is stopped (`wait`), and the call writes no more than the size.
        let asked = unsafe { libc::ptrace(question, self.pid, size, place) };
        assert!(asked > 0, "{}", std::io::Error::last_os_error());
        signal(self.pid.unsigned_abs(), Signal::KILL);
        // SAFETY: before a call this is the part that was written; else it is not looked at.
        let number = unsafe { facts.u.entry.nr };
        (facts.op == libc::PTRACE_SYSCALL_INFO_ENTRY).then_some(number)
    }

    fn trace(&self, request: libc::c_uint, data: libc::c_int) {
        // SAFETY: requests without a pointer.
        let done = unsafe { libc::ptrace(request, self.pid, 0, libc::c_long::from(data)) };
        assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    }

    fn wait(&self) {
        let mut status = 0;
        // SAFETY: the call writes the status.
        let waited = unsafe { libc::waitpid(self.pid, &raw mut status, libc::__WALL) };
        assert!(waited == self.pid && libc::WIFSTOPPED(status), "status {status:#x}");
    }
}

// ── another command ──────────────────────────────────────────────────────────

fn this_program() -> Command {
    Command::new(std::env::current_exe().expect("a program"))
}

#[test]
fn a_command_of_the_hosts_is_spawned_for_each_worker() {
    for method in [StartMethod::Spawn, StartMethod::ForkServer] {
        let mut command = this_program();
        command.args(["--for", "a worker"]).env("OF_THE_COMMAND", "yes");
        let builder = Pool::builder().workers(2).start_method(method).worker_command(command);
        let mut pool = Marked::build(builder.env("OF_THE_POOL", "yes"));
        let gone = pool.worker_pids()[0];
        signal(gone, Signal::KILL);
        pool.is_whole_without(&[gone]);
        let facts = |()| {
            let set = ["OF_THE_COMMAND", "OF_THE_POOL"].map(|name| std::env::var(name).is_ok());
            (set, std::env::args().nth(2), std::env::var_os("PANNIER_WORKER").is_some())
        };
        for _ in 0..8 {
            let (set, argument, marked) = join(pool.submit(facts, ())).expect("a task");
            assert_eq!((set, marked), ([true; 2], false));
            assert_eq!(argument.as_deref(), Some("a worker"));
        }
        pool.end();
    }
}

#[test]
fn a_command_that_is_missing_is_named_as_the_cause() {
    let failed = refusal(Pool::builder().workers(1).worker_command(Command::new("/no/program")));
    assert!(matches!(failed.cause, StartFailure::Exec(libc::ENOENT)), "{failed}");
    assert!(failed.to_string().contains("program there"), "{failed}");
}

#[test]
fn a_command_that_ends_is_told_with_its_status_and_its_words() {
    let mut command = Command::new("sh");
    command.args(["-c", "echo no worker here >&2; exit 5"]);
    let failed = refusal(Pool::builder().workers(1).worker_command(command));
    assert!(matches!(failed.cause, StartFailure::Exited), "{failed}");
    assert_eq!(failed.status, ExitStatus::Exited(5));
    assert_eq!(failed.stderr_tail.as_deref().map(str::trim), Some("no worker here"));
}

// ── commands that are not what they should be ────────────────────────────────

/// A folder for what a test needs, which goes with it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(unique("start"));
        std::fs::create_dir(&path).expect("a folder of its own");
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).expect("it is ours");
    }
}

/// This program as another build: its build-id is another one.
fn another_build(folder: &Folder) -> PathBuf {
    // A note (elf(5)): four bytes of name, twenty of content, of type NT_GNU_BUILD_ID.
    const NOTE: &[u8; 16] = b"\x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0";
    let program = std::env::current_exe().expect("a program");
    let mut bytes = std::fs::read(&program).expect("it can be read");
    let at = bytes.windows(NOTE.len()).position(|window| window == NOTE).expect("a build-id");
    bytes[at + NOTE.len()] ^= 1;
    let other = folder.0.join("other");
    // For the rights.
    std::fs::copy(program, &other).expect("room for a copy");
    std::fs::write(&other, bytes).expect("room for a copy");
    other
}

#[test]
fn a_command_that_is_another_build_is_told_so_and_leaves_nobody() {
    let _patience = watchdog();
    let folder = Folder::new();
    let mark = unique("mark");
    let command = Command::new(another_build(&folder));
    let builder = Pool::builder().workers(2).worker_command(command).env(MARK, &mark);
    let failed = refusal(builder);
    assert!(matches!(failed.cause, StartFailure::WrongProgram), "{failed}");
    assert!(failed.to_string().contains("another build"), "{failed}");
    eventually("nobody is left", || marked(&mark).is_empty());
}

/// Ends three times at once, which would be tried again, and has a child and waits the fourth time.
const SILENT: &str = "echo >> \"$0\"; [ $(wc -l < \"$0\") -lt 4 ] && exit 1; sleep 1000; :";

#[test]
fn a_command_that_never_answers_is_ended_in_time_with_its_children() {
    let _patience = watchdog();
    let (folder, mark) = (Folder::new(), unique("mark"));
    let starts = folder.0.join("starts");
    let mut command = Command::new("sh");
    command.args(["-c", SILENT]).arg(&starts);
    let began = Instant::now();
    let failed = refusal(Pool::builder().workers(1).worker_command(command).env(MARK, &mark));
    let StartFailure::TimedOut { after, .. } = failed.cause else { panic!("{failed}") };
    assert!((after..after + DEADLINE).contains(&began.elapsed()), "{:?}", began.elapsed());
    let is_killed = matches!(failed.status, ExitStatus::Signaled { signal: libc::SIGKILL, .. });
    assert!(is_killed, "{failed}");
    let starts = std::fs::read_to_string(starts).expect("it was started");
    assert_eq!(starts.lines().count(), 4);
    eventually("nobody is left", || marked(&mark).is_empty());
}
