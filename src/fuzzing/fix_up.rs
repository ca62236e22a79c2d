//! [`fix_up`]: lengths, offsets and checksums made right again.
//!
//! Promises: no bytes make it panic, and time is linear but for a logarithm, since no value is
//! followed into the next frame. A sound frame stays as it is, and so does a stream of them.
//! Does not know: what the bytes mean. Magic, version, flags and metadata are left as they are.
#![forbid(unsafe_code)]

use crate::frame::{DESCRIPTOR_LEN, HEADER_LEN, Kind, MAGIC, checksum, skip_value};

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
    let value_end = skip_value(bytes.get(HEADER_LEN..reach(bytes)).unwrap_or_default(), 0);
    let frame_len = loop {
        let meta_len = meta_len(value_end, stated_len, count);
        put(bytes, 8, meta_len, 4);
        let meta_end = HEADER_LEN + meta_len;
        // A frame is a multiple of its largest alignment: where that is too long, it may be as
        // aligned as its room is long.
        let most = room.trailing_zeros().clamp(6, MOST_ALIGN);
        let placed = place(bytes, meta_end, count, MOST_ALIGN);
        if let Some(end) = placed.or_else(|| place(bytes, meta_end, count, most)) {
            break end;
        }
        count /= 2;
    };
    put(bytes, 12, count, 4);
    put(bytes, 16, frame_len, 8);
    seal(bytes);
    Some(frame_len)
}

/// Where the next frame seems to begin. No value is looked for beyond it: in a row of frames whose
/// values never end, each would be read from every one before it.
fn reach(bytes: &[u8]) -> usize {
    let begins = |at: &usize| bytes.get(*at..).is_some_and(|rest| rest.starts_with(&MAGIC));
    (64..bytes.len()).step_by(64).find(begins).unwrap_or(bytes.len())
}

/// The length of the first value, if the table can stay where it is; else what was stated.
fn meta_len(value_end: Option<usize>, stated: usize, count: usize) -> usize {
    let keeps_table =
        |end: &usize| *end <= stated && end.next_multiple_of(32) == stated.next_multiple_of(32);
    value_end.filter(|end| count == 0 || keeps_table(end)).unwrap_or(stated)
}

/// Lays the inline buffers one behind the other, none aligned beyond `2^most`, and clears what is
/// between; the frame's length, or `None` if there is no room for so many.
fn place(bytes: &mut [u8], meta_end: usize, count: usize, most: u32) -> Option<usize> {
    let table_at = if count == 0 { meta_end } else { meta_end.next_multiple_of(DESCRIPTOR_LEN) };
    let mut end = table_at + count * DESCRIPTOR_LEN;
    if end > bytes.len() {
        return None;
    }
    clear(bytes, meta_end, table_at);
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
const MOST_ALIGN: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Frame, Limits};
    use crate::fuzzing::seeds;

    #[test]
    fn a_stream_of_any_two_sound_frames_stays_as_it_is() {
        let sound: Vec<_> = seeds().filter(|(name, _)| name.starts_with("sound")).collect();
        for (first, before) in &sound {
            for (second, behind) in &sound {
                let stream = [*before, *behind].concat();
                let mut fixed = stream.clone();
                fix_up(&mut fixed);
                assert!(fixed == stream, "{first}, {second}");
            }
        }
    }

    #[test]
    fn a_large_alignment_gives_way_where_the_frame_would_be_too_long() {
        let (_, page) = seeds().find(|(name, _)| *name == "sound-page").unwrap();
        let mut bytes = page[..page.len() - 64].to_vec();
        fix_up(&mut bytes);
        let frame = &bytes[..number(&bytes, 16, 8)];
        let parsed = Frame::parse(frame, &Limits::default());
        let aligns: Vec<_> = parsed.unwrap().descriptors().map(|d| d.align).collect();
        assert_eq!(aligns.len(), 2);
        assert!(aligns[0] < 12);
    }

    /// An array of four thousand million items, of which one lies over each of the next headers.
    const ENDLESS: [u8; 7] = [0xdd, 0xff, 0xff, 0xff, 0xff, 0xc4, 0x3e];

    #[test]
    fn no_byte_is_read_as_metadata_of_more_than_one_frame() {
        for meta_len in [7, u32::MAX] {
            for count in [0, 1] {
                let mut one = [0; 64];
                one[..5].copy_from_slice(&[MAGIC[0], MAGIC[1], MAGIC[2], MAGIC[3], 1]);
                put(&mut one, 8, meta_len as usize, 4);
                put(&mut one, 12, count, 4);
                one[32..39].copy_from_slice(&ENDLESS);
                let mut bytes = one.repeat((1 << 20) / 64);
                let (mut at, mut read) = (0, 0);
                while bytes[at..].starts_with(&MAGIC) {
                    read += reach(&bytes[at..]);
                    at += fix_one(&mut bytes[at..]).unwrap();
                }
                assert!(at > 0 && read <= at.max(64), "{read} bytes are read of {at}");
            }
        }
    }
}
