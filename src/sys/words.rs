//! A page of atomic words that one process writes and another reads.
//!
//! Promises: every access is a whole atomic word, so that a writer that dies leaves no half of one.
//! Does not know: what the words mean.
#![expect(unsafe_code, reason = "atomics in shared memory")]

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::AtomicU64;

use super::map::Map;
use super::memory;

/// Bytes of the page.
const LEN: u16 = 4096;

/// Words in the page.
pub(crate) const COUNT: usize = 512;

const _: () = assert!(LEN as usize == COUNT * size_of::<AtomicU64>());

/// A new object for [`Words`].
pub(crate) fn create(name: &'static str) -> io::Result<OwnedFd> {
    let fd = memory::create(name, u64::from(LEN))?;
    memory::seal_seals(&fd)?;
    Ok(fd)
}

/// The words of a page. Storing is for the side that mapped it writable; the other would fault, and
/// may only use relaxed loads (`std::sync::atomic`, atomic accesses to read-only memory).
#[derive(Debug)]
pub(crate) struct Words {
    map: Map,
}

impl Words {
    pub(crate) fn writable(fd: impl AsFd) -> io::Result<Self> {
        check(&fd)?;
        Ok(Words { map: Map::writable(fd, usize::from(LEN))? })
    }

    pub(crate) fn readable(fd: impl AsFd) -> io::Result<Self> {
        check(&fd)?;
        Ok(Words { map: Map::readable(fd, usize::from(LEN))? })
    }

    pub(crate) fn all(&self) -> &[AtomicU64; COUNT] {
        let words = self.map.ptr().cast::<[AtomicU64; COUNT]>();
        // SAFETY: the map is as long as the words (asserted above), page-aligned, sealed in size
        // (`check`) and alive as long as `self`; all access by either side is atomic.
        unsafe { words.as_ref() }
    }
}

fn check(fd: impl AsFd) -> io::Result<()> {
    let sound = memory::is_sealed_at(fd, u64::from(LEN))?;
    sound.then_some(()).ok_or_else(|| rustix::io::Errno::INVAL.into())
}
