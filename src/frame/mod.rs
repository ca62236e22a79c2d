//! The frame format: slices in, slices out.
//!
//! A frame is one unit of the format: a header, metadata, a table of descriptors and the buffers
//! that are inline. This floor finds out whether bytes are a sound frame, and writes frames.
//!
//! It promises that no input makes it panic, recurse or allocate beyond its [`Limits`], that the
//! first fault in the format's fixed order of checks is the one reported, and that a checked frame
//! written again is the same bytes. It knows no types, no input or output, no clock, and of shared
//! segments only what the caller's [`Segments`] answers.

#![forbid(unsafe_code)]

mod descriptor;
mod error;
mod header;
mod kind;
mod limits;
mod metadata;
mod parse;
mod segments;
mod wire;
mod write;

#[cfg(test)]
mod tests;

pub(crate) use descriptor::{Descriptor, Location};
pub use error::{DescriptorFault, FrameError, LimitKind, MetaFault, SegmentFault};
pub(crate) use kind::Kind;
pub use limits::Limits;
pub(crate) use metadata::{check_metadata, count_references, skip_token, skip_value};
pub(crate) use parse::Frame;
pub(crate) use segments::{NoSegments, Segments};
pub(crate) use write::{HeadOptions, Layout, write_frame, write_head};
