//! The sound frames that bad vectors are made from, and how they are changed.

use pannier::frame::{Descriptor, HeadOptions, Kind, checksum, write_frame};
use pannier::{DescriptorFault, FrameError, LimitKind, MetaFault, SegmentFault};

use crate::ok_layout::references_to;

/// Name, what it shows, position, bytes laid over the frame, error.
pub(crate) type Overlaid<'a> = (&'a str, &'a str, usize, &'a [u8], FrameError);

/// Where the descriptors of both frames stand.
pub(crate) const FIRST: usize = 64;
pub(crate) const SECOND: usize = 96;
/// Bytes of their heads.
pub(crate) const HEAD_LEN: usize = 128;

/// A frame of 13 376 bytes, 12 of them metadata.
pub(crate) fn base() -> Vec<u8> {
    let metadata = [0x94, 0xd4, 0x70, 0, 0xd4, 0x70, 1, 0xd4, 0x70, 0, 0xa1, b'x'];
    let frame = frame(&metadata, &[(Kind::F64, &[0x3f; 8192]), (Kind::OPAQUE, &[1; 5000])], false);
    assert_eq!(frame.len(), 13_376);
    frame
}

/// A small frame of the same shape: metadata 32..39, padding to 64, table, 100 opaque bytes
/// 128..228, padding to 256, two f64 to 272, padding to 320.
pub(crate) fn small(checksum: bool) -> Vec<u8> {
    let (opaque, doubles) = ([0xaa; 100], [0x3f; 16]);
    let buffers = [(Kind::OPAQUE, &opaque[..]), (Kind::F64, &doubles[..])];
    let frame = frame(&references_to(2), &buffers, checksum);
    assert_eq!(frame.len(), 320);
    frame
}

pub(crate) fn frame(metadata: &[u8], buffers: &[(Kind, &[u8])], checksum: bool) -> Vec<u8> {
    let inline = |&(kind, bytes)| (Descriptor::inline(0, kind, 0), bytes);
    let mut buffers: Vec<_> = buffers.iter().map(inline).collect();
    frame_of(metadata, &mut buffers, checksum)
}

pub(crate) fn frame_of(
    metadata: &[u8],
    buffers: &mut [(Descriptor, &[u8])],
    checksum: bool,
) -> Vec<u8> {
    let mut out = Vec::new();
    let options = HeadOptions::default().tag(7).checksum(checksum);
    write_frame(&mut out, &[metadata], buffers, &options).unwrap();
    out
}

/// The frame with these bytes laid over it.
pub(crate) fn with(mut frame: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    frame[at..at + bytes.len()].copy_from_slice(bytes);
    frame
}

/// The frame with several such changes.
pub(crate) fn with_all(frame: Vec<u8>, changes: &[(usize, &[u8])]) -> Vec<u8> {
    changes.iter().fold(frame, |frame, &(at, bytes)| with(frame, at, bytes))
}

/// The frame with the checksum that its head should have.
pub(crate) fn sealed(frame: Vec<u8>, head_len: usize) -> Vec<u8> {
    let crc = head_crc(&frame, head_len);
    with(frame, 28, &crc.to_le_bytes())
}

pub(crate) fn head_crc(frame: &[u8], head_len: usize) -> u32 {
    checksum(&[&frame[..28], &frame[32..head_len]].concat())
}

/// The error of a frame whose head is not what its checksum was made of.
pub(crate) fn head_error(frame: &[u8], head_len: usize) -> FrameError {
    let stated = u32::from_le_bytes(frame[28..32].try_into().unwrap());
    let computed = head_crc(frame, head_len);
    assert_ne!(stated, computed);
    FrameError::HeadChecksum { stated, computed }
}

pub(crate) fn truncated(need: u64, have: u64) -> FrameError {
    FrameError::Truncated { need, have }
}

pub(crate) fn frame_len(stated: u64, computed: u64) -> FrameError {
    FrameError::FrameLen { stated, computed }
}

pub(crate) fn limit(what: LimitKind, value: u64, limit: u64) -> FrameError {
    FrameError::Limit { what, value, limit }
}

pub(crate) fn descriptor(index: u32, why: DescriptorFault) -> FrameError {
    FrameError::Descriptor { index, why }
}

pub(crate) fn segment(index: u32, why: SegmentFault) -> FrameError {
    FrameError::Segment { index, why }
}

pub(crate) fn meta(at: u64, why: MetaFault) -> FrameError {
    FrameError::Meta { at, why }
}
