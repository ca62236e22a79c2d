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
        let wait = |milliseconds: &u64| {
            std::thread::sleep(Duration::from_millis(*milliseconds));
            waitid(WaitId::PidFd(self.pidfd.as_fd()), options).transpose()
        };
        let Some(Ok(status)) = PAUSES.iter().find_map(wait) else { return ExitStatus::Unknown };
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

/// Milliseconds before each look for the exit status. A dead child that is traced is its tracer's first (ptrace(2)),
/// which the kernel does not tell; else the first look is the last.
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
            assert_eq!(child.exit_status(), ExitStatus::Unknown);
            drop(child);
            // Of two signals the one that came first would have ended it.
            kill_process(stranger, Signal::TERM).expect("it is there");
            let ended = waitpid(Some(stranger), WaitOptions::empty()).expect("it is ours");
            let signal = ended.and_then(|(_, status)| status.terminating_signal());
            assert_eq!(signal, Some(libc::SIGTERM));
        }
    }
}
