//! Memory objects on a disk: files without a name, allocated before use (open(2), `O_TMPFILE`).
//!
//! Promises: a file is gone with its last descriptor and map; its disk space exists before anybody
//! maps it; the descriptor for readers can neither write nor truncate it.
//! Does not know: when a disk is better than memory.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, fcntl_getfl, fstat, fstatfs, open, openat};

use super::memory;
use crate::error::{Error, Result};

/// File systems that are memory (statfs(2)): of tmpfs and ramfs.
const IN_MEMORY: [i128; 2] = [0x0102_1994, 0x8584_58f6];

/// A folder on a disk, whose file system knows files without a name.
pub(crate) fn open_folder(path: &Path) -> Result<OwnedFd> {
    folder(path)?.ok_or_else(|| Error::SpillInMemory { folder: path.to_owned() })
}

/// The same; `None`: it has no disk, it is memory.
fn folder(path: &Path) -> io::Result<Option<OwnedFd>> {
    let folder = open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    // On some platforms the number is signed, and on some it has 32 bits.
    let file_system = i128::from(fstatfs(&folder)?.f_type) & 0xffff_ffff;
    if IN_MEMORY.contains(&file_system) {
        return Ok(None);
    }
    // A trial, so that the caller hears of it now.
    nameless(&folder)?;
    Ok(Some(folder))
}

/// A file of `len` zero bytes: the descriptor to map it by, and one for readers.
pub(crate) fn create(folder: &OwnedFd, len: u64) -> io::Result<(OwnedFd, OwnedFd)> {
    let file = nameless(folder)?;
    memory::allocate(&file, len)?;
    // There is no seal for files. What was opened for reading cannot be truncated, so that whoever
    // is given this descriptor cannot take the pages away from under our map.
    let same = format!("/proc/self/fd/{}", file.as_raw_fd());
    let for_readers = open(same, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    Ok((file, for_readers))
}

/// The length of what `create` gives to readers; `None`: it is something else.
pub(crate) fn len_for_readers(fd: impl AsFd) -> io::Result<Option<u64>> {
    let access = fcntl_getfl(&fd)? & (OFlags::ACCMODE | OFlags::PATH);
    let is_read_only = access == OFlags::RDONLY;
    let stat = fstat(fd)?;
    let is_file = FileType::from_raw_mode(stat.st_mode).is_file();
    let is_ours = is_read_only && is_file && stat.st_nlink == 0;
    Ok(u64::try_from(stat.st_size).ok().filter(|_| is_ours))
}

/// A file that can never get a name (`O_EXCL`) and that its owner may open again only to read it.
fn nameless(folder: &OwnedFd) -> io::Result<OwnedFd> {
    let flags = OFlags::TMPFILE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
    Ok(openat(folder, ".", flags, Mode::RUSR)?)
}
