//! What a fault means to a user: its name and numbers, its place, and what to do.

use pannier::{DescriptorFault, FrameError, LimitKind, MetaFault, SegmentFault};
use serde::Serialize;

use crate::fields::{DESCRIPTOR_LEN, HEADER_LEN};
use crate::read::Head;
use crate::show::counted;

/// A fault of one frame.
#[derive(Debug, Serialize)]
pub(crate) struct Fault {
    /// Name of the error, as the library has it.
    pub(crate) name: String,
    /// The rule that is broken, where the error has several.
    pub(crate) why: Option<String>,
    /// The numbers of the error by their names.
    pub(crate) numbers: serde_json::Map<String, serde_json::Value>,
    /// Name, numbers and rule in one line.
    #[serde(skip)]
    pub(crate) line: String,
    pub(crate) text: String,
    pub(crate) category: &'static str,
    pub(crate) hint: String,
    /// Position in the frame.
    pub(crate) at_in_frame: u64,
    /// Position in the input.
    pub(crate) at: u64,
}

impl Fault {
    pub(crate) fn new(error: FrameError, head: &Head) -> Fault {
        let line = format!("{error:?}");
        let name = line.split([' ', '(']).next().unwrap_or_default().to_owned();
        let at_in_frame = place(error, head);
        Fault {
            name,
            why: why(error),
            numbers: numbers(error).iter().map(|&(key, n)| (key.to_owned(), n.into())).collect(),
            line,
            text: error.to_string(),
            category: category(error),
            hint: hint(error, head),
            at_in_frame,
            at: head.at.saturating_add(at_in_frame),
        }
    }
}

/// Where in the frame the fault is: the first byte of the field that is wrong.
fn place(error: FrameError, head: &Head) -> u64 {
    let descriptor = |index: u32, field: u64| {
        let table_at = head.header.map_or(0, |header| header.table_at());
        table_at + DESCRIPTOR_LEN * u64::from(index) + field
    };
    match error {
        FrameError::Truncated { have, .. } => have,
        FrameError::Version(_) => 4,
        FrameError::UnknownFlags(_) => 5,
        FrameError::Reserved { at } | FrameError::Padding { at } => at,
        FrameError::FrameLen { .. } => 16,
        FrameError::Trailing { .. } => head.frame_len(),
        FrameError::Limit { what: LimitKind::MetaLen, .. } => 8,
        FrameError::Limit { what: LimitKind::Buffers, .. } => 12,
        FrameError::Limit { .. } => 16,
        FrameError::Descriptor { index, why } => descriptor(index, descriptor_field(why)),
        // The header says that there is no metadata.
        FrameError::Meta { .. } if head.header.is_some_and(|header| header.meta_len == 0) => 8,
        FrameError::Meta { at, .. } => HEADER_LEN + at,
        FrameError::Segment { index, .. } => descriptor(index, 16),
        FrameError::External { index } => descriptor(index, 28),
        FrameError::HeadChecksum { .. } => 28,
        FrameError::BufferChecksum { index } => {
            head.entry(index.into()).map_or(0, |entry| entry.offset)
        }
        _ => 0,
    }
}

fn descriptor_field(why: DescriptorFault) -> u64 {
    match why {
        DescriptorFault::Empty | DescriptorFault::KindLen => 8,
        DescriptorFault::Fields => 16,
        DescriptorFault::Crc => 24,
        DescriptorFault::Location => 28,
        DescriptorFault::Flags => 29,
        DescriptorFault::Kind => 30,
        DescriptorFault::Align => 31,
        _ => 0,
    }
}

/// What kind of trouble it is, as the format's table of errors has it.
fn category(error: FrameError) -> &'static str {
    match error {
        FrameError::Truncated { .. } => "incomplete",
        FrameError::BadMagic | FrameError::Version(_) | FrameError::UnknownFlags(_) => {
            "not ours or newer"
        }
        FrameError::Limit { .. }
        | FrameError::Meta { why: MetaFault::Depth | MetaFault::RepeatBudget, .. }
        | FrameError::Segment { why: SegmentFault::NotPermitted, .. } => "policy",
        FrameError::HeadChecksum { .. } | FrameError::BufferChecksum { .. } => "damaged",
        FrameError::Segment { .. } | FrameError::External { .. } => "resource",
        _ => "malformed",
    }
}

fn hint(error: FrameError, head: &Head) -> String {
    match error {
        FrameError::Truncated { .. } if !head.begins_like_a_frame() => {
            "too short for a frame, and it does not begin like one"
        }
        FrameError::Truncated { need, have } => {
            let missing = counted(need.saturating_sub(have), "byte");
            return format!("at least {missing} are missing: copy or write it again to the end");
        }
        FrameError::BadMagic => "this was not written as a frame, or not from here on",
        FrameError::Version(_) | FrameError::UnknownFlags(_) => {
            "a newer pannier wrote this: update this one"
        }
        FrameError::Limit { what, .. } => {
            let option = what.to_string().replace('_', "-");
            return format!("raise it by --limit-{option}, if you trust who wrote this");
        }
        FrameError::Meta { why: MetaFault::Depth, .. } => {
            "raise it by --limit-depth, if you trust who wrote this"
        }
        FrameError::HeadChecksum { .. } | FrameError::BufferChecksum { .. } => {
            "bytes have changed since they were written: fetch it again from where it is sound"
        }
        FrameError::Segment { why: SegmentFault::NotPermitted, .. } => {
            "its buffers lie in shared memory, which ends with the processes: have it written \
             self-contained"
        }
        FrameError::Segment { .. } | FrameError::External { .. } => {
            "its buffers lie elsewhere: only the program that it was written for can find them"
        }
        _ => "no sound writer writes this: do not use it, and tell whoever wrote it",
    }
    .to_owned()
}

fn why(error: FrameError) -> Option<String> {
    match error {
        FrameError::Limit { what, .. } => Some(format!("{what:?}")),
        FrameError::Descriptor { why, .. } => Some(format!("{why:?}")),
        FrameError::Meta { why, .. } => Some(format!("{why:?}")),
        FrameError::Segment { why, .. } => Some(format!("{why:?}")),
        _ => None,
    }
}

fn numbers(error: FrameError) -> Vec<(&'static str, u64)> {
    match error {
        FrameError::Truncated { need, have } => vec![("need", need), ("have", have)],
        FrameError::Version(version) => vec![("version", version.into())],
        FrameError::UnknownFlags(flags) => vec![("flags", flags.into())],
        FrameError::Reserved { at } | FrameError::Padding { at } => vec![("at", at)],
        FrameError::FrameLen { stated, computed } => {
            vec![("stated", stated), ("computed", computed)]
        }
        FrameError::Trailing { extra } => vec![("extra", extra)],
        FrameError::Limit { value, limit, .. } => vec![("value", value), ("limit", limit)],
        FrameError::Meta { at, .. } => vec![("at", at)],
        FrameError::Descriptor { index, .. }
        | FrameError::Segment { index, .. }
        | FrameError::External { index }
        | FrameError::BufferChecksum { index } => vec![("index", index.into())],
        FrameError::HeadChecksum { stated, computed } => {
            vec![("stated", stated.into()), ("computed", computed.into())]
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The resource ones come of no file: a reader without segments permits none.
    #[test]
    fn every_error_has_a_category() {
        let (index, at) = (0, 0);
        for (error, expected) in [
            (FrameError::Truncated { need: 64, have: 40 }, "incomplete"),
            (FrameError::UnknownFlags(2), "not ours or newer"),
            (FrameError::Padding { at }, "malformed"),
            (FrameError::Meta { at, why: MetaFault::Eof }, "malformed"),
            (FrameError::Meta { at, why: MetaFault::RepeatBudget }, "policy"),
            (FrameError::Segment { index, why: SegmentFault::NotPermitted }, "policy"),
            (FrameError::BufferChecksum { index }, "damaged"),
            (FrameError::Segment { index, why: SegmentFault::Stale }, "resource"),
            (FrameError::External { index }, "resource"),
        ] {
            assert_eq!(category(error), expected, "{error}");
        }
    }
}
