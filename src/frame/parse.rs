//! From bytes to a checked frame.
//!
//! [`Frame::parse`] is the only way in for bytes from outside; [`Frame::parse_head`] is the same
//! without the walk over the metadata, for a reader that does it at another time. The order of the
//! checks is part of the format. Buffers are neither read nor verified here, so parsing a mapped
//! file touches only its head.

#![forbid(unsafe_code)]

use std::fmt;
use std::ops::Range;

use super::descriptor::{Bodies, DESCRIPTOR_LEN, Descriptor, Location, RawDescriptor};
use super::error::{DescriptorFault, FrameError, SegmentFault};
use super::header::{Head, Header};
use super::limits::Limits;
use super::metadata;
use super::segments::{Segments, check_aliasing};
use super::wire::wide;

/// A frame whose head (header, table, lengths, padding) has been checked.
#[derive(Clone)]
pub(crate) struct Frame<'a> {
    bytes: &'a [u8],
    metadata: &'a [u8],
    table: &'a [u8],
    header: Header,
}

impl<'a> Frame<'a> {
    /// All checks: head, then metadata. `bytes` must be one whole frame and nothing else.
    ///
    /// # Errors
    ///
    /// The first fault in the format's order of checks.
    pub(crate) fn parse(
        bytes: &'a [u8],
        limits: &Limits,
        segments: &dyn Segments,
    ) -> Result<Self, FrameError> {
        let frame = Frame::parse_head(bytes, limits, segments)?;
        frame.check_metadata(limits)?;
        Ok(frame)
    }

    /// All checks but those of the metadata, for a reader that must not spend time linear in it
    /// now. [`check_metadata`](Frame::check_metadata) has to follow before anything is decoded.
    ///
    /// # Errors
    ///
    /// As [`parse`](Frame::parse).
    pub(crate) fn parse_head(
        bytes: &'a [u8],
        limits: &Limits,
        segments: &dyn Segments,
    ) -> Result<Self, FrameError> {
        let header = Header::parse(bytes, limits)?;
        let have = wide(bytes.len());
        let truncated = FrameError::Truncated { need: header.head_len(), have };
        let head = header.head(bytes).ok_or(truncated)?;
        header.check_checksum(head.bytes)?;
        check_padding(&head)?;
        let writable = check_table(head.table, &header, limits, segments)?;
        let frame = Frame { bytes, metadata: head.metadata, table: head.table, header };
        if writable {
            check_aliasing(frame.descriptors())?;
        }
        match header.frame_len {
            need if have < need => Err(FrameError::Truncated { need, have }),
            need if have > need => Err(FrameError::Trailing { extra: have - need }),
            _ => Ok(frame),
        }
    }

    /// The checks that [`parse_head`](Frame::parse_head) leaves out.
    ///
    /// # Errors
    ///
    /// The first fault of the metadata, with its position.
    pub(crate) fn check_metadata(&self, limits: &Limits) -> Result<(), FrameError> {
        metadata::check_metadata(self.metadata, self.header.count, limits)
    }

    #[cfg(test)]
    pub(crate) fn tag(&self) -> u32 {
        self.header.tag
    }

    #[cfg(test)]
    pub(crate) fn has_checksum(&self) -> bool {
        self.header.checksum
    }

    pub(crate) fn metadata(&self) -> &'a [u8] {
        self.metadata
    }

    /// Bytes of the whole frame.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Number of descriptors.
    #[cfg(test)]
    pub(crate) fn count(&self) -> u32 {
        self.header.count
    }

    #[cfg(test)]
    pub(crate) fn descriptor(&self, index: u32) -> Option<Descriptor> {
        let at = usize::try_from(index).ok()?.checked_mul(DESCRIPTOR_LEN)?;
        RawDescriptor::read(self.table.get(at..)?)?.decode().ok()
    }

    /// The descriptors, in the order of their indices.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = Descriptor> + use<'a> {
        raw_descriptors(self.table).filter_map(|raw| raw.decode().ok())
    }

    /// The bytes of an inline buffer; `None` for a buffer that is elsewhere.
    pub(crate) fn inline(&self, descriptor: &Descriptor) -> Option<&'a [u8]> {
        self.bytes.get(self.inline_range(descriptor)?)
    }

    /// Where in the frame an inline buffer lies, for an owner of the frame to be sliced by.
    pub(crate) fn inline_range(&self, descriptor: &Descriptor) -> Option<Range<usize>> {
        if descriptor.location != Location::Inline {
            return None;
        }
        let start = usize::try_from(descriptor.offset).ok()?;
        let end = start.checked_add(usize::try_from(descriptor.len).ok()?)?;
        (end <= self.bytes.len()).then_some(start..end)
    }
}

/// Prints the sizes, never the bytes.
impl fmt::Debug for Frame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("len", &self.bytes.len())
            .field("metadata", &self.metadata.len())
            .field("count", &self.header.count)
            .field("tag", &self.header.tag)
            .field("checksum", &self.header.checksum)
            .finish()
    }
}

fn raw_descriptors(table: &[u8]) -> impl Iterator<Item = RawDescriptor> + use<'_> {
    table.chunks_exact(DESCRIPTOR_LEN).filter_map(RawDescriptor::read)
}

/// Only the padding within the head: that between buffers would fault in a page for each of them.
fn check_padding(head: &Head<'_>) -> Result<(), FrameError> {
    // Compared at once: byte by byte this was a third of all that is checked in a small frame.
    if ZEROS.starts_with(head.padding) {
        return Ok(());
    }
    let Some(set) = head.padding.iter().position(|&byte| byte != 0) else { return Ok(()) };
    let table_at = head.bytes.len() - head.table.len();
    Err(FrameError::Padding { at: wide(table_at - head.padding.len() + set) })
}

/// Descriptors in order, then the length of the frame that follows from them. Whether any of the
/// buffers is writable.
fn check_table(
    table: &[u8],
    header: &Header,
    limits: &Limits,
    segments: &dyn Segments,
) -> Result<bool, FrameError> {
    let mut bodies = Bodies::behind(header.head_len());
    let mut writable = false;
    for (raw, index) in raw_descriptors(table).zip(0u32..) {
        let descriptor = check_descriptor(raw, header.checksum, &mut bodies)
            .map_err(|why| FrameError::Descriptor { index, why })?;
        check_segment(&descriptor, limits, segments)
            .map_err(|why| FrameError::Segment { index, why })?;
        writable |= descriptor.writable;
    }
    let computed = bodies.frame_len().unwrap_or(u64::MAX);
    if computed != header.frame_len {
        return Err(FrameError::FrameLen { stated: header.frame_len, computed });
    }
    Ok(writable)
}

fn check_descriptor(
    raw: RawDescriptor,
    checksum: bool,
    bodies: &mut Bodies,
) -> Result<Descriptor, DescriptorFault> {
    let descriptor = raw.decode()?;
    descriptor.check(checksum)?;
    if descriptor.location == Location::Inline
        && bodies.place(descriptor.len, descriptor.align) != Some(descriptor.offset)
    {
        return Err(DescriptorFault::Offset);
    }
    Ok(descriptor)
}

fn check_segment(
    descriptor: &Descriptor,
    limits: &Limits,
    segments: &dyn Segments,
) -> Result<(), SegmentFault> {
    let Descriptor { segment, offset, len, generation, .. } = *descriptor;
    if descriptor.location != Location::Segment {
        Ok(())
    } else if !limits.segments {
        Err(SegmentFault::NotPermitted)
    } else {
        segments.check(segment, offset, len, generation)
    }
}

/// Longer than any padding between metadata and table.
const ZEROS: [u8; 32] = [0; 32];
