//! What the writer makes: the format's example byte for byte, and frames that come back the same.

#![forbid(unsafe_code)]

use crate::frame::descriptor::DESCRIPTOR_LEN;
use crate::frame::header::HEADER_LEN;
use proptest::prelude::*;

use super::{base_frame, frame};
use crate::frame::{
    Descriptor, DescriptorFault, Frame, FrameError, HeadOptions, Kind, Layout, Limits, MetaFault,
    NoSegments, check_metadata, count_references, skip_value, write_frame, write_head,
};

#[rustfmt::skip]
const WORKED_EXAMPLE: [u8; 140] = [
    0xc1, 0x50, 0x4e, 0x52, 0x01, 0x01, 0x00, 0x00, 0x11, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00,
    0xc0, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x07, 0x00, 0x00, 0x00, 0x14, 0x12, 0xf3, 0x4c,
    0x83, 0xa2, 0x69, 0x64, 0xcd, 0x01, 0x2c, 0xa1, 0x78, 0xd4, 0x70, 0x00, 0xa1, 0x79, 0xd4, 0x70,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x80, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x0c, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x83, 0xe7, 0x4d, 0x38, 0x00, 0x00, 0x32, 0x06,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x80, 0x3f, 0x00, 0x00, 0x00, 0x40, 0x00, 0x00, 0x40, 0x40,
];

#[test]
fn the_worked_example_is_reproduced_byte_for_byte() {
    let mut expected = WORKED_EXAMPLE.to_vec();
    expected.resize(192, 0);
    let floats: Vec<u8> = [1.0f32, 2.0, 3.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    let (map, rest) = (&[0x83][..], &WORKED_EXAMPLE[33..49]);
    let mut buffers = [(Descriptor::inline(0, Kind::F32, 2), &floats[..])];
    let mut out = Vec::new();
    let options = HeadOptions { tag: 7, checksum: true, may: 0 };
    write_frame(&mut out, &[map, rest], &mut buffers, &options).unwrap();
    assert_eq!(out, expected);
    assert_eq!(out.capacity(), 192, "reserved once, exactly");
    let frame = Frame::parse_with(&out, &Limits::default(), &NoSegments).unwrap();
    let descriptor = frame.descriptor(0).unwrap();
    assert_eq!(descriptor, buffers[0].0);
    assert_eq!(frame.inline(&descriptor), Some(&floats[..]));
    assert_eq!(frame.inline_range(&descriptor), Some(128..140));
    assert_eq!((frame.tag(), frame.options().checksum), (7, true));
    let shown = format!("{frame:?}");
    assert!(shown.contains("192") && shown.len() < 120, "{shown}");
}

#[test]
fn a_frame_is_appended_behind_what_is_there() {
    let options = HeadOptions { tag: 7, checksum: true, may: 0 };
    let mut out = base_frame(true);
    let first = out.clone();
    let body = [9; 5000];
    let mut buffers = [(Descriptor::inline(0, Kind::U8, 12), &body[..])];
    write_frame(&mut out, &[&[0xd4, 0x70, 0]], &mut buffers, &options).unwrap();
    let second = frame(&[0xd4, 0x70, 0], &mut buffers, true);
    assert_eq!(out, [first, second].concat());
    // The largest alignment is that of the whole frame, so that the next one keeps it.
    assert_eq!(out.len() - 13_376, 4096 + 8192);
}

#[test]
fn a_frame_without_buffers_has_no_table() {
    let bytes = frame(&[0xc0], &mut [], false);
    assert_eq!(bytes.len(), 64);
    let frame = Frame::parse_with(&bytes, &Limits::default(), &NoSegments).unwrap();
    assert_eq!((frame.count(), frame.descriptors().count()), (0, 0));
    let layout = Layout::new(1, &mut []).unwrap();
    assert_eq!((layout.head_len(), layout.frame_len()), (HEADER_LEN + 1, 64));
}

#[test]
fn the_writer_refuses_what_no_reader_accepts() {
    use DescriptorFault::{Align, Crc, Empty, Fields, KindLen, Overflow};
    let inline = Descriptor::inline(64, Kind::F64, 6);
    for (bad, why) in [
        (Descriptor { align: 17, ..inline }, Align),
        (Descriptor { align: 5, ..inline }, Align),
        (Descriptor { len: 0, ..inline }, Empty),
        (Descriptor { len: 63, ..inline }, KindLen),
        (Descriptor { segment: 1, ..inline }, Fields),
        (Descriptor { crc: 1, ..Descriptor::segment(1, 0, 64, 1, Kind::U8, 0) }, Crc),
        (Descriptor::segment(1, u64::MAX, 64, 1, Kind::U8, 0), Overflow),
    ] {
        let error = FrameError::Descriptor { index: 1, why };
        assert_eq!(Layout::new(1, &mut [inline, bad]).unwrap_err(), error);
    }
    let empty = FrameError::Meta { at: 0, why: MetaFault::Eof };
    assert_eq!(Layout::new(0, &mut []).unwrap_err(), empty);
    let huge = Descriptor { len: u64::MAX - 7, ..inline };
    let error = Layout::new(1, &mut [huge, huge]).unwrap_err();
    assert!(matches!(error, FrameError::Limit { .. }), "{error}");
    #[cfg(target_pointer_width = "64")]
    {
        let error = Layout::new(1 << 32, &mut []).unwrap_err();
        assert!(matches!(error, FrameError::Limit { value: 0x1_0000_0000, .. }), "{error}");
    }
}

#[test]
fn a_large_head_points_at_bodies_of_any_size_without_touching_them() {
    let mut descriptors = [Descriptor::inline(1 << 39, Kind::F64, 6)];
    let layout = Layout::new(3, &mut descriptors).unwrap();
    let mut out = Vec::new();
    let options = HeadOptions::default();
    write_head(&mut out, &layout, &[&[0xd4, 0x70, 0]], &descriptors, &options);
    assert_eq!(out.len(), layout.head_len());
    assert_eq!(layout.head_len(), 64 + DESCRIPTOR_LEN);
    let (need, have) = (layout.frame_len(), 96);
    let error = Frame::parse_with(&out, &Limits::default(), &NoSegments).unwrap_err();
    assert_eq!(error, FrameError::Truncated { need, have });
}

#[test]
fn references_are_counted_in_metadata_that_stands_alone() {
    let limits = Limits::default();
    assert_eq!(count_references(&super::BASE_METADATA, &limits), Ok(2));
    assert_eq!(count_references(&[0xc0], &limits), Ok(0));
    let two_over_one = count_references(&super::BASE_METADATA, &limits.buffers(1));
    assert!(matches!(two_over_one, Err(FrameError::Limit { value: 2, limit: 1, .. })));
    let long = count_references(&super::BASE_METADATA, &limits.meta_len(11));
    assert!(matches!(long, Err(FrameError::Limit { value: 12, limit: 11, .. })));
    let none = count_references(&[], &limits);
    assert_eq!(none, Err(FrameError::Meta { at: 0, why: MetaFault::Eof }));
}

#[test]
fn references_take_the_shortest_form_at_every_size() {
    let reference = |index: u32| match index.to_le_bytes() {
        [a, 0, 0, 0] => vec![0xd4, 0x70, a],
        [a, b, 0, 0] => vec![0xd5, 0x70, a, b],
        [a, b, c, d] => vec![0xd6, 0x70, a, b, c, d],
    };
    let count = 65_540u32;
    let mut metadata = vec![0xdd];
    metadata.extend_from_slice(&count.to_be_bytes());
    (0..count).for_each(|index| metadata.extend(reference(index)));
    assert_eq!(check_metadata(&metadata, count, &Limits::default()), Ok(()));
    let more = check_metadata(&metadata, count + 1, &Limits::default());
    let end = u64::try_from(metadata.len()).unwrap();
    assert_eq!(more, Err(FrameError::Meta { at: end, why: MetaFault::Unreferenced }));
    // ext 8 with the same payload is as good, ext 16 is not.
    assert_eq!(check_metadata(&[0xc7, 1, 0x70, 0], 1, &Limits::default()), Ok(()));
    let ext_16 = check_metadata(&[0xc8, 0, 1, 0x70, 0], 1, &Limits::default());
    assert_eq!(ext_16, Err(FrameError::Meta { at: 0, why: MetaFault::ExtLen }));
}

#[test]
fn every_marker_is_walked_and_every_cut_of_it_is_an_end_of_file() {
    let values: [&[u8]; 31] = [
        &[0x00],
        &[0x7f],
        &[0xe0],
        &[0xff],
        &[0xc0],
        &[0xc2],
        &[0xc3],
        &[0xcc, 1],
        &[0xcd, 1, 2],
        &[0xce, 1, 2, 3, 4],
        &[0xcf, 1, 2, 3, 4, 5, 6, 7, 8],
        &[0xd0, 1],
        &[0xd1, 1, 2],
        &[0xd2, 1, 2, 3, 4],
        &[0xd3, 1, 2, 3, 4, 5, 6, 7, 8],
        &[0xca, 1, 2, 3, 4],
        &[0xcb, 1, 2, 3, 4, 5, 6, 7, 8],
        &[0xa0],
        &[0xa2, 0xc3, 0xa9],
        &[0xd9, 1, b'a'],
        &[0xda, 0, 1, b'a'],
        &[0xdb, 0, 0, 0, 1, b'a'],
        &[0xc4, 1, 0xff],
        &[0xc5, 0, 1, 0xff],
        &[0xc6, 0, 0, 0, 1, 0xff],
        &[0x90],
        &[0x91, 0xcd, 1, 2],
        &[0xdc, 0, 1, 0xc0],
        &[0xdd, 0, 0, 0, 1, 0xc0],
        &[0xde, 0, 1, 0xa0, 0x80],
        &[0xdf, 0, 0, 0, 1, 0xa0, 0x80],
    ];
    let limits = Limits::default();
    for value in values {
        assert_eq!(check_metadata(value, 0, &limits), Ok(()), "{value:x?}");
        assert_eq!(skip_value(value, 0), Some(value.len()), "{value:x?}");
        let behind = [&[0xc0], value, &[0xc0]].concat();
        assert_eq!(skip_value(&behind, 1), Some(1 + value.len()), "{value:x?}");
        for cut in 0..value.len() {
            let error = check_metadata(&value[..cut], 0, &limits).unwrap_err();
            let FrameError::Meta { at, why } = error else { panic!("{error}") };
            assert!(matches!(why, MetaFault::Eof | MetaFault::Length), "{value:x?} at {cut}");
            assert!(at <= u64::try_from(cut).unwrap());
            assert_eq!(skip_value(&value[..cut], 0), None);
        }
    }
    assert_eq!(skip_value(&[0xc0], 1), None);
    assert_eq!(skip_value(&[0xc0], usize::MAX), None);
}

proptest! {
    #[test]
    fn layouts_come_back_as_they_were_written(
        sizes in proptest::collection::vec((1usize..300, 0u8..=13, any::<u8>()), 0..12),
        padding in 0usize..40,
        tag: u32,
        checksum: bool,
        may: u8,
    ) {
        let mut metadata = vec![0xdc, 0, u8::try_from(sizes.len() + padding).unwrap()];
        for index in 0..sizes.len() {
            metadata.extend([0xd4, 0x70, u8::try_from(index).unwrap()]);
        }
        metadata.resize(metadata.len() + padding, 0xc0);
        let bodies: Vec<_> = sizes.iter().map(|&(len, _, fill)| vec![fill; len]).collect();
        let mut buffers: Vec<_> = sizes
            .iter()
            .zip(&bodies)
            .map(|(&(_, align, _), body)| (Descriptor::inline(0, Kind::U8, align), &body[..]))
            .collect();
        let mut out = Vec::new();
        let options = HeadOptions { tag, checksum, may };
        write_frame(&mut out, &[&metadata], &mut buffers, &options).unwrap();
        let frame = Frame::parse_with(&out, &Limits::default(), &NoSegments).unwrap();
        prop_assert_eq!(frame.metadata(), &metadata[..]);
        prop_assert_eq!(frame.options(), options);
        prop_assert_eq!(frame.verify(), Ok(()));
        for (found, (written, body)) in frame.descriptors().zip(&buffers) {
            prop_assert_eq!(found, *written);
            prop_assert_eq!(frame.inline(&found), Some(*body));
            prop_assert_eq!(found.offset % (1 << found.align), 0);
        }
        prop_assert_eq!(frame.descriptors().count(), buffers.len());
    }
}
