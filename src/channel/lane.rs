//! One direction of a channel: the shared memory of its two rings, its bells and its goodbye.
//!
//! ```text
//!   word    0  records published          written by the sender
//!          16  records consumed           by the receiver
//!          32  an end has this lane       by whoever opens the sender's end, once
//!          48  goodbye                    by the sender
//!          64  releases published         by the sender
//!          80  releases consumed          by the receiver
//!         512  lines of records, then lines of releases
//!   bell       senders sleep for room     by both
//!   2nd bell   the receiver sleeps        by both: the data bell
//! ```
//!
//! What a side does not write it may still overwrite: nothing that is read here is believed.
//! Promises: words that two sides write at a time share no cache line.
//! Does not know: what records mean.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::ring::{LINE, Memory, Word};
use crate::sys::area::Area;

const PUBLISHED: usize = 0;
const CONSUMED: usize = 16;
const CLAIM: usize = 32;
const GOODBYE: usize = 48;
const RELEASES_PUBLISHED: usize = 64;
const RELEASES_CONSUMED: usize = 80;
const RECORDS_AT: usize = 512;
/// 128 KiB: what is sent stays in the cache of the CPU that reads it.
const RECORDS: usize = 2048 * LINE;
const RELEASES_AT: usize = RECORDS_AT + RECORDS;
const RELEASES: usize = 256 * LINE;
/// All words.
pub(super) const COUNT: usize = RELEASES_AT + RELEASES;

/// A lane, mapped.
#[derive(Debug)]
pub(super) struct Lane {
    area: Area,
}

impl Lane {
    /// The memory of a new lane.
    pub(super) fn create() -> io::Result<OwnedFd> {
        Area::create("pannier-channel", COUNT)
    }

    /// Maps a lane, if the descriptor is one of that size that nobody can truncate.
    pub(super) fn attach(fd: impl AsFd) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Lane { area: Area::attach(fd, COUNT)? }))
    }

    /// Where the receiver sleeps.
    pub(super) fn data_bell(&self) -> &AtomicU32 {
        self.area.second_bell()
    }

    /// Whether nobody has opened the end before that sends in this lane; only the first is told so.
    pub(super) fn claim(&self) -> bool {
        self.word(CLAIM).swap(1, Ordering::AcqRel) == 0
    }

    /// Where senders sleep until there is room.
    pub(super) fn room_bell(&self) -> &AtomicU32 {
        self.area.bell()
    }

    /// Says that nothing will be published after what was.
    pub(super) fn say_goodbye(&self) {
        // Release: whoever sees it sees every record before it.
        self.word(GOODBYE).store(1, Ordering::Release);
    }

    pub(super) fn has_said_goodbye(&self) -> bool {
        self.word(GOODBYE).load(Ordering::Acquire) != 0
    }

    /// Whether more was published than that; an allegation, like all that is shared.
    pub(super) fn is_published_beyond(&self, position: u64) -> bool {
        self.word(PUBLISHED).load(Ordering::Acquire) != position
    }

    /// Whether more was consumed than that.
    pub(super) fn is_consumed_beyond(&self, position: u64) -> bool {
        self.word(CONSUMED).load(Ordering::Acquire) != position
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        &self.area.words()[at]
    }
}

/// The ring of records.
#[derive(Debug)]
pub(super) struct Records(pub(super) Arc<Lane>);

impl Memory for Records {
    type Word = AtomicU64;

    fn lines(&self) -> &[AtomicU64] {
        &self.0.area.words()[RECORDS_AT..RELEASES_AT]
    }

    fn published(&self) -> &AtomicU64 {
        self.0.word(PUBLISHED)
    }

    fn consumed(&self) -> &AtomicU64 {
        self.0.word(CONSUMED)
    }
}

/// The ring of releases.
#[derive(Debug)]
pub(super) struct Releases(pub(super) Arc<Lane>);

impl Memory for Releases {
    type Word = AtomicU64;

    fn lines(&self) -> &[AtomicU64] {
        &self.0.area.words()[RELEASES_AT..COUNT]
    }

    fn published(&self) -> &AtomicU64 {
        self.0.word(RELEASES_PUBLISHED)
    }

    fn consumed(&self) -> &AtomicU64 {
        self.0.word(RELEASES_CONSUMED)
    }
}

/// A bell that one can sleep on holds small numbers only, so nothing is cut.
impl Word for AtomicU32 {
    fn load(&self, order: Ordering) -> u64 {
        self.load(order).into()
    }

    fn store(&self, value: u64, order: Ordering) {
        self.store(narrow(value), order);
    }

    fn swap(&self, value: u64, order: Ordering) -> u64 {
        self.swap(narrow(value), order).into()
    }

    fn replace(&self, old: u64, new: u64) -> bool {
        let (old, new) = (narrow(old), narrow(new));
        self.compare_exchange(old, new, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    fn fence(order: Ordering) {
        std::sync::atomic::fence(order);
    }
}

fn narrow(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
