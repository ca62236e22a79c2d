//! [`Arena`]: memory that is used again and again, and [`Lease`]s on what was placed in it.
//!
//! Promises: a block is used again only when every buffer over it and every lease on it is dropped;
//! its pages stay mapped and warm until then; buffers outlive their arena.
//! Does not know: who reads the blocks. Whoever drops a lease answers for that.
#![forbid(unsafe_code)]

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use bytemuck::Pod;
use serde::{Deserialize, Serialize};

use super::grow::Terms;
use super::memory::Memory;
use super::store::{Located, Store};
use crate::buffer::{Buffer, BufferMut, alloc, element_bytes};
use crate::error::{Error, Result};
use crate::sys::epoch::OwnedHere;
use crate::sys::{huge, spill};

/// Shared memory in blocks that are recycled, up to a budget.
///
/// Memory that is fresh costs a page fault for every 4 KiB, which takes longer than copying them;
/// a block that comes back is warm, and the last one back is the first one out. Blocks are powers
/// of two up to 1 MiB, several in a segment; a larger one has a segment of its own. Each segment takes
/// one descriptor.
///
/// As a [`BufferSink`](crate::BufferSink) it takes the buffers of a value out of band: those that
/// lie in it already are not copied, others are, once for each time they are placed. Then
/// [`take_lease`](Self::take_lease) says where they are, for a peer that has an
/// [`ArenaReader`](super::ArenaReader), and holds them there. Clones share the memory and place for
/// themselves. When the last clone is dropped, unused memory is given back, and the rest with its
/// last buffer.
///
/// # Examples
///
/// See the [module](super) for both sides.
///
/// ```
/// use pannier::shm::Arena;
///
/// let arena = Arena::create(64 << 20)?;
/// let column = arena.alloc::<f64>(100_000)?;
/// let address = column.as_ptr();
/// drop(column);
/// assert_eq!(arena.alloc::<f64>(90_000)?.as_ptr(), address);
/// # Ok::<(), pannier::Error>(())
/// ```
pub struct Arena {
    memory: OwnedHere<Arc<Closing>>,
    placed: Lease,
}

impl Arena {
    /// An arena whose segments take at most `budget` bytes together. It takes none at first.
    ///
    /// What is given back to make room for other sizes, or by [`trim`](Self::trim), is not counted
    /// any more, and yet peers that have it attached keep it: together with theirs it can be more
    /// than the budget. Of what the machine and its control groups have left they take their part.
    ///
    /// # Errors
    ///
    /// None at present.
    ///
    /// # Examples
    ///
    /// ```
    /// use pannier::{Error, shm::Arena};
    ///
    /// let arena = Arena::create(1 << 20)?;
    /// let refused = arena.alloc::<u8>(2 << 20);
    /// assert!(matches!(refused, Err(Error::OutOfMemory { wanted: 0x20_0000, limit: 0x10_0000, .. })));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn create(budget: u64) -> Result<Self> {
        let memory = OwnedHere::new(Arc::new(Closing(Memory::alone(budget))));
        Ok(Arena { memory, placed: Lease::default() })
    }

    /// Puts what is over the budget into files in this folder instead of refusing it, for all clones.
    ///
    /// The files have no name, so nothing can stay behind, and their space is taken before they are
    /// used, so a full disk is an error and not a signal. (A file system that copies on write, or a
    /// disk that fails, can still end the process with SIGBUS.)
    ///
    /// The kernel does not seal files as it seals memory. A peer's descriptor is read-only, but
    /// a process with this user's rights can make the file writable through it (fchmod(2)), then
    /// write to it or truncate it, and that would end this process with SIGBUS or change bytes under
    /// its buffers. Spill only where such peers are trusted not to.
    ///
    /// # Errors
    ///
    /// [`Error::SpillInMemory`] for a folder of a file system that is memory itself, as `/tmp` is on
    /// many machines; [`Error::Io`] when the folder cannot be opened or its file system has no files
    /// without a name (`O_TMPFILE`). Later, when the disk is full, [`alloc`](Self::alloc) has
    /// [`StorageFull`](std::io::ErrorKind::StorageFull).
    ///
    /// # Examples
    ///
    /// ```
    /// use pannier::shm::Arena;
    ///
    /// let arena = Arena::create(1 << 20)?.spill(std::env::current_dir()?)?;
    /// let large = arena.alloc::<u8>(2 << 20)?;
    /// assert_eq!(arena.stats().file_bytes, 2 << 20);
    /// # Ok::<(), pannier::Error>(())
    /// ```
    pub fn spill(self, folder: impl AsRef<Path>) -> Result<Self> {
        self.memory()?.spill_to(spill::open_folder(folder.as_ref())?);
        Ok(self)
    }

    /// A writable buffer of `len` items in the arena, with whatever the block held before.
    ///
    /// Blocks begin at multiples of 4096 bytes. For items that must be aligned to more the program
    /// does not build:
    ///
    /// ```compile_fail
    /// #[derive(Clone, Copy)]
    /// #[repr(C, align(8192))]
    /// struct TwoPages([u8; 8192]);
    /// // SAFETY: bytes, and no padding.
    /// unsafe impl bytemuck::Zeroable for TwoPages {}
    /// // SAFETY: as above.
    /// unsafe impl bytemuck::Pod for TwoPages {}
    ///
    /// let arena = pannier::shm::Arena::create(1 << 20)?;
    /// let buffer = arena.alloc::<TwoPages>(1)?;
    /// # Ok::<(), pannier::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`] when `len` items are over the budget, or over what the machine and the
    /// control groups of this process have left; [`Error::Io`] when descriptors or the disk are used
    /// up, or a segment would exceed the limit for files (`RLIMIT_FSIZE`); [`Error::ForkedHandle`]
    /// in a forked child. When it is the kernel that refuses, and not the budget, idle segments are
    /// not given back and nothing is spilled: [`trim`](Self::trim) and ask again.
    ///
    /// # Examples
    ///
    /// ```
    /// let arena = pannier::shm::Arena::create(1 << 20)?;
    /// let mut word = arena.alloc::<u8>(4)?;
    /// word.copy_from_slice(b"east");
    /// assert!(word.freeze().is_shared());
    /// # Ok::<(), pannier::Error>(())
    /// ```
    pub fn alloc<T: Pod>(&self, len: usize) -> Result<BufferMut<T>> {
        self.allocate(len, false)
    }

    /// As [`alloc`](Self::alloc), with every byte zero.
    ///
    /// # Errors
    ///
    /// As [`alloc`](Self::alloc).
    ///
    /// # Examples
    ///
    /// ```
    /// let arena = pannier::shm::Arena::create(1 << 20)?;
    /// assert_eq!(*arena.alloc_zeroed::<u32>(3)?, [0, 0, 0]);
    /// # Ok::<(), pannier::Error>(())
    /// ```
    pub fn alloc_zeroed<T: Pod>(&self, len: usize) -> Result<BufferMut<T>> {
        self.allocate(len, true)
    }

    /// What was placed through this handle since the last call: where it is, and the hold on it.
    ///
    /// Take one after each value. When the arena fails a value, it forgets what it has placed of it;
    /// when something else does, an error of its `Serialize` say, it does not hear of that: then
    /// take a lease and drop it, else these buffers would be counted as the next value's.
    ///
    /// # Examples
    ///
    /// ```
    /// use pannier::{Buffer, Encoder, shm::Arena};
    ///
    /// let mut arena = Arena::create(1 << 20)?;
    /// let metadata = Encoder::new().to_parts(&Buffer::from([7_u8; 10_000]), &mut arena)?;
    /// let lease = arena.take_lease();
    /// assert_eq!((metadata.len(), lease.places().len()), (3, 1));
    /// # Ok::<(), pannier::Error>(())
    /// ```
    pub fn take_lease(&mut self) -> Lease {
        std::mem::take(&mut self.placed)
    }

    /// The segments there are now, for peers to attach. A number is never used again, so a peer
    /// needs a segment once, and may detach what is not listed any more.
    ///
    /// # Examples
    ///
    /// ```
    /// let arena = pannier::shm::Arena::create(1 << 20)?;
    /// assert!(arena.segments().is_empty());
    /// let _buffer = arena.alloc::<u8>(1)?;
    /// assert_eq!(arena.segments()[0].number(), 1);
    /// # Ok::<(), pannier::Error>(())
    /// ```
    #[must_use]
    pub fn segments(&self) -> Vec<ArenaSegment> {
        let segments = self.memory().map(|memory| memory.segments()).unwrap_or_default();
        segments.into_iter().map(|(number, fd)| ArenaSegment { number, fd }).collect()
    }

    /// Gives back the segments in which no block is used.
    ///
    /// Without it they go only when the budget needs them for other sizes. A peer's map keeps the
    /// memory until it is detached, and the budget does not count it meanwhile.
    ///
    /// # Examples
    ///
    /// ```
    /// let arena = pannier::shm::Arena::create(1 << 20)?;
    /// drop(arena.alloc::<u8>(1_000)?);
    /// assert_eq!(arena.stats().memory_bytes, 256 << 10);
    /// arena.trim();
    /// assert_eq!(arena.stats().memory_bytes, 0);
    /// # Ok::<(), pannier::Error>(())
    /// ```
    pub fn trim(&self) {
        if let Ok(memory) = self.memory() {
            memory.trim();
        }
    }

    /// What the arena has taken, and how much of it is used.
    ///
    /// # Examples
    ///
    /// ```
    /// let arena = pannier::shm::Arena::create(1 << 20)?;
    /// let buffer = arena.alloc::<u8>(1_000)?;
    /// assert_eq!(arena.stats().blocks_live, 1);
    /// drop(buffer);
    /// assert_eq!((arena.stats().blocks_live, arena.stats().blocks_peak), (0, 1));
    /// # Ok::<(), pannier::Error>(())
    /// ```
    #[must_use]
    pub fn stats(&self) -> ArenaStats {
        let stats = self.memory().map(|memory| memory.stats()).unwrap_or_default();
        ArenaStats {
            blocks_live: stats.blocks_live,
            blocks_peak: stats.blocks_peak,
            segments: stats.segments_live,
            memory_bytes: stats.segment_bytes,
            file_bytes: stats.file_bytes,
        }
    }

    /// How many bytes of the segments lie in huge pages at this moment, by what the kernel says.
    ///
    /// Whether segments of 2 MiB and more get any is the machine's setting
    /// (`/sys/kernel/mm/transparent_hugepage/shmem_enabled`): with `always` and `within_size` they
    /// do. With `advise` they do not, for they ask when their memory is there already. The answer
    /// takes the kernel a while.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when `/proc` is not to be read; [`Error::ForkedHandle`] in a forked child.
    ///
    /// # Examples
    ///
    /// ```
    /// let arena = pannier::shm::Arena::create(64 << 20)?;
    /// let _large = arena.alloc::<u8>(8 << 20)?;
    /// assert!(arena.huge_bytes()? <= arena.stats().memory_bytes);
    /// # Ok::<(), pannier::Error>(())
    /// ```
    pub fn huge_bytes(&self) -> Result<u64> {
        // Held until they are counted: their addresses are not used again meanwhile.
        let maps = self.memory()?.maps();
        let addresses: Vec<_> = maps.iter().map(|map| map.addresses()).collect();
        Ok(huge::bytes_within(&addresses)?)
    }

    /// Notes where a buffer lies in the arena, after copying it there if it lies elsewhere. It is not
    /// empty: nothing lies nowhere.
    pub(crate) fn place(&mut self, buffer: &Buffer<u8>) -> Result<()> {
        let Some(located) = self.memory()?.locate(buffer) else { return self.place_copy(buffer) };
        self.note(buffer.clone(), located);
        Ok(())
    }

    /// The same for bytes that nobody keeps.
    pub(crate) fn place_copy(&mut self, bytes: &[u8]) -> Result<()> {
        let memory = self.memory()?;
        let mut block = memory.alloc_inbound(bytes.len(), false, Terms::ALL)?;
        block.copy_from_slice(bytes);
        let copy = block.freeze();
        let located = memory.locate(&copy).expect("an arena knows what it has just allocated");
        self.placed.copied_bytes += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.note(copy, located);
        Ok(())
    }

    fn note(&mut self, buffer: Buffer<u8>, Located { segment, offset, .. }: Located) {
        let len = u64::try_from(buffer.len()).unwrap_or(u64::MAX);
        self.placed.places.push(Place { segment, offset, len });
        self.placed.held.push(buffer);
    }

    fn allocate<T: Pod>(&self, len: usize, zeroed: bool) -> Result<BufferMut<T>> {
        const { assert!(align_of::<T>() <= 4096, "blocks begin at multiples of 4096 bytes") };
        let (memory, bytes) = (self.memory()?, element_bytes::<T>(len)?);
        if bytes == 0 {
            // Nothing to keep: no block for it.
            return alloc(0);
        }
        memory.alloc_inbound(bytes, zeroed, Terms::ALL)?.cast_aligned()
    }

    fn memory(&self) -> Result<&Arc<Memory>> {
        if self.memory.is_here() { Ok(&self.memory.0) } else { Err(Error::ForkedHandle) }
    }
}

/// Another handle to the same memory, with nothing placed.
impl Clone for Arena {
    fn clone(&self) -> Self {
        Arena { memory: self.memory.share(), placed: Lease::default() }
    }
}

impl fmt::Debug for Arena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without a lock, which a forked child may never get.
        f.debug_struct("Arena").field("placed", &self.placed).finish_non_exhaustive()
    }
}

/// The memory behind all clones of an arena; the last of them gives back what is not used.
struct Closing(Arc<Memory>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// What an [`Arena`] has taken, from [`Arena::stats`].
///
/// # Examples
///
/// ```
/// let arena = pannier::shm::Arena::create(1 << 20)?;
/// assert_eq!(arena.stats().memory_bytes, 0);
/// # Ok::<(), pannier::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ArenaStats {
    /// Blocks that are in use.
    pub blocks_live: u64,
    /// The most blocks that were in use at a time.
    pub blocks_peak: u64,
    /// Segments, those in files included.
    pub segments: u64,
    /// Bytes of the segments in memory, used or not.
    pub memory_bytes: u64,
    /// Bytes of the segments in files, used or not.
    pub file_bytes: u64,
}

/// Holds what was placed in an [`Arena`] until it is dropped.
///
/// Keep it until the peer has said that it is done with the buffers: once it is dropped the arena
/// writes there again, and a peer that still reads would see bytes change under it.
///
/// # Examples
///
/// ```
/// use pannier::{Buffer, Encoder, shm::Arena};
///
/// let mut arena = Arena::create(1 << 20)?;
/// Encoder::new().to_parts(&Buffer::from([7_u8; 10_000]), &mut arena)?;
/// let lease = arena.take_lease();
/// assert_eq!((arena.stats().blocks_live, lease.copied_bytes()), (1, 10_000));
/// drop(lease);
/// assert_eq!(arena.stats().blocks_live, 0);
/// # Ok::<(), pannier::Error>(())
/// ```
#[derive(Default)]
#[must_use]
pub struct Lease {
    places: Vec<Place>,
    /// What keeps them.
    held: Vec<Buffer<u8>>,
    copied_bytes: u64,
}

impl Lease {
    /// Where the buffers lie, in the order of their indices: for the peer.
    ///
    /// # Examples
    ///
    /// See [`Arena::take_lease`].
    #[must_use]
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// Bytes that had to be copied into the arena.
    ///
    /// # Examples
    ///
    /// See [`Lease`].
    #[must_use]
    pub fn copied_bytes(&self) -> u64 {
        self.copied_bytes
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("places", &self.places).finish_non_exhaustive()
    }
}

/// Where a buffer lies in an [`Arena`], in words that another process understands.
///
/// It is plain data: send it by any serde format.
///
/// # Examples
///
/// ```
/// use pannier::{Buffer, Encoder, shm::{Arena, Place}};
///
/// let mut arena = Arena::create(1 << 20)?;
/// Encoder::new().to_parts(&Buffer::from([7_u8; 10_000]), &mut arena)?;
/// let lease = arena.take_lease();
/// let sent = pannier::to_vec(lease.places())?;
/// let received: Vec<Place> = pannier::from_slice(&sent)?;
/// assert_eq!(received[0].segment(), arena.segments()[0].number());
/// # Ok::<(), pannier::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    pub(super) segment: u32,
    pub(super) offset: u64,
    pub(super) len: u64,
}

impl Place {
    /// The number of the segment that the peer must have attached.
    ///
    /// # Examples
    ///
    /// See [`Place`].
    #[must_use]
    pub fn segment(&self) -> u32 {
        self.segment
    }
}

/// A segment of an [`Arena`]: its number, and the descriptor ([`AsFd`]) that a peer needs.
///
/// Who has the descriptor can read the arena and, of a segment in memory, cannot write it. Of one in
/// a [file](Arena::spill) that holds for other users' processes only.
///
/// # Examples
///
/// See the [module](super).
#[derive(Clone, Debug)]
pub struct ArenaSegment {
    number: u32,
    fd: Arc<OwnedFd>,
}

impl ArenaSegment {
    /// Its number within the arena.
    ///
    /// # Examples
    ///
    /// See [`Arena::segments`].
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }
}

impl AsFd for ArenaSegment {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
