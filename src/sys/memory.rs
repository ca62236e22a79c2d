//! Memory objects: nameless, sealed, allocated before use (memfd_create(2)).
//!
//! Promises: an object neither shrinks nor grows, so that a map of it never faults with SIGBUS; all
//! its pages exist before anybody maps it; it has no name in any file system.
//! Does not know: maps.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{
    FallocateFlags, MemfdFlags, SealFlags, Stat, fallocate, fcntl_add_seals, fcntl_get_seals,
    fstat, ftruncate, memfd_create,
};
use rustix::io::{Errno, retry_on_intr};
use rustix::process::{Resource, getrlimit};

use super::counts;

/// What the receiver of an object may insist on: it cannot be truncated.
const SIZE_SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW);

/// A new object of `len` zero bytes whose size is sealed. `name` is only seen in /proc.
pub(crate) fn create(name: &'static str, len: u64) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Not executable, where the kernel knows the flag (6.3).
    let fd = match memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL) {
        Err(Errno::INVAL) => memfd_create(name, flags),
        made => made,
    }?;
    counts::MEMORY_OBJECTS.add_one();
    allocate(&fd, len)?;
    fcntl_add_seals(&fd, SIZE_SEALS)?;
    Ok(fd)
}

/// Gives an object or file its length and all its pages, in steps: one that a signal interrupts is
/// undone by the kernel, and under a profiler's timer a large one would never come to its end.
pub(crate) fn allocate(fd: &OwnedFd, len: u64) -> io::Result<()> {
    if getrlimit(Resource::Fsize).current.is_some_and(|limit| len > limit) {
        // Asking would be answered by SIGXFSZ.
        return Err(Errno::FBIG.into());
    }
    ftruncate(fd, len)?;
    fill_all(fd, len)
}

/// Gives all pages to an object that is `len` bytes long already.
pub(crate) fn fill_all(fd: &OwnedFd, len: u64) -> io::Result<()> {
    steps(len).try_for_each(|(offset, step)| fill(fd, offset, step))
}

/// Sees that a received object with these facts, which is sealed, has all its pages: how many bytes
/// were without, at least. What lies beyond an object's end is allocated too and yet not part of it,
/// so that the facts alone do not tell.
///
/// # Errors
///
/// `EBADF` for a descriptor that was opened for reading only: it is not asked.
pub(crate) fn fill_holes(fd: impl AsFd, facts: &Facts) -> io::Result<u64> {
    for (offset, step) in steps(facts.len) {
        fill(&fd, offset, step)?;
        let grown = allocated(&fstat(&fd)?).saturating_sub(facts.allocated);
        if grown > 0 {
            // No more than a step of a stranger's memory becomes this process's burden.
            return Ok(grown);
        }
    }
    Ok(0)
}

/// Offsets and lengths that cover `len` bytes.
fn steps(len: u64) -> impl Iterator<Item = (u64, u64)> {
    const STEP: u64 = 4 << 20;
    let whole = 0..len.div_ceil(STEP);
    whole.map(move |n| (n * STEP, STEP.min(len - n * STEP)))
}

fn fill(fd: impl AsFd, offset: u64, len: u64) -> io::Result<()> {
    Ok(retry_on_intr(|| fallocate(&fd, FallocateFlags::empty(), offset, len))?)
}

/// Bytes that have memory: blocks are of 512 bytes (stat(2)), whatever the file system uses.
fn allocated(stat: &Stat) -> u64 {
    u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512)
}

/// What the kernel says of a memory object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    pub(crate) len: u64,
    /// Bytes that have memory already, those beyond its end included.
    pub(crate) allocated: u64,
    pub(crate) cannot_shrink: bool,
    pub(crate) cannot_grow: bool,
    /// Nobody at all can write.
    pub(crate) cannot_be_written: bool,
    /// Nobody can begin to write; maps that were made before still can.
    pub(crate) no_new_writers: bool,
}

/// What a received descriptor stands for; `None`: no memory object.
pub(crate) fn facts(fd: impl AsFd) -> io::Result<Option<Facts>> {
    // In this order: what is sealed cannot change between the two questions.
    let seals = match fcntl_get_seals(&fd) {
        Ok(seals) => seals,
        // `BADF`: it names a place and gives no access to it (`O_PATH`).
        Err(Errno::INVAL | Errno::BADF) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let stat = fstat(&fd)?;
    let cannot_be_written = seals.contains(SealFlags::WRITE);
    Ok(Some(Facts {
        len: u64::try_from(stat.st_size).unwrap_or(0),
        allocated: allocated(&stat),
        cannot_shrink: seals.contains(SealFlags::SHRINK),
        cannot_grow: seals.contains(SealFlags::GROW),
        cannot_be_written,
        no_new_writers: cannot_be_written || seals.contains(SealFlags::FUTURE_WRITE),
    }))
}

/// From now on nobody can write to the object, nor add a seal. It must not be mapped writable.
pub(crate) fn seal_writes(fd: impl AsFd) -> io::Result<()> {
    Ok(fcntl_add_seals(fd, SealFlags::WRITE | SealFlags::SEAL)?)
}

/// From now on nobody can map the object writable, and no seal can be added. Maps made before stay.
pub(crate) fn seal_future_writes(fd: impl AsFd) -> io::Result<()> {
    Ok(fcntl_add_seals(fd, SealFlags::FUTURE_WRITE | SealFlags::SEAL)?)
}

/// From now on no seal can be added.
pub(crate) fn seal_seals(fd: impl AsFd) -> io::Result<()> {
    Ok(fcntl_add_seals(fd, SealFlags::SEAL)?)
}

/// Whether a received object has this length for good.
pub(crate) fn is_sealed_at(fd: impl AsFd, len: u64) -> io::Result<bool> {
    // In this order: what is sealed cannot change between the two questions.
    let sealed = fcntl_get_seals(&fd)?.contains(SIZE_SEALS);
    let size = u64::try_from(fstat(&fd)?.st_size).unwrap_or(0);
    Ok(sealed && size == len)
}

/// Bytes of memory in this machine.
pub(crate) fn total_memory() -> u64 {
    let info = rustix::system::sysinfo();
    info.totalram.saturating_mul(u64::from(info.mem_unit))
}
