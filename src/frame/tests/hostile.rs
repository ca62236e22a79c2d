//! Section 3 of the format: each hostile input, its one error and the position in it.
//!
//! Rows that need decoding, or the verification of buffers, are tested where those live.

#![forbid(unsafe_code)]

use super::{BASE_METADATA, NeverAsked, base_frame, frame, parse_error, permitted, put};
use crate::frame::{
    Descriptor, DescriptorFault, Frame, FrameError, Kind, LimitKind, Limits, Location, MetaFault,
    NoSegments, SegmentFault, write_frame,
};

/// Where the two descriptors of the base frame stand.
const FIRST: usize = 64;
const SECOND: usize = 96;

/// The error of the base frame with these bytes laid over it.
fn base_with(at: usize, bytes: &[u8]) -> FrameError {
    let mut frame = base_frame(false);
    put(&mut frame, at, bytes);
    parse_error(&frame, &Limits::default())
}

fn descriptor_error(index: u32, why: DescriptorFault) -> FrameError {
    FrameError::Descriptor { index, why }
}

fn meta_error(at: u64, why: MetaFault) -> FrameError {
    FrameError::Meta { at, why }
}

/// The error of metadata in a frame without buffers.
fn metadata_alone(metadata: &[u8]) -> FrameError {
    parse_error(&frame(metadata, &mut [], false), &Limits::default())
}

fn base_metadata_with(at: usize, bytes: &[u8]) -> FrameError {
    base_with(32 + at, bytes)
}

/// The error of a frame with these descriptors, which name no inline buffers.
fn segments_error(descriptors: &[Descriptor], limits: &Limits) -> FrameError {
    parse_error(&segments_frame(descriptors), limits)
}

fn segments_frame(descriptors: &[Descriptor]) -> Vec<u8> {
    let metadata = [0x92, 0xd4, 0x70, 0, 0xd4, 0x70, 1];
    let metadata = if descriptors.len() == 1 { &metadata[1..4] } else { &metadata[..] };
    let mut buffers: Vec<_> = descriptors.iter().map(|&d| (d, &[][..])).collect();
    frame(metadata, &mut buffers, false)
}

fn segment(offset: u64, len: u64) -> Descriptor {
    Descriptor::segment(5, offset, len, 3, Kind::OPAQUE, 6)
}

#[test]
fn the_base_frame_is_the_one_of_the_table() {
    let bytes = base_frame(false);
    let frame = Frame::parse_with(&bytes, &Limits::default(), &NoSegments).unwrap();
    assert_eq!(
        (bytes.len(), frame.as_bytes().len(), frame.count(), frame.tag()),
        (13_376, 13_376, 2, 7)
    );
    assert_eq!(frame.metadata(), BASE_METADATA);
    assert_eq!(frame.descriptor(0).unwrap().offset, 128);
    assert_eq!(frame.descriptor(1).unwrap().offset, 8320);
    assert_eq!(frame.descriptor(2), None);
    assert!(!frame.options().checksum);
    assert!(Frame::parse_with(&base_frame(true), &Limits::default(), &NoSegments).is_ok());
}

#[test]
fn rows_1_to_5_incomplete_or_not_ours() {
    let base = base_frame(false);
    let limits = Limits::default();
    for (row, bytes, error) in [
        (1, &[][..], FrameError::Truncated { need: 32, have: 0 }),
        (2, &base[..31], FrameError::Truncated { need: 32, have: 31 }),
        (3, &base[..13_375], FrameError::Truncated { need: 13_376, have: 13_375 }),
        (4, &[&base[..], &[0; 64]].concat(), FrameError::Trailing { extra: 64 }),
        (5, &[0x93; 40], FrameError::BadMagic),
    ] {
        assert_eq!(parse_error(bytes, &limits), error, "row {row}");
    }
}

#[test]
fn rows_6_to_13_header_fields() {
    let limit = |what, value, limit| FrameError::Limit { what, value, limit };
    let max = u64::from(u32::MAX);
    for (row, at, bytes, error) in [
        (6, 4, &[2][..], FrameError::Version(2)),
        (7, 5, &[0x80], FrameError::UnknownFlags(128)),
        (8, 7, &[1], FrameError::Reserved { at: 7 }),
        (9, 28, &[0, 0, 0, 1], FrameError::Reserved { at: 28 }),
        (10, 8, &[0; 4], meta_error(0, MetaFault::Eof)),
        (11, 8, &[0xff; 4], limit(LimitKind::MetaLen, max, 67_108_864)),
        (12, 12, &[0xff; 4], limit(LimitKind::Buffers, max, 65_536)),
        (13, 16, &(1u64 << 63).to_le_bytes(), limit(LimitKind::FrameLen, 1 << 63, 1 << 40)),
    ] {
        assert_eq!(base_with(at, bytes), error, "row {row}");
    }
}

#[test]
fn unknown_flags_are_named_without_the_known_ones() {
    let mut bytes = base_frame(true);
    bytes[5] = 0x81;
    assert_eq!(parse_error(&bytes, &Limits::default()), FrameError::UnknownFlags(0x80));
}

#[test]
fn rows_14_to_17_lengths() {
    let wrong = |stated, computed| FrameError::FrameLen { stated, computed };
    for (row, stated, computed) in [(14, 64u64, 128), (15, 13_375, 128), (16, 13_440, 13_376)] {
        assert_eq!(base_with(16, &stated.to_le_bytes()), wrong(stated, computed), "row {row}");
    }
    assert_eq!(base_with(12, &60_000u32.to_le_bytes()), wrong(13_376, 1_920_064), "row 17");
}

#[test]
fn rows_18_to_31_descriptors() {
    use DescriptorFault::*;
    let near_the_end = (u64::MAX - 63).to_le_bytes();
    for (row, at, bytes, error) in [
        (18, FIRST + 28, &[3][..], descriptor_error(0, Location)),
        (19, FIRST + 29, &[2], descriptor_error(0, Flags)),
        (20, FIRST + 30, &[0x30], descriptor_error(0, Kind)),
        (21, FIRST + 31, &[5], descriptor_error(0, Align)),
        (22, FIRST + 31, &[63], descriptor_error(0, Align)),
        (23, FIRST + 8, &[0; 8], descriptor_error(0, Empty)),
        (24, FIRST + 8, &8191u64.to_le_bytes(), descriptor_error(0, KindLen)),
        (25, FIRST, &near_the_end, descriptor_error(0, Overflow)),
        (26, FIRST, &0u64.to_le_bytes(), descriptor_error(0, Offset)),
        (27, SECOND, &128u64.to_le_bytes(), descriptor_error(1, Offset)),
        (28, SECOND, &8384u64.to_le_bytes(), descriptor_error(1, Offset)),
        (
            29,
            SECOND + 8,
            &1_000_000u64.to_le_bytes(),
            FrameError::FrameLen { stated: 13_376, computed: 1_008_320 },
        ),
        (30, FIRST + 16, &[1], descriptor_error(0, Fields)),
        (31, FIRST + 24, &[1], descriptor_error(0, Crc)),
    ] {
        assert_eq!(base_with(at, bytes), error, "row {row}");
    }
    assert_eq!(base_with(FIRST + 20, &[1]), descriptor_error(0, Fields), "generation");
}

#[test]
fn rows_32_and_34_padding_and_lowered_limits() {
    assert_eq!(base_with(50, &[1]), FrameError::Padding { at: 50 });
    let base = base_frame(false);
    for (limits, what, value, limit) in [
        (Limits::default().meta_len(8), LimitKind::MetaLen, 12, 8),
        (Limits::default().buffers(1), LimitKind::Buffers, 2, 1),
        (Limits::default().frame_len(13_375), LimitKind::FrameLen, 13_376, 13_375),
    ] {
        assert_eq!(parse_error(&base, &limits), FrameError::Limit { what, value, limit });
    }
    let exact = Limits::default().meta_len(12).buffers(2).frame_len(13_376).depth(1);
    assert!(Frame::parse_with(&base, &exact, &NoSegments).is_ok());
}

#[test]
fn rows_35_and_36_bits_flipped_under_the_checksum() {
    for (row, at) in [(35, 24), (36, FIRST + 8)] {
        let mut bytes = base_frame(true);
        bytes[at] ^= 0x10;
        let error = parse_error(&bytes, &Limits::default());
        assert!(matches!(error, FrameError::HeadChecksum { .. }), "row {row}: {error}");
    }
}

#[test]
fn row_38_segments_that_are_not_permitted_are_never_looked_up() {
    let bytes = segments_frame(&[segment(64, 64)]);
    let error = Frame::parse_with(&bytes, &Limits::default(), &NeverAsked).unwrap_err();
    assert_eq!(error, FrameError::Segment { index: 0, why: SegmentFault::NotPermitted });
}

#[test]
fn rows_39_to_43_segments() {
    let error = |index, why| FrameError::Segment { index, why };
    let good = segment(64, 64);
    for (row, bad, why) in [
        (39, Descriptor { segment: 6, ..good }, SegmentFault::Unknown),
        (40, Descriptor { generation: 2, ..good }, SegmentFault::Stale),
        (41, segment(4032, 65), SegmentFault::Bounds),
        (41, segment(960, 65), SegmentFault::Bounds),
    ] {
        assert_eq!(segments_error(&[bad], &permitted()), error(0, why), "row {row}");
    }
    let writable = Descriptor { writable: true, ..good };
    let aliased = error(1, SegmentFault::AliasedWritable);
    assert_eq!(segments_error(&[writable, good], &permitted()), aliased, "row 43");
    assert_eq!(segments_error(&[good, writable], &permitted()), aliased, "row 43");
    let shared = segments_frame(&[good, good]);
    assert!(Frame::parse_with(&shared, &permitted(), &super::OneSegment).is_ok());
    let unknown = Frame::parse_with(&shared, &permitted(), &NoSegments).unwrap_err();
    assert_eq!(unknown, error(0, SegmentFault::Unknown));
}

#[test]
fn row_42_a_segment_offset_that_breaks_its_alignment_is_refused_on_both_sides() {
    let mut bytes = segments_frame(&[segment(64, 64)]);
    let table_at = 64;
    put(&mut bytes, table_at, &65u64.to_le_bytes());
    let error = descriptor_error(0, DescriptorFault::Align);
    assert_eq!(parse_error(&bytes, &permitted()), error);
    let mut out = Vec::new();
    let mut buffers = [(segment(65, 64), &[][..])];
    let written = write_frame(&mut out, &[&[0xd4, 0x70, 0]], &mut buffers, &Default::default());
    assert_eq!(written, Err(error));
    assert!(out.is_empty());
}

#[test]
fn an_external_offset_is_a_token_and_not_a_position() {
    let token = Descriptor {
        location: Location::External,
        offset: u64::MAX,
        ..Descriptor::inline(8, Kind::F64, 6)
    };
    let bytes = segments_frame(&[token]);
    let frame = Frame::parse_with(&bytes, &Limits::default(), &NeverAsked).unwrap();
    assert_eq!(frame.descriptor(0), Some(token));
    assert_eq!(frame.inline(&token), None);
}

#[test]
fn rows_45_to_54_metadata_without_buffers() {
    use MetaFault::*;
    for (row, metadata, at, why) in [
        (45, &[0xa5, b'a', b'b'][..], 1, Eof),
        (46, &[0xc1], 0, Reserved),
        (47, &[0xa1, 0xff], 1, Utf8),
        (48, &[0xdd, 0xff, 0xff, 0xff, 0xff, 0], 5, Length),
        (49, &[0xde, 0xff, 0xff, 0], 3, Length),
        (50, &[0xc0, 0xc0], 1, Trailing),
        (51, &[0xd6, 0xff, 0, 0, 0, 0], 0, UnknownExt),
        (52, &[0xd7, 0x70, 0, 0, 0, 0, 0, 0, 0, 0], 0, ExtLen),
        (53, &[0xd4, 0x70, 0], 0, RefRange),
        (54, &[0xd5, 0x70, 0, 0], 0, ExtLen),
    ] {
        assert_eq!(metadata_alone(metadata), meta_error(at, why), "row {row}");
    }
}

#[test]
fn rows_55_and_56_order_of_references() {
    assert_eq!(base_metadata_with(3, &[1]), meta_error(1, MetaFault::RefOrder), "row 55");
    assert_eq!(base_metadata_with(6, &[0]), meta_error(12, MetaFault::Unreferenced), "row 56");
    assert_eq!(base_metadata_with(6, &[2]), meta_error(4, MetaFault::RefRange));
}

#[test]
fn row_57_nesting_costs_no_stack() {
    let mut metadata = [0x81, 0xa1, b'V'].repeat(100_000);
    metadata.push(0xc0);
    assert_eq!(metadata_alone(&metadata), meta_error(385, MetaFault::Depth));
    let bytes = frame(&metadata, &mut [], false);
    let deep = |depth| Frame::parse_with(&bytes, &Limits::default().depth(depth), &NoSegments);
    assert!(deep(100_000).is_ok());
    assert_eq!(deep(99_999).unwrap_err(), meta_error(299_998, MetaFault::Depth));
}

#[test]
fn every_cut_says_truncated_with_a_need_that_grows_and_is_finally_right() {
    let bytes = base_frame(true);
    let mut last = 0;
    for have in 0..bytes.len() {
        let cut = &bytes[..have];
        let have = u64::try_from(have).unwrap();
        match parse_error(cut, &Limits::default()) {
            FrameError::Truncated { need, have: said } => {
                assert!(said == have && need > have && need >= last, "{need} at {have}");
                last = need;
            }
            other => panic!("{other} at {have}"),
        }
    }
    assert_eq!(last, 13_376);
}

#[test]
fn the_earlier_check_wins() {
    let mut bytes = base_frame(false);
    let limits = Limits::default();
    let head = Frame::parse_head(&base_frame(false)[..200], &limits).unwrap_err();
    assert_eq!(head, FrameError::Truncated { need: 13_376, have: 200 });
    // From the last check to the first, each fault hides those made before it.
    put(&mut bytes, 32, &[0xc1]);
    assert_eq!(parse_error(&bytes, &limits), meta_error(0, MetaFault::Reserved));
    assert!(Frame::parse_head(&bytes, &limits).is_ok());
    bytes.push(0);
    assert_eq!(parse_error(&bytes, &limits), FrameError::Trailing { extra: 1 });
    put(&mut bytes, 16, &13_440u64.to_le_bytes());
    let frame_len = FrameError::FrameLen { stated: 13_440, computed: 13_376 };
    assert_eq!(parse_error(&bytes, &limits), frame_len);
    put(&mut bytes, SECOND + 24, &[1]);
    assert_eq!(parse_error(&bytes, &limits), descriptor_error(1, DescriptorFault::Crc));
    put(&mut bytes, FIRST + 28, &[9]);
    assert_eq!(parse_error(&bytes, &limits), descriptor_error(0, DescriptorFault::Location));
    put(&mut bytes, 63, &[1]);
    assert_eq!(parse_error(&bytes, &limits), FrameError::Padding { at: 63 });
    put(&mut bytes, 5, &[1]);
    assert!(matches!(parse_error(&bytes, &limits), FrameError::HeadChecksum { .. }));
    put(&mut bytes, 16, &1u64.to_le_bytes());
    let lengths = FrameError::FrameLen { stated: 1, computed: 128 };
    assert_eq!(parse_error(&bytes, &limits), lengths);
    put(&mut bytes, 8, &[0xff; 4]);
    assert!(matches!(parse_error(&bytes, &limits), FrameError::Limit { .. }));
    put(&mut bytes, 7, &[1]);
    assert_eq!(parse_error(&bytes, &limits), FrameError::Reserved { at: 7 });
}
