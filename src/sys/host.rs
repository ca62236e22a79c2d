//! This process: its environment, standard streams, program file, and what the kernel counts.
//!
//! Promises: nothing is changed but what a function says.
//! Does not know: whether this process is a worker.
#![expect(unsafe_code, reason = "changes the environment of a process that has one thread")]

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use super::module;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, fcntl_dupfd_cloexec, retry_on_intr};
use rustix::process::{Signal, getpid, kill_current_process_group};

/// Takes a variable out of the environment of a process that has one thread; `None` in others,
/// which could be reading the environment.
pub(crate) fn take_env_alone(name: &str) -> Option<OsString> {
    let value = std::env::var_os(name)?;
    if thread_count().ok()? != 1 {
        return None;
    }
    // SAFETY: this process has one thread (checked above), which starts no other meanwhile, so
    // nobody else reads or writes the environment.
    unsafe { std::env::remove_var(name) };
    Some(value)
}

/// Sets a variable, or removes it, in a process that has one thread.
///
/// # Errors
///
/// `EBUSY` in others, `EINVAL` for what cannot be a variable.
pub(crate) fn set_env_alone(name: &OsStr, value: Option<&OsStr>) -> io::Result<()> {
    let bytes = name.as_encoded_bytes();
    let has = |bytes: &[u8], byte| bytes.contains(&byte);
    let nul_in_value = value.is_some_and(|value| has(value.as_encoded_bytes(), 0));
    if bytes.is_empty() || has(bytes, b'=') || has(bytes, 0) || nul_in_value {
        return Err(Errno::INVAL.into());
    }
    if thread_count()? != 1 {
        return Err(Errno::BUSY.into());
    }
    match value {
        // SAFETY: one thread (checked above), which starts no other meanwhile.
        Some(value) => unsafe { std::env::set_var(name, value) },
        // SAFETY: as above.
        None => unsafe { std::env::remove_var(name) },
    }
    Ok(())
}

/// Ends this process without what was registered for its end: that is the business of the process
/// that this one is a copy of.
pub(crate) fn exit_as_copy(code: i32) -> ! {
    let _nobody_listens = io::stdout().flush();
    // SAFETY: the call takes a number and does not return.
    unsafe { libc::_exit(code) }
}

/// How many threads this process has.
pub(crate) fn thread_count() -> io::Result<usize> {
    Ok(std::fs::read_dir("/proc/self/task")?.count())
}

/// Moves standard input to a descriptor of its own, and puts /dev/null in its place.
pub(crate) fn take_stdin() -> io::Result<OwnedFd> {
    let taken = fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    Ok(taken)
}

/// Makes `fd` standard error.
pub(crate) fn replace_stderr(fd: impl AsFd) -> io::Result<()> {
    Ok(rustix::stdio::dup2_stderr(fd)?)
}

/// A copy of standard error for somebody else; /dev/null if there is none.
pub(crate) fn stderr_copy() -> io::Result<OwnedFd> {
    match fcntl_dupfd_cloexec(rustix::stdio::stderr(), 3) {
        Ok(fd) => Ok(fd),
        Err(_) => Ok(File::options().write(true).open("/dev/null")?.into()),
    }
}

/// The file of this program; as a link into /proc when it was deleted or moved.
pub(crate) fn program() -> PathBuf {
    match std::env::current_exe() {
        Ok(path) if path.exists() => path,
        _ => PathBuf::from("/proc/self/exe"),
    }
}

/// The file that was executed, if it is not the one that this program was loaded from: a loader that was
/// told the program's name.
pub(crate) fn loader() -> Option<PathBuf> {
    let address = module::program()?.segments.first()?.start;
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    // proc_pid_maps(5): addresses, rights, offset, device, inode.
    let inode = maps.lines().find_map(|line| {
        let mut fields = line.split_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let start = usize::from_str_radix(start, 16).ok()?;
        let end = usize::from_str_radix(end, 16).ok()?;
        let inode = fields.nth(3)?.parse::<u64>().ok()?;
        (start..end).contains(&address).then_some(inode)
    })?;
    let executed = std::fs::metadata("/proc/self/exe").ok()?;
    if executed.ino() == inode { None } else { std::env::current_exe().ok() }
}

/// A descriptor that names this process, for its children to watch.
pub(crate) fn own_pidfd() -> io::Result<OwnedFd> {
    Ok(rustix::process::pidfd_open(getpid(), rustix::process::PidfdFlags::empty())?)
}

/// Waits until the process behind a pidfd is dead.
pub(crate) fn wait_for_death(pidfd: BorrowedFd<'_>) -> io::Result<()> {
    retry_on_intr(|| poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], None))?;
    Ok(())
}

/// Waits until `fd` can be read, at most so long; whether it can.
pub(crate) fn wait_readable(fd: BorrowedFd<'_>, timeout: std::time::Duration) -> io::Result<bool> {
    let timeout = rustix::event::Timespec::try_from(timeout).ok();
    let ready = retry_on_intr(|| poll(&mut [PollFd::new(&fd, PollFlags::IN)], timeout.as_ref()))?;
    Ok(ready > 0)
}

/// Ends this process, and its process group if it leads one.
pub(crate) fn kill_own_group() -> ! {
    if rustix::process::getpgrp() == getpid() {
        let _cannot_fail = kill_current_process_group(Signal::KILL);
    }
    let _cannot_fail = rustix::process::kill_process(getpid(), Signal::KILL);
    std::process::abort()
}

/// Makes this process the leader of a process group of its own, if it is not yet.
pub(crate) fn lead_group() -> io::Result<()> {
    Ok(rustix::process::setpgid(None, None)?)
}

/// Bytes of memory that a process has for itself (proc(5), `statm`): resident, and not shared.
pub(crate) fn private_memory(pid: u32) -> Option<u64> {
    let pages = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let mut pages = pages.split(' ').skip(1).map_while(|pages| pages.parse::<u64>().ok());
    let (resident, shared) = (pages.next()?, pages.next()?);
    let page = u64::try_from(rustix::param::page_size()).ok()?;
    Some(resident.saturating_sub(shared).saturating_mul(page))
}

/// From now on the kernel kills this process, and what it starts, rather than the one that started it
/// when memory runs out (proc(5), `oom_score_adj`). Where that cannot be had nothing changes.
pub(crate) fn be_killed_first() {
    const MORE: i32 = 100;
    const MOST: i32 = 1000;
    const FILE: &str = "/proc/self/oom_score_adj";
    let score = std::fs::read_to_string(FILE).ok().and_then(|score| score.trim().parse().ok());
    let raised = score.map(|score: i32| score.saturating_add(MORE).min(MOST).to_string());
    let _stays = raised.map(|raised| std::fs::write(FILE, raised));
}

/// How many processes this machine has killed for want of memory, where it counts them.
pub(crate) fn oom_kills() -> Option<u64> {
    let counters = std::fs::read_to_string("/proc/vmstat").ok()?;
    let line = counters.lines().find_map(|line| line.strip_prefix("oom_kill "))?;
    line.trim().parse().ok()
}
