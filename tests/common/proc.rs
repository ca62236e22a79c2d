//! What the kernel tells of processes, descriptors and maps.

use std::fs;
use std::ops::Range;
use std::process::{Command, Stdio};

use rustix::io::Errno;
use rustix::process::{Pid, Signal};

/// All processes, zombies included.
pub(crate) fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").expect("proc is mounted");
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// Whether there is such a process, be it a zombie.
pub(crate) fn exists(pid: u32) -> bool {
    fs::exists(format!("/proc/{pid}")).unwrap_or(false)
}

/// The state by proc_pid_stat(5), and the parent; `None` when the process is gone.
pub(crate) fn state(pid: u32) -> Option<(char, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace();
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// Whether a process has ended. It may be a zombie, when it is not for us to reap it.
pub(crate) fn is_dead(pid: u32) -> bool {
    state(pid).is_none_or(|(state, _)| matches!(state, 'Z' | 'X'))
}

/// The processes whose parent is this one, zombies included.
pub(crate) fn children() -> Vec<u32> {
    let own = std::process::id();
    processes().filter(|&pid| state(pid).is_some_and(|(_, parent)| parent == own)).collect()
}

/// The environment that a process was started with, as a list of `NAME=value`.
pub(crate) fn environment(pid: u32) -> Vec<String> {
    let bytes = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    bytes.split(|&byte| byte == 0).map(|text| String::from_utf8_lossy(text).into_owned()).collect()
}

/// Sends a signal from outside, as a stranger would.
pub(crate) fn signal(pid: u32, signal: Signal) {
    send(pid, signal).expect("the process is there");
}

/// As `signal`, to one that may just have ended: whether it was there.
pub(crate) fn signal_if_there(pid: u32, signal: Signal) -> bool {
    let sent = send(pid, signal);
    assert!(matches!(sent, Ok(()) | Err(Errno::SRCH)), "{sent:?}");
    sent.is_ok()
}

fn send(pid: u32, signal: Signal) -> rustix::io::Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process number");
    rustix::process::kill_process(pid, signal)
}

/// Whether each thread of a process is stopped: the kernel counts it as stopped only then.
pub(crate) fn is_stopped(pid: u32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    let state_of = |thread: std::io::Result<fs::DirEntry>| {
        let stat = fs::read_to_string(thread.ok()?.path().join("stat")).ok()?;
        stat.rsplit_once(')')?.1.trim_start().chars().next()
    };
    threads.filter_map(state_of).all(|state| state == 'T')
}

/// In a task: ends it without a word.
pub(crate) fn kill_oneself() -> ! {
    signal(std::process::id(), Signal::KILL);
    unreachable!("SIGKILL cannot be survived")
}

/// In a task: a command that says nothing and hears nothing, so that one which a failed test leaves
/// keeps nobody waiting for the end of a pipe.
pub(crate) fn quiet(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// How many entries a directory of this process's has in /proc.
pub(crate) fn count(directory: &str) -> usize {
    fs::read_dir(format!("/proc/self/{directory}")).expect("proc is mounted").count()
}

/// The maps of memory objects without a name in the file system.
pub(crate) fn shared_maps() -> Vec<Range<usize>> {
    let maps = fs::read_to_string("/proc/self/maps").expect("proc is mounted");
    maps.lines().filter(|line| line.contains("memfd:")).map(|line| map_of(line).0).collect()
}

/// What this process may do with the memory at an address, by proc_pid_maps(5); `None` if nothing is
/// mapped there.
pub(crate) fn rights(address: usize) -> Option<String> {
    let maps = fs::read_to_string("/proc/self/maps").expect("proc is mounted");
    let (_, rights) = maps.lines().map(map_of).find(|(range, _)| range.contains(&address))?;
    Some(rights.to_owned())
}

/// A line of proc_pid_maps(5).
fn map_of(line: &str) -> (Range<usize>, &str) {
    let parts = || {
        let mut words = line.split_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let parse = |text| usize::from_str_radix(text, 16).ok();
        Some((parse(start)?..parse(end)?, words.next()?))
    };
    parts().expect("a line of proc_pid_maps(5)")
}

/// Whether all these bytes lie in shared memory, by what the kernel says.
pub(crate) fn lies_in_shared_memory<T>(items: &[T]) -> bool {
    let bytes = items.as_ptr_range();
    let (start, end) = (bytes.start.addr(), bytes.end.addr());
    shared_maps().iter().any(|map| map.start <= start && end <= map.end)
}
