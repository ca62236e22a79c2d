//! [`Claim`]: a queued record belongs to its reader or is taken back.
//!
//! Promises: never both, in any order of events.
//! Does not know: rings.
#![forbid(unsafe_code)]

use std::sync::atomic::Ordering;

use super::ring::Word;

/// Who has a queued record: the worker that claimed it, or the parent that took it back.
///
/// The word holds the record's number too, so a late hand cannot take the next record in its place.
pub(crate) struct Claim<'w, W>(pub(crate) &'w W);

impl<W: Word> Claim<'_, W> {
    /// Before the record is published.
    pub(crate) fn offer(&self, record: u64) {
        self.0.store(state(record, READY), Ordering::Relaxed);
    }

    /// By the worker, before it reads the record's meaning.
    pub(crate) fn claim(&self, record: u64) -> bool {
        self.0.replace(state(record, READY), state(record, CLAIMED))
    }

    /// By the parent, to cancel the record or give it to somebody else.
    pub(crate) fn revoke(&self, record: u64) -> bool {
        self.0.replace(state(record, READY), state(record, REVOKED))
    }
}

const READY: u64 = 1;
const CLAIMED: u64 = 2;
const REVOKED: u64 = 3;

fn state(record: u64, state: u64) -> u64 {
    record << 2 | state
}
