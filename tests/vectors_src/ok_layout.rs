//! Sound frames by their header, table and padding.

use pannier::Limits;
use pannier::frame::{Descriptor, HeadOptions, Kind};
use serde_json::json;

use crate::parts::xorshift;
use crate::tree::unhex;
use crate::vector::Good;

pub(crate) fn all() -> Vec<Good> {
    [heads(), layouts(), descriptors(), references(), externals(), limits()].concat()
}

/// References to buffers `0..count`, in an array.
pub(crate) fn references_to(count: u32) -> Vec<u8> {
    let mut metadata = match count {
        0..16 => vec![0x90 | u8::try_from(count).unwrap()],
        _ => [&[0xdd][..], &count.to_be_bytes()].concat(),
    };
    (0..count).for_each(|index| metadata.extend(reference(index)));
    metadata
}

pub(crate) fn reference(index: u32) -> Vec<u8> {
    let bytes = index.to_le_bytes();
    match index {
        0..0x100 => vec![0xd4, 0x70, bytes[0]],
        0x100..0x1_0000 => [&[0xd5, 0x70][..], &bytes[..2]].concat(),
        _ => [&[0xd6, 0x70][..], &bytes].concat(),
    }
}

/// An inline buffer with bytes of its own.
fn body(len: usize, kind: Kind, align: u8) -> (Descriptor, Vec<u8>) {
    let seed = u64::try_from(len).unwrap() + (u64::from(kind.to_byte()) << 32) + 1;
    (Descriptor::inline(0, kind, align), xorshift(seed, len))
}

fn opaque(lens: &[usize]) -> Vec<(Descriptor, Vec<u8>)> {
    lens.iter().map(|&len| body(len, Kind::OPAQUE, 6)).collect()
}

fn heads() -> Vec<Good> {
    let head = |tag, checksum, may| HeadOptions::default().tag(tag).checksum(checksum).may(may);
    let plain = head(0, false, 0);
    let text = |len: u8| [vec![0xd9, len - 2], vec![b'm'; usize::from(len) - 2]];
    let mut vectors = vec![
        Good::new("nil", "The smallest frame: one byte of metadata.", vec![0xc0])
            .value(json!(null))
            .options(plain),
        Good::new("head_of_64", "The metadata ends where the frame does.", text(32).concat()),
        Good::new("head_of_65", "One byte more takes another 64.", text(33).concat()),
        Good::new(
            "head_checksum",
            "A checksum of the head, and no buffer.",
            unhex("93 c3 c2 cd 01 2c"),
        )
        .value(json!([true, false, 300]))
        .checksum(),
    ];
    for (name, shows, options) in [
        ("tag_bytes", "The tag is little-endian.", head(0x0102_0304, false, 0)),
        ("tag_largest", "The tag has 32 bits.", head(u32::MAX, false, 0)),
        ("may_all", "A reader ignores every may flag.", head(0, false, 0xff)),
        ("may_one", "A reader ignores a may flag; the checksum covers it.", head(1, true, 0x40)),
        ("may_low", "A may flag where must has its known one.", head(0, false, 0x01)),
    ] {
        vectors.push(Good::new(name, shows, vec![0x07]).value(json!(7)).options(options));
    }
    vectors
}

fn layouts() -> Vec<Good> {
    let one = || opaque(&[10]);
    let named = |len: usize| {
        let text = vec![b'm'; len - 6];
        [&[0x92, 0xd4, 0x70, 0, 0xd9, u8::try_from(text.len()).unwrap()][..], &text].concat()
    };
    let aligned = |aligns: &[u8]| aligns.iter().map(|&a| body(20, Kind::U32, a)).collect();
    vec![
        Good::new("table_at_64", "A table behind metadata without padding.", named(32))
            .buffers(one()),
        Good::new("table_at_96", "A table behind 31 bytes of padding.", named(33)).buffers(one()),
        Good::new("one_byte", "A buffer of one byte.", reference(0)).buffers(opaque(&[1])),
        Good::new("no_padding", "Buffers of 64 bytes lie side by side.", references_to(3))
            .buffers(opaque(&[64, 64, 64])),
        Good::new("no_padding_checksum", "The same, with checksums.", references_to(3))
            .buffers(opaque(&[64, 64, 64]))
            .checksum(),
        Good::new("odd_lengths", "Buffers of 1, 63, 65, 127, 129 bytes.", references_to(5))
            .buffers(opaque(&[1, 63, 65, 127, 129]))
            .checksum(),
        Good::new("aligns_rising", "Alignments 2^6 to 2^10.", references_to(5))
            .buffers(aligned(&[6, 7, 8, 9, 10])),
        Good::new("aligns_falling", "The largest alignment rounds the frame.", references_to(5))
            .buffers(aligned(&[10, 9, 8, 7, 6])),
        Good::new("align_11", "A frame is a multiple of its largest alignment.", references_to(2))
            .buffers(aligned(&[6, 11])),
        Good::new("align_13", "One small buffer at 2^13.", reference(0)).buffers(aligned(&[13])),
        Good::new("align_16", "The largest alignment.", reference(0)).buffers(aligned(&[16])),
    ]
}

fn descriptors() -> Vec<Good> {
    let kinds = [
        0x00, 0x10, 0x11, 0x12, 0x13, 0x14, 0x20, 0x21, 0x22, 0x23, 0x24, 0x31, 0x32, 0x33, 0x43,
        0x44,
    ];
    let kind = |byte: u8| Kind::from_byte(byte).unwrap();
    let all = kinds.map(|byte| body(48, kind(byte), 6)).to_vec();
    let advisory = [0x80, 0x83, 0xc1, 0xff].map(|byte| body(7, kind(byte), 6)).to_vec();
    let mut writable = body(24, Kind::I64, 6);
    writable.0.writable = true;
    vec![
        Good::new("kinds", "Every kind that version 1 names.", references_to(16)).buffers(all),
        Good::new("kinds_advisory", "Kinds from 0x80: no size is checked.", references_to(4))
            .buffers(advisory),
        Good::new("writable", "An inline buffer whose source was mutable.", reference(0))
            .buffers(vec![writable.clone()]),
        Good::new("writable_two", "Two of them, which cannot meet.", references_to(2))
            .buffers(vec![writable.clone(), writable])
            .checksum(),
    ]
}

fn references() -> Vec<Good> {
    let three = || opaque(&[3, 4, 5]);
    vec![
        Good::new("reference_alone", "The value is a buffer.", reference(0)).buffers(opaque(&[3])),
        Good::new(
            "references_repeated",
            "Buffers are referenced again, before and after the first use of the next.",
            unhex("97 d4 70 00 d4 70 00 d4 70 01 d4 70 00 d4 70 02 d4 70 01 d4 70 02"),
        )
        .buffers(three()),
        Good::new(
            "references_ext8",
            "References as ext 8 with a length of one byte.",
            unhex("93 c7 01 70 00 d4 70 01 c7 01 70 02"),
        )
        .value(json!([{"buffer": 0}, {"buffer": 1}, {"buffer": 2}]))
        .buffers(three()),
        Good::new(
            "references_nested",
            "References in arrays, as map values and as a map key.",
            unhex("82 a1 61 91 d4 70 00 d4 70 01 81 a1 62 d4 70 02"),
        )
        .buffers(three()),
        Good::new(
            "bytes_beside_a_buffer",
            "Byte strings in band, one of them empty, beside a buffer.",
            unhex("93 c4 00 d4 70 00 c4 03 01 02 03"),
        )
        .value(json!([{"bytes": ""}, {"buffer": 0}, {"bytes": "010203"}]))
        .buffers(opaque(&[300])),
    ]
}

fn externals() -> Vec<Good> {
    let external =
        |offset, len, kind, align| (Descriptor::external(offset, len, kind, align), Vec::new());
    let token = || external(7, 64, Kind::F64, 6);
    vec![
        Good::new(
            "external",
            "A buffer that only the application finds: sound, and `External` when decoded.",
            reference(0),
        )
        .buffers(vec![token()]),
        Good::new(
            "external_token",
            "An external offset is a token: it has no end and no alignment.",
            references_to(2),
        )
        .buffers(vec![
            external(u64::MAX, u64::MAX, Kind::U8, 16),
            external((1 << 53) + 1, 1, Kind::OPAQUE, 0),
        ]),
        Good::new(
            "external_beside_inline",
            "The external buffer takes no place in the frame and has no checksum.",
            references_to(3),
        )
        .buffers(vec![body(9, Kind::OPAQUE, 6), token(), body(9, Kind::OPAQUE, 7)])
        .checksum(),
    ]
}

/// Limits are the largest that is accepted.
fn limits() -> Vec<Good> {
    let default = Limits::default();
    let two = || {
        Good::new("limits_exact", "Each limit is just kept.", references_to(2))
            .buffers(opaque(&[10, 10]))
    };
    vec![
        two().limits(default.meta_len(7).buffers(2).frame_len(256).depth(1)),
        Good::new("limit_depth_0", "A scalar has no depth.", vec![0xa1, b'x'])
            .limits(default.depth(0)),
        Good::new("limit_buffers_0", "No buffer is needed.", vec![0x90]).limits(default.buffers(0)),
        Good::new("segments_permitted", "Permission alone changes nothing.", vec![0xc0])
            .limits(default.segments(true)),
    ]
}
