//! A descriptor for a program that is about to be started, and for that program to find.
//!
//! Promises: only the child gets it; in every process it stays close-on-exec otherwise; a number
//! from the environment is not believed before the descriptor behind it proves to be the one.
//! Does not know: what the descriptor is, but that it is a socket.
#![expect(unsafe_code, reason = "passes a descriptor by its number to another program")]

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};

/// Numbers below are the child's standard streams.
const FIRST: RawFd = 3;

/// Lets the child that `command` starts inherit a socket, and names it in `variable`. The command
/// keeps the descriptor open here until it is dropped.
pub(crate) fn give(command: &mut Command, variable: &str, socket: OwnedFd) -> io::Result<()> {
    let socket =
        if socket.as_raw_fd() < FIRST { fcntl_dupfd_cloexec(&socket, FIRST)? } else { socket };
    let inode = rustix::fs::fstat(&socket)?.st_ino;
    command.env(variable, format!("{}:{inode}", socket.as_raw_fd()));
    let keep_open = move || Ok(fcntl_setfd(socket.as_fd(), FdFlags::empty())?);
    // SAFETY: between fork and exec the closure makes one system call, and neither allocates, locks
    // nor touches memory that another thread could have left half-done.
    unsafe { command.pre_exec(keep_open) };
    Ok(())
}

/// The socket that this process has inherited under `variable`; each is given out once.
pub(crate) fn take(variable: &str) -> io::Result<OwnedFd> {
    static TAKEN: Mutex<BTreeSet<RawFd>> = Mutex::new(BTreeSet::new());
    let absent = || io::Error::from(io::ErrorKind::NotFound);
    let value = std::env::var(variable).map_err(|_| absent())?;
    let (number, inode) = value.split_once(':').ok_or_else(absent)?;
    let number: RawFd = number.parse().map_err(|_| absent())?;
    let inode: u64 = inode.parse().map_err(|_| absent())?;
    // A grandchild has the variable and not the descriptor.
    let found = std::fs::metadata(format!("/proc/self/fd/{number}")).map_err(|_| absent())?;
    if number < FIRST || !found.file_type().is_socket() || found.ino() != inode {
        return Err(absent());
    }
    if !TAKEN.lock().unwrap_or_else(PoisonError::into_inner).insert(number) {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    // SAFETY: the descriptor is open, and it is the socket that `give` made for the child alone
    // (same inode, which no other open socket has); no other code was told of it, and the set above
    // sees to it that it gets one owner.
    let socket = unsafe { OwnedFd::from_raw_fd(number) };
    fcntl_setfd(&socket, FdFlags::CLOEXEC)?;
    Ok(socket)
}
