//! Rows of a dump: sixteen bytes, and what they are.

use crate::fields::{Entry, Header};

/// Bytes of a row.
pub(crate) const ROW: usize = 16;

/// One row: position, bytes in groups of four, a note.
pub(crate) fn row(at: u64, bytes: &[u8], note: &str) -> String {
    let groups: Vec<String> = bytes
        .chunks(4)
        .map(|group| group.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" "))
        .collect();
    format!("    {at:06x}  {:50}  {note}", groups.join("  ")).trim_end().to_owned()
}

/// Printable ASCII, and dots for the rest.
pub(crate) fn ascii(bytes: &[u8]) -> String {
    let shown = |byte: &u8| if (0x20..0x7f).contains(byte) { char::from(*byte) } else { '.' };
    bytes.iter().map(shown).collect()
}

/// What a row of the header has in it.
pub(crate) fn header_note(header: Option<&Header>, row: usize) -> String {
    match (header, row) {
        (Some(header), 0) => format!(
            "magic; version {}; must {:#04x}; may {:#04x}; meta_len {}; buffers {}",
            header.version, header.must, header.may, header.meta_len, header.count
        ),
        (Some(header), _) => format!(
            "frame_len {}; tag {}; head_crc {:#010x}",
            header.frame_len, header.tag, header.head_crc
        ),
        (None, _) => "part of a header".to_owned(),
    }
}

/// What a row of a descriptor has in it.
pub(crate) fn entry_note(entry: &Entry, row: usize) -> String {
    if row == 0 {
        return format!(
            "descriptor {}: offset {:#x}; len {}",
            entry.index, entry.offset, entry.len
        );
    }
    format!(
        "segment {}; generation {}; crc {:#010x}; {}; flags {:#04x}; {}; align 2^{}",
        entry.segment,
        entry.generation,
        entry.crc,
        entry.location_name,
        entry.flags,
        entry.kind_name,
        entry.align
    )
}

/// The elements of a row of a buffer, or its characters.
pub(crate) fn elements(kind: u8, bytes: &[u8]) -> String {
    match kind {
        0x12 => each(bytes, |field| u32::from_le_bytes(field).to_string()),
        0x13 => each(bytes, |field| u64::from_le_bytes(field).to_string()),
        0x14 => each(bytes, |field| u128::from_le_bytes(field).to_string()),
        0x11 => each(bytes, |field| u16::from_le_bytes(field).to_string()),
        0x21 => each(bytes, |field| i16::from_le_bytes(field).to_string()),
        0x22 => each(bytes, |field| i32::from_le_bytes(field).to_string()),
        0x23 => each(bytes, |field| i64::from_le_bytes(field).to_string()),
        0x24 => each(bytes, |field| i128::from_le_bytes(field).to_string()),
        0x32 | 0x43 => each(bytes, |field| format!("{:?}", f32::from_le_bytes(field))),
        0x33 | 0x44 => each(bytes, |field| format!("{:?}", f64::from_le_bytes(field))),
        // Half precision has no type to be read by.
        0x31 => String::new(),
        _ => ascii(bytes),
    }
}

fn each<const N: usize>(bytes: &[u8], show: impl Fn([u8; N]) -> String) -> String {
    let fields = bytes.chunks_exact(N).filter_map(|field| field.first_chunk().copied());
    fields.map(show).collect::<Vec<_>>().join(", ")
}
