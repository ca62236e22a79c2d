//! A host that forks, and a child that reports by its exit code.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

/// How long a child may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where a process is after [`fork`].
pub(crate) enum Fork {
    Parent(Child),
    Child(Checks),
}

/// In the parent.
pub(crate) struct Child(Pid);

/// In the child: counts what held, so that the parent can tell what did not.
pub(crate) struct Checks(i32);

/// Forks as foreign code does: in a process with threads, without exec.
pub(crate) fn fork() -> Fork {
    // SAFETY: glibc prepares its own locks for the child; what others hold there is the question that
    // this program asks. The child never returns from here: it ends by `Checks::over`.
    match unsafe { libc::fork() } {
        0 => Fork::Child(Checks(0)),
        pid => Fork::Parent(Child(Pid::from_raw(pid).expect("no process could be forked"))),
    }
}

impl Child {
    /// The number of the check that failed; `None` when the child hung, and was ended.
    pub(crate) fn verdict(self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match waitpid(Some(self.0), WaitOptions::NOHANG).expect("it is our child") {
                Some((_, status)) => return Some(status.exit_status().unwrap_or(i32::MAX)),
                None if Instant::now() > deadline => break,
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        }
        kill_process(self.0, Signal::KILL).expect("it is not reaped");
        waitpid(Some(self.0), WaitOptions::empty()).expect("it is our child");
        None
    }

    #[track_caller]
    pub(crate) fn ends_well(self) {
        match self.verdict() {
            Some(0) => {}
            Some(failed) => panic!("check {failed} of the forked child failed"),
            None => panic!("the forked child hangs"),
        }
    }
}

impl Checks {
    /// Ends the child if it does not hold. Not by a panic, whose message takes a lock that may be
    /// held for ever here.
    pub(crate) fn holds(&mut self, holds: bool) {
        self.0 += 1;
        if !holds {
            end(self.0);
        }
    }

    pub(crate) fn over(self) -> ! {
        end(0)
    }
}

fn end(code: i32) -> ! {
    // SAFETY: ends this process, without the exit handlers that are its parent's.
    unsafe { libc::_exit(code) }
}
