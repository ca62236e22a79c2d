//! Frames of many buffers and of many bytes: only their JSON is kept.

use pannier::Limits;
use pannier::frame::{Descriptor, HeadOptions, Kind};

use crate::ok_layout::{reference, references_to};
use crate::parts::{Count, Part, xorshift};
use crate::tree::unhex;
use crate::vector::Good;

pub(crate) fn all() -> Vec<Good> {
    vec![large(), very_large(), two_byte_references(), most_buffers(), four_byte_references()]
}

/// Just over 1 MiB, so that the last number of the generator is cut.
fn large() -> Good {
    const LEN: usize = (1 << 20) + 3;
    let descriptor = Descriptor::inline(0, Kind::OPAQUE, 6);
    Good::new("large_1_mib", "1 MiB and 3 bytes, with a checksum.", reference(0))
        .checksum()
        .buffers(vec![(descriptor, xorshift(1, LEN))])
        .parts(vec![(128, vec![Part::Xorshift { seed: 1, len: LEN }])])
}

fn very_large() -> Good {
    const LEN: usize = 16 << 20;
    let descriptor = Descriptor::inline(0, Kind::F64, 12);
    Good::new("large_16_mib", "16 MiB at a multiple of 4096, with a checksum.", reference(0))
        .options(HeadOptions::default().tag(16).checksum(true))
        .buffers(vec![(descriptor, xorshift(16, LEN))])
        .parts(vec![(4096, vec![Part::Xorshift { seed: 16, len: LEN }])])
}

/// Above 255 an index takes two bytes. The buffers differ, so that none can stand for another.
fn two_byte_references() -> Good {
    const COUNT: u16 = 300;
    let mut metadata = [&[0x92][..], &references_to(COUNT.into())].concat();
    metadata.extend(unhex(
        "96 d5 70 00 01  c7 02 70 00 01  c7 02 70 2b 01  d4 70 ff  c7 01 70 ff  d4 70 00",
    ));
    let mut parts = parts_of_alike(&metadata, COUNT.into());
    if let Part::Repeat { bytes: descriptor, .. } = &mut parts[1].1[0] {
        descriptor[8] = 2;
    }
    let number = Count { at: 0, size: 2, from: 0, step: 1 };
    parts[2].1 = vec![Part::counted(&[0; 64], COUNT.into(), number)];
    let buffer =
        |index: u16| (Descriptor::inline(0, Kind::OPAQUE, 6), index.to_le_bytes().to_vec());
    let shows = "300 buffers: fixext 2 and ext 8 from 256 on.";
    Good::new("references_two_bytes", shows, metadata)
        .buffers((0..COUNT).map(buffer).collect())
        .parts(parts)
}

fn most_buffers() -> Good {
    let shows = "As many buffers as the default limits permit.";
    many("buffers_65536", shows, references_to(65_536), 65_536)
}

/// Above 65 535 an index takes four bytes; the limit on buffers has to be raised.
fn four_byte_references() -> Good {
    const COUNT: u32 = 65_540;
    let mut metadata = [&[0x92][..], &references_to(COUNT)].concat();
    metadata.extend(unhex(
        "97 d6 70 00000100 c7 04 70 00000100 c7 04 70 03000100 d5 70 ffff c7 02 70 ffff d5 70 0001 \
         d4 70 ff",
    ));
    let shows = "65,540 buffers: fixext 4 and ext 8 from 65,536 on.";
    many("references_four_bytes", shows, metadata, COUNT).limits(Limits::default().buffers(COUNT))
}

/// `count` buffers of one byte each.
fn many(name: &str, shows: &str, metadata: Vec<u8>, count: u32) -> Good {
    let parts = parts_of_alike(&metadata, count);
    let buffer = || (Descriptor::inline(0, Kind::OPAQUE, 6), vec![7]);
    Good::new(name, shows, metadata).buffers((0..count).map(|_| buffer()).collect()).parts(parts)
}

/// What is known of a frame of `count` opaque buffers of the byte 7, which its metadata refers to
/// in one array.
pub(crate) fn parts_of_alike(metadata: &[u8], count: u32) -> Vec<(usize, Vec<Part>)> {
    let times = u64::from(count);
    let table_at = (32 + metadata.len()).next_multiple_of(32);
    let first_offset = (u64::try_from(table_at).unwrap() + 32 * times).next_multiple_of(64);
    let descriptor = [&[0; 8][..], &[1], &[0; 22], &[6]].concat();
    let offsets = Count { at: 0, size: 8, from: first_offset, step: 64 };
    let body = [&[7][..], &[0; 63]].concat();
    let references_at = 32 + metadata.windows(3).position(|w| w == [0xd4, 0x70, 0]).unwrap();
    vec![
        (references_at, references(times)),
        (table_at, vec![Part::counted(&descriptor, times, offsets)]),
        (usize::try_from(first_offset).unwrap(), vec![Part::repeat(&body, times)]),
    ]
}

/// References to buffers `0..count`, by their width.
fn references(count: u64) -> Vec<Part> {
    let number = |size, from| Count { at: 2, size, from, step: 1 };
    let mut parts = vec![
        Part::counted(&[0xd4, 0x70, 0], 256, number(1, 0)),
        Part::counted(&[0xd5, 0x70, 0, 0], count.min(65_536) - 256, number(2, 256)),
    ];
    if count > 65_536 {
        let wide = [0xd6, 0x70, 0, 0, 0, 0];
        parts.push(Part::counted(&wide, count - 65_536, number(4, 65_536)));
    }
    parts
}
