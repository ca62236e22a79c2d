//! The map of a named object, as the crate `shared_memory` makes it.
//!
//! Promises: the map is as long as it says until it is dropped; safe code sees it as atomic words.
//! Does not know: names' owners. It removes nothing.
#![expect(unsafe_code, reason = "memory that other processes write; see docs/SAFETY.md")]

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use shared_memory::{Shmem, ShmemConf, ShmemError};

use super::error::NamedError;
use super::object::Object;

/// A map of a whole object, at least one byte.
pub(super) struct Memory {
    shmem: Shmem,
}

// SAFETY: a map is a range of addresses and a descriptor, which every thread may use and give back;
// who dereferences them answers for the access (`words`, `bytes`).
unsafe impl Send for Memory {}
// SAFETY: as above, and `&Memory` changes neither.
unsafe impl Sync for Memory {}

impl Memory {
    /// Maps the object with this name, which is open and has all its memory.
    pub(super) fn attach(name: &str, object: &Object) -> Result<Self, NamedError> {
        let shmem = ShmemConf::new().os_id(format!("/{name}")).open().map_err(refused)?;
        let found = u64::try_from(shmem.len()).unwrap_or(u64::MAX);
        if found != object.len {
            return Err(NamedError::Resized { expected: object.len, found });
        }
        Ok(Memory { shmem })
    }

    pub(super) fn len(&self) -> usize {
        self.shmem.len()
    }

    /// All of it, and what is left of the last word, which nobody sees.
    pub(super) fn words(&self) -> &[AtomicU64] {
        let count = self.len().div_ceil(size_of::<AtomicU64>());
        // SAFETY: the kernel maps whole pages, so that many words are mapped, readable, writable and
        // page-aligned until `self` is dropped (a `Shmem` unmaps in its drop only); a memory object's
        // bytes are all initialised. This library's accesses are all atomic and of this size, or
        // under the contract of `bytes`; those of other processes are outside of this program.
        unsafe { std::slice::from_raw_parts(self.shmem.as_ptr().cast::<AtomicU64>(), count) }
    }

    /// The bytes themselves.
    ///
    /// # Safety
    ///
    /// * Nobody writes to them while the slice lives, in this process or another.
    pub(super) unsafe fn bytes(&self) -> &[u8] {
        // SAFETY: mapped and initialised as in `words`; nobody writes, by the caller's promise.
        unsafe { self.shmem.as_slice() }
    }
}

/// Memory that nobody writes any more.
pub(super) struct Still(Arc<Memory>);

impl Still {
    /// # Safety
    ///
    /// * Nobody writes to the memory while this lives, in this process or another.
    pub(super) unsafe fn new(memory: Arc<Memory>) -> Self {
        Still(memory)
    }
}

impl AsRef<[u8]> for Still {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: nobody writes while `self` lives, by the promise that `new` asked for.
        unsafe { self.0.bytes() }
    }
}

fn refused(error: ShmemError) -> NamedError {
    let errno = match error {
        ShmemError::MapOpenFailed(errno)
        | ShmemError::MapCreateFailed(errno)
        | ShmemError::UnknownOsError(errno) => i32::try_from(errno).unwrap_or(libc::EIO),
        // The others are of files that name objects, and of making them.
        _ => libc::EIO,
    };
    NamedError::System { call: "map a named segment", errno }
}
