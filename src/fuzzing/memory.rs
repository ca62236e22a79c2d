//! Doors to memory that is not public: [`PoolMemory`] and [`WorkerMemory`], both sides of a pool's, and
//! [`HostileWords`], what a process that does as it likes writes to.
//!
//! Promises: behind each call is the one that the pool makes. Does not know: messages between the
//! two sides. Who fuzzes passes on what they say.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use crate::buffer::{Buffer, BufferMut};
use crate::error::{Error, Result};
use crate::frame::SegmentFault;
use crate::shm::{Attached, BlockName, Memory, ParentLink, Store, Terms};
use crate::sys::area::{Area, WORDS_AT};
use crate::sys::memory;

/// The name of a block: where it is, and the generation that tells it from those before it there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Block {
    /// Number of the segment.
    pub segment: u32,
    /// Number of the block in it.
    pub index: u32,
    /// How often it was given out.
    pub generation: u32,
}

/// Segment, offset and length.
pub type Range = (u32, u64, u64);

/// What the other side needs to attach a segment.
#[derive(Clone, Debug)]
pub struct SegmentOffer {
    /// Its bytes.
    pub len: u64,
    /// Those of each of its blocks.
    pub block_len: u64,
    /// The memory object.
    pub fd: Arc<OwnedFd>,
}

/// The side with the ledger.
///
/// # Examples
///
/// ```
/// use pannier::fuzzing::PoolMemory;
///
/// let memory = PoolMemory::new(1 << 20);
/// let buffer = memory.alloc(100, true)?.freeze();
/// let (block, offset) = memory.find(&buffer).expect("it is this memory's");
/// assert_eq!((block.generation, offset, memory.blocks_live()), (1, 0, 1));
/// # Ok::<(), pannier::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct PoolMemory(Arc<Memory>);

impl PoolMemory {
    /// At most `limit` bytes.
    #[must_use]
    pub fn new(limit: u64) -> PoolMemory {
        PoolMemory(Memory::new(limit))
    }

    /// A block to write.
    ///
    /// # Errors
    ///
    /// Those of an [`Arena`](crate::shm::Arena::alloc).
    pub fn alloc(&self, len: usize, zeroed: bool) -> Result<BufferMut<u8>> {
        self.0.alloc_inbound(len, zeroed, Terms::ALL)
    }

    /// The block of an own buffer, and where the buffer begins in the segment.
    #[must_use]
    pub fn find(&self, buffer: &Buffer<u8>) -> Option<(Block, u64)> {
        let located = self.0.locate(buffer)?;
        Some((self.0.name_of(&located)?.into(), located.offset))
    }

    /// A block for a worker to write.
    ///
    /// # Errors
    ///
    /// As [`alloc`](Self::alloc).
    pub fn grant(&self, slot: u32, generation: u32, len: u64) -> Result<Block> {
        Ok(self.0.grant(slot, generation, len)?.into())
    }

    /// A task with these blocks, which are in use, goes to a worker.
    pub fn hold(&self, slot: u32, blocks: &[Block]) {
        self.0.hold(slot, &names(blocks));
    }

    /// A task is over; of its blocks and those that it brought, the worker goes on using `kept`.
    pub fn complete(&self, slot: u32, sent: &[Block], results: &[Block], kept: &[Block]) {
        let kept: BTreeSet<_> = names(kept).into_iter().collect();
        self.0.complete(slot, &names(sent), &names(results), &kept);
    }

    /// A worker says that it lets go of a block.
    ///
    /// # Errors
    ///
    /// When it does not hold it.
    pub fn release(&self, slot: u32, block: Block) -> Result<(), SegmentFault> {
        Ok(self.0.release(slot, &[block.into()])?)
    }

    /// A buffer over a range that a worker speaks of.
    ///
    /// # Errors
    ///
    /// When it may not.
    pub fn adopt(
        &self,
        slot: u32,
        range: Range,
        generation: u32,
    ) -> Result<(Buffer<u8>, Block), SegmentFault> {
        let (buffer, name) = self.0.adopt(slot, range, generation)?;
        Ok((buffer, name.into()))
    }

    /// A worker is dead.
    pub fn forget_worker(&self, slot: u32, generation: u32) {
        self.0.forget_worker(slot, generation);
    }

    /// How a segment is attached; `None` if it is gone.
    #[must_use]
    pub fn offer(&self, segment: u32) -> Option<SegmentOffer> {
        let attachment = self.0.attachment(segment)?;
        let (len, block_len) = (attachment.len, attachment.block_len);
        Some(SegmentOffer { len, block_len, fd: attachment.fd })
    }

    /// Gives back the segments that nobody uses.
    pub fn trim(&self) {
        self.0.trim();
    }

    /// Segments that are gone, each named once.
    #[must_use]
    pub fn take_retired(&self) -> Vec<u32> {
        self.0.take_retired()
    }

    /// Blocks in use.
    #[must_use]
    pub fn blocks_live(&self) -> u64 {
        self.0.stats().blocks_live
    }

    /// Bytes of all segments.
    #[must_use]
    pub fn segment_bytes(&self) -> u64 {
        self.0.stats().segment_bytes
    }
}

/// The worker's side.
///
/// # Examples
///
/// ```
/// use pannier::fuzzing::{PoolMemory, WorkerMemory};
///
/// let (parent, worker) = (PoolMemory::new(1 << 20), WorkerMemory::new());
/// let buffer = parent.alloc(100, true)?.freeze();
/// let (block, offset) = parent.find(&buffer).expect("it is the parent's");
/// worker.attach(block.segment, &parent.offer(block.segment).expect("it is there"), false)?;
/// let (seen, _) = worker.lease((block.segment, offset, 100), block.generation).unwrap();
/// assert_eq!(seen, buffer);
/// # Ok::<(), pannier::Error>(())
/// ```
#[derive(Clone)]
pub struct WorkerMemory(Arc<Attached<Said>>);

/// What a worker has said to its parent.
#[derive(Default)]
struct Said(Mutex<Vec<Block>>);

impl Said {
    fn take(&self) -> Vec<Block> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ParentLink for Said {
    /// Who fuzzes grants beforehand.
    fn request_block(&self, wanted: u64) -> Result<()> {
        Err(Error::OutOfMemory { wanted, limit: 0 })
    }

    fn released(&self, name: BlockName) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(name.into());
    }
}

impl WorkerMemory {
    /// With nothing attached.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "a door to a constructor that is called new")]
    pub fn new() -> WorkerMemory {
        WorkerMemory(Attached::new(Said::default()))
    }

    /// Maps a segment; writable only if it is of this worker's own arena.
    ///
    /// # Errors
    ///
    /// When the descriptor is none of such a segment.
    pub fn attach(&self, segment: u32, offer: &SegmentOffer, writable: bool) -> io::Result<()> {
        let fd = offer.fd.try_clone()?;
        self.0.attach(segment, (offer.len, offer.block_len), writable, fd)
    }

    /// Unmaps a segment when the last buffer over it is gone.
    pub fn detach(&self, segment: u32) {
        self.0.detach(segment);
    }

    /// A block has been granted.
    pub fn add_grant(&self, block: Block) {
        self.0.add_grant(block.into());
    }

    /// A granted block to write.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`] when none is long enough.
    pub fn alloc(&self, len: usize, zeroed: bool) -> Result<BufferMut<u8>> {
        self.0.alloc(len, zeroed)
    }

    /// The block of a buffer over this memory, and where the buffer begins in the segment.
    #[must_use]
    pub fn find(&self, buffer: &Buffer<u8>) -> Option<(Block, u64)> {
        let located = self.0.locate(buffer)?;
        Some((self.0.name_of(&located)?.into(), located.offset))
    }

    /// Whether a range that the parent speaks of is there.
    ///
    /// # Errors
    ///
    /// When it is not.
    pub fn check(&self, (segment, offset, len): Range) -> Result<(), SegmentFault> {
        Ok(self.0.check(segment, offset, len)?)
    }

    /// A buffer over a range that the parent speaks of.
    ///
    /// # Errors
    ///
    /// When it is not there.
    pub fn lease(
        &self,
        range: Range,
        generation: u32,
    ) -> Result<(Buffer<u8>, Block), SegmentFault> {
        let (buffer, name) = self.0.lease(range, generation)?;
        Ok((buffer, name.into()))
    }

    /// These blocks are part of a result from now on.
    pub fn publish(&self, blocks: &[Block]) {
        self.0.publish(&names(blocks));
    }

    /// Ends a task that mentioned these blocks: those that are still in use here.
    #[must_use]
    pub fn complete(&self, mentioned: &[Block]) -> Vec<Block> {
        let kept = |kept: &[BlockName]| kept.iter().map(|&name| name.into()).collect();
        self.0.complete(&names(mentioned), kept)
    }

    /// The blocks that the parent was told to be released, since the last call.
    #[must_use]
    pub fn take_released(&self) -> Vec<Block> {
        self.0.link().take()
    }
}

impl std::fmt::Debug for WorkerMemory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkerMemory").finish_non_exhaustive()
    }
}

/// A memory object that is mapped as atomic words, from byte 64 on, by somebody who goes on writing
/// to it whatever was agreed.
///
/// # Examples
///
/// ```
/// use std::sync::atomic::Ordering;
///
/// let words = pannier::fuzzing::HostileWords::segment(8192)?;
/// words.all()[0].store(7, Ordering::Relaxed);
/// assert_eq!(words.all().len(), (8192 - 128) / 8);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct HostileWords {
    area: Area,
    fd: OwnedFd,
}

impl HostileWords {
    /// What a descriptor stands for, an object of `len` bytes whose size is sealed.
    ///
    /// # Errors
    ///
    /// When it is none.
    pub fn map(fd: OwnedFd, len: usize) -> io::Result<HostileWords> {
        let count = len.saturating_sub(WORDS_AT) / size_of::<AtomicU64>();
        Ok(HostileWords { area: Area::attach(&fd, count)?, fd })
    }

    /// A new segment of `len` bytes, as sound as that of an honest peer by all that can be asked.
    ///
    /// # Errors
    ///
    /// When there is no memory.
    pub fn segment(len: usize) -> io::Result<HostileWords> {
        let fd = memory::create("pannier", u64::try_from(len).unwrap_or(u64::MAX))?;
        let words = HostileWords::map(fd, len)?;
        memory::seal_future_writes(&words.fd)?;
        Ok(words)
    }

    /// The words behind the first 128 bytes.
    #[must_use]
    pub fn all(&self) -> &[AtomicU64] {
        self.area.words()
    }
}

impl AsFd for HostileWords {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn names(blocks: &[Block]) -> Vec<BlockName> {
    blocks.iter().map(|&block| block.into()).collect()
}

impl From<Block> for BlockName {
    fn from(Block { segment, index, generation }: Block) -> Self {
        BlockName { segment, index, generation }
    }
}

impl From<BlockName> for Block {
    fn from(BlockName { segment, index, generation }: BlockName) -> Self {
        Block { segment, index, generation }
    }
}
