//! Moves values and large buffers between processes, and runs work in worker processes that may crash.

mod buffer;
mod codec;
mod error;
mod frame;

pub use bytemuck::{self, Pod};

pub use crate::buffer::{Buffer, BufferMut, alloc, alloc_zeroed};
pub use crate::codec::{
    BufferSink, BufferSource, CodecError, Decoder, Encoder, Placement, bytes, from_bytes,
    from_slice, pod, to_vec,
};
pub use crate::error::{Error, Result};
pub use crate::frame::{DescriptorFault, FrameError, LimitKind, Limits, MetaFault, SegmentFault};
