//! [`fix_up`]: lengths, offsets and checksums made right again.
//!
//! Promises: no bytes make it panic, and time is linear but for a logarithm. A sound frame stays
//! as it is.
//! Does not know: what the bytes mean. Magic, version, flags and metadata are left as they are.
#![forbid(unsafe_code)]

use crate::frame::{Kind, checksum, skip_value};
use crate::fuzzing::{DESCRIPTOR_LEN, HEADER_LEN, MAGIC};

/// Makes the lengths, offsets, padding and checksums of a frame agree with each other, as far as
/// its parts can be told, so that a change behind the first checks is not refused by them.
///
/// What lies behind the frame is left alone, unless another one begins there: then that is put
/// right too.
///
/// # Examples
///
/// ```
/// use pannier::{Encoder, FrameError, Limits, frame::Frame, fuzzing};
///
/// let mut bytes = Encoder::new().checksum(true).to_vec("east")?;
/// bytes[33] = b'w';
/// let damaged = Frame::parse(&bytes, &Limits::default());
/// assert!(matches!(damaged, Err(FrameError::HeadChecksum { .. })));
/// fuzzing::fix_up(&mut bytes);
/// assert!(Frame::parse(&bytes, &Limits::default()).is_ok());
/// # Ok::<(), pannier::CodecError>(())
/// ```
pub fn fix_up(frame: &mut [u8]) {
    let mut rest = frame;
    while let Some(len) = fix_one(rest) {
        rest = std::mem::take(&mut rest).get_mut(len..).unwrap_or_default();
        if !rest.starts_with(&MAGIC) {
            return;
        }
    }
}

/// The length of the frame that begins `bytes`, as it is now; `None` if there is no room for one.
fn fix_one(bytes: &mut [u8]) -> Option<usize> {
    let room = bytes.len() & !63;
    let bytes = bytes.get_mut(..room).filter(|bytes| !bytes.is_empty())?;
    let stated_len = number(bytes, 8, 4).clamp(1, room - HEADER_LEN);
    let mut count = number(bytes, 12, 4).min((room - HEADER_LEN - 1) / DESCRIPTOR_LEN);
    let frame_len = loop {
        let meta_len = end_of_metadata(bytes, stated_len, count);
        put(bytes, 8, meta_len, 4);
        if let Some(end) = place(bytes, HEADER_LEN + meta_len, count) {
            break end;
        }
        count /= 2;
    };
    put(bytes, 12, count, 4);
    put(bytes, 16, frame_len, 8);
    seal(bytes);
    Some(frame_len)
}

/// Where the first value ends, if the table can stay where it is; else what was stated.
fn end_of_metadata(bytes: &[u8], stated: usize, count: usize) -> usize {
    let behind = bytes.get(HEADER_LEN..).unwrap_or_default();
    let reach = if count == 0 { behind.len() } else { stated };
    let value_end = behind.get(..reach).and_then(|metadata| skip_value(metadata, 0));
    let keeps_table =
        |end: &usize| count == 0 || end.next_multiple_of(32) == stated.next_multiple_of(32);
    value_end.filter(keeps_table).unwrap_or(stated)
}

/// Lays the inline buffers one behind the other and clears what is between; the frame's length,
/// or `None` if there is no room for so many.
fn place(bytes: &mut [u8], meta_end: usize, count: usize) -> Option<usize> {
    let table_at = if count == 0 { meta_end } else { meta_end.next_multiple_of(DESCRIPTOR_LEN) };
    let mut end = table_at + count * DESCRIPTOR_LEN;
    if end > bytes.len() {
        return None;
    }
    clear(bytes, meta_end, table_at);
    // The frame is a multiple of its largest alignment, and no longer than its room.
    let most = bytes.len().trailing_zeros().clamp(6, 16);
    let mut largest = 6;
    for at in (table_at..end).step_by(DESCRIPTOR_LEN) {
        if bytes[at + 28] != INLINE {
            put(bytes, at + 24, 0, 4);
            continue;
        }
        let align = u32::from(bytes[at + 31]).clamp(6, most);
        let start = end.next_multiple_of(1 << align);
        let len = place_one(bytes, at, start)?;
        put(bytes, at + 31, usize::try_from(align).unwrap_or(6), 1);
        clear(bytes, end, start);
        end = start + len;
        largest = largest.max(align);
    }
    let frame_len = end.next_multiple_of(1 << largest);
    clear(bytes, end, frame_len);
    (frame_len <= bytes.len()).then_some(frame_len)
}

/// Puts one inline buffer at `start`, no longer than there is room, and says how long it is.
fn place_one(bytes: &mut [u8], at: usize, start: usize) -> Option<usize> {
    let room = bytes.len().checked_sub(start).filter(|&room| room > 0)?;
    let len = number(bytes, at + 8, 8).clamp(1, room);
    let element = Kind::from_byte(bytes[at + 30]).and_then(Kind::element_size);
    let element = element.and_then(|size| usize::try_from(size).ok()).unwrap_or(1);
    let whole = len - len % element;
    if whole == 0 {
        put(bytes, at + 30, 0, 1);
    }
    let len = if whole == 0 { len } else { whole };
    put(bytes, at, start, 8);
    put(bytes, at + 8, len, 8);
    put(bytes, at + 16, 0, 8);
    Some(len)
}

/// Checksums where the frame has them, zeros where it does not.
fn seal(bytes: &mut [u8]) {
    let (meta_len, count) = (number(bytes, 8, 4), number(bytes, 12, 4));
    let has_checksums = bytes[5] & 1 == 1;
    let meta_end = HEADER_LEN + meta_len;
    let table_at = if count == 0 { meta_end } else { meta_end.next_multiple_of(DESCRIPTOR_LEN) };
    let head_len = table_at + count * DESCRIPTOR_LEN;
    for at in (table_at..head_len).step_by(DESCRIPTOR_LEN) {
        let (start, len) = (number(bytes, at, 8), number(bytes, at + 8, 8));
        let inline = has_checksums && bytes[at + 28] == INLINE;
        let body = bytes.get(start..).and_then(|rest| rest.get(..len)).filter(|_| inline);
        let crc = body.map_or(0, checksum);
        bytes[at + 24..at + 28].copy_from_slice(&crc.to_le_bytes());
    }
    let head = bytes.get(..head_len).unwrap_or_default();
    let covered = [head.get(..28), head.get(HEADER_LEN..)].map(Option::unwrap_or_default).concat();
    let crc = if has_checksums { checksum(&covered) } else { 0 };
    bytes[28..32].copy_from_slice(&crc.to_le_bytes());
}

/// The little-endian number of `width` bytes at `at`, where there are so many.
pub(super) fn number(bytes: &[u8], at: usize, width: usize) -> usize {
    let field = bytes.get(at..).and_then(|rest| rest.get(..width)).unwrap_or_default();
    let value = field.iter().rev().fold(0u64, |value, &byte| value << 8 | u64::from(byte));
    usize::try_from(value).unwrap_or(usize::MAX)
}

fn put(bytes: &mut [u8], at: usize, value: usize, width: usize) {
    bytes[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
}

fn clear(bytes: &mut [u8], from: usize, to: usize) {
    if let Some(padding) = bytes.get_mut(from..to) {
        padding.fill(0);
    }
}

const INLINE: u8 = 0;
