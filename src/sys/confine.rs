//! What this process gives up for good.
//!
//! Promises: nothing is widened: a limit that is tighter already stays as it is.
//! Does not know: whom it is to be kept from.
#![forbid(unsafe_code)]

use std::io;

use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};
use rustix::thread::set_no_new_privs;

/// What a process may have only so much of (setrlimit(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limited {
    /// Bytes, shared memory that is mapped included.
    AddressSpace,
    /// The highest descriptor, plus one.
    OpenFiles,
    /// Bytes of a file that it writes.
    FileSize,
    /// Processes and threads of this user, wherever.
    Processes,
    /// Bytes of a core file.
    Core,
}

impl Limited {
    fn resource(self) -> Resource {
        match self {
            Limited::AddressSpace => Resource::As,
            Limited::OpenFiles => Resource::Nofile,
            Limited::FileSize => Resource::Fsize,
            Limited::Processes => Resource::Nproc,
            Limited::Core => Resource::Core,
        }
    }
}

/// From now on this process may have so much, and cannot allow itself more.
pub(crate) fn limit(what: Limited, most: u64) -> io::Result<()> {
    let now = getrlimit(what.resource());
    let tighter = |now: Option<u64>| Some(now.map_or(most, |now| now.min(most)));
    let (current, maximum) = (tighter(now.current), tighter(now.maximum));
    Ok(setrlimit(what.resource(), Rlimit { current, maximum })?)
}

/// From now on this thread, and those that it starts, gain no rights by what they execute.
pub(crate) fn gain_no_privileges() -> io::Result<()> {
    Ok(set_no_new_privs(true)?)
}

/// From now on other processes of this user can neither trace this one nor look into its memory, and it
/// leaves no core file.
pub(crate) fn be_opaque() -> io::Result<()> {
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}
