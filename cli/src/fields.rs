//! The fields of a header and of descriptors as they stand there, sound or not.
//!
//! The library gives out only what it has checked, so what is drawn of a broken frame is read here,
//! from the offsets of the format. Nothing here judges.

use pannier::Limits;
use pannier::frame::Kind;
use serde::Serialize;

use crate::show::{counted, grouped, narrow};

pub(crate) const HEADER_LEN: u64 = 32;
pub(crate) const DESCRIPTOR_LEN: u64 = 32;
pub(crate) const MAGIC: [u8; 4] = [0xc1, b'P', b'N', b'R'];

/// Name, offset and length of each field of the header.
pub(crate) const HEADER_FIELDS: [(&str, usize, usize); 10] = [
    ("magic", 0, 4),
    ("version", 4, 1),
    ("must", 5, 1),
    ("may", 6, 1),
    ("reserved", 7, 1),
    ("meta_len", 8, 4),
    ("buffers", 12, 4),
    ("frame_len", 16, 8),
    ("tag", 24, 4),
    ("head_crc", 28, 4),
];

/// One field of the header.
#[derive(Debug, Serialize)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    /// Offset in the frame.
    pub(crate) at: u64,
    /// The bytes, as two hexadecimal digits each.
    pub(crate) raw: String,
    /// The bytes as a little-endian number.
    pub(crate) value: u64,
    pub(crate) meaning: String,
}

/// A header, whatever it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) magic: u64,
    pub(crate) version: u64,
    pub(crate) must: u64,
    pub(crate) may: u64,
    pub(crate) meta_len: u64,
    pub(crate) count: u64,
    pub(crate) frame_len: u64,
    pub(crate) tag: u64,
    pub(crate) head_crc: u64,
}

/// One entry of the table, whatever it says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Entry {
    pub(crate) index: u64,
    /// Offset of the descriptor in the frame.
    pub(crate) at: u64,
    pub(crate) offset: u64,
    pub(crate) len: u64,
    pub(crate) segment: u64,
    pub(crate) generation: u64,
    pub(crate) crc: u64,
    pub(crate) location: u64,
    pub(crate) location_name: &'static str,
    pub(crate) flags: u64,
    pub(crate) kind: u8,
    pub(crate) kind_name: String,
    /// How many elements the kind makes of the bytes; `None` for bytes as such.
    pub(crate) elements: Option<u64>,
    /// log2.
    pub(crate) align: u64,
}

impl Header {
    /// `None` if there are fewer than 32 bytes.
    pub(crate) fn read(bytes: &[u8]) -> Option<Header> {
        Some(Header {
            magic: number(bytes, 0, 4)?,
            version: number(bytes, 4, 1)?,
            must: number(bytes, 5, 1)?,
            may: number(bytes, 6, 1)?,
            meta_len: number(bytes, 8, 4)?,
            count: number(bytes, 12, 4)?,
            frame_len: number(bytes, 16, 8)?,
            tag: number(bytes, 24, 4)?,
            head_crc: number(bytes, 28, 4)?,
        })
    }

    /// Whether it is version 1 and the other fields mean what that says.
    pub(crate) fn is_known(&self) -> bool {
        let magic = number(&MAGIC, 0, 4) == Some(self.magic);
        magic && self.version == 1 && self.must & !1 == 0
    }

    pub(crate) fn has_checksums(&self) -> bool {
        self.must & 1 != 0
    }

    /// Whether head and table can be looked for, and may be as large as they are said to be.
    pub(crate) fn is_within(&self, limits: &Limits) -> bool {
        self.is_known()
            && self.meta_len <= limits.meta_len.into()
            && self.count <= limits.buffers.into()
    }

    pub(crate) fn meta_end(&self) -> u64 {
        HEADER_LEN + self.meta_len
    }

    pub(crate) fn table_at(&self) -> u64 {
        if self.count == 0 { self.meta_end() } else { self.meta_end().next_multiple_of(32) }
    }

    pub(crate) fn head_len(&self) -> u64 {
        self.table_at() + DESCRIPTOR_LEN * self.count
    }

    fn meaning(&self, name: &str) -> String {
        match name {
            "magic" if number(&MAGIC, 0, 4) == Some(self.magic) => "a frame".to_owned(),
            "magic" => "not a frame".to_owned(),
            "version" => format!("version {}", self.version),
            "must" => must_meaning(self.must),
            "may" if self.may != 0 => "flags that a reader may ignore".to_owned(),
            "meta_len" => format!("{} of metadata at 0x20", counted(self.meta_len, "byte")),
            "buffers" if self.count > 0 => {
                format!("{} at {:#x}", counted(self.count, "descriptor"), self.table_at())
            }
            "buffers" => "no descriptors".to_owned(),
            "frame_len" => format!("{} in all", counted(self.frame_len, "byte")),
            "tag" => self.tag.to_string(),
            "head_crc" if self.has_checksums() => {
                format!("{:#010x} of header, metadata and table", self.head_crc)
            }
            _ => "none".to_owned(),
        }
    }
}

/// The header's fields, as far as the bytes go.
pub(crate) fn header_fields(bytes: &[u8]) -> Vec<Field> {
    let header = Header::read(bytes);
    let field = |&(name, at, len): &(&'static str, usize, usize)| {
        Some(Field {
            name,
            at: u64::try_from(at).ok()?,
            raw: digits(bytes.get(at..at + len)?),
            value: number(bytes, at, len)?,
            meaning: header.map_or(String::new(), |header| header.meaning(name)),
        })
    };
    HEADER_FIELDS.iter().filter_map(field).collect()
}

impl Entry {
    /// `None` unless `bytes` has the whole of descriptor `index`; `at` is its offset in the frame.
    pub(crate) fn read(bytes: &[u8], at: u64, index: u64) -> Option<Entry> {
        let bytes = bytes.get(narrow(at)..)?.first_chunk::<32>()?;
        let len = number(bytes, 8, 8)?;
        let location = number(bytes, 28, 1)?;
        let kind = bytes[30];
        let known = Kind::from_byte(kind);
        Some(Entry {
            index,
            at,
            offset: number(bytes, 0, 8)?,
            len,
            segment: number(bytes, 16, 4)?,
            generation: number(bytes, 20, 4)?,
            crc: number(bytes, 24, 4)?,
            location,
            location_name: match location {
                0 => "inline",
                1 => "segment",
                2 => "external",
                _ => "unknown",
            },
            flags: number(bytes, 29, 1)?,
            kind,
            kind_name: known.map_or("unknown".to_owned(), |kind| kind.to_string()),
            elements: known.and_then(|kind| kind.element_size()).map(|size| len / size),
            align: number(bytes, 31, 1)?,
        })
    }

    pub(crate) fn is_inline(&self) -> bool {
        self.location == 0
    }

    /// `f64 x 1,024`, or `5,000 bytes`.
    pub(crate) fn contents(&self) -> String {
        match self.elements {
            Some(count) => format!("{} x {}", self.kind_name, grouped(count)),
            None if self.kind == 0 => counted(self.len, "byte"),
            None => format!("{}, {}", counted(self.len, "byte"), self.kind_name),
        }
    }

    /// `at 0x80`, or where else.
    pub(crate) fn place(&self) -> String {
        match self.location {
            0 => format!("at {:#x}", self.offset),
            1 => format!("at {:#x} of segment {}", self.offset, self.segment),
            2 => format!("external, token {:#x}", self.offset),
            other => format!("location {other}"),
        }
    }
}

/// A field of at most eight bytes as a little-endian number.
pub(crate) fn number(bytes: &[u8], at: usize, len: usize) -> Option<u64> {
    let field = bytes.get(at..at.checked_add(len)?)?;
    Some(field.iter().rev().fold(0, |number, &byte| (number << 8) | u64::from(byte)))
}

/// Two hexadecimal digits a byte, without spaces.
pub(crate) fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn must_meaning(must: u64) -> String {
    match (must & 1, must & !1) {
        (0, 0) => "none".to_owned(),
        (_, 0) => "CHECKSUM".to_owned(),
        (0, unknown) => format!("unknown {unknown:#04x}"),
        (_, unknown) => format!("CHECKSUM, unknown {unknown:#04x}"),
    }
}
