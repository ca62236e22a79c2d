//! The first 32 bytes of a frame, and where the parts of the head lie.
//!
//! Reading checks everything that the header alone can tell, in the format's order: magic, version,
//! flags, reserved bytes, limits, lengths. What the metadata and the table say is not known here.

#![forbid(unsafe_code)]

use super::error::{FrameError, LimitKind, MetaFault};
use super::limits::Limits;
use super::wire::{Cursor, align_up, wide};

/// Bytes of the header.
pub(crate) const HEADER_LEN: usize = 32;

pub(crate) const MAGIC: [u8; 4] = [0xc1, b'P', b'N', b'R'];
pub(super) const VERSION: u8 = 1;
/// The only flag of version 1 that a reader must understand.
pub(super) const CHECKSUM: u8 = 1;
/// Where the head's checksum lies; it does not cover itself.
pub(super) const HEAD_CRC_AT: usize = 28;
/// Frames are multiples of `2^FRAME_ALIGN` bytes, and inline buffers begin at such multiples.
pub(super) const FRAME_ALIGN: u8 = 6;

/// A header whose own fields are sound.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) checksum: bool,
    pub(super) count: u32,
    pub(super) frame_len: u64,
    pub(super) tag: u32,
    pub(super) may: u8,
    meta_len: u32,
    head_crc: u32,
    extent: HeadExtent,
}

/// The parts of a head, all inside the input.
#[derive(Clone, Copy)]
pub(super) struct Head<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) metadata: &'a [u8],
    pub(super) padding: &'a [u8],
    pub(super) table: &'a [u8],
}

/// Where the table begins and the head ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HeadExtent {
    pub(super) table_at: u64,
    pub(super) head_len: u64,
}

impl Header {
    /// The checks from "32 bytes present" to "lengths".
    pub(super) fn parse(bytes: &[u8], limits: &Limits) -> Result<Header, FrameError> {
        let need = wide(HEADER_LEN);
        let raw = RawHeader::read(bytes)
            .ok_or_else(|| FrameError::Truncated { need, have: wide(bytes.len()) })?;
        raw.check_identity()?;
        raw.check_reserved()?;
        raw.check_limits(limits)?;
        let extent = raw.check_lengths()?;
        Ok(Header {
            checksum: raw.must & CHECKSUM != 0,
            count: raw.count,
            frame_len: raw.frame_len,
            tag: raw.tag,
            may: raw.may,
            meta_len: raw.meta_len,
            head_crc: raw.head_crc,
            extent,
        })
    }

    pub(super) fn head_len(&self) -> u64 {
        self.extent.head_len
    }

    /// The head's parts, if it is there as a whole.
    pub(super) fn head<'a>(&self, bytes: &'a [u8]) -> Option<Head<'a>> {
        let bytes = bytes.get(..usize::try_from(self.extent.head_len).ok()?)?;
        let (before_table, table) =
            bytes.split_at_checked(usize::try_from(self.extent.table_at).ok()?)?;
        let (metadata, padding) = before_table
            .get(HEADER_LEN..)?
            .split_at_checked(usize::try_from(self.meta_len).ok()?)?;
        Some(Head { bytes, metadata, padding, table })
    }

    pub(super) fn check_checksum(&self, head: &[u8]) -> Result<(), FrameError> {
        if !self.checksum {
            return Ok(());
        }
        let (stated, computed) = (self.head_crc, head_checksum(head));
        if stated != computed {
            return Err(FrameError::HeadChecksum { stated, computed });
        }
        Ok(())
    }
}

impl HeadExtent {
    pub(super) fn new(meta_len: u32, count: u32) -> HeadExtent {
        let meta_end = wide(HEADER_LEN) + u64::from(meta_len);
        if count == 0 {
            return HeadExtent { table_at: meta_end, head_len: meta_end };
        }
        // Both counts have 32 bits, so none of this comes near the end of 64.
        let table_at = meta_end.next_multiple_of(32);
        HeadExtent { table_at, head_len: table_at + u64::from(count) * 32 }
    }
}

/// CRC-32C of a head without the field that holds it.
pub(super) fn head_checksum(head: &[u8]) -> u32 {
    let before = head.get(..HEAD_CRC_AT).unwrap_or_default();
    let behind = head.get(HEADER_LEN..).unwrap_or_default();
    crc32c::crc32c_append(crc32c::crc32c(before), behind)
}

/// The header's fields as they stand there.
struct RawHeader {
    magic: [u8; 4],
    version: u8,
    must: u8,
    may: u8,
    reserved: u8,
    meta_len: u32,
    count: u32,
    frame_len: u64,
    tag: u32,
    head_crc: u32,
}

impl RawHeader {
    fn read(bytes: &[u8]) -> Option<RawHeader> {
        let mut fields = Cursor::new(bytes);
        let magic = fields.array()?;
        let version = fields.u8()?;
        let must = fields.u8()?;
        let may = fields.u8()?;
        Some(RawHeader {
            magic,
            version,
            must,
            may,
            reserved: fields.u8()?,
            meta_len: fields.u32()?,
            count: fields.u32()?,
            frame_len: fields.u64()?,
            tag: fields.u32()?,
            head_crc: fields.u32()?,
        })
    }

    fn check_identity(&self) -> Result<(), FrameError> {
        if self.magic != MAGIC {
            return Err(FrameError::BadMagic);
        }
        if self.version != VERSION {
            return Err(FrameError::Version(self.version));
        }
        match self.must & !CHECKSUM {
            0 => Ok(()),
            unknown => Err(FrameError::UnknownFlags(unknown)),
        }
    }

    fn check_reserved(&self) -> Result<(), FrameError> {
        if self.reserved != 0 {
            return Err(FrameError::Reserved { at: 7 });
        }
        if self.must & CHECKSUM == 0 && self.head_crc != 0 {
            return Err(FrameError::Reserved { at: wide(HEAD_CRC_AT) });
        }
        Ok(())
    }

    fn check_limits(&self, limits: &Limits) -> Result<(), FrameError> {
        check_limit(LimitKind::MetaLen, self.meta_len.into(), limits.meta_len.into())?;
        check_limit(LimitKind::Buffers, self.count.into(), limits.buffers.into())?;
        check_limit(LimitKind::FrameLen, self.frame_len, limits.frame_len)
    }

    /// Without the table only a lower bound of the frame's length is known: the head, rounded up.
    fn check_lengths(&self) -> Result<HeadExtent, FrameError> {
        if self.meta_len == 0 {
            return Err(FrameError::Meta { at: 0, why: MetaFault::Eof });
        }
        let extent = HeadExtent::new(self.meta_len, self.count);
        let least = align_up(extent.head_len, FRAME_ALIGN).unwrap_or(u64::MAX);
        if self.frame_len < least || align_up(self.frame_len, FRAME_ALIGN) != Some(self.frame_len) {
            return Err(FrameError::FrameLen { stated: self.frame_len, computed: least });
        }
        Ok(extent)
    }
}

pub(super) fn check_limit(what: LimitKind, value: u64, limit: u64) -> Result<(), FrameError> {
    if value > limit { Err(FrameError::Limit { what, value, limit }) } else { Ok(()) }
}
