//! Hostile bytes, fed to all that draws and checks.
//!
//! The library is the judge: what it says of the same bytes in memory is what the commands must say
//! of them as they are read. A failure prints the seed of its round.

use pannier::frame::{
    Descriptor, Frame, HeadOptions, Kind, Location, checksum, checksum_append, write_frame,
};
use pannier::{Buffer, Encoder, FrameError, Limits};

use crate::Outcome;
use crate::fields::{Header, number};
use crate::input::Input;
use crate::inspect::draw_bytes;
use crate::verify::check;

/// xorshift64*.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(number).expect("31 bits") % end.max(1)
    }
}

fn good_frames() -> Vec<Vec<u8>> {
    let floats: Buffer<f64> = (0..100u8).map(f64::from).collect::<Vec<_>>().into();
    let bytes: Buffer<u8> = vec![7; 300].into();
    let nested = vec![vec![(1u8, "two", Some(-3.5f32))]; 4];
    let mut frames = Vec::new();
    for checksum in [false, true] {
        let encoder = Encoder::new().threshold(64).checksum(checksum).tag(9);
        frames.push(encoder.to_vec(&("x", &floats, &bytes, &floats)).expect("a frame"));
        frames.push(encoder.to_vec(&nested).expect("a frame"));
        frames.push(encoder.page_aligned(true).to_vec(&(&bytes, u64::MAX)).expect("a frame"));
    }
    let mut descriptor = Descriptor::inline(64, Kind::F64, 3);
    descriptor.location = Location::External;
    let segment = Descriptor::segment(3, 128, 64, 9, Kind::COMPLEX64, 6);
    for descriptor in [descriptor, segment] {
        let (mut out, metadata) = (Vec::new(), [0x92, 0xd4, 0x70, 0, 0xc0]);
        let options = HeadOptions::default().checksum(true);
        let buffers = &mut [(descriptor, &b""[..])];
        write_frame(&mut out, &[&metadata], buffers, &options).expect("a frame");
        frames.push(out);
    }
    frames
}

fn mutated(random: &mut Random, frame: &[u8]) -> Vec<u8> {
    const NUMBERS: [u64; 8] = [0, 1, 0x70, 0xc1, 64, 1 << 31, 1 << 63, u64::MAX];
    let mut bytes = frame.to_vec();
    for _ in 0..=random.below(4) {
        // Most that can be wrong stands in the head.
        let end = if random.below(4) > 0 { bytes.len().min(160) } else { bytes.len() };
        let at = random.below(end);
        match random.below(8) {
            0 => bytes.truncate(at),
            1 => bytes.extend_from_slice(frame),
            2 => {
                let number = NUMBERS[random.below(NUMBERS.len())].to_le_bytes();
                let len = 1 << random.below(4);
                bytes.iter_mut().skip(at).take(len).zip(number).for_each(|(to, from)| *to = from);
            }
            3 => bytes.extend(vec![0; random.below(130)]),
            _ => {
                let bit = 1 << random.below(8);
                bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= bit);
            }
        }
    }
    if random.below(3) > 0 {
        fix_checksum(&mut bytes);
    }
    bytes
}

/// So that what is wrong behind the checksum is found too.
fn fix_checksum(bytes: &mut [u8]) {
    let Some(header) = Header::read(bytes).filter(Header::has_checksums) else { return };
    let end = usize::try_from(header.head_len()).unwrap_or(usize::MAX);
    let Some(behind) = bytes.get(32..end) else { return };
    let crc = checksum_append(checksum(&bytes[..28]), behind);
    bytes[28..32].copy_from_slice(&crc.to_le_bytes());
}

fn judge(bytes: &[u8], limits: &Limits) -> Result<(), FrameError> {
    Frame::parse(bytes, limits)?.verify()
}

#[test]
fn nothing_that_is_drawn_or_checked_panics_and_the_library_agrees() {
    let frames = good_frames();
    let limits = Limits::default().meta_len(4096).buffers(64);
    let (mut bad, mut compared) = (0, 0);
    for seed in 1..=2_000u64 {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let pick = random.below(frames.len());
        let bytes = mutated(&mut random, &frames[pick]);
        let report = check(&mut Input::of_bytes(&bytes), &limits).expect("memory can be read");
        match judge(&bytes, &limits) {
            // Several frames are one stream to us.
            Err(FrameError::Trailing { .. }) => {}
            Ok(()) => assert!(report.sound, "seed {seed}: {report:?}"),
            Err(error) => {
                let first = &report.problems[0].error;
                assert_eq!(first.line, format!("{error:?}"), "seed {seed}");
                compared += 1;
            }
        }
        // Everything takes its time, so it is drawn now and then.
        let full = seed % 8 == 0;
        let (outcome, text) = draw_bytes(&bytes, &limits, false, full);
        let (same, json) = draw_bytes(&bytes, &limits, true, full);
        assert_eq!(outcome, same, "seed {seed}");
        assert!(text.contains("error:") == (outcome != Outcome::Sound), "seed {seed}: {text}");
        assert!(outcome == Outcome::Sound || !report.sound, "seed {seed}: {text}");
        let document: Result<serde_json::Value, _> = serde_json::from_str(&json);
        assert!(document.is_ok(), "seed {seed}: {json}");
        bad += u32::from(!report.sound);
    }
    assert!(bad > 1_000 && compared > 750, "{bad} were bad, {compared} compared");
}

#[test]
fn a_frame_that_is_cut_anywhere_is_drawn_as_far_as_it_goes() {
    let limits = Limits::default();
    for frame in good_frames().iter().take(2) {
        let len = number(frame, 16, 8).expect("a header");
        for cut in 1..frame.len() {
            let bytes = &frame[..cut];
            let report = check(&mut Input::of_bytes(bytes), &limits).expect("memory can be read");
            let error = judge(bytes, &limits).expect_err("it is cut");
            assert_eq!(report.problems[0].error.line, format!("{error:?}"), "{cut} of {len}");
            let (outcome, text) = draw_bytes(bytes, &limits, false, false);
            assert_eq!(outcome, Outcome::Unsound);
            assert!(text.contains("<-- the input ends here"), "{cut} of {len}: {text}");
            draw_bytes(bytes, &limits, true, true);
        }
    }
}

#[test]
fn deep_and_long_metadata_is_drawn_up_to_its_fault() {
    let frame = |metadata: &[u8]| {
        let mut out = Vec::new();
        write_frame(&mut out, &[metadata], &mut [], &HeadOptions::default()).expect("a frame");
        out
    };
    let (_, deep) = draw_bytes(&frame(&[0x91; 100_000]), &Limits::default(), false, true);
    assert!(deep.contains("129  <-- Meta { at: 129, why: Depth }"), "{}", &deep[..2_000]);
    let mut long = vec![0xdc, 0x03, 0xe8];
    long.extend([7; 999]);
    long.push(0xc1);
    let (_, long) = draw_bytes(&frame(&long), &Limits::default(), false, false);
    assert!(long.contains("    ... 740 values more; --full draws all"), "{long}");
    assert!(long.contains("      1001    [998] fixint 7\n      1002  <-- Meta"), "{long}");
    assert!(long.contains("metadata  ..........."), "{long}");
}
