//! One `IpcSharedMemory`, and buffers as views of it.
//!
//! Promises: a buffer that was made of a region is found to be a part of it.
//! Does not know: frames.
#![forbid(unsafe_code)]

use std::panic::catch_unwind;
use std::sync::Arc;

use ::ipc_channel::ipc::IpcSharedMemory;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::buffer::Buffer;
use crate::codec::CodecError;

/// A buffer over this memory, without a copy. In an [`IpcFrame`](super::IpcFrame) its memory travels
/// as it is.
///
/// For bytes that are sent again and again, or that were filled in place.
///
/// # Examples
///
/// ```
/// use ipc_channel::ipc::IpcSharedMemory;
/// use pannier::adapters::ipc_channel::{IpcFrame, from_shared_memory};
///
/// let memory = from_shared_memory(IpcSharedMemory::from_byte(7, 1 << 20));
/// let frame = IpcFrame::encode(&memory.slice(..1 << 16))?;
/// assert_eq!(frame.copies(), 0);
/// # Ok::<(), pannier::CodecError>(())
/// ```
#[must_use]
pub fn from_shared_memory(memory: IpcSharedMemory) -> Buffer<u8> {
    Buffer::from_owner(Region(Arc::new(memory)))
}

/// Shared memory that is neither mapped nor duplicated again for another handle.
#[derive(Clone)]
pub(super) struct Region(Arc<IpcSharedMemory>);

impl Region {
    /// A copy of these bytes.
    pub(super) fn copy_of(bytes: &[u8]) -> Result<Self, CodecError> {
        // It panics when the kernel gives no descriptor or no memory.
        let made = catch_unwind(|| IpcSharedMemory::from_bytes(bytes));
        let refused = |_| CodecError::Buffer(Box::new(NotMade { len: bytes.len() }));
        made.map(|memory| Region(Arc::new(memory))).map_err(refused)
    }

    /// The region that a buffer is a part of, and where it begins there.
    pub(super) fn of(buffer: &Buffer<u8>) -> Option<(Self, usize)> {
        let region = buffer.owner()?.as_any().downcast_ref::<Region>()?;
        Some((region.clone(), buffer.as_ptr().addr() - region.start()))
    }

    /// All of it.
    pub(super) fn buffer(&self) -> Buffer<u8> {
        Buffer::from_owner(self.clone())
    }

    /// Its address, which no other living region has.
    pub(super) fn start(&self) -> usize {
        self.0.as_ptr().addr()
    }
}

impl AsRef<[u8]> for Region {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// In a message of `ipc-channel`, its number.
impl Serialize for Region {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Region {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IpcSharedMemory::deserialize(deserializer).map(|memory| Region(Arc::new(memory)))
    }
}

#[derive(Debug, thiserror::Error)]
#[error(
    "ipc-channel could not make {len} bytes of shared memory; are descriptors or memory used up?"
)]
struct NotMade {
    len: usize,
}
