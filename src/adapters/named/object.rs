//! The objects behind names: made, given their memory, removed.
//!
//! Promises: an object that is handed out has all its memory; only what is still the same object is
//! removed.
//! Does not know: maps.
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;

use rustix::fs::statvfs;

use super::error::NamedError;
use crate::sys::memory;
use crate::sys::room::Room;

/// Where Linux keeps them (shm_overview(7)).
pub(super) const FOLDER: &str = "/dev/shm";

/// The right to remove a name, and the duty.
#[derive(Debug)]
pub(super) struct Link {
    name: String,
    /// Device and number: somebody else may have removed the name and used it again.
    object: (u64, u64),
}

impl Drop for Link {
    fn drop(&mut self) {
        let path = path(&self.name);
        let is_same =
            fs::symlink_metadata(&path).is_ok_and(|facts| identity(&facts) == self.object);
        if is_same {
            // Nobody can be told. Another user's folder, or somebody was faster.
            let _refused = fs::remove_file(&path);
        }
    }
}

/// An open object, and how long it is.
pub(super) struct Object {
    pub(super) len: u64,
    /// While it is open the next one does not get descriptor 0, which the crate `shared_memory` would
    /// take for none and never close.
    _fd: OwnedFd,
}

/// A new object of `len` zero bytes, all of them there.
pub(super) fn create(name: &str, len: u64) -> Result<(Link, Object), NamedError> {
    if len == 0 {
        return Err(NamedError::Empty);
    }
    let room = Room::wait();
    let left = left(&room, len)?;
    let file = options().create_new(true).mode(0o600).open(path(name));
    let file = file.map_err(|error| NamedError::of_object("make a named segment", name, &error))?;
    let facts = file.metadata().map_err(|error| {
        let _gone = fs::remove_file(path(name));
        NamedError::system("look at a new segment", &error)
    })?;
    // From here on it is removed when something fails.
    let link = Link { name: name.to_owned(), object: identity(&facts) };
    let fd = OwnedFd::from(file);
    memory::allocate(&fd, len).map_err(|error| no_memory(&error, len, left))?;
    Ok((link, Object { len, _fd: fd }))
}

/// Opens an object, and sees that it has all its memory.
pub(super) fn open(name: &str) -> Result<Object, NamedError> {
    let file = options().open(path(name));
    let file = file.map_err(|error| NamedError::of_object("open a named segment", name, &error))?;
    let facts = file.metadata();
    let facts = facts.map_err(|error| NamedError::system("look at a segment", &error))?;
    if !facts.is_file() {
        return Err(NamedError::NotMemory { name: name.to_owned() });
    }
    let len = facts.len();
    if len == 0 {
        return Err(NamedError::Empty);
    }
    let room = Room::wait();
    let lacking = len.saturating_sub(facts.blocks().saturating_mul(512));
    let left = left(&room, lacking)?;
    let fd = OwnedFd::from(file);
    memory::fill_all(&fd, len).map_err(|error| no_memory(&error, lacking, left))?;
    Ok(Object { len, _fd: fd })
}

fn options() -> fs::OpenOptions {
    let mut options = File::options();
    options.read(true).write(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    options
}

fn path(name: &str) -> PathBuf {
    [FOLDER, name].iter().collect()
}

fn identity(facts: &fs::Metadata) -> (u64, u64) {
    (facts.dev(), facts.ino())
}

/// Bytes that the machine, the control groups and the folder have left, if they are enough.
fn left(room: &Room, wanted: u64) -> Result<u64, NamedError> {
    let folder = statvfs(FOLDER).map_or(u64::MAX, |facts| match facts.f_blocks {
        // Without a limit.
        0 => u64::MAX,
        _ => facts.f_bavail.saturating_mul(facts.f_frsize),
    });
    let left = room.left().min(folder);
    if wanted > left { Err(NamedError::OutOfMemory { wanted, left }) } else { Ok(left) }
}

fn no_memory(error: &io::Error, wanted: u64, left: u64) -> NamedError {
    match error.raw_os_error() {
        Some(libc::ENOMEM | libc::ENOSPC) => NamedError::OutOfMemory { wanted, left },
        _ => NamedError::system("give memory to a segment", error),
    }
}
