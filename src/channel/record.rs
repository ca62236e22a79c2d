//! What the records of a channel's rings are, and the messages of its socket.
//!
//! Little-endian, fixed fields. A record begins with its kind, in eight bytes:
//!
//! | kind | behind it |
//! | --- | --- |
//! | 1 value | metadata of a value without buffers |
//! | 2 frame | a frame whose buffers lie in shared blocks |
//! | 3 block | where such a frame lies: segment, generation (u32 each), offset, length (u64 each) |
//!
//! Promises: bytes that are none of these are `None`.
//! Does not know: whether what is named exists.
#![forbid(unsafe_code)]

use crate::shm::BlockName;

/// A segment's number with this bit is one of the receiver's own: the buffer goes back to it.
pub(super) const RETURNED: u32 = 1 << 31;

/// Bytes before a record's contents.
pub(super) const HEAD_LEN: usize = 8;

/// Longer contents travel in a block.
pub(super) const INLINE_MAX: usize = 16 << 10;

pub(super) const VALUE: u8 = 1;
pub(super) const FRAME: u8 = 2;
pub(super) const BLOCK: u8 = 3;

/// A range of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) segment: u32,
    pub(super) generation: u32,
    pub(super) offset: u64,
    pub(super) len: u64,
}

/// A record of values, as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Record<'r> {
    Value(&'r [u8]),
    Frame(&'r [u8]),
    Block(Range),
}

pub(super) fn head(kind: u8) -> [u8; HEAD_LEN] {
    u64::from(kind).to_le_bytes()
}

pub(super) fn read(record: &[u8]) -> Option<Record<'_>> {
    let mut rest = record;
    match u8::try_from(take_u64(&mut rest)?).ok()? {
        VALUE => Some(Record::Value(rest)),
        FRAME => Some(Record::Frame(rest)),
        BLOCK => {
            let (segment, generation) = (take_u32(&mut rest)?, take_u32(&mut rest)?);
            let (offset, len) = (take_u64(&mut rest)?, take_u64(&mut rest)?);
            let range = Range { segment, generation, offset, len };
            rest.is_empty().then_some(Record::Block(range))
        }
        _ => None,
    }
}

impl Range {
    pub(super) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(24);
        bytes.extend(self.segment.to_le_bytes());
        bytes.extend(self.generation.to_le_bytes());
        bytes.extend(self.offset.to_le_bytes());
        bytes.extend(self.len.to_le_bytes());
        bytes
    }
}

/// Names in one record of releases, at most.
pub(super) const NAMES_AT_ONCE: usize = 40;

/// Blocks that are let go of, once so many lines of records have been taken in.
pub(super) fn releases(after: u64, names: impl ExactSizeIterator<Item = BlockName>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(8 + 12 * names.len());
    bytes.extend(after.to_le_bytes());
    for name in names {
        bytes.extend(name.segment.to_le_bytes());
        bytes.extend(name.index.to_le_bytes());
        bytes.extend(name.generation.to_le_bytes());
    }
    bytes
}

/// Puts the names in place of those in `names`.
pub(super) fn read_releases(record: &[u8], names: &mut Vec<BlockName>) -> Option<u64> {
    let mut rest = record;
    let after = take_u64(&mut rest)?;
    names.clear();
    while !rest.is_empty() {
        let (segment, index) = (take_u32(&mut rest)?, take_u32(&mut rest)?);
        names.push(BlockName { segment, index, generation: take_u32(&mut rest)? });
    }
    Some(after)
}

/// What is said over the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Note {
    /// Look at the ring.
    Bell,
    /// Before all others, with the two lanes: to send in, to receive from.
    Hello { words: u64 },
    /// A segment to map, with its descriptor.
    Attach { segment: u32, len: u64, block_len: u64 },
    /// A segment to unmap.
    Detach { segment: u32 },
}

/// Room for the longest note.
pub(super) const NOTE_SPACE: usize = 64;

const BELL: u8 = 1;
const HELLO: u8 = 2;
const ATTACH: u8 = 3;
const DETACH: u8 = 4;
const MAGIC: [u8; 8] = *b"pannierC";
const VERSION: u32 = 1;

impl Note {
    pub(super) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(NOTE_SPACE);
        match self {
            Note::Bell => bytes.push(BELL),
            Note::Hello { words } => {
                bytes.push(HELLO);
                bytes.extend(MAGIC);
                bytes.extend(VERSION.to_le_bytes());
                bytes.extend(words.to_le_bytes());
            }
            Note::Attach { segment, len, block_len } => {
                bytes.push(ATTACH);
                bytes.extend(segment.to_le_bytes());
                bytes.extend(len.to_le_bytes());
                bytes.extend(block_len.to_le_bytes());
            }
            Note::Detach { segment } => {
                bytes.push(DETACH);
                bytes.extend(segment.to_le_bytes());
            }
        }
        bytes
    }

    pub(super) fn read(bytes: &[u8]) -> Option<Note> {
        let (&kind, mut rest) = bytes.split_first()?;
        let note = match kind {
            BELL => Note::Bell,
            HELLO => {
                rest = rest.strip_prefix(&MAGIC)?;
                let words = (take_u32(&mut rest)? == VERSION).then(|| take_u64(&mut rest))??;
                Note::Hello { words }
            }
            ATTACH => Note::Attach {
                segment: take_u32(&mut rest)?,
                len: take_u64(&mut rest)?,
                block_len: take_u64(&mut rest)?,
            },
            DETACH => Note::Detach { segment: take_u32(&mut rest)? },
            _ => return None,
        };
        rest.is_empty().then_some(note)
    }
}

fn take_u32(rest: &mut &[u8]) -> Option<u32> {
    let (bytes, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(u32::from_le_bytes(*bytes))
}

fn take_u64(rest: &mut &[u8]) -> Option<u64> {
    let (bytes, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_and_records_are_read_as_they_were_written() {
        let notes = [
            Note::Bell,
            Note::Hello { words: 9 },
            Note::Attach { segment: 1, len: 2, block_len: 3 },
            Note::Detach { segment: 7 },
        ];
        for note in notes {
            let bytes = note.to_bytes();
            assert_eq!(Note::read(&bytes), Some(note));
            assert_eq!(Note::read(&bytes[..bytes.len() - 1]), None, "{note:?}");
            assert_eq!(Note::read(&[&bytes[..], &[0]].concat()), None, "{note:?}");
        }
        let range = Range { segment: 1, generation: 2, offset: 3, len: 4 };
        let record = [&head(BLOCK)[..], &range.to_bytes()].concat();
        assert_eq!(read(&record), Some(Record::Block(range)));
        for len in 0..record.len() {
            assert_eq!(read(&record[..len]), None);
        }
        assert_eq!(read(&head(9)), None);
    }

    #[test]
    fn releases_are_read_as_they_were_written() {
        let name = |n| BlockName { segment: n, index: n + 1, generation: n + 2 };
        let names: Vec<_> = (0..5).map(name).collect();
        let record = releases(77, names.iter().copied());
        let mut found = Vec::new();
        assert_eq!(read_releases(&record, &mut found), Some(77));
        assert_eq!(found, names);
        assert_eq!(read_releases(&record[1..], &mut found), None);
    }
}
