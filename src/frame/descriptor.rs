//! The 32 bytes that say where a buffer lies, and the rules they keep.
//!
//! A descriptor is judged here by itself; that inline buffers follow each other without a gap is
//! [`Bodies`]' rule, which reader and writer share so that they cannot disagree. Whether a segment
//! exists and who may use it is not known here.

#![forbid(unsafe_code)]

use super::error::DescriptorFault;
use super::header::FRAME_ALIGN;
use super::kind::Kind;
use super::wire::{Cursor, align_up};

/// Bytes of a descriptor.
pub(crate) const DESCRIPTOR_LEN: usize = 32;

/// Where a buffer's bytes are.
///
/// ```
/// use pannier::frame::{Descriptor, Kind, Location};
///
/// assert_eq!(Descriptor::inline(8, Kind::F64, 0).location, Location::Inline);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Location {
    /// Behind the head, in the frame itself.
    Inline,
    /// In a shared segment that both ends know by number.
    Segment,
    /// Where only the application can tell.
    External,
}

/// One entry of the table: where a buffer lies, and what is in it.
///
/// ```
/// use pannier::frame::{Descriptor, Kind};
///
/// let column = Descriptor::inline(8 << 10, Kind::F64, 0);
/// assert_eq!((column.len, column.align), (8192, 6)); // bytes; log2, raised to the format's least
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Descriptor {
    /// Inline: from the start of the frame. Segment: from the start of the segment. External: a token
    /// that only the application understands.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
    /// Number of the segment, as both ends have agreed; else 0.
    pub segment: u32,
    /// Of the block that holds the range, where that is a segment; else 0.
    pub generation: u32,
    /// CRC-32C of the bytes, where the frame has checksums and the buffer is inline; else 0.
    pub crc: u32,
    /// Which memory the offset counts in.
    pub location: Location,
    /// Whether the receiver may write to the range, which is then nobody else's.
    pub writable: bool,
    /// The element hint.
    pub kind: Kind,
    /// log2 of the alignment of the first byte.
    pub align: u8,
}

impl Descriptor {
    /// A buffer in the frame; the writer fills in `offset` and `crc`. `align`, a log2, is raised to
    /// the least that the format has for inline buffers.
    ///
    /// ```
    /// use pannier::frame::{Descriptor, Kind};
    ///
    /// let page = Descriptor::inline(100, Kind::OPAQUE, 12);
    /// assert_eq!((page.align, page.offset), (12, 0));
    /// ```
    pub fn inline(len: u64, kind: Kind, align: u8) -> Self {
        Descriptor {
            offset: 0,
            len,
            segment: 0,
            generation: 0,
            crc: 0,
            location: Location::Inline,
            writable: false,
            kind,
            align: align.max(FRAME_ALIGN),
        }
    }

    /// A range of a shared segment: `len` bytes from `offset` on, in a block of that generation.
    ///
    /// Only what maps segments can read it: a plain reader answers
    /// [`NotPermitted`](crate::SegmentFault::NotPermitted).
    ///
    /// ```
    /// use pannier::frame::{Descriptor, Kind, Location};
    ///
    /// let range = Descriptor::segment(5, 4096, 800, 1, Kind::F64, 6);
    /// assert_eq!((range.location, range.segment), (Location::Segment, 5));
    /// ```
    pub fn segment(
        segment: u32,
        offset: u64,
        len: u64,
        generation: u32,
        kind: Kind,
        align: u8,
    ) -> Self {
        Descriptor {
            offset,
            len,
            segment,
            generation,
            crc: 0,
            location: Location::Segment,
            writable: false,
            kind,
            align,
        }
    }

    /// A buffer that the application keeps elsewhere and knows by `token`.
    ///
    /// ```
    /// use pannier::frame::{Descriptor, Kind, Location};
    ///
    /// let elsewhere = Descriptor::external(0xfeed, 800, Kind::F64, 3);
    /// assert_eq!((elsewhere.location, elsewhere.offset), (Location::External, 0xfeed));
    /// ```
    pub fn external(token: u64, len: u64, kind: Kind, align: u8) -> Self {
        Descriptor {
            location: Location::External,
            ..Descriptor::segment(0, token, len, 0, kind, align)
        }
    }

    /// Sets whether the receiver may write to the range.
    ///
    /// ```
    /// use pannier::frame::{Descriptor, Kind};
    ///
    /// assert!(Descriptor::inline(8, Kind::F64, 0).writable(true).writable);
    /// ```
    #[must_use]
    pub fn writable(mut self, on: bool) -> Self {
        self.writable = on;
        self
    }

    /// The rules from alignment to checksum; `checksum` is whether the frame has any.
    pub(super) fn check(&self, checksum: bool) -> Result<(), DescriptorFault> {
        if !self.keeps_alignment() {
            return Err(DescriptorFault::Align);
        }
        if self.len == 0 {
            return Err(DescriptorFault::Empty);
        }
        if self.kind.element_size().is_some_and(|size| self.len % size != 0) {
            return Err(DescriptorFault::KindLen);
        }
        // An external offset is a token and not a position: it has no end.
        if self.location != Location::External && self.offset.checked_add(self.len).is_none() {
            return Err(DescriptorFault::Overflow);
        }
        if self.location != Location::Segment && (self.segment, self.generation) != (0, 0) {
            return Err(DescriptorFault::Fields);
        }
        if self.crc != 0 && !(checksum && self.location == Location::Inline) {
            return Err(DescriptorFault::Crc);
        }
        Ok(())
    }

    pub(super) fn to_bytes(self) -> [u8; DESCRIPTOR_LEN] {
        let location = match self.location {
            Location::Inline => INLINE,
            Location::Segment => SEGMENT,
            Location::External => EXTERNAL,
        };
        let flags = if self.writable { WRITABLE } else { 0 };
        let mut bytes = [0; DESCRIPTOR_LEN];
        bytes[..8].copy_from_slice(&self.offset.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.len.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.segment.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.generation.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.crc.to_le_bytes());
        bytes[28..].copy_from_slice(&[location, flags, self.kind.to_byte(), self.align]);
        bytes
    }

    fn keeps_alignment(&self) -> bool {
        match self.location {
            // Where an inline buffer begins is checked to the byte, with its offset.
            Location::Inline => (FRAME_ALIGN..=MAX_ALIGN).contains(&self.align),
            Location::Segment => {
                self.align <= MAX_ALIGN && align_up(self.offset, self.align) == Some(self.offset)
            }
            Location::External => self.align <= MAX_ALIGN,
        }
    }
}

/// A descriptor's fields as they stand in the table.
#[derive(Clone, Copy)]
pub(super) struct RawDescriptor {
    offset: u64,
    len: u64,
    segment: u32,
    generation: u32,
    crc: u32,
    location: u8,
    flags: u8,
    kind: u8,
    align: u8,
}

impl RawDescriptor {
    /// `None` if there are fewer than [`DESCRIPTOR_LEN`] bytes.
    pub(super) fn read(bytes: &[u8]) -> Option<RawDescriptor> {
        let mut fields = Cursor::new(bytes);
        Some(RawDescriptor {
            offset: fields.u64()?,
            len: fields.u64()?,
            segment: fields.u32()?,
            generation: fields.u32()?,
            crc: fields.u32()?,
            location: fields.u8()?,
            flags: fields.u8()?,
            kind: fields.u8()?,
            align: fields.u8()?,
        })
    }

    /// The rules of the coded fields: location, flags, kind.
    pub(super) fn decode(self) -> Result<Descriptor, DescriptorFault> {
        let location = match self.location {
            INLINE => Location::Inline,
            SEGMENT => Location::Segment,
            EXTERNAL => Location::External,
            _ => return Err(DescriptorFault::Location),
        };
        if self.flags & !WRITABLE != 0 {
            return Err(DescriptorFault::Flags);
        }
        Ok(Descriptor {
            offset: self.offset,
            len: self.len,
            segment: self.segment,
            generation: self.generation,
            crc: self.crc,
            location,
            writable: self.flags & WRITABLE != 0,
            kind: Kind::from_byte(self.kind).ok_or(DescriptorFault::Kind)?,
            align: self.align,
        })
    }
}

/// Lays inline buffers one behind the other.
pub(super) struct Bodies {
    end: u64,
    align: u8,
}

impl Bodies {
    pub(super) fn behind(head_len: u64) -> Bodies {
        Bodies { end: head_len, align: FRAME_ALIGN }
    }

    /// Places the next buffer and says where; `None` if that passes the end of 64 bits.
    pub(super) fn place(&mut self, len: u64, align: u8) -> Option<u64> {
        let offset = align_up(self.end, align)?;
        self.end = offset.checked_add(len)?;
        self.align = self.align.max(align);
        Some(offset)
    }

    /// The frame's length with all that was placed.
    pub(super) fn frame_len(&self) -> Option<u64> {
        align_up(self.end, self.align)
    }
}

const INLINE: u8 = 0;
const SEGMENT: u8 = 1;
const EXTERNAL: u8 = 2;
const WRITABLE: u8 = 1;
/// log2 of the largest alignment that a descriptor can promise.
const MAX_ALIGN: u8 = 16;
