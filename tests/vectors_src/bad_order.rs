//! Two faults in one frame: the error is the one that the format's order of checks meets first.

use pannier::{DescriptorFault, FrameError, LimitKind, Limits, MetaFault, SegmentFault};

use crate::base::{
    FIRST, HEAD_LEN, SECOND, descriptor, frame_len, head_error, limit, meta, sealed, segment,
    small, truncated, with_all,
};
use crate::vector::Bad;

pub(crate) fn all() -> Vec<Bad> {
    [headers(), heads(), tables(), places(), wholes(), verified(), everything()].concat()
}

/// One byte or more that is changed, and where.
type Changes<'a> = &'a [(usize, &'a [u8])];

fn bad(name: &str, shows: &str, changes: Changes<'_>, error: FrameError) -> Bad {
    Bad::new(&format!("order_{name}"), shows, with_all(small(false), changes), error)
}

fn headers() -> Vec<Bad> {
    use LimitKind::{Buffers, FrameLen, MetaLen};
    let huge = u64::from(u32::MAX);
    let reserved = |at| FrameError::Reserved { at };
    vec![
        bad(
            "magic_version",
            "Magic before version.",
            &[(0, &[0]), (4, &[2])],
            FrameError::BadMagic,
        ),
        bad(
            "version_flags",
            "Version before flags.",
            &[(4, &[2]), (5, &[0x80])],
            FrameError::Version(2),
        ),
        bad(
            "flags_reserved",
            "Flags before reserved bytes.",
            &[(5, &[0x80]), (7, &[1])],
            FrameError::UnknownFlags(0x80),
        ),
        bad("reserved_7_28", "Byte 7 before byte 28.", &[(28, &[1]), (7, &[1])], reserved(7)),
        bad(
            "reserved_limit",
            "Reserved bytes before limits.",
            &[(28, &[1]), (8, &[0xff; 4])],
            reserved(28),
        ),
        bad(
            "limit_meta_len",
            "meta_len before buffers.",
            &[(8, &[0xff; 4]), (12, &[0xff; 4]), (16, &[0xff; 8])],
            limit(MetaLen, huge, 64 << 20),
        ),
        bad(
            "limit_buffers",
            "buffers before frame_len.",
            &[(12, &[0xff; 4]), (16, &[0xff; 8])],
            limit(Buffers, huge, 65_536),
        ),
        bad(
            "limit_length",
            "Limits before lengths: frame_len is no multiple of 64 either.",
            &[(8, &[0; 4]), (16, &[0xff; 8])],
            limit(FrameLen, u64::MAX, 1 << 40),
        ),
        bad(
            "meta_len_frame_len",
            "No metadata before frame_len.",
            &[(8, &[0; 4]), (16, &[1])],
            meta(0, MetaFault::Eof),
        ),
    ]
}

fn heads() -> Vec<Bad> {
    let cut = |frame: Vec<u8>, len: usize| frame[..len].to_vec();
    let length = with_all(small(false), &[(16, &[0, 0])]);
    let spoiled = with_all(small(true), &[(24, &[8])]);
    let sealed_with = |changes: Changes<'_>| sealed(with_all(small(true), changes), HEAD_LEN);
    let spoiled_error = head_error(&spoiled, HEAD_LEN);
    let padded = with_all(small(true), &[(45, &[1]), (FIRST + 28, &[9])]);
    let padded_error = head_error(&padded, HEAD_LEN);
    let whole = |name: &str, shows: &str, frame, error| {
        Bad::new(&format!("order_{name}"), shows, frame, error)
    };
    vec![
        whole(
            "length_cut",
            "Lengths before the rest of the head.",
            cut(length, 40),
            frame_len(0, 128),
        ),
        whole(
            "cut_checksum",
            "The head must be there before its checksum is.",
            cut(spoiled.clone(), 127),
            truncated(128, 127),
        ),
        whole("checksum_cut", "Its checksum before the bodies.", cut(spoiled, 128), spoiled_error),
        whole("checksum_padding", "Checksum before padding.", padded, padded_error),
        whole(
            "padding_descriptor",
            "Padding before descriptors.",
            sealed_with(&[(63, &[1]), (FIRST + 28, &[9])]),
            FrameError::Padding { at: 63 },
        ),
        whole(
            "descriptor_cut",
            "Descriptors before the bodies.",
            cut(sealed_with(&[(FIRST + 28, &[9])]), 128),
            descriptor(0, DescriptorFault::Location),
        ),
    ]
}

/// A descriptor's rules in their order: each vector breaks one rule and the next.
fn tables() -> Vec<Bad> {
    use DescriptorFault::*;
    let longer = (u64::MAX - 128).to_le_bytes();
    let pairs: [(&str, &str, Changes<'_>, FrameError); 8] = [
        (
            "index",
            "Descriptor 0 before 1.",
            &[(FIRST + 24, &[1]), (SECOND + 28, &[9])],
            descriptor(0, Crc),
        ),
        (
            "location_flags",
            "Location before flags.",
            &[(FIRST + 28, &[9, 9])],
            descriptor(0, Location),
        ),
        ("flags_kind", "Flags before kind.", &[(FIRST + 29, &[9, 1])], descriptor(0, Flags)),
        ("kind_align", "Kind before alignment.", &[(FIRST + 30, &[1, 1])], descriptor(0, Kind)),
        (
            "align_empty",
            "Alignment before length.",
            &[(FIRST + 31, &[1]), (FIRST + 8, &[0])],
            descriptor(0, Align),
        ),
        (
            "empty_fields",
            "A length of 0 before fields.",
            &[(FIRST + 8, &[0]), (FIRST + 16, &[1])],
            descriptor(0, Empty),
        ),
        (
            "empty_overflow",
            "A length of 0 before a far offset.",
            &[(FIRST + 8, &[0]), (FIRST, &[0xff; 8])],
            descriptor(0, Empty),
        ),
        (
            "kind_len_overflow",
            "The element before the end of numbers.",
            &[(SECOND + 8, &longer), (SECOND, &[0xff; 8])],
            descriptor(1, KindLen),
        ),
    ];
    let vector = |(name, shows, changes, error)| bad(name, shows, changes, error);
    pairs.into_iter().map(vector).collect()
}

/// The rest of a descriptor's rules, and what comes behind them.
fn places() -> Vec<Bad> {
    use DescriptorFault::*;
    let long = (u64::MAX - 135).to_le_bytes();
    let pairs: [(&str, &str, Changes<'_>, FrameError); 8] = [
        (
            "overflow_fields",
            "The end of numbers before fields.",
            &[(FIRST, &[0xff; 8]), (FIRST + 16, &[1])],
            descriptor(0, Overflow),
        ),
        (
            "fields_crc",
            "Fields before checksum.",
            &[(FIRST + 20, &[1]), (FIRST + 24, &[1])],
            descriptor(0, Fields),
        ),
        (
            "crc_offset",
            "Checksum before offset.",
            &[(FIRST + 24, &[1]), (FIRST, &[64])],
            descriptor(0, Crc),
        ),
        (
            "offset_frame_len",
            "Offsets before frame_len.",
            &[(FIRST, &[64]), (16, &640_u64.to_le_bytes())],
            descriptor(0, Offset),
        ),
        (
            "offset_next",
            "A length that leaves the next no place, with a frame_len that is wrong too.",
            &[(FIRST + 8, &long), (16, &640_u64.to_le_bytes())],
            descriptor(1, Offset),
        ),
        (
            "segment_descriptor",
            "The segment of descriptor 0 before a fault of descriptor 1.",
            &[(FIRST + 28, &[1]), (SECOND + 28, &[9])],
            segment(0, SegmentFault::NotPermitted),
        ),
        (
            "crc_segment",
            "A descriptor's own faults before its segment.",
            &[(FIRST + 28, &[1]), (FIRST + 24, &[1])],
            descriptor(0, Crc),
        ),
        (
            "segment_frame_len",
            "Segments before frame_len.",
            &[(SECOND + 28, &[1]), (16, &640_u64.to_le_bytes())],
            segment(1, SegmentFault::NotPermitted),
        ),
    ];
    let vector = |(name, shows, changes, error)| bad(name, shows, changes, error);
    pairs.into_iter().map(vector).collect()
}

/// The whole frame before its metadata.
fn wholes() -> Vec<Bad> {
    let spoiled = |len: usize| {
        let mut frame = with_all(small(false), &[(32, &[0xc1])]);
        frame.resize(len, 0);
        frame
    };
    let long = |len: usize| {
        let mut frame = with_all(spoiled(320), &[(16, &384_u64.to_le_bytes())]);
        frame.resize(len, 0);
        frame
    };
    let whole = |name: &str, shows: &str, frame, error| {
        Bad::new(&format!("order_{name}"), shows, frame, error)
    };
    vec![
        whole("cut_metadata", "A cut before bad metadata.", spoiled(319), truncated(320, 319)),
        whole(
            "trailing_metadata",
            "Bytes behind the frame before bad metadata.",
            spoiled(321),
            FrameError::Trailing { extra: 1 },
        ),
        whole("frame_len_cut", "frame_len before a cut.", long(320), frame_len(384, 320)),
        whole(
            "frame_len_trailing",
            "frame_len before what is behind.",
            long(400),
            frame_len(384, 320),
        ),
        whole(
            "metadata_first",
            "The first fault of the metadata.",
            with_all(small(false), &[(33, &[0xd4, 0x71, 0, 0xc1])]),
            meta(1, MetaFault::UnknownExt),
        ),
    ]
}

/// What only verifying finds comes last, and in the order of the frame.
fn verified() -> Vec<Bad> {
    let whole = |name: &str, shows: &str, changes: Changes<'_>, error| {
        Bad::new(&format!("order_{name}"), shows, with_all(small(true), changes), error).verify()
    };
    let buffer = |index| FrameError::BufferChecksum { index };
    let padding = |at| FrameError::Padding { at };
    vec![
        bad(
            "metadata_padding",
            "Metadata before the padding of bodies.",
            &[(32, &[0xc1]), (319, &[1])],
            meta(0, MetaFault::Reserved),
        ),
        whole(
            "buffer_gap",
            "Buffer 0 before the gap behind it.",
            &[(128, &[1]), (228, &[1])],
            buffer(0),
        ),
        whole("gap_buffer", "The gap before buffer 1.", &[(255, &[1]), (256, &[1])], padding(255)),
        whole("buffer_end", "Buffer 1 before the end.", &[(256, &[1]), (319, &[1])], buffer(1)),
        whole("buffers", "Buffer 0 before buffer 1.", &[(130, &[1]), (260, &[1])], buffer(0)),
        whole("gap_end", "The first of two paddings.", &[(230, &[1]), (300, &[1])], padding(230)),
    ]
}

/// Faults at every step, taken away one after the other from the front.
fn everything() -> Vec<Bad> {
    let far = 640_u64.to_le_bytes();
    let steps: [(&str, Changes<'_>); 10] = [
        ("magic", &[(0, &[0])]),
        ("version", &[(4, &[3])]),
        ("flags", &[(5, &[0x10])]),
        ("reserved", &[(7, &[1])]),
        ("padding", &[(40, &[1])]),
        ("descriptor_0", &[(FIRST + 31, &[0])]),
        ("descriptor_1", &[(SECOND + 30, &[1])]),
        ("frame_len", &[(16, &far)]),
        ("metadata", &[(32, &[0xc1])]),
        ("end", &[(319, &[1])]),
    ];
    let errors = [
        FrameError::BadMagic,
        FrameError::Version(3),
        FrameError::UnknownFlags(0x10),
        FrameError::Reserved { at: 7 },
        FrameError::Padding { at: 40 },
        descriptor(0, DescriptorFault::Align),
        descriptor(1, DescriptorFault::Kind),
        frame_len(640, 320),
        meta(0, MetaFault::Reserved),
        FrameError::Padding { at: 319 },
    ];
    let mut vectors = Vec::new();
    for (first, error) in errors.into_iter().enumerate() {
        let changes: Vec<_> =
            steps[first..].iter().flat_map(|(_, changes)| *changes).copied().collect();
        let name = format!("all_from_{}", steps[first].0);
        let shows = "Faults at every step from this one on.";
        let vector = bad(&name, shows, &changes, error);
        vectors.push(if first + 1 == steps.len() { vector.verify() } else { vector });
    }
    let limits = Limits::default().meta_len(1);
    let lowered = bad(
        "limit_metadata",
        "A limit before bad metadata.",
        &[(32, &[0xc1])],
        limit(LimitKind::MetaLen, 7, 1),
    );
    vectors.push(lowered.limits(limits));
    vectors
}
