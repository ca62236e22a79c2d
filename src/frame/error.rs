//! What can be wrong with the bytes of a frame.
//!
//! Each error names a kind, a position and the numbers that disagree; there is no text in it but
//! the one that `Display` makes. Types, files and peers are unknown here: floors above wrap these.

#![forbid(unsafe_code)]

use std::fmt;

/// Why bytes are not a frame that this reader accepts.
///
/// The checks have a fixed order, so two readers name the same error for the same bytes (all but
/// `RepeatBudget`, since copying costs it and sharing does not). `at` is a byte position, of the
/// metadata in [`Meta`](FrameError::Meta) and of the frame elsewhere; `index` counts descriptors
/// from zero.
///
/// ```
/// use pannier::FrameError;
///
/// let cut = FrameError::Truncated { need: 192, have: 100 };
/// assert_eq!(cut.to_string(), "frame is cut short: 192 bytes are needed and 100 are there");
/// assert_ne!(cut, FrameError::BadMagic);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The input ends too early; `need` is what the next step of reading takes, counted from the
    /// start of the frame.
    #[error("frame is cut short: {need} bytes are needed and {have} are there")]
    Truncated {
        /// Bytes of the frame that must be there for the next step.
        need: u64,
        /// Bytes that are there.
        have: u64,
    },
    /// The input does not begin like a frame.
    #[error(
        "not a frame: the first bytes are not c1 50 4e 52; was this written by something else?"
    )]
    BadMagic,
    /// The frame is of another version of the format.
    #[error("frame has format version {0}, this reader knows version 1; update the reader")]
    Version(u8),
    /// The frame needs features that this reader does not know; these are their bits.
    #[error("frame needs unknown features (flags {0:#04x}); update the reader")]
    UnknownFlags(u8),
    /// A byte that must be zero is not.
    #[error("reserved bytes at {at} of the frame are not zero")]
    Reserved {
        /// Position in the frame.
        at: u64,
    },
    /// The header's frame length is not the one that follows from its parts.
    #[error("header states a frame of {stated} bytes, its parts take {computed}")]
    FrameLen {
        /// What the header says.
        stated: u64,
        /// What the parts come to: the least that the head takes when they were not looked at yet.
        computed: u64,
    },
    /// There are bytes behind the frame, where one frame alone was expected.
    #[error("{extra} bytes follow the frame; a stream of frames must be read one by one")]
    Trailing {
        /// How many.
        extra: u64,
    },
    /// A byte between two parts is not zero.
    #[error("padding at {at} of the frame is not zero")]
    Padding {
        /// Position in the frame.
        at: u64,
    },
    /// The frame is larger than the reader permits, or than the format can say.
    #[error("{what} of {value} is over the limit of {limit}; raise it if the peer is trusted")]
    Limit {
        /// Which limit.
        what: LimitKind,
        /// What the frame asks for.
        value: u64,
        /// What is permitted.
        limit: u64,
    },
    /// A descriptor breaks a rule.
    #[error("descriptor {index}: {why}")]
    Descriptor {
        /// Which descriptor.
        index: u32,
        /// Which rule.
        why: DescriptorFault,
    },
    /// The metadata is malformed, or asks for more than the reader permits.
    #[error("metadata at {at}: {why}")]
    Meta {
        /// Position in the metadata.
        at: u64,
        /// Which rule.
        why: MetaFault,
    },
    /// A descriptor names memory of a segment that the reader cannot use.
    #[error("segment of descriptor {index}: {why}")]
    Segment {
        /// Which descriptor.
        index: u32,
        /// Why not.
        why: SegmentFault,
    },
    /// A descriptor names a buffer that only the application can find, and nobody was asked to.
    #[error("descriptor {index} names an external buffer and there is nobody to resolve it")]
    External {
        /// Which descriptor.
        index: u32,
    },
    /// Header, metadata or table were changed after they were written.
    #[error("head is damaged: its checksum is {computed:#010x}, {stated:#010x} was written")]
    HeadChecksum {
        /// The checksum in the header.
        stated: u32,
        /// The checksum of the bytes.
        computed: u32,
    },
    /// The bytes of a buffer were changed after they were written.
    #[error("buffer {index} is damaged: its checksum does not match")]
    BufferChecksum {
        /// Which descriptor.
        index: u32,
    },
}

/// Which of the reader's limits was met.
///
/// ```
/// use pannier::{FrameError, LimitKind};
///
/// let error = FrameError::Limit { what: LimitKind::MetaLen, value: 12, limit: 8 };
/// assert!(error.to_string().starts_with("meta_len of 12 is over the limit of 8"));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LimitKind {
    /// Bytes of the whole frame.
    FrameLen,
    /// Bytes of metadata.
    MetaLen,
    /// Number of descriptors.
    Buffers,
}

/// Which rule a descriptor breaks, in the order of the checks.
///
/// ```
/// use pannier::{DescriptorFault, FrameError};
///
/// let error = FrameError::Descriptor { index: 3, why: DescriptorFault::Empty };
/// assert_eq!(error.to_string(), "descriptor 3: length is zero");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DescriptorFault {
    /// The location is none of inline, segment and external.
    Location,
    /// A flag is set that version 1 does not define.
    Flags,
    /// The element kind is neither named by version 1 nor advisory.
    Kind,
    /// The alignment is out of range, or a segment's offset does not keep it.
    Align,
    /// The length is zero.
    Empty,
    /// The length is no multiple of the element size.
    KindLen,
    /// Offset and length together pass the end of 64 bits.
    Overflow,
    /// Segment number or generation is set although the buffer lies in no segment.
    Fields,
    /// A checksum is set although there is none for this buffer.
    Crc,
    /// An inline buffer is not where it must begin: a gap, an overlap, or part of the head.
    Offset,
}

/// Which rule the metadata breaks.
///
/// ```
/// use pannier::{FrameError, MetaFault};
///
/// let error = FrameError::Meta { at: 385, why: MetaFault::Depth };
/// assert_eq!(error.to_string(), "metadata at 385: nested deeper than the limit");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum MetaFault {
    /// The metadata ends inside a value, or where one should begin.
    Eof,
    /// The byte C1, which MessagePack never uses.
    Reserved,
    /// A string is not UTF-8.
    Utf8,
    /// An extension type that the format does not have.
    UnknownExt,
    /// A reference whose index is missing, too long, or wider than it needs to be.
    ExtLen,
    /// A reference to a buffer that the table does not have.
    RefRange,
    /// The first reference to a buffer comes before that to the one ahead of it in the table.
    RefOrder,
    /// A buffer of the table is never referenced.
    Unreferenced,
    /// Sequences and maps lie deeper inside each other than the limit.
    Depth,
    /// A sequence or map has more items than bytes are left for.
    Length,
    /// Something follows the one value.
    Trailing,
    /// References to the same buffers again would copy more than the limit.
    RepeatBudget,
}

/// Why a range of a shared segment cannot be used.
///
/// ```
/// use pannier::{FrameError, SegmentFault};
///
/// let error = FrameError::Segment { index: 0, why: SegmentFault::Stale };
/// assert!(error.to_string().contains("given to somebody else since"));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SegmentFault {
    /// The reader's limits permit no segments here.
    NotPermitted,
    /// The reader has no segment of that number.
    Unknown,
    /// The block was freed and used again since the descriptor was written.
    Stale,
    /// The range leaves its segment, or the one block it must lie in.
    Bounds,
    /// A writable range meets another range of the same frame.
    AliasedWritable,
}

impl fmt::Display for LimitKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LimitKind::FrameLen => "frame_len",
            LimitKind::MetaLen => "meta_len",
            LimitKind::Buffers => "buffers",
        })
    }
}

impl fmt::Display for DescriptorFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DescriptorFault::Location => "unknown location",
            DescriptorFault::Flags => "unknown flag",
            DescriptorFault::Kind => "unknown element kind",
            DescriptorFault::Align => "alignment is out of range, or the offset does not keep it",
            DescriptorFault::Empty => "length is zero",
            DescriptorFault::KindLen => "length is no multiple of the element size",
            DescriptorFault::Overflow => "offset and length together exceed 64 bits",
            DescriptorFault::Fields => "segment number or generation without a segment",
            DescriptorFault::Crc => "checksum where there is none",
            DescriptorFault::Offset => "buffer does not begin where the one before it ends",
        })
    }
}

impl fmt::Display for MetaFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            MetaFault::Eof => "ends inside a value",
            MetaFault::Reserved => "byte c1, which begins no value",
            MetaFault::Utf8 => "string is not utf-8",
            MetaFault::UnknownExt => "unknown extension type",
            MetaFault::ExtLen => "buffer reference has no index of the right width",
            MetaFault::RefRange => "reference to a buffer that is not in the table",
            MetaFault::RefOrder => "buffers are not first referenced in the order of the table",
            MetaFault::Unreferenced => "the table has buffers that are never referenced",
            MetaFault::Depth => "nested deeper than the limit",
            MetaFault::Length => "more items than bytes are left for",
            MetaFault::Trailing => "something follows the value",
            MetaFault::RepeatBudget => "repeated references would copy more than the limit",
        })
    }
}

impl fmt::Display for SegmentFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SegmentFault::NotPermitted => "segments are not permitted here by the reader's limits",
            SegmentFault::Unknown => "no such segment; it was never shared or is already detached",
            SegmentFault::Stale => "its block was freed and given to somebody else since",
            SegmentFault::Bounds => "range leaves the segment or its block",
            SegmentFault::AliasedWritable => "writable range meets another range of the frame",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_stay_within_three_words() {
        assert!(size_of::<FrameError>() <= 24);
        assert!(size_of::<Result<(), FrameError>>() <= 24);
    }

    #[test]
    fn messages_are_fragments_that_carry_their_numbers() {
        let limit = FrameError::Limit { what: LimitKind::Buffers, value: 70_000, limit: 65_536 };
        let crc = FrameError::HeadChecksum { stated: 1, computed: 0xdead_beef };
        let frame_len = FrameError::FrameLen { stated: 64, computed: 128 };
        for (error, numbers) in [
            (limit, ["70000", "65536"]),
            (crc, ["0x00000001", "0xdeadbeef"]),
            (frame_len, ["64", "128"]),
        ] {
            let text = error.to_string();
            assert!(numbers.iter().all(|number| text.contains(number)), "{text}");
            assert!(!text.ends_with('.') && text.starts_with(|c: char| c.is_lowercase()), "{text}");
        }
    }
}
