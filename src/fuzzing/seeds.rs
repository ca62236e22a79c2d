//! [`seeds`]: where a fuzzer begins.
//!
//! Promises: `sound-` frames are accepted and stand `verify`, `policy-` ones are sound frames that a
//! limit or a type refuses, `hostile-` inputs are each refused for the reason that their name gives,
//! `stream-` inputs are several frames. The numbers are those of the format's table of hostile inputs.
#![forbid(unsafe_code)]

use std::sync::LazyLock;

use crate::frame::{Descriptor, HeadOptions, Kind, write_frame};
use crate::fuzzing::random::Random;

/// Frames of every shape with their names, the worked example of the format, and hostile inputs
/// with their good parents.
///
/// # Examples
///
/// ```
/// use pannier::{Limits, frame::Frame, fuzzing};
///
/// for (name, bytes) in fuzzing::seeds() {
///     let sound = Frame::parse(bytes, &Limits::default()).is_ok();
///     assert!(sound || !name.starts_with("sound"), "{name}");
/// }
/// ```
pub fn seeds() -> impl Iterator<Item = (&'static str, &'static [u8])> {
    SEEDS.iter().map(|(name, bytes)| (*name, &bytes[..]))
}

pub(super) fn any_seed(random: &mut Random) -> &'static [u8] {
    &SEEDS[random.below(SEEDS.len())].1
}

type Seed = (&'static str, Vec<u8>);

static SEEDS: LazyLock<Vec<Seed>> = LazyLock::new(|| {
    [sound(), streams(), cut_or_foreign(), fields(), damaged(), segments(), metadata(), policy()]
        .concat()
});

fn sound() -> Vec<Seed> {
    let numbers: Vec<u8> = (0..=255).collect();
    let inline = |len: usize, kind, align| (Descriptor::inline(0, kind, align), &numbers[..len]);
    let external = Descriptor::external(0, 8, Kind::F64, 6);
    let writable = Descriptor { writable: true, ..Descriptor::inline(0, Kind::OPAQUE, 6) };
    let two = &[0x92, 0xd4, 0x70, 0, 0x81, 0xa1, b'k', 0xd4, 0x70, 1];
    let nested = &[0x83, 0xa1, b'a', 0x93, 1, 0xc0, 0xcd, 1, 2, 0xa1, b'b', 0x90, 0xa0, 0xc4, 1, 9];
    vec![
        ("sound-worked-example", worked_example()),
        ("sound-base", base(false)),
        ("sound-base-checksum", base(true)),
        ("sound-nil", alone(&[0xc0])),
        ("sound-nested", frame(nested, &[], true)),
        ("sound-every-marker", alone(&every_marker())),
        ("sound-variants", alone(&[&[0x81, 0xa1, b'A'].repeat(12)[..], &[0xa1, b'E']].concat())),
        ("sound-long-forms", alone(LONG_FORMS)),
        ("sound-floats", frame(two, &[inline(12, Kind::F32, 6), inline(64, Kind::F64, 6)], false)),
        (
            "sound-aligned",
            frame(two, &[inline(80, Kind::COMPLEX128, 7), inline(1, Kind::I8, 8)], true),
        ),
        ("sound-page", frame(two, &[inline(16, Kind::U128, 12), inline(2, Kind::F16, 6)], true)),
        (
            "sound-opaque",
            frame(two, &[inline(200, Kind::OPAQUE, 6), inline(99, Kind::U8, 6)], false),
        ),
        ("sound-writable", frame(two, &[(writable, &numbers[..9]), inline(8, Kind::I64, 6)], true)),
        ("sound-external", frame(two, &[(external, &[]), inline(200, Kind::U64, 6)], false)),
        ("sound-repeats", frame(&repeats(40), &[inline(30, Kind::U16, 6)], false)),
        ("sound-window", window()),
        ("sound-may", with(base(false), &[(6, &[0xa5])])),
    ]
}

fn streams() -> Vec<Seed> {
    vec![
        ("stream-two", [base(true), worked_example()].concat()),
        ("stream-five", alone(&[0xc3]).repeat(5)),
        ("stream-cut", [base(false), base(true)[..100].to_vec()].concat()),
        ("stream-spoiled", [worked_example(), vec![0x93; 40]].concat()),
        ("stream-window", [window(), base(true)].concat()),
        ("stream-window-between", [base(true), window(), base(false)].concat()),
    ]
}

/// Rows 1 to 5.
fn cut_or_foreign() -> Vec<Seed> {
    let base = base(false);
    vec![
        ("hostile-01-empty", Vec::new()),
        ("hostile-02-31-bytes", base[..31].to_vec()),
        ("hostile-03-one-byte-missing", base[..base.len() - 1].to_vec()),
        ("hostile-04-trailing", [&base[..], &[0; 64]].concat()),
        ("hostile-05-bare-messagepack", vec![0x93; 40]),
    ]
}

/// Rows 6 to 33: the base frame with bytes laid over it.
fn fields() -> Vec<Seed> {
    const FIRST: usize = 64;
    const SECOND: usize = 96;
    let rows: [(&'static str, usize, &[u8]); 27] = [
        ("hostile-06-version", 4, &[2]),
        ("hostile-07-unknown-flag", 5, &[0x80]),
        ("hostile-08-reserved", 7, &[1]),
        ("hostile-09-crc-without-flag", 28, &[0, 0, 0, 1]),
        ("hostile-10-no-metadata", 8, &[0; 4]),
        ("hostile-11-meta-len", 8, &[0xff; 4]),
        ("hostile-12-buffers", 12, &[0xff; 4]),
        ("hostile-13-frame-len", 16, &(1u64 << 63).to_le_bytes()),
        ("hostile-14-shorter-than-head", 16, &64u64.to_le_bytes()),
        ("hostile-15-no-multiple", 16, &255u64.to_le_bytes()),
        ("hostile-16-spare-bytes", 16, &320u64.to_le_bytes()),
        ("hostile-17-more-descriptors", 12, &60_000u32.to_le_bytes()),
        ("hostile-18-location", FIRST + 28, &[3]),
        ("hostile-19-descriptor-flag", FIRST + 29, &[2]),
        ("hostile-20-kind", FIRST + 30, &[0x30]),
        ("hostile-21-align-5", FIRST + 31, &[5]),
        ("hostile-22-align-63", FIRST + 31, &[63]),
        ("hostile-23-empty-buffer", FIRST + 8, &[0; 8]),
        ("hostile-24-part-of-an-element", FIRST + 8, &63u64.to_le_bytes()),
        ("hostile-25-overflow", FIRST, &(u64::MAX - 63).to_le_bytes()),
        ("hostile-26-into-the-header", FIRST, &[0; 8]),
        ("hostile-27-overlap", SECOND, &128u64.to_le_bytes()),
        ("hostile-28-gap", SECOND, &256u64.to_le_bytes()),
        ("hostile-29-past-the-end", SECOND + 8, &1_000_000u64.to_le_bytes()),
        ("hostile-30-segment-of-inline", FIRST + 16, &[1]),
        ("hostile-31-buffer-crc-without-flag", FIRST + 24, &[1]),
        ("hostile-32-padding-of-head", 50, &[1]),
    ];
    let laid = rows.iter().map(|&(name, at, bytes)| (name, with(base(false), &[(at, bytes)])));
    laid.collect()
}

/// Rows 33 and 35 to 37.
fn damaged() -> Vec<Seed> {
    vec![
        ("hostile-33-padding-of-end", with(base(false), &[(255, &[1])])),
        ("hostile-35-header-bit", with(base(true), &[(24, &[0x17])])),
        ("hostile-36-descriptor-bit", with(base(true), &[(72, &[0x60])])),
        ("hostile-37-buffer-bit", with(base(true), &[(130, &[0x10])])),
    ]
}

/// Rows 38 to 44.
fn segments() -> Vec<Seed> {
    let good = Descriptor::segment(5, 64, 64, 3, Kind::OPAQUE, 6);
    let writable = good.writable(true);
    let one = |descriptor| frame(&REFERENCE, &[(descriptor, &[][..])], false);
    let both = [0x92, 0xd4, 0x70, 0, 0xd4, 0x70, 1];
    let unaligned = with(one(good), &[(64, &65u64.to_le_bytes())]);
    let external = Descriptor::external(64, 64, Kind::OPAQUE, 6);
    vec![
        ("hostile-38-segment", one(good)),
        ("hostile-39-unknown-segment", one(Descriptor { segment: 6, ..good })),
        ("hostile-40-generation", one(Descriptor { generation: 2, ..good })),
        ("hostile-41-out-of-block", one(Descriptor { offset: 4032, len: 65, ..good })),
        ("hostile-42-unaligned", unaligned),
        ("hostile-43-aliased", frame(&both, &[(writable, &[]), (good, &[])], false)),
        ("policy-44-external", one(external)),
    ]
}

/// Rows 45 to 57.
fn metadata() -> Vec<Seed> {
    let deep = [&[0x81, 0xa1, b'V'].repeat(200)[..], &[0xc0]].concat();
    let rows: [(&'static str, &[u8]); 11] = [
        ("hostile-45-cut-string", &[0xa5, b'a', b'b']),
        ("hostile-46-c1", &[0xc1]),
        ("hostile-47-utf8", &[0xa1, 0xff]),
        ("hostile-48-long-array", &[0xdd, 0xff, 0xff, 0xff, 0xff, 0]),
        ("hostile-49-long-map", &[0xde, 0xff, 0xff, 0]),
        ("hostile-50-second-value", &[0xc0, 0xc0]),
        ("hostile-51-timestamp", &[0xd6, 0xff, 0, 0, 0, 0]),
        ("hostile-52-long-reference", &[0xd7, 0x70, 0, 0, 0, 0, 0, 0, 0, 0]),
        ("hostile-53-no-such-buffer", &[0xd4, 0x70, 0]),
        ("hostile-54-two-byte-reference", &[0xd5, 0x70, 0, 0]),
        ("hostile-57-too-deep", &deep),
    ];
    let mut all: Vec<Seed> = rows.iter().map(|&(name, bytes)| (name, alone(bytes))).collect();
    all.push(("hostile-55-order", with(base(false), &[(35, &[1])])));
    all.push(("hostile-56-unreferenced", with(base(false), &[(38, &[0])])));
    all
}

/// Rows 58 to 63: sound frames that a limit or a type refuses.
fn policy() -> Vec<Seed> {
    let large = vec![7; 2048];
    let repeated = frame(&repeats(64), &[(Descriptor::inline(0, Kind::U8, 6), &large[..])], false);
    let odd = [0u8; 51];
    let view = frame(&REFERENCE, &[(Descriptor::inline(0, Kind::OPAQUE, 6), &odd[..])], false);
    let entries = [0x82, 0xa1, b'A', 0xc0, 0xa1, b'E', 0xc0];
    vec![
        ("policy-58-enum-of-two-entries", alone(&entries)),
        ("policy-59-repeats", repeated),
        ("policy-60-view-of-odd-length", view),
        ("policy-62-integer", alone(&[5])),
        ("policy-63-negative", alone(&[0xff])),
    ]
}

/// Array of 4: buffer 0, buffer 1, buffer 0 again, "x". 256 bytes, the table at 64.
fn base(checksum: bool) -> Vec<u8> {
    let bytes: Vec<u8> = (0..64).collect();
    let metadata = [0x94, 0xd4, 0x70, 0, 0xd4, 0x70, 1, 0xd4, 0x70, 0, 0xa1, b'x'];
    let buffers = [
        (Descriptor::inline(0, Kind::F64, 6), &bytes[..]),
        (Descriptor::inline(0, Kind::OPAQUE, 6), &bytes[..50]),
    ];
    frame(&metadata, &buffers, checksum)
}

/// Larger than what a reader of streams reads ahead.
fn window() -> Vec<u8> {
    frame(&REFERENCE, &[(Descriptor::inline(0, Kind::U8, 6), &[7; 20_000][..])], false)
}

/// Section 1.10 of the format.
fn worked_example() -> Vec<u8> {
    let metadata = [
        0x83, 0xa2, b'i', b'd', 0xcd, 1, 0x2c, 0xa1, b'x', 0xd4, 0x70, 0, 0xa1, b'y', 0xd4, 0x70, 0,
    ];
    let floats = [1f32, 2.0, 3.0].map(f32::to_le_bytes).concat();
    frame(&metadata, &[(Descriptor::inline(0, Kind::F32, 6), &floats)], true)
}

/// Lengths and references in more bytes than they need.
const LONG_FORMS: &[u8] = &[
    0xdc, 0, 6, 0xdd, 0, 0, 0, 0, 0xdf, 0, 0, 0, 1, 0xd9, 1, b'k', 0xcd, 0, 1, 0xde, 0, 0, 0xda, 0,
    1, b'x', 0xc5, 0, 1, 7, 0xdb, 0, 0, 0, 1, b'y',
];
const REFERENCE: [u8; 3] = [0xd4, 0x70, 0];

fn every_marker() -> Vec<u8> {
    let mut metadata = vec![0xdc, 0, 36];
    let fixed = [0x00, 0x7f, 0x80, 0x90, 0xa0, 0xc0, 0xc2, 0xc3, 0xe0, 0xff];
    metadata.extend(fixed);
    metadata.extend([0x81, 0xa1, b'k', 0x91, 0xc0, 0xc4, 0, 0xc5, 0, 0, 0xc6, 0, 0, 0, 0]);
    let widths = [4, 8, 1, 2, 4, 8, 1, 2, 4, 8];
    for (marker, width) in (0xca..).zip(widths) {
        metadata.push(marker);
        metadata.extend(vec![0x81; width]);
    }
    metadata.extend([0xd9, 0, 0xda, 0, 0, 0xdb, 0, 0, 0, 0, 0xdc, 0, 0, 0xdd, 0, 0, 0, 0]);
    metadata.extend([0xde, 0, 0, 0xdf, 0, 0, 0, 0]);
    metadata.extend([0xa3, b'e', b'n', b'd', 0xcb, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0, 1, 2, 3]);
    metadata
}

fn repeats(count: u8) -> Vec<u8> {
    [&[0xdc, 0, count][..], &REFERENCE.repeat(usize::from(count))].concat()
}

fn alone(metadata: &[u8]) -> Vec<u8> {
    frame(metadata, &[], false)
}

fn frame(metadata: &[u8], buffers: &[(Descriptor, &[u8])], checksum: bool) -> Vec<u8> {
    let mut out = Vec::new();
    let options = HeadOptions { tag: 7, checksum, may: 0 };
    let mut buffers = buffers.to_vec();
    write_frame(&mut out, &[metadata], &mut buffers, &options).expect("seeds keep the rules");
    out
}

fn with(mut frame: Vec<u8>, changes: &[(usize, &[u8])]) -> Vec<u8> {
    for (at, bytes) in changes {
        frame[*at..][..bytes.len()].copy_from_slice(bytes);
    }
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Frame, FrameError, FrameReader, Limits, checksum};

    #[test]
    fn seeds_are_what_their_names_say() {
        for (name, bytes) in seeds() {
            let parsed = Frame::parse(bytes, &Limits::default());
            let verified = parsed.as_ref().map_err(|e| *e).and_then(Frame::verify);
            match name.split('-').next() {
                Some("sound" | "policy") => assert_eq!(verified, Ok(()), "{name}"),
                Some("hostile") => assert!(verified.is_err(), "{name}"),
                _ => assert!(matches!(parsed, Err(FrameError::Trailing { .. })), "{name}"),
            }
        }
        let mut names: Vec<_> = seeds().map(|(name, _)| name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), seeds().count());
    }

    #[test]
    fn the_worked_example_is_the_one_of_the_format() {
        let bytes = worked_example();
        assert_eq!(bytes.len(), 192);
        assert_eq!(bytes[28..32], [0x14, 0x12, 0xf3, 0x4c]);
        assert_eq!(bytes[88..92], checksum(&bytes[128..140]).to_le_bytes());
    }

    #[test]
    fn frames_of_a_stream_are_read_one_by_one() {
        let mut reader = FrameReader::new(Limits::tiny());
        let (_, two) = seeds().find(|(name, _)| *name == "stream-two").unwrap();
        reader.space()[..two.len()].copy_from_slice(two);
        reader.advance(two.len());
        assert_eq!(reader.next_frame().unwrap().unwrap(), base(true));
        assert_eq!(reader.next_frame().unwrap().unwrap(), worked_example());
    }
}
