//! The format against its specification: the hostile table, the worked example, mutated frames.

#![forbid(unsafe_code)]

mod hostile;
mod mutated;
mod written;

use super::header::{HEAD_CRC_AT, HEADER_LEN, head_checksum};
use super::{
    Descriptor, FrameError, HeadOptions, Kind, Limits, SegmentFault, Segments, write_frame,
};

/// Array of 4: buffer 0, buffer 1, buffer 0 again, "x".
pub(crate) const BASE_METADATA: [u8; 12] =
    [0x94, 0xd4, 0x70, 0, 0xd4, 0x70, 1, 0xd4, 0x70, 0, 0xa1, b'x'];

/// The frame that the table of hostile inputs starts from.
pub(crate) fn base_frame(checksum: bool) -> Vec<u8> {
    let floats: Vec<u8> = (0..8192u32).flat_map(|n| n.to_le_bytes()).take(8192).collect();
    let mut buffers = [
        (Descriptor::inline(8192, Kind::F64, 6), &floats[..]),
        (Descriptor::inline(5000, Kind::OPAQUE, 6), &floats[..5000]),
    ];
    frame(&BASE_METADATA, &mut buffers, checksum)
}

pub(crate) fn frame(
    metadata: &[u8],
    buffers: &mut [(Descriptor, &[u8])],
    checksum: bool,
) -> Vec<u8> {
    let mut out = Vec::new();
    write_frame(&mut out, &[metadata], buffers, &HeadOptions { tag: 7, checksum, may: 0 }).unwrap();
    out
}

pub(crate) fn put(frame: &mut [u8], at: usize, bytes: &[u8]) {
    frame[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Makes the checksum of the head right again.
pub(crate) fn reseal(frame: &mut [u8], head_len: usize) {
    let crc = head_checksum(&frame[..head_len]);
    put(frame, HEAD_CRC_AT, &crc.to_le_bytes());
    assert!(head_len >= HEADER_LEN);
}

/// One segment, number 5, of 4096 bytes in blocks of 1024, all of generation 3.
pub(crate) struct OneSegment;

impl Segments for OneSegment {
    fn check(
        &self,
        segment: u32,
        offset: u64,
        len: u64,
        generation: u32,
    ) -> Result<(), SegmentFault> {
        if segment != 5 {
            return Err(SegmentFault::Unknown);
        }
        let end = offset.checked_add(len).filter(|&end| len > 0 && end <= 4096);
        if end.is_none_or(|end| (end - 1) / 1024 != offset / 1024) {
            return Err(SegmentFault::Bounds);
        }
        if generation == 3 { Ok(()) } else { Err(SegmentFault::Stale) }
    }
}

/// Panics when asked: for readers whose limits permit no segments.
pub(crate) struct NeverAsked;

impl Segments for NeverAsked {
    fn check(&self, _: u32, _: u64, _: u64, _: u32) -> Result<(), SegmentFault> {
        panic!("looked up although not permitted")
    }
}

pub(crate) fn permitted() -> Limits {
    Limits::default().segments(true)
}

pub(crate) fn parse_error(bytes: &[u8], limits: &Limits) -> FrameError {
    super::Frame::parse_with(bytes, limits, &OneSegment).unwrap_err()
}

/// xorshift64*: the same numbers for the same seed, everywhere.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 11) % bound.max(1)
    }

    pub(crate) fn index(&mut self, bound: usize) -> usize {
        usize::try_from(self.below(u64::try_from(bound).unwrap())).unwrap()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap()
    }
}
