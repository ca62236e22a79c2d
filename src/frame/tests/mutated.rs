//! Many damaged frames: none may panic, and those that are accepted must keep every promise.

#![forbid(unsafe_code)]

use super::{BASE_METADATA, NeverAsked, OneSegment, Random, base_frame, permitted, put, reseal};
use crate::frame::{
    Descriptor, Frame, HeadOptions, Kind, Layout, Limits, Location, Segments, skip_value,
    write_frame, write_head,
};

const ROUNDS: usize = 150_000;

#[test]
fn mutated_frames_never_panic_and_accepted_ones_are_sound() {
    let seeds = seeds();
    let mut random = Random::new(0x9e37_79b9_7f4a_7c15);
    let (mut accepted, mut changed) = (0, 0);
    for round in 0..ROUNDS {
        let seed = &seeds[random.index(seeds.len())];
        let mut bytes = seed.clone();
        for _ in 0..=random.below(2) {
            mutate(&mut bytes, &seeds, &mut random);
        }
        if round % 2 == 0 {
            fix_up(&mut bytes);
        }
        if check(&bytes, &permitted(), &OneSegment) {
            accepted += 1;
            changed += usize::from(bytes != *seed);
        }
        check(&bytes, &Limits::default().depth(2), &NeverAsked);
    }
    // The loop is worth nothing if all it makes is refused at the first check.
    assert!(accepted > ROUNDS / 20, "{accepted} accepted");
    assert!(changed > ROUNDS / 50, "{changed} accepted that are not seeds");
}

#[test]
fn arbitrary_metadata_never_panics_and_is_skipped_as_it_is_walked() {
    let mut random = Random::new(0xfeed);
    let limits = Limits::default();
    for _ in 0..ROUNDS {
        let len = 1 + random.index(24);
        let mut metadata: Vec<u8> = (0..len).map(|_| marker(&mut random)).collect();
        let count = crate::frame::count_references(&metadata, &limits);
        if let Ok(count) = count {
            assert_eq!(skip_value(&metadata, 0), Some(metadata.len()));
            assert_eq!(crate::frame::check_metadata(&metadata, count, &limits), Ok(()));
            metadata.pop();
            assert!(crate::frame::count_references(&metadata, &limits).is_err());
        }
        for at in 0..=len {
            assert!(skip_value(&metadata, at).is_none_or(|end| at < end && end <= metadata.len()));
        }
    }
}

/// Parses, and holds an accepted frame to the promises of the format.
fn check(bytes: &[u8], limits: &Limits, segments: &dyn Segments) -> bool {
    let whole = Frame::parse_with(bytes, limits, segments);
    let head = Frame::parse_head_with(bytes, limits, segments);
    let Ok(frame) = whole else {
        if let Ok(head) = head {
            assert_eq!(head.check_metadata(limits).err(), whole.err());
        } else {
            assert_eq!(head.err(), whole.err());
        }
        return false;
    };
    assert!(head.is_ok() && frame.as_bytes().len() == bytes.len());
    let mut end = 0;
    for (descriptor, index) in frame.descriptors().zip(0..) {
        assert_eq!(frame.descriptor(index), Some(descriptor));
        assert!(limits.segments || descriptor.location != Location::Segment);
        if descriptor.location != Location::Inline {
            assert_eq!(frame.inline(&descriptor), None);
            continue;
        }
        let range = frame.inline_range(&descriptor).unwrap();
        assert!(end <= range.start && range.start < range.end && range.end <= bytes.len());
        assert_eq!(range.start % (1 << descriptor.align), 0);
        assert_eq!(frame.inline(&descriptor), Some(&bytes[range.clone()]));
        end = range.end;
    }
    check_rewritten(bytes, &frame);
    true
}

fn check_rewritten(bytes: &[u8], frame: &Frame<'_>) {
    let mut descriptors: Vec<Descriptor> = frame.descriptors().collect();
    let options = frame.options();
    let layout = Layout::new(frame.metadata().len(), &mut descriptors).unwrap();
    let mut head = Vec::new();
    write_head(&mut head, &layout, &[frame.metadata()], &descriptors, &options);
    assert_eq!(head, bytes[..head.len()]);
    assert_eq!(layout.frame_len(), u64::try_from(bytes.len()).unwrap());
    // The rest is the same too where it is as a writer leaves it.
    let mut buffers: Vec<_> =
        descriptors.iter().map(|d| (*d, frame.inline(d).unwrap_or_default())).collect();
    let mut out = Vec::new();
    write_frame(&mut out, &[frame.metadata()], &mut buffers, &options).unwrap();
    assert_eq!(out.len(), bytes.len());
    let written: Vec<_> = buffers.iter().map(|(descriptor, _)| *descriptor).collect();
    let as_left = frame.verify().is_ok();
    assert_eq!(out == bytes, as_left && written == descriptors);
}

fn seeds() -> Vec<Vec<u8>> {
    let bytes: Vec<u8> = (0..=255).collect();
    let inline = |len: usize, kind, align| (Descriptor::inline(0, kind, align), &bytes[..len]);
    let segment = |offset, len| Descriptor::segment(5, offset, len, 3, Kind::U16, 5);
    let elsewhere = |descriptor| (descriptor, &[][..]);
    let external = Descriptor { location: Location::External, ..segment(77, 6) };
    let external = Descriptor { segment: 0, generation: 0, ..external };
    let writable = Descriptor { writable: true, ..segment(1024, 64) };
    let two = [0x92, 0xd4, 0x70, 0, 0x81, 0xa1, b'k', 0xd4, 0x70, 1];
    let nested = [0x83, 0xa1, b'a', 0x93, 1, 0xc0, 0xcd, 1, 2, 0xa1, b'b', 0x90, 0xa0, 0xc4, 1, 9];
    let mut all = vec![base_frame(false)];
    for checksum in [false, true] {
        let frame = |metadata: &[u8], buffers: &mut [(Descriptor, &[u8])]| {
            let mut out = Vec::new();
            let options = HeadOptions { tag: 1, checksum, may: 0 };
            write_frame(&mut out, &[metadata], buffers, &options).unwrap();
            out
        };
        all.push(frame(&nested, &mut []));
        all.push(frame(&two, &mut [inline(12, Kind::F32, 6), inline(64, Kind::OPAQUE, 6)]));
        all.push(frame(&two, &mut [inline(80, Kind::COMPLEX128, 7), inline(1, Kind::I8, 8)]));
        all.push(frame(&two, &mut [elsewhere(segment(64, 128)), inline(2, Kind::U8, 6)]));
        all.push(frame(&two, &mut [elsewhere(segment(0, 64)), elsewhere(segment(32, 64))]));
        all.push(frame(&two, &mut [elsewhere(writable), elsewhere(segment(2048, 64))]));
        all.push(frame(&two, &mut [elsewhere(external), inline(200, Kind::U64, 6)]));
        all.push(frame(&BASE_METADATA, &mut [inline(8, Kind::U64, 6), inline(9, Kind::U8, 6)]));
    }
    all
}

fn mutate(bytes: &mut Vec<u8>, seeds: &[Vec<u8>], random: &mut Random) {
    // Most faults of interest lie in the head, which is short beside the buffers.
    let reach = bytes.len().min(if random.below(4) == 0 { usize::MAX } else { 160 });
    if reach < 16 {
        return bytes.push(random.byte());
    }
    let at = random.index(reach);
    match random.below(7) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = marker(random),
        2 => bytes.truncate(at),
        3 => put(bytes, at.min(reach - 4) & !3, &forged(random).to_le_bytes()[..4]),
        4 => put(bytes, at.min(reach - 8) & !7, &forged(random).to_le_bytes()),
        5 => {
            let other = &seeds[random.index(seeds.len())];
            let len = 1 + random.index(32.min(reach - at).min(other.len()));
            let from = random.index(other.len() - len + 1);
            put(bytes, at, &other[from..from + len]);
        }
        _ => {
            let len = random.index(65);
            bytes.splice(at..at, std::iter::repeat_n(random.byte(), len));
        }
    }
}

fn forged(random: &mut Random) -> u64 {
    let edges = [0, 1, 32, 63, 64, 65, 127, 128, 192, 1 << 31, 1 << 32, 1 << 63, u64::MAX - 63];
    match random.below(16) {
        15 => random.next(),
        14 => u64::MAX - random.below(64),
        _ => edges[random.index(edges.len())].wrapping_add(random.below(2)),
    }
}

/// A byte that is likely to mean something in metadata.
fn marker(random: &mut Random) -> u8 {
    let common = [0x70, 0, 1, 0x81, 0x92, 0xa1, b'x', 0xc0, 0xd4, 0xd5, 0xdc, 0xde, 0xc7, 0xdd];
    if random.below(3) == 0 { random.byte() } else { common[random.index(common.len())] }
}

/// Makes lengths, offsets and the head's checksum consistent, so that later checks are reached.
fn fix_up(bytes: &mut Vec<u8>) {
    let field = |bytes: &[u8], at: usize| -> Option<usize> {
        let word = bytes.get(at..)?.first_chunk::<4>()?;
        usize::try_from(u32::from_le_bytes(*word)).ok()
    };
    let (Some(meta_len), Some(count)) = (field(bytes, 8), field(bytes, 12)) else { return };
    let meta_end = 32 + meta_len;
    let head_len = if count == 0 { meta_end } else { meta_end.next_multiple_of(32) + 32 * count };
    if head_len > bytes.len() {
        return;
    }
    let (mut end, mut frame_align) = (head_len, 6);
    for at in (0..count).map(|index| head_len - 32 * (count - index)) {
        let (location, align) = (bytes[at + 28], bytes[at + 31]);
        let Some(len) = field(bytes, at + 8).filter(|&len| location == 0 && len < 1 << 14) else {
            continue;
        };
        let start = end.next_multiple_of(1 << align.min(12));
        put(bytes, at, &u64::try_from(start).unwrap().to_le_bytes());
        end = start + len;
        frame_align = frame_align.max(align.min(12));
    }
    bytes.resize(end.next_multiple_of(1 << frame_align), 0);
    let frame_len = u64::try_from(bytes.len()).unwrap();
    put(bytes, 16, &frame_len.to_le_bytes());
    if bytes[5] & 1 == 1 {
        reseal(bytes, head_len);
    } else {
        put(bytes, 28, &[0; 4]);
    }
}
