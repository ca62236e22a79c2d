//! A child process, named by a descriptor and not by a number that may be used again (pidfd_open(2)).
//!
//! Promises: no signal ever reaches a stranger; asking for the exit status waits for nobody but a
//! tracer, and not long.
//! Does not know: what the child does.
#![expect(unsafe_code, reason = "a system call that no library wraps: a signal to a whole group")]

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_open,
    pidfd_send_signal, waitid,
};

use super::wait;

/// How a process ended.
///
/// # Examples
///
/// ```
/// use pannier::ExitStatus;
///
/// assert_eq!(ExitStatus::Exited(3).to_string(), "exit code 3");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExitStatus {
    /// By itself, with this code.
    Exited(i32),
    /// By a signal (signal(7)).
    #[non_exhaustive]
    Signaled {
        /// Its number.
        signal: i32,
        /// Whether a core file was written.
        core_dumped: bool,
    },
    /// Somebody else in this program reaped the process, and the kernel (before 6.15) does not say.
    Unknown,
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            ExitStatus::Exited(code) => write!(f, "exit code {code}"),
            ExitStatus::Signaled { signal, core_dumped } => {
                write!(f, "signal {signal}")?;
                if let Some(name) = signal_name(signal) {
                    write!(f, " ({name})")?;
                }
                f.write_str(if core_dumped { ", core dumped" } else { "" })
            }
            ExitStatus::Unknown => f.write_str("unknown exit status"),
        }
    }
}

/// Waits for children of every kind: one that was copied from this process sends no signal at its end,
/// and others are waited for just the same (waitpid(2)).
const ALL: WaitIdOptions =
    WaitIdOptions::from_bits_retain(libc::__WALL as u32).union(WaitIdOptions::EXITED);

/// A child of this process. Dropped before its exit status was asked for, it is killed and reaped.
#[derive(Debug)]
pub(crate) struct Child {
    pid: Pid,
    pidfd: OwnedFd,
    reaped: bool,
}

impl Child {
    /// Names a child that was just started and that nobody has waited for.
    pub(crate) fn adopt(pid: u32) -> io::Result<Self> {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
        Ok(Child { pid, pidfd, reaped: false })
    }

    /// Names a child that another process made for this one; `None` if it is no child, or was reaped.
    pub(crate) fn adopt_if_ours(pid: u32) -> Option<Self> {
        let number = i32::try_from(pid).ok().and_then(Pid::from_raw)?;
        let pidfd = pidfd_open(number, PidfdFlags::empty()).ok()?;
        Child::from_pidfd(pid, pidfd)
    }

    /// As [`adopt_if_ours`](Self::adopt_if_ours), with a descriptor that came with the child.
    pub(crate) fn from_pidfd(pid: u32, pidfd: OwnedFd) -> Option<Self> {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw)?;
        let look = ALL | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        waitid(WaitId::PidFd(pidfd.as_fd()), look).ok()?;
        Some(Child { pid, pidfd, reaped: false })
    }

    /// Whether it has ended; it is not reaped by asking.
    pub(crate) fn has_ended(&self) -> bool {
        wait::is_readable(&self.pidfd)
    }

    pub(crate) fn id(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// SIGKILL for the child and its process group.
    ///
    /// Also after the child's death, for what it left behind: the group keeps the number from being
    /// used again as long as it has a member.
    pub(crate) fn kill_group(&self) {
        if kill_group_of(self.pidfd.as_fd()) == Err(Errno::INVAL) {
            self.kill_group_by_number();
        }
        // Not the leader of its group yet, when it has barely started.
        let _already_dead = pidfd_send_signal(&self.pidfd, Signal::KILL);
    }

    /// How the child ended, once its pidfd is readable; reaps it.
    pub(crate) fn exit_status(&mut self) -> ExitStatus {
        self.reaped = true;
        let options = ALL | WaitIdOptions::NOHANG;
        let wait = |milliseconds: &u64| {
            std::thread::sleep(Duration::from_millis(*milliseconds));
            match waitid(WaitId::PidFd(self.pidfd.as_fd()), options) {
                // Somebody else in this program waits for all children, or SIGCHLD is ignored.
                Err(Errno::CHILD) => Some(Err(status_of_the_reaped(self.pidfd.as_fd()))),
                found => found.ok().flatten().map(Ok),
            }
        };
        let status = match PAUSES.iter().find_map(wait) {
            Some(Ok(status)) => status,
            Some(Err(told)) => return told,
            None => return ExitStatus::Unknown,
        };
        if let Some(code) = status.exit_status() {
            return ExitStatus::Exited(code);
        }
        match status.terminating_signal() {
            Some(signal) => ExitStatus::Signaled { signal, core_dumped: status.dumped() },
            None => ExitStatus::Unknown,
        }
    }

    /// Kills and reaps it, if that was not done.
    pub(crate) fn end(&mut self) {
        if !std::mem::replace(&mut self.reaped, true) {
            self.kill_group();
            // The signal cannot be refused; only the kernel can keep a process from dying of it.
            let _reaped_by_others = waitid(WaitId::PidFd(self.pidfd.as_fd()), ALL);
        }
    }

    /// For kernels before 6.9: the number is safe to use only while nobody has reaped the child.
    fn kill_group_by_number(&self) {
        let look = ALL | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        if waitid(WaitId::PidFd(self.pidfd.as_fd()), look).is_ok() {
            let _no_such_group = kill_process_group(self.pid, Signal::KILL);
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.end();
    }
}

impl AsFd for Child {
    /// Readable once the child is dead and all its threads have left its memory.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

/// Milliseconds before each look for the exit status. A dead child that is traced is its tracer's first
/// (ptrace(2)), which the kernel does not tell; else the first look is the last.
const PAUSES: [u64; 6] = [0, 1, 2, 5, 20, 100];

fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGHUP => "SIGHUP",
        libc::SIGILL => "SIGILL",
        libc::SIGINT => "SIGINT",
        libc::SIGKILL => "SIGKILL",
        libc::SIGPIPE => "SIGPIPE",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGSYS => "SIGSYS",
        libc::SIGTERM => "SIGTERM",
        libc::SIGTRAP => "SIGTRAP",
        libc::SIGXCPU => "SIGXCPU",
        libc::SIGXFSZ => "SIGXFSZ",
        _ => return None,
    })
}

/// What the kernel remembers of a process that is reaped (PIDFD_GET_INFO, 6.15).
fn status_of_the_reaped(pidfd: BorrowedFd<'_>) -> ExitStatus {
    // In the moment between the two the kernel remembers nothing yet; it hangs up when it does.
    wait::until_hung_up(pidfd, Duration::from_millis(100));
    let Some(status) = wait_status(pidfd) else { return ExitStatus::Unknown };
    if libc::WIFEXITED(status) {
        return ExitStatus::Exited(libc::WEXITSTATUS(status));
    }
    let core_dumped = libc::WCOREDUMP(status);
    ExitStatus::Signaled { signal: libc::WTERMSIG(status), core_dumped }
}

/// linux/pidfd.h, the first version of it.
#[repr(C)]
#[derive(Default)]
struct PidfdInfo {
    mask: u64,
    cgroup: u64,
    numbers: [u32; 11],
    exit_code: i32,
}

const _: () = assert!(size_of::<PidfdInfo>() == 64);

fn wait_status(pidfd: BorrowedFd<'_>) -> Option<i32> {
    const PIDFD_INFO_EXIT: u64 = 1 << 3;
    /// `_IOWR(0xFF, 11, struct pidfd_info)`, of which the length is a part.
    const PIDFD_GET_INFO: libc::Ioctl = 0xC040_FF0B_u32 as libc::Ioctl;
    let mut info = PidfdInfo { mask: PIDFD_INFO_EXIT, ..PidfdInfo::default() };
    // SAFETY: the call reads and writes the structure, whose length it is told; kernels and descriptors
    // that do not know it refuse it.
    let asked = unsafe { libc::ioctl(pidfd.as_raw_fd(), PIDFD_GET_INFO, &raw mut info) };
    (asked == 0 && info.mask & PIDFD_INFO_EXIT != 0).then_some(info.exit_code)
}

/// SIGKILL for a process that is not this one's child, and for its process group. Kernels before 6.9
/// reach the process only: its number may be another's already, so it is not used.
pub(crate) fn kill_stranger(pidfd: BorrowedFd<'_>) {
    let _nobody_there = kill_group_of(pidfd);
    let _already_dead = pidfd_send_signal(pidfd, Signal::KILL);
}

/// pidfd_send_signal(2) with PIDFD_SIGNAL_PROCESS_GROUP (6.9); EINVAL before.
fn kill_group_of(pidfd: BorrowedFd<'_>) -> Result<(), Errno> {
    const PIDFD_SIGNAL_PROCESS_GROUP: libc::c_uint = 1 << 2;
    // SAFETY: the call reads its four arguments; the third, a pointer, may be null (man page).
    let sent = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            libc::SIGKILL,
            std::ptr::null::<libc::siginfo_t>(),
            PIDFD_SIGNAL_PROCESS_GROUP,
        )
    };
    if sent == 0 {
        return Ok(());
    }
    Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::INVAL))
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};

    use rustix::process::{WaitOptions, kill_process, waitpid};

    use super::*;

    /// A process with a number that was another's, at the head of a group with that number: it only
    /// waits. `None` where a process may not choose its number.
    fn with_number(pid: Pid) -> Option<Pid> {
        let number = [pid.as_raw_nonzero().get()];
        let mut wanted = libc::clone_args {
            flags: 0,
            pidfd: 0,
            child_tid: 0,
            parent_tid: 0,
            exit_signal: u64::try_from(libc::SIGCHLD).expect("a small number"),
            stack: 0,
            stack_size: 0,
            tls: 0,
            set_tid: number.as_ptr().expose_provenance() as u64,
            set_tid_size: 1,
            cgroup: 0,
        };
        // SAFETY: the call reads the structure, of that size, and the number it points to, which both
        // outlive it. Without flags it is a fork; the child makes two system calls and nothing else.
        let made = unsafe {
            libc::syscall(libc::SYS_clone3, &raw mut wanted, size_of::<libc::clone_args>())
        };
        if made == 0 {
            loop {
                // SAFETY: takes two numbers, and may be called by a forked child.
                unsafe { libc::setpgid(0, 0) };
                // SAFETY: waits for a signal.
                unsafe { libc::pause() };
            }
        }
        (made == i64::from(number[0])).then_some(pid)
    }

    /// A child that is dead, and what came to have its number after it was reaped.
    fn succeeded(reaped_by_us: bool) -> Option<(Child, Pid)> {
        // Somebody else may be given the number first.
        (0..100).find_map(|_| {
            let mut command = Command::new("sleep");
            command.arg("1000").stdin(Stdio::null()).process_group(0);
            let mut process = command.spawn().expect("sleep is installed");
            let mut child = Child::adopt(process.id()).expect("a child");
            child.kill_group();
            crate::sys::host::wait_for_death(child.as_fd()).expect("a pidfd");
            let reaped = reaped_by_us.then(|| child.exit_status());
            assert!(matches!(reaped, None | Some(ExitStatus::Signaled { signal: 9, .. })));
            assert_eq!(process.wait().is_err(), reaped_by_us);
            let stranger = with_number(child.pid)?;
            Some((child, stranger))
        })
    }

    #[test]
    fn a_process_that_came_to_have_a_dead_childs_number_is_left_alone() {
        for reaped_by_us in [true, false] {
            let Some((mut child, stranger)) = succeeded(reaped_by_us) else {
                let needed = std::env::var_os("CI").is_some_and(|ci| ci == "true");
                return assert!(!needed, "only root may choose the number of a process");
            };
            child.kill_group();
            child.kill_group_by_number();
            let status = child.exit_status();
            drop(child);
            // Of two signals the one that came first would have ended it.
            kill_process(stranger, Signal::TERM).expect("it is there");
            let ended = waitpid(Some(stranger), WaitOptions::empty()).expect("it is ours");
            let signal = ended.and_then(|(_, status)| status.terminating_signal());
            assert_eq!(signal, Some(libc::SIGTERM));
            // Newer kernels remember how the child ended, whoever has reaped it.
            let is_its_own = matches!(status, ExitStatus::Signaled { signal: libc::SIGKILL, .. });
            assert!(is_its_own || status == ExitStatus::Unknown, "{status}");
        }
    }
}
