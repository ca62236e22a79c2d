//! A child process, named by a descriptor and not by a number that may be used again (pidfd_open(2)).
//!
//! Promises: no signal ever reaches a stranger; asking for the exit status never waits.
//! Does not know: what the child does.
#![expect(unsafe_code, reason = "a system call that no library wraps: a signal to a whole group")]

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_open,
    pidfd_send_signal, waitid,
};

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
    /// Somebody else in this program reaped the process and did not say.
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

    pub(crate) fn id(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// SIGKILL for the child and its process group.
    ///
    /// Also after the child's death, for what it left behind: the group keeps the number from being
    /// used again as long as it has a member.
    pub(crate) fn kill_group(&self) {
        if send_to_group(self.pidfd.as_fd(), Signal::KILL) == Err(Errno::INVAL) {
            self.kill_group_by_number();
        }
        // Not the leader of its group yet, when it has barely started.
        let _already_dead = pidfd_send_signal(&self.pidfd, Signal::KILL);
    }

    /// How the child ended, once its pidfd is readable; reaps it.
    pub(crate) fn exit_status(&mut self) -> ExitStatus {
        self.reaped = true;
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        let Ok(Some(status)) = waitid(WaitId::PidFd(self.pidfd.as_fd()), options) else {
            return ExitStatus::Unknown;
        };
        if let Some(code) = status.exit_status() {
            return ExitStatus::Exited(code);
        }
        match status.terminating_signal() {
            Some(signal) => ExitStatus::Signaled { signal, core_dumped: status.dumped() },
            None => ExitStatus::Unknown,
        }
    }

    /// For kernels before 6.9: the number is safe to use only while nobody has reaped the child.
    fn kill_group_by_number(&self) {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        if waitid(WaitId::PidFd(self.pidfd.as_fd()), look).is_ok() {
            let _no_such_group = kill_process_group(self.pid, Signal::KILL);
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.reaped {
            self.kill_group();
            // The signal cannot be refused; only the kernel can keep a process from dying of it.
            let _reaped_by_others =
                waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED);
        }
    }
}

impl AsFd for Child {
    /// Readable once the child is dead and all its threads have left its memory.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

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

/// pidfd_send_signal(2) with PIDFD_SIGNAL_PROCESS_GROUP (6.9); EINVAL before.
fn send_to_group(pidfd: BorrowedFd<'_>, signal: Signal) -> Result<(), Errno> {
    const PIDFD_SIGNAL_PROCESS_GROUP: libc::c_uint = 1 << 2;
    // SAFETY: the call reads its four arguments; the third, a pointer, may be null (man page).
    let sent = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal.as_raw(),
            std::ptr::null::<libc::siginfo_t>(),
            PIDFD_SIGNAL_PROCESS_GROUP,
        )
    };
    if sent == 0 {
        return Ok(());
    }
    Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::INVAL))
}
