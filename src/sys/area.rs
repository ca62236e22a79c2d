//! A memory object of atomic words that two processes write, with two words to sleep on.
//!
//! ```text
//!   bell (32 bits, alone in its line) │ second bell (likewise) │ words (64 bits each) …
//! ```
//!
//! Promises: the memory is sealed in size before it is mapped, so no access faults; every access is
//! a whole atomic word, so that a writer that dies or lies leaves no half of one.
//! Does not know: what the words mean, nor who may write which.
#![expect(unsafe_code, reason = "atomics in shared memory")]

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU32, AtomicU64};

use rustix::io::Errno;

use super::map::Map;
use super::memory;

/// Where the second bell is.
const SECOND_AT: usize = 64;
/// Bytes before the words: a line for each bell.
pub(crate) const WORDS_AT: usize = 128;

/// A mapped area.
#[derive(Debug)]
pub(crate) struct Area {
    map: Map,
    count: usize,
}

impl Area {
    /// A new object with room for `count` words, all zero.
    pub(crate) fn create(name: &'static str, count: usize) -> io::Result<OwnedFd> {
        let fd = memory::create(name, len_of(count)? as u64)?;
        memory::seal_seals(&fd)?;
        Ok(fd)
    }

    /// A new object that only this map can ever write, with a descriptor for its readers.
    pub(crate) fn create_alone(name: &'static str, count: usize) -> io::Result<(Self, OwnedFd)> {
        let len = len_of(count)?;
        let fd = memory::create(name, len as u64)?;
        let map = Map::writable(&fd, len)?;
        memory::seal_future_writes(&fd)?;
        Ok((Area { map, count }, fd))
    }

    /// Maps an object that has exactly room for `count` words, by its seals.
    pub(crate) fn attach(fd: impl AsFd, count: usize) -> io::Result<Self> {
        let len = checked(&fd, count)?;
        Ok(Area { map: Map::writable(fd, len)?, count })
    }

    /// As [`attach`](Self::attach), to be read only: a store would fault, and of the loads only
    /// relaxed ones are permitted (`std::sync::atomic`, atomic accesses to read-only memory).
    pub(crate) fn attach_readable(fd: impl AsFd, count: usize) -> io::Result<Self> {
        let len = checked(&fd, count)?;
        Ok(Area { map: Map::readable(fd, len)?, count })
    }

    /// The word to sleep on. It is no part of [`words`](Self::words).
    pub(crate) fn bell(&self) -> &AtomicU32 {
        let bell = self.map.ptr().cast::<AtomicU32>();
        // SAFETY: the map is page-aligned, longer than a word (`len_of`), sealed in size (`attach`)
        // and alive as long as `self`; both sides access these four bytes as this atomic only.
        unsafe { bell.as_ref() }
    }

    /// The other word to sleep on.
    pub(crate) fn second_bell(&self) -> &AtomicU32 {
        // SAFETY: `SECOND_AT` lies within the map, by `len_of`.
        let bell = unsafe { self.map.ptr().add(SECOND_AT) }.cast::<AtomicU32>();
        // SAFETY: aligned to the page and a multiple of 64 bytes; else as in `bell`.
        unsafe { bell.as_ref() }
    }

    pub(crate) fn words(&self) -> &[AtomicU64] {
        // SAFETY: `WORDS_AT` lies within the map, by `len_of`.
        let first = unsafe { self.map.ptr().add(WORDS_AT) }.cast::<AtomicU64>();
        // SAFETY: so many words lie behind it (`len_of`), aligned to the page and a multiple of 64
        // bytes, initialised (a memory object is zeros), alive as long as `self`; all access by
        // either side is atomic and of this size.
        unsafe { std::slice::from_raw_parts(first.as_ptr(), self.count) }
    }
}

/// The length of a received object, if it is what it should be, for good.
fn checked(fd: impl AsFd, count: usize) -> io::Result<usize> {
    let len = len_of(count)?;
    let sound = memory::is_sealed_at(fd, len as u64)?;
    sound.then_some(len).ok_or_else(|| Errno::INVAL.into())
}

fn len_of(count: usize) -> io::Result<usize> {
    let len = count.checked_mul(size_of::<AtomicU64>()).and_then(|len| len.checked_add(WORDS_AT));
    let len = len.filter(|&len| isize::try_from(len).is_ok());
    len.ok_or_else(|| Errno::NOMEM.into())
}
