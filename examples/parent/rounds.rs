//! A program with a pool is killed; how long until the last of its workers and their children is dead.
//!
//! The program is this one, started again. Whoever kills it has a pidfd of every process, opened
//! before, and polls them: nothing of the library's is asked. The body of the example, and of a test.

use std::collections::BTreeSet;
use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pannier::Pool;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

/// Names the part of the program that is killed: the MiB that its workers are to hold.
const PART: &str = "PARENT";
const WORKERS: usize = 4;
/// What is alive after that is left.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a process was doing when the parent was killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Idle,
    Busy,
    Stopped,
    /// It waits for a child of its own.
    Waiting,
    /// Of a worker.
    Child,
}

pub(crate) const KINDS: [Kind; 5] =
    [Kind::Idle, Kind::Busy, Kind::Stopped, Kind::Waiting, Kind::Child];

/// Plays the program that is killed, if this process is to be that.
pub(crate) fn play() -> bool {
    let Some(mib) = std::env::var(PART).ok().and_then(|mib| mib.parse().ok()) else {
        return false;
    };
    let pool = Pool::builder().workers(WORKERS).build().expect("workers start");
    drop(pool.submit(be_busy, mib));
    drop(pool.submit(wait_for_child, mib));
    let child = pool.submit(leave_child, mib).join().expect("a task");
    say(&format!("child {child}"));
    for pid in pool.worker_pids() {
        say(&format!("worker {pid}"));
    }
    let _never = std::io::stdin().read(&mut [0]);
    true
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).expect("somebody listens");
}

/// Memory of this worker's, with all its pages, until its end.
fn hold(mib: usize) {
    std::mem::forget(vec![1_u8; mib << 20]);
}

fn be_busy(mib: usize) {
    hold(mib);
    say(&format!("busy {}", std::process::id()));
    for number in 0_u64.. {
        std::hint::black_box(number);
    }
}

fn start_child() -> Child {
    let mut command = Command::new("sleep");
    command.arg("1000").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("sleep is installed")
}

fn wait_for_child(mib: usize) {
    hold(mib);
    let mut child = start_child();
    say(&format!("child {}", child.id()));
    say(&format!("waiting {}", std::process::id()));
    child.wait().expect("it is a child");
}

fn leave_child(mib: usize) -> u32 {
    hold(mib);
    start_child().id()
}

/// What became of one program.
pub(crate) struct Round {
    /// From the kill to the death of each that died in time.
    pub(crate) deaths: Vec<(Kind, Duration)>,
    /// Numbers of those that did not.
    pub(crate) left: Vec<u32>,
}

/// A program, and what it has started.
struct Program {
    parent: Child,
    all: Vec<(Kind, u32)>,
}

impl Program {
    fn start(mib: usize) -> Result<Self, Box<dyn Error>> {
        let mut parent = Command::new(std::env::current_exe()?)
            .env(PART, mib.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = parent.stdout.take().ok_or("a pipe")?;
        let mut program = Program { parent, all: Vec::new() };
        let (mut workers, mut lines) = (Vec::new(), BufReader::new(stdout).lines());
        // Each worker, those of them that are at work, and two children.
        while workers.len() < WORKERS || program.all.len() < 4 {
            let line = lines.next().ok_or("the program has ended")??;
            let (word, pid) = line.split_once(' ').ok_or("a word and a number")?;
            let pid = pid.parse()?;
            match word {
                "worker" => workers.push(pid),
                "busy" => program.all.push((Kind::Busy, pid)),
                "waiting" => program.all.push((Kind::Waiting, pid)),
                _child => program.all.push((Kind::Child, pid)),
            }
        }
        let known: BTreeSet<u32> = program.all.iter().map(|known| known.1).collect();
        let idle = workers.into_iter().filter(|pid| !known.contains(pid));
        program.all.extend(idle.map(|pid| (Kind::Idle, pid)));
        Ok(program)
    }
}

/// Starts a program, stops one of its workers, kills it, and sees the others die.
pub(crate) fn round(number: usize, mib: usize) -> Result<Round, Box<dyn Error>> {
    let Program { mut parent, mut all } = Program::start(mib)?;
    // An idle one, the busy one, or the one that waits, in turn.
    let victims = [Kind::Idle, Kind::Busy, Kind::Waiting];
    let wanted = victims[number % victims.len()];
    let stopped = all.iter_mut().find(|one| one.0 == wanted).ok_or("there is one of each")?;
    stopped.0 = Kind::Stopped;
    stop(stopped.1)?;
    let watched: Vec<(Kind, u32, OwnedFd)> = all
        .into_iter()
        .map(|(kind, pid)| Ok((kind, pid, pidfd_open(pid_of(pid)?, PidfdFlags::empty())?)))
        .collect::<Result<_, Box<dyn Error>>>()?;
    let killed = Instant::now();
    parent.kill()?;
    let round = see_deaths(watched, killed);
    parent.wait()?;
    round
}

/// Stops a process, and sees all its threads stand still. (The kernel wakes stopped groups when their
/// parent dies, but not one that is about to stop: that one would stay.)
fn stop(pid: u32) -> Result<(), Box<dyn Error>> {
    kill_process(pid_of(pid)?, Signal::STOP)?;
    let stands_still = |thread: std::io::Result<std::fs::DirEntry>| {
        let stat = std::fs::read_to_string(thread?.path().join("stat"))?;
        Ok(stat.rsplit_once(')').is_some_and(|(_, behind)| behind.trim_start().starts_with('T')))
    };
    loop {
        let threads = std::fs::read_dir(format!("/proc/{pid}/task"))?;
        let still: std::io::Result<Vec<bool>> = threads.map(stands_still).collect();
        if still?.iter().all(|&still| still) {
            return Ok(());
        }
        std::thread::yield_now();
    }
}

fn pid_of(pid: u32) -> Result<Pid, Box<dyn Error>> {
    Ok(Pid::from_raw(pid.try_into()?).ok_or("zero is no process")?)
}

fn see_deaths(
    mut watched: Vec<(Kind, u32, OwnedFd)>,
    killed: Instant,
) -> Result<Round, Box<dyn Error>> {
    let mut deaths = Vec::new();
    while !watched.is_empty() && killed.elapsed() < PATIENCE {
        let pidfds = watched.iter().map(|one| &one.2);
        let mut fds: Vec<_> = pidfds.map(|pidfd| PollFd::new(pidfd, PollFlags::IN)).collect();
        let left = Timespec::try_from(PATIENCE.saturating_sub(killed.elapsed()))?;
        poll(&mut fds, Some(&left))?;
        let after = killed.elapsed();
        let is_dead: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        let mut at = is_dead.iter();
        watched.retain(|one| {
            let dead = at.next().is_some_and(|&dead| dead);
            if dead {
                deaths.push((one.0, after));
            }
            !dead
        });
    }
    let left: Vec<u32> = watched.iter().map(|one| one.1).collect();
    for &pid in &left {
        // Nothing of this is to stay whatever is found.
        let _gone = kill_process(pid_of(pid)?, Signal::KILL);
    }
    Ok(Round { deaths, left })
}

/// Files that may be the library's, where names of shared memory live. There should never be any. Those
/// of a process that lives are that one's: they carry its number.
pub(crate) fn names() -> BTreeSet<PathBuf> {
    let folders = [PathBuf::from("/dev/shm"), std::env::temp_dir()];
    let entries = folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok());
    let paths = entries.flatten().flatten().map(|entry| entry.path());
    let is_ours = |path: &PathBuf| {
        let name = path.to_string_lossy();
        let mut numbers = name.split(|c: char| !c.is_ascii_digit()).filter(|part| !part.is_empty());
        let lives = |pid: &str| Path::new("/proc").join(pid).exists();
        name.contains("pannier") && !numbers.next().is_some_and(lives)
    };
    paths.filter(is_ours).collect()
}
