//! Memory that another process reads: what the parent's and the worker's side have in common.
//!
//! Does not know: which side it is on.
#![forbid(unsafe_code)]

use std::sync::{Arc, Mutex};

use crate::buffer::{Buffer, BufferMut};
use crate::error::Result;

use super::ledger::BlockName;

/// Where a range of a block lies, in the words of the other process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Located {
    pub(crate) segment: u32,
    pub(crate) offset: u64,
    pub(crate) generation: u32,
}

/// Memory for buffers on their way to another process.
pub(crate) trait Store {
    /// Where the bytes lie already, if the other process can be told so.
    fn locate(&self, buffer: &Buffer<u8>) -> Option<Located>;

    /// The block that a place lies in.
    fn name_of(&self, at: &Located) -> Option<BlockName>;

    /// New memory that `locate` knows.
    fn alloc(&self, len: usize, zeroed: bool) -> Result<BufferMut<u8>>;

    /// Tells this store from all others, for what a buffer remembers of its copies.
    fn id(&self) -> u64;

    /// A buffer elsewhere remembers this copy as long as it lives. A store that has an end takes the
    /// copy out then: nobody can be sent it any more.
    fn copied(&self, copy: &Arc<Copied>);
}

/// A copy of a buffer's bytes in a store, while that is of use.
pub(crate) type Copied = Mutex<Option<Buffer<u8>>>;
