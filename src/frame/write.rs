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
use super::wire::wide;

/// The lengths of a frame that is about to be written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    meta_len: u32,
    count: u32,
    table_at: usize,
    head_len: usize,
    frame_len: u64,
}

/// What the header says besides lengths.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HeadOptions {
    pub(crate) tag: u32,
    pub(crate) checksum: bool,
}

impl Layout {
    /// Fixes the offset of each inline descriptor, and the lengths.
    ///
    /// # Errors
    ///
    /// `Limit` when a length or the count does not fit its field, `Descriptor` for one that no
    /// reader would accept, and `Meta` for metadata of no bytes.
    pub(crate) fn new(
        metadata_len: usize,
        descriptors: &mut [Descriptor],
    ) -> Result<Layout, FrameError> {
        let count = descriptors.len();
        Layout::place(metadata_len, count, descriptors.iter_mut())
    }

    /// Bytes of header, metadata, padding and table.
    #[cfg(test)]
    pub(crate) fn head_len(&self) -> usize {
        self.head_len
    }

    /// Bytes of the whole frame.
    pub(crate) fn frame_len(&self) -> u64 {
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
pub(crate) fn write_head(
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
pub(crate) fn write_frame(
    out: &mut Vec<u8>,
    metadata: &[&[u8]],
    buffers: &mut [(Descriptor, &[u8])],
    options: &HeadOptions,
) -> Result<(), FrameError> {
    for (descriptor, bytes) in buffers.iter_mut() {
        if descriptor.location == Location::Inline {
            descriptor.len = wide(bytes.len());
            descriptor.crc = if options.checksum { crc32c::crc32c(bytes) } else { 0 };
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
    out.resize(start + layout.table_at, 0);
    for descriptor in descriptors {
        let covered = options.checksum && descriptor.location == Location::Inline;
        let crc = if covered { descriptor.crc } else { 0 };
        out.extend_from_slice(&Descriptor { crc, ..*descriptor }.to_bytes());
    }
    debug_assert_eq!(out.len() - start, layout.head_len, "parts are those of the layout");
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
    bytes[4..8].copy_from_slice(&[VERSION, must, 0, 0]);
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
