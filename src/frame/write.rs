//! From metadata and descriptors to the bytes of a frame.
//!
//! Everything is appended once, in its final place; only the head's checksum is filled in behind.
//! What the reader would refuse in a descriptor is refused here too. The writer does not look into
//! the metadata.

#![forbid(unsafe_code)]

use super::descriptor::{Bodies, Descriptor, Location};
use super::error::{FrameError, LimitKind, MetaFault};
use super::header::{
    CHECKSUM, HEAD_CRC_AT, HEADER_LEN, HeadExtent, MAGIC, VERSION, check_limit, head_checksum,
};
use super::wire::{checksum, wide};

/// The lengths of a frame that is about to be written.
///
/// For a writer that hands head and bodies to the kernel by themselves; [`write_frame`] makes one
/// piece of them.
///
/// # Examples
///
/// ```
/// use pannier::Limits;
/// use pannier::frame::{Descriptor, Frame, HeadOptions, Kind, Layout, write_head};
///
/// let metadata = [0xd4, 0x70, 0]; // buffer 0
/// let mut descriptors = [Descriptor::inline(5, Kind::U8, 0)];
/// let layout = Layout::new(metadata.len(), &mut descriptors)?;
/// assert_eq!((descriptors[0].offset, layout.frame_len()), (128, 192));
///
/// let mut bytes = Vec::new();
/// write_head(&mut bytes, &layout, &[&metadata], &descriptors, &HeadOptions::default());
/// assert_eq!(bytes.len(), layout.head_len());
/// bytes.resize(128, 0);
/// bytes.extend(b"bytes");
/// bytes.resize(192, 0);
/// assert_eq!(Frame::parse(&bytes, &Limits::default())?.count(), 1);
/// # Ok::<(), pannier::FrameError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    meta_len: u32,
    count: u32,
    table_at: usize,
    head_len: usize,
    frame_len: u64,
}

/// What the header says besides lengths.
///
/// ```
/// use pannier::frame::HeadOptions;
///
/// let options = HeadOptions::default().tag(7);
/// assert!(!options.checksum);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeadOptions {
    /// Free for the application: a message kind, a route.
    pub tag: u32,
    /// Whether the frame has checksums.
    pub checksum: bool,
    /// Flags that a reader may ignore. Version 1 defines none: a writer leaves 0, a relay keeps
    /// what it found.
    pub may: u8,
}

impl HeadOptions {
    /// Sets [`tag`](HeadOptions#structfield.tag).
    ///
    /// ```
    /// assert_eq!(pannier::frame::HeadOptions::default().tag(7).tag, 7);
    /// ```
    #[must_use]
    pub const fn tag(mut self, tag: u32) -> Self {
        self.tag = tag;
        self
    }

    /// Sets [`checksum`](HeadOptions#structfield.checksum).
    ///
    /// ```
    /// assert!(pannier::frame::HeadOptions::default().checksum(true).checksum);
    /// ```
    #[must_use]
    pub const fn checksum(mut self, on: bool) -> Self {
        self.checksum = on;
        self
    }

    /// Sets [`may`](HeadOptions#structfield.may).
    ///
    /// ```
    /// // What a relay does with the flags that it found.
    /// let found = pannier::frame::HeadOptions::default().may(0x80);
    /// assert_eq!(found.may, 0x80);
    /// ```
    #[must_use]
    pub const fn may(mut self, flags: u8) -> Self {
        self.may = flags;
        self
    }
}

impl Layout {
    /// Fixes the offset of each inline descriptor, and the lengths.
    ///
    /// # Errors
    ///
    /// `Limit` when a length or the count does not fit its field, `Descriptor` for one that no
    /// reader would accept, and `Meta` for metadata of no bytes.
    ///
    /// # Examples
    ///
    /// See [`Layout`].
    pub fn new(metadata_len: usize, descriptors: &mut [Descriptor]) -> Result<Layout, FrameError> {
        let count = descriptors.len();
        Layout::place(metadata_len, count, descriptors.iter_mut())
    }

    /// Bytes of header, metadata, padding and table.
    ///
    /// ```
    /// let layout = pannier::frame::Layout::new(5, &mut [])?;
    /// assert_eq!(layout.head_len(), 37);
    /// # Ok::<(), pannier::FrameError>(())
    /// ```
    pub fn head_len(&self) -> usize {
        self.head_len
    }

    /// Bytes of the whole frame.
    ///
    /// ```
    /// let layout = pannier::frame::Layout::new(5, &mut [])?;
    /// assert_eq!(layout.frame_len(), 64);
    /// # Ok::<(), pannier::FrameError>(())
    /// ```
    pub fn frame_len(&self) -> u64 {
        self.frame_len
    }

    fn place<'d>(
        metadata_len: usize,
        count: usize,
        descriptors: impl Iterator<Item = &'d mut Descriptor>,
    ) -> Result<Layout, FrameError> {
        if metadata_len == 0 {
            return Err(FrameError::Meta { at: 0, why: MetaFault::Eof });
        }
        let meta_len = field(LimitKind::MetaLen, metadata_len)?;
        let count = field(LimitKind::Buffers, count)?;
        let extent = HeadExtent::new(meta_len, count);
        let mut bodies = Bodies::behind(extent.head_len);
        for (descriptor, index) in descriptors.zip(0u32..) {
            place_descriptor(descriptor, index, &mut bodies)?;
        }
        Ok(Layout {
            meta_len,
            count,
            table_at: in_memory(extent.table_at)?,
            head_len: in_memory(extent.head_len)?,
            frame_len: bodies.frame_len().ok_or(TOO_LONG)?,
        })
    }
}

/// Appends header, metadata, padding and table to `out`.
///
/// `metadata` comes in parts that are laid end to end; they and `descriptors` are those that
/// `layout` was made for. The checksums of buffers are the caller's, and are left out without
/// `checksum`.
///
/// # Panics
///
/// If metadata or descriptors are not as many as the layout was made for.
///
/// # Examples
///
/// See [`Layout`].
pub fn write_head(
    out: &mut Vec<u8>,
    layout: &Layout,
    metadata: &[&[u8]],
    descriptors: &[Descriptor],
    options: &HeadOptions,
) {
    append_head(out, layout, metadata, descriptors.iter(), options);
}

/// Appends a whole frame: inline buffers with their bytes, the others by their descriptor only.
///
/// Offset, length and checksum of the inline ones are filled in from their bytes. `out` grows once.
///
/// # Errors
///
/// As [`Layout::new`]; then nothing was appended.
///
/// # Examples
///
/// ```
/// use pannier::frame::{Descriptor, HeadOptions, Kind, write_frame};
///
/// let metadata = [0xd4, 0x70, 0]; // buffer 0
/// let mut bytes = Vec::new();
/// let mut buffers = [(Descriptor::inline(0, Kind::U8, 0), &b"bytes"[..])];
/// write_frame(&mut bytes, &[&metadata], &mut buffers, &HeadOptions::default())?;
/// assert_eq!(pannier::from_slice::<pannier::Buffer<u8>>(&bytes)?[..], *b"bytes");
/// # Ok::<(), pannier::CodecError>(())
/// ```
pub fn write_frame(
    out: &mut Vec<u8>,
    metadata: &[&[u8]],
    buffers: &mut [(Descriptor, &[u8])],
    options: &HeadOptions,
) -> Result<(), FrameError> {
    for (descriptor, bytes) in buffers.iter_mut() {
        if descriptor.location == Location::Inline {
            descriptor.len = wide(bytes.len());
            descriptor.crc = if options.checksum { checksum(bytes) } else { 0 };
        }
    }
    let metadata_len = metadata.iter().fold(0usize, |sum, part| sum.saturating_add(part.len()));
    let count = buffers.len();
    let descriptors = buffers.iter_mut().map(|(descriptor, _)| descriptor);
    let layout = Layout::place(metadata_len, count, descriptors)?;
    let start = out.len();
    let end = in_memory(layout.frame_len).map(|len| start.checked_add(len));
    let end = end?.filter(|&end| isize::try_from(end).is_ok()).ok_or(TOO_LONG)?;
    out.reserve(end - start);
    append_head(out, &layout, metadata, buffers.iter().map(|(descriptor, _)| descriptor), options);
    for (descriptor, bytes) in buffers.iter() {
        if descriptor.location == Location::Inline {
            out.resize(start + in_memory(descriptor.offset)?, 0);
            out.extend_from_slice(bytes);
        }
    }
    out.resize(end, 0);
    Ok(())
}

fn append_head<'d>(
    out: &mut Vec<u8>,
    layout: &Layout,
    metadata: &[&[u8]],
    descriptors: impl Iterator<Item = &'d Descriptor>,
    options: &HeadOptions,
) {
    let start = out.len();
    out.reserve(layout.head_len);
    out.extend_from_slice(&header_bytes(layout, options));
    for part in metadata {
        out.extend_from_slice(part);
    }
    let metadata_end = HEADER_LEN + usize::try_from(layout.meta_len).unwrap_or(usize::MAX);
    assert_eq!(out.len() - start, metadata_end, "the metadata is that of the layout");
    out.resize(start + layout.table_at, 0);
    for descriptor in descriptors {
        let covered = options.checksum && descriptor.location == Location::Inline;
        let crc = if covered { descriptor.crc } else { 0 };
        out.extend_from_slice(&Descriptor { crc, ..*descriptor }.to_bytes());
    }
    assert_eq!(out.len() - start, layout.head_len, "the descriptors are those of the layout");
    if options.checksum {
        let head = out.get_mut(start..).unwrap_or_default();
        let crc = head_checksum(head);
        if let Some(field) = head.get_mut(HEAD_CRC_AT..HEADER_LEN) {
            field.copy_from_slice(&crc.to_le_bytes());
        }
    }
}

/// The checksum is left zero: it covers what comes behind.
fn header_bytes(layout: &Layout, options: &HeadOptions) -> [u8; HEADER_LEN] {
    let must = if options.checksum { CHECKSUM } else { 0 };
    let mut bytes = [0; HEADER_LEN];
    bytes[..4].copy_from_slice(&MAGIC);
    bytes[4..8].copy_from_slice(&[VERSION, must, options.may, 0]);
    bytes[8..12].copy_from_slice(&layout.meta_len.to_le_bytes());
    bytes[12..16].copy_from_slice(&layout.count.to_le_bytes());
    bytes[16..24].copy_from_slice(&layout.frame_len.to_le_bytes());
    bytes[24..28].copy_from_slice(&options.tag.to_le_bytes());
    bytes
}

fn place_descriptor(
    descriptor: &mut Descriptor,
    index: u32,
    bodies: &mut Bodies,
) -> Result<(), FrameError> {
    if descriptor.location == Location::Inline {
        // What stood there is not a position, and must not be judged as one.
        descriptor.offset = 0;
    }
    descriptor.check(true).map_err(|why| FrameError::Descriptor { index, why })?;
    if descriptor.location == Location::Inline {
        descriptor.offset = bodies.place(descriptor.len, descriptor.align).ok_or(TOO_LONG)?;
    }
    Ok(())
}

fn field(what: LimitKind, value: usize) -> Result<u32, FrameError> {
    check_limit(what, wide(value), u32::MAX.into())?;
    u32::try_from(value).map_err(|_| TOO_LONG)
}

fn in_memory(len: u64) -> Result<usize, FrameError> {
    usize::try_from(len).map_err(|_| TOO_LONG)
}

/// A frame whose length has no number, or no place in memory.
const TOO_LONG: FrameError =
    FrameError::Limit { what: LimitKind::FrameLen, value: u64::MAX, limit: u64::MAX - 63 };
