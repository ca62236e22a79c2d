//! Names: which are permitted, and which say whose they are.
//!
//! ```text
//!   pannier-PID-START-BOOT-PIDS-CLOCK-COUNT
//!            │    │    │    │     └ the owner's namespace of clocks ┐ by their numbers; others
//!            │    │    │    └ its namespace of process numbers      ┘ cannot judge it
//!            │    │    └ which start of the machine
//!            │    └ when the process began, in its ticks (proc_pid_stat(5), field 22)
//!            └ its number
//! ```
//!
//! Promises: an owner counts as dead only when no living process can be it.
//! Does not know: objects.
#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use super::error::{NameFault, NamedError};

const PREFIX: &str = "pannier-";
/// Of file names, in bytes.
const LONGEST: usize = 255;

/// A process, told from all others that had or will have its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pid: u32,
    start: u64,
    view: View,
}

/// From where processes are seen: the same numbers mean the same only in the same view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct View {
    boot: u128,
    pids: u64,
    clock: u64,
}

/// A name that a caller chose, without a slash before it.
pub(super) fn checked(name: &str) -> Result<&str, NamedError> {
    let bare = name.strip_prefix('/').unwrap_or(name);
    let why = match bare {
        "" => NameFault::Empty,
        "." | ".." => NameFault::Reserved,
        _ => match bare.bytes().position(|byte| matches!(byte, b'/' | 0)) {
            Some(at) => NameFault::Character { at },
            None if bare.len() > LONGEST => NameFault::TooLong { len: bare.len() },
            None => return Ok(bare),
        },
    };
    Err(NamedError::Name { name: name.to_owned(), why })
}

/// A name for a new object that is no name of `create`'s.
pub(super) fn chosen(name: &str) -> Result<&str, NamedError> {
    let bare = checked(name)?;
    if bare.starts_with(PREFIX) {
        return Err(NamedError::Name { name: name.to_owned(), why: NameFault::Reserved });
    }
    Ok(bare)
}

impl Owner {
    /// This process.
    pub(super) fn here() -> Result<Self, NamedError> {
        let (view, pid) = (View::here()?, std::process::id());
        let own = process(pid).map_err(|_| NamedError::NoProc)?;
        Ok(Owner { pid, start: own.start, view })
    }

    /// A name that this process has not used yet.
    pub(super) fn name(&self) -> String {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let Owner { pid, start, view: View { boot, pids, clock } } = self;
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        format!("{PREFIX}{pid}-{start}-{boot:x}-{pids}-{clock}-{count}")
    }

    /// Whose name it is; `None` for names that others made.
    pub(super) fn of(name: &str) -> Option<Self> {
        let mut fields = name.strip_prefix(PREFIX)?.split('-');
        let pid = fields.next()?.parse().ok()?;
        let start = fields.next()?.parse().ok()?;
        let boot = u128::from_str_radix(fields.next()?, 16).ok()?;
        let pids = fields.next()?.parse().ok()?;
        let clock = fields.next()?.parse().ok()?;
        let _count: u64 = fields.next()?.parse().ok()?;
        let nothing_follows = fields.next().is_none();
        nothing_follows.then_some(Owner { pid, start, view: View { boot, pids, clock } })
    }

    /// Whether this process has certainly ended. Who cannot tell says no.
    pub(super) fn is_dead(&self, here: &View) -> bool {
        let same_view = (self.view.pids, self.view.clock) == (here.pids, here.clock);
        if !same_view {
            return false;
        }
        if self.view.boot != here.boot {
            return true;
        }
        match process(self.pid) {
            Ok(found) => found.start != self.start || found.has_ended,
            // It may be hidden from this user.
            Err(error) => error.kind() == io::ErrorKind::NotFound && nobody_has(self.pid),
        }
    }
}

impl View {
    /// Of this process.
    pub(super) fn here() -> Result<Self, NamedError> {
        // Of another namespace, in which this process has another number or none, where `/proc` was
        // mounted before this one was entered.
        let own = fs::read_link("/proc/self").map_err(|_| NamedError::NoProc)?;
        if own.to_str() != Some(&std::process::id().to_string()) {
            return Err(NamedError::NoProc);
        }
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id");
        let boot = boot.map_err(|_| NamedError::NoProc)?.trim().replace('-', "");
        let boot = u128::from_str_radix(&boot, 16).map_err(|_| NamedError::NoProc)?;
        let number = |file: &str| fs::metadata(file).map(|facts| facts.ino());
        let pids = number("/proc/self/ns/pid").map_err(|_| NamedError::NoProc)?;
        // Kernels before 5.6 have none of these.
        let clock = number("/proc/self/ns/time").unwrap_or(0);
        Ok(View { boot, pids, clock })
    }
}

struct Process {
    start: u64,
    /// It waits for its parent to ask how it ended.
    has_ended: bool,
}

/// By proc_pid_stat(5).
fn process(pid: u32) -> io::Result<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let parsed = || {
        // The second field is a name that may contain anything.
        let (_, behind) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = behind.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3).copied();
        let threads: u64 = field(20)?.parse().ok()?;
        // The first thread of a process can be a zombie and others run on.
        let has_ended = matches!(field(3)?, "Z" | "X") && threads <= 1;
        Some(Process { start: field(22)?.parse().ok()?, has_ended })
    };
    parsed().ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Whether no process has this number, by the kernel and not by `/proc`.
fn nobody_has(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    // A number that no process can have.
    pid.is_none_or(|pid| test_kill_process(pid) == Err(Errno::SRCH))
}
