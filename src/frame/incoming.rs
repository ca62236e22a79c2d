//! A frame on its way in: its bytes so far, and how many are needed next.
//!
//! Promises: memory grows with what has arrived, by a mebibyte at least, and never with what was
//! announced; the bytes lie at a multiple of 64, so that buffers can be used where they are;
//! growing moves them at most once in a doubling. Does not know: where bytes come from.

#![forbid(unsafe_code)]

use std::collections::TryReserveError;

use bytes::Bytes;

use super::error::FrameError;
use super::header::FRAME_ALIGN;
use super::limits::Limits;
use super::parse::Progress;
use super::segments::NoSegments;
use super::wire::wide;

/// The beginning of a frame, in memory of its own.
#[derive(Debug, Default)]
pub(crate) struct Incoming {
    memory: Vec<u8>,
    /// Where in `memory` the frame begins.
    start: usize,
    /// Bytes of the frame that are there; what `memory` has behind them is room.
    len: usize,
    progress: Progress,
}

impl Incoming {
    /// A frame whose first bytes are there already.
    pub(super) fn beginning_with(bytes: &[u8], progress: Progress) -> Incoming {
        let mut incoming = Incoming { progress, ..Incoming::default() };
        incoming.memory.reserve_exact(bytes.len().saturating_add(ALIGN));
        incoming.align();
        incoming.memory.extend_from_slice(bytes);
        incoming.len = bytes.len();
        incoming
    }

    /// Bytes that are there.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// How many more bytes the next step needs, 0 once the frame is whole.
    ///
    /// # Errors
    ///
    /// The first fault of the head, as far as it is there.
    pub(crate) fn missing(&mut self, limits: &Limits) -> Result<u64, FrameError> {
        let Incoming { memory, start, len, progress } = self;
        let bytes = memory.get(*start..*start + *len).unwrap_or_default();
        let need = progress.check(bytes, limits, &NoSegments)?;
        Ok(need.saturating_sub(wide(*len)))
    }

    pub(super) fn so_far(&self) -> (&Progress, &[u8]) {
        let bytes = self.memory.get(self.start..self.start + self.len).unwrap_or_default();
        (&self.progress, bytes)
    }

    /// Allocates for some or all of `missing` more bytes: at least for as many as are there
    /// already, so that growing stays linear.
    ///
    /// # Errors
    ///
    /// When the allocator has no memory.
    pub(crate) fn reserve(&mut self, missing: u64) -> Result<(), TryReserveError> {
        let end = self.start + self.len;
        let step = at_most(missing, self.len.max(STEP));
        if self.memory.capacity() - end < at_most(missing, CHUNK) {
            self.memory.truncate(end);
            self.memory.try_reserve_exact(step.saturating_add(ALIGN))?;
            self.align();
        }
        Ok(())
    }

    /// Where the next bytes belong, some or all of `missing`; empty only if that is zero.
    pub(crate) fn space(&mut self, missing: u64) -> &mut [u8] {
        let end = self.start + self.len;
        let room = at_most(missing, CHUNK);
        if self.memory.len() < end + room {
            self.memory.resize(end + room, 0);
        }
        self.memory.get_mut(end..end + room).unwrap_or_default()
    }

    /// Takes the first `count` bytes of [`space`](Self::space) as read.
    pub(crate) fn advance(&mut self, count: usize) {
        let space = self.memory.len() - self.start - self.len;
        assert!(count <= space, "advanced by {count} bytes where there was space for {space}");
        self.len += count;
    }

    /// The frame, which is whole.
    pub(crate) fn into_bytes(mut self) -> Bytes {
        self.memory.truncate(self.start + self.len);
        Bytes::from(self.memory).slice(self.start..)
    }

    /// Brings the frame to a multiple of [`ALIGN`] again where the allocator has moved it. Large
    /// blocks keep their place within a page, so this copies little or nothing.
    fn align(&mut self) {
        let (old, len) = (self.start, self.len);
        self.start = self.memory.as_ptr().addr().wrapping_neg() & (ALIGN - 1);
        if self.start != old {
            // `reserve` has asked for this much more than the bytes take.
            self.memory.resize((old + len).max(self.start + len), 0);
            self.memory.copy_within(old..old + len, self.start);
        }
        self.memory.truncate(self.start + len);
    }
}

fn at_most(missing: u64, most: usize) -> usize {
    usize::try_from(missing).unwrap_or(usize::MAX).min(most)
}

/// Memory is allocated in steps of at least so many bytes.
const STEP: usize = 1 << 20;
/// Room is offered, and filled with zeros before, so many bytes at a time: they stay in the cache.
const CHUNK: usize = 256 << 10;
const ALIGN: usize = 1 << FRAME_ALIGN;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frame_stays_aligned_and_whole_while_it_grows() {
        let mut incoming = Incoming::default();
        for round in 0..40u8 {
            incoming.reserve(1 << 40).unwrap();
            assert!(incoming.memory.capacity() >= STEP);
            let space = incoming.space(1 << 40);
            assert_eq!(space.len(), CHUNK);
            space[..1000].fill(round);
            incoming.advance(1000);
            // What the allocator gave is taken back, so the next round moves the bytes.
            incoming.memory.truncate(incoming.start + incoming.len);
            incoming.memory.shrink_to_fit();
            incoming.start = incoming.memory.len() - incoming.len;
        }
        incoming.reserve(64).unwrap();
        assert_eq!(incoming.len(), 40_000);
        let bytes = incoming.into_bytes();
        assert_eq!(bytes.as_ptr().addr() % ALIGN, 0);
        assert!(bytes.iter().zip(0u32..).all(|(&byte, at)| u32::from(byte) == at / 1000));
    }

    #[test]
    fn what_is_announced_is_not_allocated() {
        let mut incoming = Incoming::default();
        incoming.reserve(u64::MAX).unwrap();
        assert!(incoming.memory.capacity() <= STEP + ALIGN);
        incoming.space(u64::MAX);
        incoming.advance(CHUNK);
        assert!(incoming.memory.capacity() <= STEP + ALIGN);
    }
}
