//! One piece of memory for one use: [`Segment`] is written, [`SealedSegment`] is read by everybody.
//!
//! Promises: a segment has all its memory before it is handed out; what is sealed never changes
//! again, by the kernel and not by convention; what is attached was checked before it is mapped.
//! Does not know: arenas, nor how a descriptor comes to another process.
#![expect(unsafe_code, reason = "lends the bytes of segments; see docs/SAFETY.md")]

use std::any::Any;
use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::slice;
use std::sync::Arc;

use rustix::io::{Errno, retry_on_intr, write};

use super::error::{Seal, SegmentError};
use crate::buffer::{Buffer, Memo, Owner, Place};
use crate::error::{Error, Result};
use crate::sys::epoch::OwnedHere;
use crate::sys::huge;
use crate::sys::map::Map;
use crate::sys::memory::{self, Facts};
use crate::sys::room::Room;
use crate::sys::spill;

/// New shared memory, exclusive and writable, until it is sealed.
///
/// It has no name in any file system: it is gone with the last process that has it, however that
/// ends. Nobody else can be given it before [`seal`](Self::seal). It derefs to `[u8]`, zeros at first.
///
/// # Examples
///
/// ```
/// let mut segment = pannier::shm::Segment::create(1 << 20)?;
/// segment[..4].copy_from_slice(b"east");
/// let sealed = segment.seal()?;
/// assert_eq!(&sealed[..4], b"east");
/// # Ok::<(), pannier::Error>(())
/// ```
pub struct Segment {
    /// Before the descriptor, so that it goes first.
    map: Map,
    fd: OwnedHere<OwnedFd>,
}

impl Segment {
    /// Takes `len` bytes of memory, all of them at once, so that writing them cannot fail later.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`] when the machine, or a control group of this process, has not so much
    /// left; [`SegmentError::Empty`] for a length of zero; [`Error::Io`] when descriptors are used up
    /// or the length exceeds the limit for files (`RLIMIT_FSIZE`).
    ///
    /// # Examples
    ///
    /// ```
    /// use pannier::{Error, shm::Segment};
    ///
    /// assert!(Segment::create(100)?.iter().all(|&byte| byte == 0));
    /// assert!(matches!(Segment::create(usize::MAX), Err(Error::OutOfMemory { .. })));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn create(len: usize) -> Result<Self> {
        let (fd, limit) = new_object(len)?;
        let map = Map::writable(&*fd, len);
        let map = map.map_err(|error| out_of_memory_or(error, bytes(len), limit))?;
        Ok(Segment { map, fd })
    }

    /// Against writing, shrinking and growing, for everybody: from here on nobody can change it.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when the kernel refuses; the segment is gone then. [`Error::ForkedHandle`] in a
    /// forked child.
    ///
    /// # Examples
    ///
    /// ```
    /// let sealed = pannier::shm::Segment::create(100)?.seal()?;
    /// assert_eq!(sealed.len(), 100);
    /// # Ok::<(), pannier::Error>(())
    /// ```
    pub fn seal(self) -> Result<SealedSegment> {
        if !self.fd.is_here() {
            return Err(Error::ForkedHandle);
        }
        let Segment { map, fd } = self;
        let len = map.len();
        // The kernel seals nothing that somebody has mapped writable.
        drop(map);
        memory::seal_writes(&*fd)?;
        SealedSegment::map(fd, len)
    }

    /// How many of its bytes lie in huge pages at this moment, by what the kernel says.
    ///
    /// Whether segments of 2 MiB and more get any is the machine's setting
    /// (`/sys/kernel/mm/transparent_hugepage/shmem_enabled`): with `always` and `within_size` they
    /// do. With `advise` they do not, for they ask when their memory is there already. The answer
    /// takes the kernel a while.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when `/proc` is not to be read.
    ///
    /// # Examples
    ///
    /// ```
    /// let segment = pannier::shm::Segment::create(8 << 20)?;
    /// assert!(segment.huge_bytes()? <= 8 << 20);
    /// # Ok::<(), pannier::Error>(())
    /// ```
    pub fn huge_bytes(&self) -> Result<u64> {
        Ok(huge::bytes_within(&[self.map.addresses()])?)
    }
}

impl Deref for Segment {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the map is valid and initialised over its length (`create`: allocated, its size
        // sealed), and no other process or handle has the object before `seal` takes this one.
        unsafe { slice::from_raw_parts(self.map.ptr().as_ptr(), self.map.len()) }
    }
}

impl DerefMut for Segment {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above; the map is writable, and `&mut self` is the only way to it.
        unsafe { slice::from_raw_parts_mut(self.map.ptr().as_ptr(), self.map.len()) }
    }
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Segment").field("len", &self.map.len()).finish_non_exhaustive()
    }
}

/// Shared memory that nobody can change any more, here or in any other process.
///
/// Its descriptor ([`AsFd`]) may be given to other processes, which [`attach`](Self::attach) it and
/// need not trust anybody. Clones share it; it derefs to `[u8]`.
///
/// # Examples
///
/// ```
/// use std::os::fd::AsFd;
///
/// use pannier::shm::{SealedSegment, Segment};
///
/// let mut segment = Segment::create(5)?;
/// segment.copy_from_slice(b"north");
/// let sealed = segment.seal()?;
/// let fd = sealed.as_fd().try_clone_to_owned()?; // over a socket, to another process
/// assert_eq!(&*SealedSegment::attach(fd)?, b"north");
/// # Ok::<(), pannier::Error>(())
/// ```
#[derive(Clone)]
pub struct SealedSegment {
    memory: Arc<SealedMemory>,
    fd: Arc<OwnedHere<OwnedFd>>,
}

impl SealedSegment {
    /// A copy of these bytes, sealed.
    ///
    /// For bytes that are there already this takes about half as long as a [`Segment`] that they are
    /// copied into: the kernel copies them without a page fault.
    ///
    /// # Errors
    ///
    /// As [`Segment::create`] and [`Segment::seal`].
    ///
    /// # Examples
    ///
    /// ```
    /// let sealed = pannier::shm::SealedSegment::copy_from_slice(b"west")?;
    /// assert_eq!(&*sealed, b"west");
    /// # Ok::<(), pannier::Error>(())
    /// ```
    pub fn copy_from_slice(bytes: &[u8]) -> Result<Self> {
        let (fd, _) = new_object(bytes.len())?;
        let mut rest = bytes;
        while !rest.is_empty() {
            let written = retry_on_intr(|| write(&*fd, rest)).map_err(io::Error::from)?;
            rest = &rest[written..];
        }
        memory::seal_writes(&*fd)?;
        Self::map(fd, bytes.len())
    }

    /// Maps what another process has sealed. Seals and size are checked before, and that all its
    /// memory is there, which takes the kernel a while for each page.
    ///
    /// # Errors
    ///
    /// [`Error::Segment`] for anything but a memory object of at least one byte that is sealed
    /// against shrinking, growing and writing, has all its memory, and was not opened for reading
    /// only; [`Error::Io`] when it cannot be mapped.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::os::fd::OwnedFd;
    ///
    /// use pannier::shm::SealedSegment;
    ///
    /// let file = std::fs::File::open("/dev/null")?;
    /// assert!(SealedSegment::attach(OwnedFd::from(file)).is_err());
    /// # Ok::<(), pannier::Error>(())
    /// ```
    pub fn attach(fd: OwnedFd) -> Result<Self> {
        let facts = memory::facts(&fd)?.ok_or(SegmentError::NotMemory)?;
        check(&facts, facts.cannot_be_written)?;
        let len = usize::try_from(facts.len).map_err(|_| io::Error::from(Errno::NOMEM))?;
        refuse_holes(&fd, &facts)?;
        Self::map(OwnedHere::new(fd), len)
    }

    /// The same memory as a buffer, without a copy. It lives as long as any handle to it.
    ///
    /// # Examples
    ///
    /// ```
    /// let sealed = pannier::shm::Segment::create(100)?.seal()?;
    /// let address = sealed.as_ptr();
    /// assert_eq!(sealed.into_buffer().as_ptr(), address);
    /// # Ok::<(), pannier::Error>(())
    /// ```
    #[must_use]
    pub fn into_buffer(self) -> Buffer<u8> {
        let (ptr, len) = (self.memory.map.ptr(), self.memory.map.len());
        // SAFETY: the map is valid and initialised over its length and kept by the owner; nobody can
        // write there, the kernel sees to it (sealed in `seal`, or checked in `attach`).
        unsafe { Buffer::from_raw(ptr, len, self.memory) }
    }

    /// The object is sealed at this length, against writing too, and has all its memory.
    fn map(fd: OwnedHere<OwnedFd>, len: usize) -> Result<Self> {
        let map = Map::sealed(&*fd, len)?;
        let memory = SealedMemory { map, memo: Memo::default() };
        Ok(SealedSegment { memory: Arc::new(memory), fd: Arc::new(fd) })
    }
}

impl Deref for SealedSegment {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let map = &self.memory.map;
        // SAFETY: as in `into_buffer`; `self` keeps the map.
        unsafe { slice::from_raw_parts(map.ptr().as_ptr(), map.len()) }
    }
}

impl AsFd for SealedSegment {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl fmt::Debug for SealedSegment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedSegment").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// What buffers over a sealed segment hold: the map, and not the descriptor.
struct SealedMemory {
    map: Map,
    memo: Memo,
}

impl Owner for SealedMemory {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn place(&self) -> Place {
        Place::Shared
    }

    fn may_be_exclusive(&self) -> bool {
        false
    }

    fn memo(&self) -> &Memo {
        &self.memo
    }
}

/// Whether a memory object of another process can be mapped and read without a signal.
pub(super) fn check(facts: &Facts, is_write_sealed: bool) -> Result<(), SegmentError> {
    let Facts { len, allocated, cannot_shrink, cannot_grow, .. } = *facts;
    let seals = [
        (cannot_shrink, Seal::Shrinking),
        (cannot_grow, Seal::Growing),
        (is_write_sealed, Seal::Writing),
    ];
    if let Some((_, missing)) = seals.into_iter().find(|(is_there, _)| !is_there) {
        return Err(SegmentError::Unsealed { missing });
    }
    match len {
        0 => Err(SegmentError::Empty),
        // What is not allocated would be when it is read, and that can fail.
        _ if allocated < len => Err(SegmentError::Unallocated { len, allocated }),
        _ => Ok(()),
    }
}

/// An object that passed `check` can still have holes, and pages beyond its end instead.
fn refuse_holes(fd: &OwnedFd, facts: &Facts) -> Result<()> {
    match memory::fill_holes(fd, facts) {
        Ok(0) => Ok(()),
        Ok(lacking) => {
            let (len, allocated) = (facts.len, facts.len.saturating_sub(lacking));
            Err(SegmentError::Unallocated { len, allocated }.into())
        }
        Err(error) if Errno::from_io_error(&error) == Some(Errno::BADF) => {
            Err(SegmentError::ReadOnly.into())
        }
        Err(error) => Err(error.into()),
    }
}

/// A memory object of this length, if there is so much, and how much there was.
fn new_object(len: usize) -> Result<(OwnedHere<OwnedFd>, u64)> {
    if len == 0 {
        return Err(SegmentError::Empty.into());
    }
    let wanted = bytes(len);
    let room = Room::wait();
    let limit = room.left();
    if wanted > limit {
        return Err(Error::OutOfMemory { wanted, limit });
    }
    let made = memory::create("pannier", wanted);
    drop(room);
    let fd = made.map_err(|error| out_of_memory_or(error, wanted, limit))?;
    Ok((OwnedHere::new(fd), limit))
}

fn bytes(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// The error for memory that the kernel did not give.
pub(super) fn out_of_memory_or(error: io::Error, wanted: u64, limit: u64) -> Error {
    match Errno::from_io_error(&error) {
        Some(Errno::NOMEM | Errno::NOSPC) => Error::OutOfMemory { wanted, limit },
        _ => Error::Io(error),
    }
}
/// The length of an arena's segment: sealed memory, or a file without a name that was opened for
/// reading, since files cannot be sealed.
pub(super) fn readable_len(fd: &OwnedFd) -> Result<u64> {
    // What has seals is memory, and must be sealed: only what has none can be a file on a disk.
    let Some(facts) = memory::facts(fd)? else {
        return match spill::len_for_readers(fd)? {
            Some(0) => Err(SegmentError::Empty.into()),
            Some(len) => Ok(len),
            None => Err(SegmentError::NotMemory.into()),
        };
    };
    check(&facts, facts.no_new_writers)?;
    Ok(facts.len)
}
