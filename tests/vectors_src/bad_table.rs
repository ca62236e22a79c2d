//! Bad frames by their descriptors.

use pannier::frame::{self, Descriptor};
use pannier::{DescriptorFault, Limits, SegmentFault};

use crate::base::{
    FIRST, HEAD_LEN, Overlaid, SECOND, base, descriptor, frame_of, sealed, segment, small, with,
    with_all,
};
use crate::ok_layout::references_to;
use crate::vector::Bad;
use DescriptorFault::*;

pub(crate) fn all() -> Vec<Bad> {
    [fields(), codes(), lengths(), elsewhere(), offsets(), segments()].concat()
}

/// Each field of a descriptor, in the large frame.
fn fields() -> Vec<Bad> {
    let near_the_end = (u64::MAX - 63).to_le_bytes();
    let table: [Overlaid<'_>; 13] = [
        ("location_3", "Location 3.", FIRST + 28, &[3], descriptor(0, Location)),
        ("flag_2", "An unknown flag.", FIRST + 29, &[2], descriptor(0, Flags)),
        ("kind_30", "An unknown kind.", FIRST + 30, &[0x30], descriptor(0, Kind)),
        ("align_5", "Inline alignment 2^5.", FIRST + 31, &[5], descriptor(0, Align)),
        ("align_63", "Alignment 2^63.", FIRST + 31, &[63], descriptor(0, Align)),
        ("empty", "A buffer of no bytes.", FIRST + 8, &[0; 8], descriptor(0, Empty)),
        (
            "kind_len",
            "A length that is no multiple of the element.",
            FIRST + 8,
            &8191_u64.to_le_bytes(),
            descriptor(0, KindLen),
        ),
        ("overflow", "Offset and length pass 2^64.", FIRST, &near_the_end, descriptor(0, Overflow)),
        ("offset_0", "An offset into the header.", FIRST, &[0; 8], descriptor(0, Offset)),
        (
            "overlap",
            "The second buffer lies over the first.",
            SECOND,
            &128_u64.to_le_bytes(),
            descriptor(1, Offset),
        ),
        (
            "gap",
            "A gap between the buffers.",
            SECOND,
            &8384_u64.to_le_bytes(),
            descriptor(1, Offset),
        ),
        (
            "segment_number",
            "A segment of an inline buffer.",
            FIRST + 16,
            &[1],
            descriptor(0, Fields),
        ),
        ("crc", "A checksum without the flag.", FIRST + 24, &[1], descriptor(0, Crc)),
    ];
    let vector = |(name, shows, at, bytes, error): Overlaid<'_>| {
        Bad::new(&format!("table_{name}"), shows, with(base(), at, bytes), error)
    };
    table.into_iter().map(vector).collect()
}

/// What the coded bytes may not be.
fn codes() -> Vec<Bad> {
    let mut vectors = Vec::new();
    let mut add = |name: String, at: usize, byte: u8, why| {
        let shows = format!("Byte {} of the second descriptor is {byte:#04x}.", at - SECOND);
        let frame = with(small(false), at, &[byte]);
        vectors.push(Bad::new(&format!("code_{name}"), &shows, frame, descriptor(1, why)));
    };
    for byte in [3, 4, 0x80, 0xff] {
        add(format!("location_{byte:02x}"), SECOND + 28, byte, Location);
    }
    for byte in [0x02, 0x03, 0x80, 0xfe] {
        add(format!("flags_{byte:02x}"), SECOND + 29, byte, Flags);
    }
    for byte in [0x01, 0x0f, 0x15, 0x1f, 0x25, 0x30, 0x34, 0x40, 0x41, 0x42, 0x45, 0x50, 0x60, 0x7f]
    {
        add(format!("kind_{byte:02x}"), SECOND + 30, byte, Kind);
    }
    for byte in [0, 5, 17, 64, 0xff] {
        add(format!("align_{byte:02x}"), SECOND + 31, byte, Align);
    }
    vectors
}

fn lengths() -> Vec<Bad> {
    let mut vectors = Vec::new();
    // Each kind of more than one byte, with a length that is half an element too much.
    for (kind, len) in [
        (0x11, 17),
        (0x12, 18),
        (0x13, 20),
        (0x14, 24),
        (0x21, 15),
        (0x22, 14),
        (0x23, 12),
        (0x24, 8),
        (0x31, 1),
        (0x32, 2),
        (0x33, 4),
        (0x43, 4),
        (0x44, 8),
    ] {
        let frame = with_all(small(false), &[(SECOND + 30, &[kind]), (SECOND + 8, &[len])]);
        let name = format!("kind_len_{kind:02x}");
        let shows = "A length that is no multiple of the kind's element.";
        vectors.push(Bad::new(&name, shows, frame, descriptor(1, KindLen)));
    }
    let frame = with(small(false), SECOND + 8, &[0]);
    vectors.push(Bad::new("empty_second", "A buffer of no bytes.", frame, descriptor(1, Empty)));
    vectors
}

/// Fields that an inline or external buffer may not have.
fn elsewhere() -> Vec<Bad> {
    let external = |at: usize, bytes: &[u8], checksum| {
        let frame = frame_of(&references_to(1), &mut [(token(), &[])], checksum);
        let frame = with(frame, FIRST + at, bytes);
        if checksum { sealed(frame, 96) } else { frame }
    };
    let bad =
        |name: &str, shows: &str, frame, why| Bad::new(name, shows, frame, descriptor(0, why));
    vec![
        bad(
            "generation_inline",
            "A generation of an inline buffer.",
            with(small(false), FIRST + 23, &[1]),
            Fields,
        ),
        bad("external_segment", "A segment of an external one.", external(16, &[1], false), Fields),
        bad("external_generation", "A generation of one.", external(20, &[1], false), Fields),
        bad("external_crc", "An external one has no checksum.", external(24, &[1], true), Crc),
        bad("external_align_17", "Alignment 2^17.", external(31, &[17], false), Align),
        bad("external_empty", "An external one of no bytes.", external(8, &[0; 8], false), Empty),
        bad("external_kind_len", "12 bytes of f64.", external(8, &[12], false), KindLen),
        bad("external_flag", "An unknown flag of one.", external(29, &[4], false), Flags),
    ]
}

fn token() -> Descriptor {
    Descriptor::external(0, 64, frame::Kind::F64, 6)
}

fn offsets() -> Vec<Bad> {
    let moved = |name: &str, shows: &str, index: u32, to: u64| {
        let at = if index == 0 { FIRST } else { SECOND };
        let frame = with(small(false), at, &to.to_le_bytes());
        Bad::new(&format!("offset_{name}"), shows, frame, descriptor(index, Offset))
    };
    let endless = (u64::MAX - 128).to_le_bytes();
    vec![
        moved("in_table", "The first buffer over the table.", 0, 64),
        moved("unaligned", "One byte further.", 0, 129),
        moved("next_place", "One alignment further.", 0, 192),
        moved("early", "At the end of the buffer before it, without padding.", 1, 228),
        moved("same", "Where the buffer before it begins.", 1, 128),
        moved("beyond", "Beyond the frame.", 1, 4096),
        Bad::new(
            "offset_of_align",
            "Another alignment than the offset was made for.",
            with(small(false), SECOND + 31, &[9]),
            descriptor(1, Offset),
        ),
        Bad::new(
            "offset_behind_numbers",
            "The first buffer ends at 2^64-1: the second has no place.",
            with(small(false), FIRST + 8, &endless),
            descriptor(1, Offset),
        ),
        Bad::new(
            "overflow_by_one",
            "Offset and length come to 2^64.",
            with(small(false), FIRST + 8, &(u64::MAX - 127).to_le_bytes()),
            descriptor(0, Overflow),
        ),
    ]
}

/// As far as bytes and limits decide: the reader of the vectors has no segments.
fn segments() -> Vec<Bad> {
    use SegmentFault::{NotPermitted, Unknown};
    let of = |descriptors: &[Descriptor], checksum| {
        let mut buffers: Vec<_> = descriptors.iter().map(|&d| (d, &[][..])).collect();
        let count = u32::try_from(descriptors.len()).unwrap();
        frame_of(&references_to(count), &mut buffers, checksum)
    };
    let range = |offset| Descriptor::segment(5, offset, 64, 3, frame::Kind::OPAQUE, 6);
    let one = || of(&[range(64)], false);
    let behind = {
        let inline = (Descriptor::inline(0, frame::Kind::OPAQUE, 6), &[1_u8; 4][..]);
        frame_of(&references_to(2), &mut [inline, (range(0), &[])], true)
    };
    let aliased = [range(64).writable(true), range(64)];
    let permitted = Limits::default().segments(true);
    let crc = sealed(with(of(&[range(64)], true), FIRST + 24, &[1]), 96);
    let shows = "A segment where none is permitted.";
    vec![
        Bad::new("segment_not_permitted", shows, one(), segment(0, NotPermitted)),
        Bad::new("segment_not_permitted_1", shows, behind, segment(1, NotPermitted)),
        Bad::new("segment_unknown", "No segment of that number.", one(), segment(0, Unknown))
            .limits(permitted),
        Bad::new(
            "segment_aliased",
            "Permission comes before aliasing.",
            of(&aliased, false),
            segment(0, NotPermitted),
        ),
        Bad::new(
            "segment_align",
            "An offset that breaks its alignment is found first.",
            with(one(), FIRST, &[65]),
            descriptor(0, Align),
        ),
        Bad::new(
            "segment_align_17",
            "Alignment 2^17.",
            with(one(), FIRST + 31, &[17]),
            descriptor(0, Align),
        ),
        Bad::new("segment_empty", "No bytes.", with(one(), FIRST + 8, &[0]), descriptor(0, Empty)),
        Bad::new(
            "segment_overflow",
            "Offset and length pass 2^64.",
            with(one(), FIRST, &(u64::MAX - 63).to_le_bytes()),
            descriptor(0, Overflow),
        ),
        Bad::new("segment_crc", "A segment's range has no checksum.", crc, descriptor(0, Crc)),
        Bad::new(
            "segment_sealed",
            "With a checksum of the head.",
            of(&[range(64)], true),
            segment(0, NotPermitted),
        ),
        Bad::new(
            "segment_head_only",
            "All of the head is there, and the order of checks holds.",
            sealed(with(small(true), SECOND + 29, &[2]), HEAD_LEN),
            descriptor(1, Flags),
        ),
    ]
}
