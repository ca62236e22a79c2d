//! Buffers on their way to the other process: where they lie already, or copied there once.
//!
//! Promises: a buffer in shared memory is named and not copied; a heap buffer is copied once while
//! it lives, however often it is sent; every copy is counted.
//! Does not know: which side it is on.
#![forbid(unsafe_code)]

use std::sync::{Arc, Mutex, PoisonError};

use crate::buffer::Buffer;
use crate::codec::{CodecError, Copies, Payload, Placed, Sink};
use crate::frame::{Descriptor, Kind, Limits, SegmentFault, Segments};
use crate::shm::{Copied, Fault, Located, Store};

/// Places payloads in a store.
pub(crate) struct StoreSink<'s, S> {
    store: &'s S,
    copies: Copies,
}

/// A copy that an owner remembers: of its bytes from this address on, while the store is of use.
struct Remembered {
    store: u64,
    start: usize,
    copy: Arc<Copied>,
}

impl Remembered {
    fn is_of_use(&self) -> bool {
        self.copy.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// What of it these bytes are.
    fn part(&self, store: u64, buffer: &Buffer<u8>) -> Option<Buffer<u8>> {
        let at = buffer.as_ptr().addr().checked_sub(self.start)?;
        let end = at.checked_add(buffer.len())?;
        let copy = self.copy.lock().unwrap_or_else(PoisonError::into_inner);
        let copy = copy.as_ref().filter(|copy| self.store == store && end <= copy.len())?;
        Some(copy.slice(at..end))
    }
}

impl<'s, S: Store> StoreSink<'s, S> {
    pub(crate) fn new(store: &'s S) -> Self {
        StoreSink { store, copies: Copies::default() }
    }

    /// What had to be copied so far.
    pub(crate) fn copies(&self) -> Copies {
        self.copies
    }

    fn place_owned(&mut self, buffer: &Buffer<u8>) -> Result<(Buffer<u8>, Located), CodecError> {
        if let Some(located) = self.store.locate(buffer) {
            return Ok((buffer.clone(), located));
        }
        if let Some(found) = self.remembered(buffer) {
            return Ok(found);
        }
        let (copy, located) = self.copy(buffer)?;
        if let Some(owner) = buffer.owner() {
            let start = buffer.as_ptr().addr();
            owner.memo().retain(Remembered::is_of_use);
            let kept = Arc::new(Mutex::new(Some(copy.clone())));
            self.store.copied(&kept);
            let remembered = Remembered { store: self.store.id(), start, copy: kept };
            owner.memo().remember(Arc::new(remembered));
        }
        Ok((copy, located))
    }

    /// The part of an earlier copy that contains these bytes.
    fn remembered(&self, buffer: &Buffer<u8>) -> Option<(Buffer<u8>, Located)> {
        let id = self.store.id();
        let fits = |old: &Remembered| old.part(id, buffer).is_some();
        let part = buffer.owner()?.memo().find::<Remembered>(fits)?.part(id, buffer)?;
        let located = self.store.locate(&part)?;
        Some((part, located))
    }

    fn copy(&mut self, bytes: &[u8]) -> Result<(Buffer<u8>, Located), CodecError> {
        let mut block = self
            .store
            .alloc(bytes.len(), false)
            .map_err(|error| CodecError::Buffer(Box::new(error)))?;
        block.copy_from_slice(bytes);
        self.copies.count += 1;
        self.copies.bytes += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let copy = block.freeze();
        let located = self.store.locate(&copy).expect("a store knows what it has just allocated");
        Ok((copy, located))
    }
}

impl<S: Store> Sink for StoreSink<'_, S> {
    fn place(&mut self, payload: Payload<'_>) -> Result<Option<Placed>, CodecError> {
        let (buffer, located, kind) = match payload {
            Payload::Owned { buffer, kind, align: _ } => {
                let (buffer, located) = self.place_owned(buffer)?;
                (buffer, located, kind)
            }
            Payload::Lent(bytes) => {
                let (buffer, located) = self.copy(bytes)?;
                (buffer, located, Kind::OPAQUE)
            }
        };
        let len = u64::try_from(buffer.len()).unwrap_or(u64::MAX);
        let Located { segment, offset, generation } = located;
        let align = alignment(offset);
        let descriptor = Descriptor::segment(segment, offset, len, generation, kind, align);
        Ok(Some(Placed::new(descriptor, buffer)))
    }
}

/// What a pool's own frames may be: as large as the program makes them.
pub(crate) fn pool_limits() -> Limits {
    Limits::default()
        .meta_len(u32::MAX)
        .buffers(1 << 24)
        .repeat_bytes(u64::MAX)
        .frame_len(u64::MAX >> 1)
        .segments(true)
}

/// What a frame of a channel may be: a peer may send as much as it has, but not have it copied again
/// and again.
pub(super) fn channel_limits() -> Limits {
    Limits::default().meta_len(u32::MAX).buffers(1 << 24).frame_len(u64::MAX >> 1).segments(true)
}

/// Where a segment descriptor points.
pub(crate) fn located(descriptor: &Descriptor) -> Located {
    let Descriptor { segment, offset, generation, .. } = *descriptor;
    Located { segment, offset, generation }
}

/// The alignment that can be promised of this offset in a segment, as a power of two.
fn alignment(offset: u64) -> u8 {
    const LARGEST: u32 = 12;
    u8::try_from(offset.trailing_zeros().min(LARGEST)).unwrap_or(0)
}

/// Checks the segment references of a frame with whoever knows the segments.
pub(crate) struct SegmentCheck<F>(pub(crate) F);

impl<F: Fn((u32, u64, u64), u32) -> Result<(), Fault>> Segments for SegmentCheck<F> {
    fn check(
        &self,
        segment: u32,
        offset: u64,
        len: u64,
        generation: u32,
    ) -> Result<(), SegmentFault> {
        Ok((self.0)((segment, offset, len), generation)?)
    }
}

/// What the memory says, in the words of the format.
impl From<Fault> for SegmentFault {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Unknown => SegmentFault::Unknown,
            Fault::Stale => SegmentFault::Stale,
            Fault::Bounds => SegmentFault::Bounds,
        }
    }
}
