//! Moves values and large buffers between processes, and runs work in worker processes that may crash.

mod buffer;
#[cfg(feature = "channel")]
mod channel;
mod error;
mod frame;
#[cfg(feature = "pool")]
mod pool;
#[cfg(feature = "pool")]
mod process;
#[cfg(feature = "shm")]
mod shm;
#[cfg(feature = "shm")]
mod sys;
#[cfg(feature = "pool")]
mod task;

pub use bytemuck::{self, Pod};

pub use crate::buffer::{Buffer, BufferMut, alloc, alloc_zeroed};
pub use crate::error::{Error, Result};
pub use crate::frame::{DescriptorFault, FrameError, LimitKind, Limits, MetaFault, SegmentFault};
