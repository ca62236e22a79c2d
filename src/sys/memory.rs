//! Memory objects: nameless, sealed, allocated before use (memfd_create(2)).
//!
//! Promises: an object neither shrinks nor grows, so that a map of it never faults with SIGBUS; all
//! its pages exist before anybody maps it; it has no name in any file system.
//! Does not know: maps.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{
    FallocateFlags, MemfdFlags, SealFlags, fallocate, fcntl_add_seals, fcntl_get_seals, fstat,
    ftruncate, memfd_create,
};
use rustix::io::{Errno, retry_on_intr};
use rustix::process::{Resource, getrlimit};

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
    if getrlimit(Resource::Fsize).current.is_some_and(|limit| len > limit) {
        // Asking would be answered by SIGXFSZ.
        return Err(Errno::FBIG.into());
    }
    ftruncate(&fd, len)?;
    allocate(&fd, len)?;
    fcntl_add_seals(&fd, SIZE_SEALS)?;
    Ok(fd)
}

/// Gives the object all its pages, in steps: one that a signal interrupts is undone by the kernel,
/// and under a profiler's timer a large one would never come to its end.
fn allocate(fd: &OwnedFd, len: u64) -> io::Result<()> {
    const STEP: u64 = 4 << 20;
    let mut offset = 0;
    while offset < len {
        let step = STEP.min(len - offset);
        retry_on_intr(|| fallocate(fd, FallocateFlags::empty(), offset, step))?;
        offset += step;
    }
    Ok(())
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
