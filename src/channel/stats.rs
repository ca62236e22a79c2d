//! [`Stats`]: what an end has done so far, by its own counters.
//!
//! Does not know: what the peer has done; it has counters of its own.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering};

use super::end::End;
use crate::codec::Copies;

/// What one end of a channel has done so far, from [`Channel::stats`](super::Channel::stats).
///
/// A copy is one of out-of-band bytes: into shared memory, for a value that did not lie there, or out
/// of it, for one that wants its bytes for itself.
///
/// # Examples
///
/// ```
/// let (ours, theirs) = pannier::channel::pair::<u32, ()>()?;
/// ours.send(7).unwrap();
/// theirs.recv().unwrap();
/// assert_eq!((ours.stats().sent, theirs.stats().received), (1, 1));
/// assert_eq!(ours.stats().sent_in_band, theirs.stats().received_in_band);
/// # Ok::<(), pannier::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Values that were sent.
    pub sent: u64,
    /// Bytes of them that went through the ring, or through a block for want of room there.
    pub sent_in_band: u64,
    /// Bytes of their buffers, in shared memory.
    pub sent_out_of_band: u64,
    /// Values that were received.
    pub received: u64,
    /// Bytes of them that came through the ring or in its place.
    pub received_in_band: u64,
    /// Bytes of their buffers, in shared memory.
    pub received_out_of_band: u64,
    /// Copies of out-of-band bytes that sending and receiving made here.
    pub payload_copies: u64,
    /// Bytes of these copies.
    pub payload_copied_bytes: u64,
    /// Blocks of this end's memory that it or the peer uses.
    pub blocks_live: u64,
    /// The most there were at a time.
    pub blocks_peak: u64,
    /// Segments of this end's memory.
    pub segments: u64,
    /// Bytes of them, used or not.
    pub memory_bytes: u64,
    /// Segments of the peer's that are mapped here.
    pub peer_segments: u64,
    /// How often the peer was woken, with a system call.
    pub bells_rung: u64,
    /// How often a thread of this end slept.
    pub sleeps: u64,
    /// How often what was waited for came while a thread spun.
    pub spins_paid: u64,
    /// How often it did not.
    pub spins_in_vain: u64,
}

/// What went in one direction.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Traffic {
    pub(super) values: u64,
    in_band: u64,
    out_of_band: u64,
}

impl Traffic {
    pub(super) fn add(&mut self, in_band: usize, out_of_band: u64) {
        self.values += 1;
        self.in_band += u64::try_from(in_band).unwrap_or(u64::MAX);
        self.out_of_band = self.out_of_band.saturating_add(out_of_band);
    }
}

/// What is counted under no lock.
#[derive(Debug, Default)]
pub(super) struct Tally {
    rung: AtomicU64,
    slept: AtomicU64,
    copies: AtomicU64,
    copied_bytes: AtomicU64,
}

impl Tally {
    pub(super) fn rung(&self) {
        self.rung.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn slept(&self) {
        self.slept.fetch_add(1, Ordering::Relaxed);
    }

    /// Copies that reading a value made.
    pub(super) fn copied(&self, copies: Copies) {
        if copies.count > 0 {
            self.copies.fetch_add(copies.count, Ordering::Relaxed);
            self.copied_bytes.fetch_add(copies.bytes, Ordering::Relaxed);
        }
    }

    fn copies(&self) -> Copies {
        let (count, bytes) = (&self.copies, &self.copied_bytes);
        Copies { count: count.load(Ordering::Relaxed), bytes: bytes.load(Ordering::Relaxed) }
    }
}

impl End {
    /// What was counted; not in a forked child.
    pub(super) fn stats(&self) -> Stats {
        self.places.take_back();
        let memory = self.places.memory.stats();
        let (received, receiving) = {
            let half = self.lock_receiving();
            (half.received, half.spin)
        };
        let sending = self.lock_sending();
        let mut copies = self.tally.copies();
        copies.add(sending.copies);
        Stats {
            sent: sending.sent.values,
            sent_in_band: sending.sent.in_band,
            sent_out_of_band: sending.sent.out_of_band,
            received: received.values,
            received_in_band: received.in_band,
            received_out_of_band: received.out_of_band,
            payload_copies: copies.count,
            payload_copied_bytes: copies.bytes,
            blocks_live: memory.blocks_live,
            blocks_peak: memory.blocks_peak,
            segments: memory.segments_live,
            memory_bytes: memory.segment_bytes,
            peer_segments: u64::try_from(self.places.attached.segments()).unwrap_or(u64::MAX),
            bells_rung: self.tally.rung.load(Ordering::Relaxed),
            sleeps: self.tally.slept.load(Ordering::Relaxed),
            spins_paid: receiving.paid + sending.spin.paid,
            spins_in_vain: receiving.in_vain + sending.spin.in_vain,
        }
    }
}
