//! The frame format: slices in, slices out.
//!
//! A frame is one unit of the format: a header, metadata, a table of descriptors and the buffers
//! that are inline. Here are the words for what can be wrong with one, and what a reader permits.

#![forbid(unsafe_code)]

mod error;
mod limits;

pub use error::{DescriptorFault, FrameError, LimitKind, MetaFault, SegmentFault};
pub use limits::Limits;
