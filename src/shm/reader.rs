//! [`ArenaReader`]: the buffers of another process's arena, read in place.
//!
//! Promises: what is attached cannot be truncated or written through its descriptor; a place is a
//! buffer only if it lies in an attached segment; buffers outlive the reader.
//! Does not know: whether the arena still holds a block. Its owner keeps the lease, and whoever
//! attaches answers for that.
#![expect(unsafe_code, reason = "makes buffers of another process's blocks; see docs/SAFETY.md")]

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::io::Errno;

use super::arena::Place;
use super::error::SegmentError;
use super::segment::readable_len;
use crate::buffer::{Buffer, Memo, Owner, Place as Whereabouts};
use crate::error::Result;
use crate::sys::map::Map;

/// The peer's side of an [`Arena`](super::Arena): attached segments, and buffers over them.
///
/// # Examples
///
/// See the [module](super).
#[derive(Default)]
pub struct ArenaReader {
    segments: BTreeMap<u32, Arc<Map>>,
}

impl ArenaReader {
    /// A reader of one arena, with no segment attached.
    ///
    /// # Examples
    ///
    /// ```
    /// let reader = pannier::shm::ArenaReader::new();
    /// assert!(reader.buffers(&[]).is_ok());
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Maps a segment of the arena, read-only, under its number.
    ///
    /// One that was attached under the same number is [forgotten](Self::detach).
    ///
    /// # Errors
    ///
    /// [`Error::Segment`](crate::Error::Segment) for a descriptor that is not that of an arena's
    /// segment; [`Error::Io`](crate::Error::Io) when it cannot be mapped.
    ///
    /// # Safety
    ///
    /// The owner of the arena writes into its segments. You promise that
    ///
    /// * it is a process that you trust to use this library as intended, and
    /// * it keeps each [`Lease`](super::Lease) until all buffers that this process made of the
    ///   lease's places are dropped: it waits for your word.
    ///
    /// Where you cannot promise that, use [`SealedSegment`](super::SealedSegment).
    ///
    /// # Examples
    ///
    /// See the [module](super).
    pub unsafe fn attach(&mut self, number: u32, fd: OwnedFd) -> Result<()> {
        let len = readable_len(&fd)?;
        let len = usize::try_from(len).map_err(|_| std::io::Error::from(Errno::NOMEM))?;
        self.segments.insert(number, Arc::new(Map::readable(fd, len)?));
        Ok(())
    }

    /// Forgets a segment; it is unmapped with the last buffer over it.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut reader = pannier::shm::ArenaReader::new();
    /// reader.detach(7); // which was not attached: nothing happens
    /// ```
    pub fn detach(&mut self, number: u32) {
        self.segments.remove(&number);
    }

    /// The buffers at these places, none of them copied: a [`BufferSource`](crate::BufferSource).
    ///
    /// # Errors
    ///
    /// [`SegmentError::NotAttached`] and [`SegmentError::Bounds`] for places that are none.
    ///
    /// # Examples
    ///
    /// See the [module](super).
    pub fn buffers(&self, places: &[Place]) -> Result<Vec<Buffer<u8>>, SegmentError> {
        places.iter().map(|place| self.buffer(place)).collect()
    }

    fn buffer(&self, place: &Place) -> Result<Buffer<u8>, SegmentError> {
        let Place { segment, offset, len } = *place;
        let map = self.segments.get(&segment).ok_or(SegmentError::NotAttached { segment })?;
        let (start, len_here) = range_in(map.len(), place).ok_or_else(|| {
            let segment_len = u64::try_from(map.len()).unwrap_or(u64::MAX);
            SegmentError::Bounds { segment, offset, len, segment_len }
        })?;
        // SAFETY: `start` lies within the map (`range_in`).
        let ptr = unsafe { map.ptr().add(start) };
        // An owner for each: what it remembers of the bytes must not outlive the block.
        let owner = Arc::new(Block { _map: map.clone(), memo: Memo::default() });
        // SAFETY: the range lies within the map (`range_in`), which is readable, initialised, kept
        // by the owner, and cannot shrink (`attach`). Nobody writes there while the lease is held:
        // the promise of who called `attach`.
        Ok(unsafe { Buffer::from_raw(ptr, len_here, owner) })
    }
}

impl fmt::Debug for ArenaReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArenaReader").field("segments", &self.segments.keys()).finish()
    }
}

/// Holds the map of the segment that a block lies in.
struct Block {
    _map: Arc<Map>,
    memo: Memo,
}

impl Owner for Block {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn place(&self) -> Whereabouts {
        Whereabouts::Shared
    }

    fn may_be_exclusive(&self) -> bool {
        false
    }

    fn memo(&self) -> &Memo {
        &self.memo
    }
}

/// A place as start and length within a map of `map_len` bytes.
fn range_in(map_len: usize, place: &Place) -> Option<(usize, usize)> {
    let (start, len) = (usize::try_from(place.offset).ok()?, usize::try_from(place.len).ok()?);
    let end = start.checked_add(len)?;
    (end <= map_len).then_some((start, len))
}
