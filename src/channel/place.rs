//! Where the buffers of a value lie on their way to the peer.
//!
//! In this end's own memory, which the peer maps read-only; or, when they came from the peer, where
//! they are: then they are named by the peer's own number.
//! Promises: what lies in either is not copied.
//! Does not know: records.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::record::RETURNED;
use super::release::{Link, Returns};
use crate::buffer::{Buffer, BufferMut};
use crate::error::Result;
use crate::shm::{Attached, BlockName, Copied, Located, Memory, Store};

/// The memory of both ends, as this one sees it.
pub(super) struct Places {
    pub(super) memory: Arc<Memory>,
    pub(super) attached: Arc<Attached<Link>>,
    returns: Mutex<Returns>,
    /// Lines of records that were taken in, their buffers included.
    taken_in: AtomicU64,
}

impl Places {
    pub(super) fn new(
        memory: Arc<Memory>,
        attached: Arc<Attached<Link>>,
        returns: Returns,
    ) -> Self {
        Places { memory, attached, returns: Mutex::new(returns), taken_in: AtomicU64::new(0) }
    }

    /// The records up to here name nothing any more that must be kept for them.
    pub(super) fn have_taken_in(&self, position: u64) {
        self.taken_in.store(position, Ordering::Release);
    }

    /// The block of the peer's that a buffer lies in which goes back to it.
    pub(super) fn returned(&self, at: &Located) -> Option<BlockName> {
        let at = Located { segment: at.segment & !RETURNED, ..*at };
        self.attached.name_of(&at)
    }

    /// Takes back the blocks that the peer has let go of.
    pub(super) fn take_back(&self) {
        let position = self.taken_in.load(Ordering::Acquire);
        let mut returns = self.returns.lock().unwrap_or_else(PoisonError::into_inner);
        returns.apply(position, &self.memory);
    }
}

impl Store for Places {
    fn locate(&self, buffer: &Buffer<u8>) -> Option<Located> {
        let returned = |at: Located| Located { segment: at.segment | RETURNED, ..at };
        self.memory.locate(buffer).or_else(|| self.attached.locate(buffer).map(returned))
    }

    /// Of blocks of this end only: for those of the peer no hold is taken.
    fn name_of(&self, at: &Located) -> Option<BlockName> {
        (at.segment & RETURNED == 0).then(|| self.memory.name_of(at))?
    }

    fn alloc(&self, len: usize, zeroed: bool) -> Result<BufferMut<u8>> {
        self.take_back();
        self.memory.alloc(len, zeroed)
    }

    fn id(&self) -> u64 {
        self.memory.id()
    }

    fn copied(&self, copy: &Arc<Copied>) {
        self.memory.copied(copy);
    }
}
