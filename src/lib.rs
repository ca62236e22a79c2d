//! Moves values and large buffers between processes, and runs work in worker processes that may crash.

#![cfg_attr(
    not(feature = "pool"),
    expect(dead_code, unused_imports, reason = "parts of a floor that only the floors above call")
)]

mod buffer;
#[cfg(feature = "channel")]
mod channel;
mod codec;
mod error;
mod frame;
#[cfg(feature = "pool")]
mod parallel;
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
#[cfg(feature = "channel")]
pub use crate::channel::Phase;
pub use crate::codec::{
    BufferSink, BufferSource, CodecError, Decoder, Encoder, Placement, bytes, from_bytes,
    from_slice, pod, to_vec,
};
pub use crate::error::{Error, Result};
pub use crate::frame::{DescriptorFault, FrameError, LimitKind, Limits, MetaFault, SegmentFault};
#[cfg(feature = "pool")]
pub use crate::parallel::Map;
#[cfg(feature = "pool")]
pub use crate::pool::{
    __premain, JoinHandle, Panicked, Pool, PoolBuilder, RemoteError, Shutdown, StartFailed,
    StartFailure, StartMethod, Stats, TaskError, TaskInfo, ValueError, Worker, WorkerDied, init,
    worker,
};
#[cfg(feature = "pool")]
pub use crate::sys::child::ExitStatus;
#[cfg(feature = "pool")]
pub use crate::task::{Data, Function};
