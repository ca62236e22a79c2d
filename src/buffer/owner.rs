//! What keeps a buffer's bytes in place: [`Owner`], and what an owner remembers of its copies elsewhere.
//!
//! Promises: an owner is asked whether its memory may be written again only while one handle is left.
//! Does not know: any particular kind of memory.
#![forbid(unsafe_code)]

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// Where the bytes of a buffer lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// On this process's heap, allocated by this library or taken over from a `Vec`.
    Heap,
    /// In memory that another process can be given without a copy.
    #[cfg(feature = "shm")]
    Shared,
    /// In memory of somebody else, behind `Buffer::from_owner`.
    Foreign,
}

/// Keeps the memory behind a buffer valid and unmoved until it is dropped.
pub(crate) trait Owner: Send + Sync + 'static {
    /// For the floor that made this owner, to find its own kind again.
    fn as_any(&self) -> &dyn Any;

    fn place(&self) -> Place;

    /// Whether the memory may become exclusive again: it is writable here and no other process
    /// uses it. Asked only by the last handle in this process.
    fn may_be_exclusive(&self) -> bool;

    fn memo(&self) -> &Memo;
}

/// Copies of an owner's bytes that higher floors made elsewhere, so that they need not be made twice.
///
/// They live as long as the owner, or until the memory becomes writable again.
#[derive(Default)]
pub(crate) struct Memo {
    copies: Mutex<Vec<Arc<dyn Any + Send + Sync>>>,
}

impl Memo {
    /// The first remembered copy of type `C` that `fits`.
    #[cfg(feature = "shm")]
    pub(crate) fn find<C: Any + Send + Sync>(&self, fits: impl Fn(&C) -> bool) -> Option<Arc<C>> {
        let copies = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        copies.iter().filter_map(|copy| copy.clone().downcast::<C>().ok()).find(|copy| fits(copy))
    }

    #[cfg(feature = "shm")]
    pub(crate) fn remember(&self, copy: Arc<dyn Any + Send + Sync>) {
        self.copies.lock().unwrap_or_else(PoisonError::into_inner).push(copy);
    }

    /// Forgets the copies of type `C` that are not to be kept.
    #[cfg(feature = "shm")]
    pub(crate) fn retain<C: Any + Send + Sync>(&self, keep: impl Fn(&C) -> bool) {
        let mut copies = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        copies.retain(|copy| copy.downcast_ref::<C>().is_none_or(&keep));
    }

    pub(crate) fn forget_all(&self) {
        self.copies.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl fmt::Debug for Memo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let copies = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        f.debug_struct("Memo").field("copies", &copies.len()).finish()
    }
}
