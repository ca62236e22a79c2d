//! What lies behind a head: buffers that are inline, and the padding around them.

use crate::fields::Entry;
use crate::read::Head;
use crate::show::wide;

/// A range of a frame behind its head.
pub(crate) struct Part {
    /// The buffer's descriptor; `None` for padding.
    pub(crate) entry: Option<Entry>,
    pub(crate) at: u64,
    pub(crate) len: u64,
}

impl Part {
    /// `buffer 3`, or `padding`.
    pub(crate) fn name(&self) -> String {
        self.entry.as_ref().map_or("padding".to_owned(), |entry| format!("buffer {}", entry.index))
    }
}

/// The parts in the order of the frame, for its first `most` descriptors. A buffer that is stated to
/// lie in the head, in another buffer or behind the frame has no part of its own.
pub(crate) fn behind(head: &Head, most: usize) -> Vec<Part> {
    if !head.is_whole() {
        return Vec::new();
    }
    let (mut parts, mut at) = (Vec::new(), wide(head.bytes.len()));
    let inline = head.entries().take(most).filter(Entry::is_inline);
    for entry in inline {
        let end = entry.offset.checked_add(entry.len).filter(|&end| end <= head.frame_len());
        let Some(end) = end.filter(|_| entry.offset >= at && entry.len > 0) else { continue };
        push_padding(&mut parts, at, entry.offset);
        let (offset, len) = (entry.offset, entry.len);
        parts.push(Part { entry: Some(entry), at: offset, len });
        at = end;
    }
    if head.entries().nth(most).is_none() {
        push_padding(&mut parts, at, head.frame_len());
    }
    parts
}

fn push_padding(parts: &mut Vec<Part>, at: u64, end: u64) {
    if end > at {
        parts.push(Part { entry: None, at, len: end - at });
    }
}
