//! Moves values and large buffers between processes, and runs work in worker processes that may crash.

mod frame;

pub use bytemuck::{self, Pod};
pub use frame::{DescriptorFault, FrameError, LimitKind, Limits, MetaFault, SegmentFault};
