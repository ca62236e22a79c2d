//! From bytes to a checked frame.
//!
//! [`Frame::parse`] is the only way in for bytes from outside; [`Frame::parse_head`] is the same
//! without the walk over the metadata, for a reader that does it at another time. The order of the
//! checks is part of the format, and [`Progress`] takes them as far as the bytes go. Buffers are
//! read by [`Frame::verify`] only, so parsing a mapped file touches nothing but its head.

#![forbid(unsafe_code)]

use std::fmt;
use std::ops::Range;

use super::descriptor::{Bodies, DESCRIPTOR_LEN, Descriptor, Location, RawDescriptor};
use super::error::{DescriptorFault, FrameError, SegmentFault};
use super::header::{HEADER_LEN, Head, Header};
use super::limits::Limits;
use super::metadata;
use super::segments::{NoSegments, Segments, check_aliasing};
use super::wire::{checksum, wide};
use super::write::HeadOptions;

/// A whole frame whose head (header, table, lengths, padding) has been checked.
///
/// For what embeds the format: a relay that looks at the tag and passes the bytes on, a tool that
/// draws the parts, a runtime that finds buffers in its own way. Values are read from a frame by
/// [`from_slice`](crate::from_slice) and its like.
///
/// # Examples
///
/// ```
/// use pannier::frame::Frame;
/// use pannier::{Buffer, Encoder, Limits};
///
/// let column: Buffer<f64> = vec![0.5; 1_000].into();
/// let bytes = Encoder::new().tag(7).to_vec(&("x", &column))?;
///
/// let frame = Frame::parse(&bytes, &Limits::default())?;
/// assert_eq!((frame.tag(), frame.count()), (7, 1));
/// assert_eq!(frame.metadata(), [0x92, 0xa1, b'x', 0xd4, 0x70, 0]);
/// let descriptor = frame.descriptor(0).unwrap();
/// assert_eq!((descriptor.offset, descriptor.len), (128, 8_000));
/// assert_eq!(frame.inline(&descriptor).unwrap().len(), 8_000);
/// # Ok::<(), pannier::CodecError>(())
/// ```
#[derive(Clone)]
pub struct Frame<'a> {
    bytes: &'a [u8],
    metadata: &'a [u8],
    table: &'a [u8],
    header: Header,
}

/// How far a frame has been checked while its bytes arrive.
///
/// Each step is taken once, as soon as its bytes are there, so a bad head is refused before any
/// body is waited for, and the error does not depend on how the bytes were cut.
#[derive(Clone, Debug, Default)]
pub(super) enum Progress {
    #[default]
    Header,
    Head(Header),
    Body(Header),
}

impl Progress {
    /// Takes the steps that `bytes`, the beginning of a frame, are enough for, and says how many
    /// bytes the next one needs; once it says no more than there are, the head is sound and the
    /// frame whole.
    pub(super) fn check(
        &mut self,
        bytes: &[u8],
        limits: &Limits,
        segments: &dyn Segments,
    ) -> Result<u64, FrameError> {
        loop {
            *self = match *self {
                Progress::Header if bytes.len() < HEADER_LEN => return Ok(wide(HEADER_LEN)),
                Progress::Header => Progress::Head(Header::parse(bytes, limits)?),
                Progress::Head(header) => {
                    let Some(head) = header.head(bytes) else { return Ok(header.head_len()) };
                    check_head(&head, &header, limits, segments)?;
                    Progress::Body(header)
                }
                Progress::Body(header) => return Ok(header.frame_len),
            };
        }
    }

    /// Bytes of the whole frame, once its header was read.
    pub(super) fn frame_len(&self) -> Option<u64> {
        match self {
            Progress::Header => None,
            Progress::Head(header) | Progress::Body(header) => Some(header.frame_len),
        }
    }
}

impl<'a> Frame<'a> {
    /// All checks but [`verify`](Frame::verify): head, then metadata. `bytes` must be one whole
    /// frame and nothing else.
    ///
    /// # Errors
    ///
    /// The first fault in the format's order of checks. A frame that names shared segments is
    /// refused whatever `limits` say: nothing is known of them here.
    ///
    /// # Examples
    ///
    /// ```
    /// use pannier::frame::Frame;
    /// use pannier::{FrameError, Limits};
    ///
    /// let bytes = pannier::to_vec("east")?;
    /// assert_eq!(Frame::parse(&bytes, &Limits::default())?.metadata().len(), 5);
    /// let cut = Frame::parse(&bytes[..40], &Limits::default());
    /// assert_eq!(cut.unwrap_err(), FrameError::Truncated { need: 64, have: 40 });
    /// # Ok::<(), pannier::CodecError>(())
    /// ```
    pub fn parse(bytes: &'a [u8], limits: &Limits) -> Result<Self, FrameError> {
        Frame::parse_with(bytes, limits, &NoSegments)
    }

    /// [`parse`](Frame::parse) without the walk over the metadata, for a relay or for a reader
    /// that must not spend time linear in it now. [`check_metadata`](Frame::check_metadata) has to
    /// follow before anything is decoded.
    ///
    /// # Errors
    ///
    /// As [`parse`](Frame::parse), but for those of the metadata.
    ///
    /// # Examples
    ///
    /// ```
    /// use pannier::frame::Frame;
    /// use pannier::{Encoder, Limits};
    ///
    /// let bytes = Encoder::new().tag(3).to_vec("for somebody else")?;
    /// assert_eq!(Frame::parse_head(&bytes, &Limits::default())?.tag(), 3);
    /// # Ok::<(), pannier::CodecError>(())
    /// ```
    pub fn parse_head(bytes: &'a [u8], limits: &Limits) -> Result<Self, FrameError> {
        Frame::parse_head_with(bytes, limits, &NoSegments)
    }

    /// [`parse`](Frame::parse) where shared segments are known.
    pub(crate) fn parse_with(
        bytes: &'a [u8],
        limits: &Limits,
        segments: &dyn Segments,
    ) -> Result<Self, FrameError> {
        let frame = Frame::parse_head_with(bytes, limits, segments)?;
        frame.check_metadata(limits)?;
        Ok(frame)
    }

    /// [`parse_head`](Frame::parse_head) where shared segments are known.
    pub(crate) fn parse_head_with(
        bytes: &'a [u8],
        limits: &Limits,
        segments: &dyn Segments,
    ) -> Result<Self, FrameError> {
        let mut progress = Progress::default();
        let need = progress.check(bytes, limits, segments)?;
        let have = wide(bytes.len());
        let truncated = FrameError::Truncated { need, have };
        match progress {
            _ if have < need => Err(truncated),
            _ if have > need => Err(FrameError::Trailing { extra: have - need }),
            Progress::Header | Progress::Head(_) => Err(truncated),
            Progress::Body(header) => {
                let head = header.head(bytes).ok_or(truncated)?;
                Ok(Frame { bytes, metadata: head.metadata, table: head.table, header })
            }
        }
    }

    /// The check that [`parse_head`](Frame::parse_head) leaves out.
    ///
    /// # Errors
    ///
    /// The first fault of the metadata, with its position.
    ///
    /// # Examples
    ///
    /// ```
    /// use pannier::frame::Frame;
    /// use pannier::{FrameError, Limits, MetaFault};
    ///
    /// let mut bytes = pannier::to_vec("east")?;
    /// bytes[32] = 0xc1;
    /// let frame = Frame::parse_head(&bytes, &Limits::default())?;
    /// let fault = FrameError::Meta { at: 0, why: MetaFault::Reserved };
    /// assert_eq!(frame.check_metadata(&Limits::default()), Err(fault));
    /// # Ok::<(), pannier::CodecError>(())
    /// ```
    pub fn check_metadata(&self, limits: &Limits) -> Result<(), FrameError> {
        metadata::check_metadata(self.metadata, self.header.count, limits)
    }

    /// Reads the whole frame: the padding around its inline buffers and, where it has checksums,
    /// theirs.
    ///
    /// # Errors
    ///
    /// `Padding` and `BufferChecksum`, whichever comes first in the frame.
    ///
    /// # Examples
    ///
    /// ```
    /// use pannier::frame::Frame;
    /// use pannier::{Buffer, Encoder, FrameError, Limits};
    ///
    /// let mut bytes = Encoder::new().checksum(true).to_vec(&Buffer::from([7u8; 4096]))?;
    /// bytes[4000] = 8;
    /// let frame = Frame::parse(&bytes, &Limits::default())?;
    /// assert_eq!(frame.verify(), Err(FrameError::BufferChecksum { index: 0 }));
    /// # Ok::<(), pannier::CodecError>(())
    /// ```
    pub fn verify(&self) -> Result<(), FrameError> {
        let mut end = usize::try_from(self.header.head_len()).unwrap_or(usize::MAX);
        for (descriptor, index) in self.descriptors().zip(0u32..) {
            let Some(range) = self.inline_range(&descriptor) else { continue };
            check_zero(self.bytes, end..range.start)?;
            let body = self.bytes.get(range.clone()).unwrap_or_default();
            if self.header.checksum && checksum(body) != descriptor.crc {
                return Err(FrameError::BufferChecksum { index });
            }
            end = range.end;
        }
        check_zero(self.bytes, end..self.bytes.len())
    }

    /// The whole frame, as it came.
    ///
    /// ```
    /// # use pannier::{Limits, frame::Frame};
    /// let bytes = pannier::to_vec(&7)?;
    /// assert_eq!(Frame::parse(&bytes, &Limits::default())?.as_bytes(), bytes);
    /// # Ok::<(), pannier::CodecError>(())
    /// ```
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// What the header says besides lengths.
    ///
    /// ```
    /// # use pannier::{Encoder, Limits, frame::Frame};
    /// let bytes = Encoder::new().tag(7).checksum(true).to_vec(&())?;
    /// let options = Frame::parse(&bytes, &Limits::default())?.options();
    /// assert_eq!((options.tag, options.checksum, options.may), (7, true, 0));
    /// # Ok::<(), pannier::CodecError>(())
    /// ```
    pub fn options(&self) -> HeadOptions {
        let Header { tag, checksum, may, .. } = self.header;
        HeadOptions { tag, checksum, may }
    }

    /// The header's free word: a message kind, a route; 0 where it is not used.
    ///
    /// ```
    /// # use pannier::{Encoder, Limits, frame::Frame};
    /// let bytes = Encoder::new().tag(7).to_vec(&())?;
    /// assert_eq!(Frame::parse(&bytes, &Limits::default())?.tag(), 7);
    /// # Ok::<(), pannier::CodecError>(())
    /// ```
    pub fn tag(&self) -> u32 {
        self.header.tag
    }

    /// The MessagePack value, for [`Decoder::from_parts`](crate::Decoder::from_parts) or another
    /// reader of it.
    ///
    /// ```
    /// # use pannier::{Limits, frame::Frame};
    /// let bytes = pannier::to_vec(&[1, 2])?;
    /// assert_eq!(Frame::parse(&bytes, &Limits::default())?.metadata(), [0x92, 1, 2]);
    /// # Ok::<(), pannier::CodecError>(())
    /// ```
    pub fn metadata(&self) -> &'a [u8] {
        self.metadata
    }

    /// Number of descriptors.
    ///
    /// ```
    /// # use pannier::{Limits, frame::Frame};
    /// let bytes = pannier::to_vec("no buffer")?;
    /// assert_eq!(Frame::parse(&bytes, &Limits::default())?.count(), 0);
    /// # Ok::<(), pannier::CodecError>(())
    /// ```
    pub fn count(&self) -> u32 {
        self.header.count
    }

    /// One descriptor; `None` behind the last.
    ///
    /// ```
    /// # use pannier::{Limits, frame::Frame};
    /// let bytes = pannier::to_vec("no buffer")?;
    /// assert_eq!(Frame::parse(&bytes, &Limits::default())?.descriptor(0), None);
    /// # Ok::<(), pannier::CodecError>(())
    /// ```
    pub fn descriptor(&self, index: u32) -> Option<Descriptor> {
        let at = usize::try_from(index).ok()?.checked_mul(DESCRIPTOR_LEN)?;
        RawDescriptor::read(self.table.get(at..)?)?.decode().ok()
    }

    /// The descriptors, in the order of their indices.
    ///
    /// ```
    /// # use pannier::{Buffer, Limits, frame::Frame};
    /// let bytes = pannier::to_vec(&(Buffer::from([7u8; 5_000]), Buffer::from([8u8; 6_000])))?;
    /// let frame = Frame::parse(&bytes, &Limits::default())?;
    /// assert_eq!(frame.descriptors().map(|descriptor| descriptor.len).sum::<u64>(), 11_000);
    /// # Ok::<(), pannier::CodecError>(())
    /// ```
    pub fn descriptors(&self) -> impl Iterator<Item = Descriptor> + use<'a> {
        raw_descriptors(self.table).filter_map(|raw| raw.decode().ok())
    }

    /// The bytes of an inline buffer of this frame; `None` for one that is elsewhere.
    ///
    /// ```
    /// # use pannier::{Buffer, Limits, frame::Frame};
    /// let bytes = pannier::to_vec(&Buffer::from([7u8; 5_000]))?;
    /// let frame = Frame::parse(&bytes, &Limits::default())?;
    /// assert_eq!(frame.inline(&frame.descriptor(0).unwrap()).unwrap(), [7u8; 5_000]);
    /// # Ok::<(), pannier::CodecError>(())
    /// ```
    pub fn inline(&self, descriptor: &Descriptor) -> Option<&'a [u8]> {
        self.bytes.get(self.inline_range(descriptor)?)
    }

    /// Where in the frame an inline buffer lies, for an owner of the frame to be sliced by.
    ///
    /// ```
    /// # use pannier::{Buffer, Limits, frame::Frame};
    /// let bytes = pannier::to_vec(&Buffer::from([7u8; 5_000]))?;
    /// let frame = Frame::parse(&bytes, &Limits::default())?;
    /// assert_eq!(frame.inline_range(&frame.descriptor(0).unwrap()), Some(128..5_128));
    /// # Ok::<(), pannier::CodecError>(())
    /// ```
    pub fn inline_range(&self, descriptor: &Descriptor) -> Option<Range<usize>> {
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

/// From the checksum to the descriptors' aliasing.
fn check_head(
    head: &Head<'_>,
    header: &Header,
    limits: &Limits,
    segments: &dyn Segments,
) -> Result<(), FrameError> {
    header.check_checksum(head.bytes)?;
    check_padding(head)?;
    if check_table(head.table, header, limits, segments)? {
        check_aliasing(raw_descriptors(head.table).filter_map(|raw| raw.decode().ok()))?;
    }
    Ok(())
}

/// Only the padding within the head: that between buffers would fault in a page for each of them.
fn check_padding(head: &Head<'_>) -> Result<(), FrameError> {
    let table_at = head.bytes.len() - head.table.len();
    check_zero(head.bytes, table_at - head.padding.len()..table_at)
}

fn check_zero(bytes: &[u8], range: Range<usize>) -> Result<(), FrameError> {
    let start = range.start;
    let padding = bytes.get(range).unwrap_or_default();
    // Compared at once: byte by byte this was a third of all that is checked in a small frame.
    if ZEROS.starts_with(padding) {
        return Ok(());
    }
    match padding.iter().position(|&byte| byte != 0) {
        Some(set) => Err(FrameError::Padding { at: wide(start + set) }),
        None => Ok(()),
    }
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
