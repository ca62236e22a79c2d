//! The frame format: slices in, slices out.
//!
//! A frame is one unit of the format: a header, metadata, a table of descriptors and the buffers
//! that are inline. This floor finds out whether bytes are a sound frame, and writes frames.
//!
//! Most programs need none of this: [`to_vec`](crate::to_vec) and its like write and read values.
//! It is for what embeds the format: relays, tools, runtimes with buffers of their own.
//!
//! It promises that no input makes it panic, recurse or allocate beyond its [`Limits`], that the
//! first fault in the format's fixed order of checks is the one reported, and that a checked frame
//! written again is the same bytes. It knows no types, no input or output, no clock, and of shared
//! segments only what its caller answers.

#![forbid(unsafe_code)]

#[cfg(feature = "arbitrary")]
mod arbitrary;
mod descriptor;
mod error;
mod header;
mod incoming;
mod kind;
mod limits;
mod metadata;
mod parse;
mod reader;
mod segments;
mod wire;
mod write;

#[cfg(test)]
mod tests;

#[cfg(feature = "fuzzing")]
pub(crate) use descriptor::DESCRIPTOR_LEN;
pub use descriptor::{Descriptor, Location};
pub use error::{DescriptorFault, FrameError, LimitKind, MetaFault, SegmentFault};
#[cfg(feature = "fuzzing")]
pub(crate) use header::{HEADER_LEN, MAGIC};
pub(crate) use incoming::Incoming;
pub use kind::Kind;
pub use limits::Limits;
pub use metadata::check_metadata;
pub(crate) use metadata::{count_references, skip_token, skip_value};
pub use parse::Frame;
pub use reader::FrameReader;
#[cfg(test)]
pub(crate) use segments::NoSegments;
pub(crate) use segments::Segments;
pub use wire::{checksum, checksum_append};
pub use write::{HeadOptions, Layout, write_frame, write_head};
