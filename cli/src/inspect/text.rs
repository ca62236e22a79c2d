//! The drawing for people.

use std::collections::VecDeque;
use std::io::Write;

use crate::Failure;
use crate::fault::Fault;
use crate::fields::{DESCRIPTOR_LEN, Entry, HEADER_LEN, header_fields};
use crate::hex::{self, ROW};
use crate::input::Input;
use crate::inspect::Drawing;
use crate::inspect::parts::Part;
use crate::read::Head;
use crate::show::{columns, counted, narrow, size, wide};
use crate::values::{Role, Value, Values};

pub(crate) struct Text<'o> {
    out: &'o mut dyn Write,
    full: bool,
}

impl<'o> Text<'o> {
    pub(crate) fn new(out: &'o mut dyn Write, full: bool) -> Self {
        Text { out, full }
    }

    fn line(&mut self, line: &str) -> Result<(), Failure> {
        Ok(writeln!(self.out, "{line}")?)
    }

    fn most(&self, usual: usize) -> usize {
        if self.full { usize::MAX } else { usual }
    }

    fn title(&mut self, head: &Head) -> Result<(), Failure> {
        self.line("")?;
        let mut title = format!("frame {} at {:#x}", head.number, head.at);
        if let Some(header) = head.header.filter(|header| header.is_known()) {
            let checksums = if header.has_checksums() { "checksums" } else { "no checksums" };
            let (len, buffers) = (size(header.frame_len), counted(header.count, "buffer"));
            title.push_str(&format!(": {len}, {buffers}, tag {}, {checksums}", header.tag));
        }
        self.line(&title)
    }

    fn header(&mut self, head: &Head, fault: Option<&Fault>) -> Result<(), Failure> {
        let fields = header_fields(&head.bytes);
        let mut rows = Vec::new();
        for field in fields {
            let mark = marked(fault, field.at, wide(field.raw.len() / 2));
            let meaning = format!("{}{mark}", field.meaning);
            rows.push(vec![
                format!("    {:#04x}", field.at),
                field.name.into(),
                field.raw,
                meaning,
            ]);
        }
        self.line("  header")?;
        self.rows_of(&rows)
    }

    fn descriptors(&mut self, head: &Head, fault: Option<&Fault>) -> Result<(), Failure> {
        let titles =
            ["    #", "at", "location", "offset", "len", "elements", "align", "crc", "notes"];
        let mut rows = vec![titles.map(String::from).to_vec()];
        let most = self.most(BUFFERS);
        for (place, entry) in head.entries().enumerate() {
            let mark = marked(fault, entry.at, DESCRIPTOR_LEN);
            if place < most || !mark.is_empty() {
                rows.push(descriptor_row(&entry, &mark));
            }
        }
        if rows.len() == 1 {
            return Ok(());
        }
        self.line("  descriptors")?;
        let drawn = rows.len() - 1;
        self.rows_of(&rows)?;
        self.left_out(wide(head.entries().count() - drawn), "descriptor")
    }

    fn metadata(&mut self, head: &Head, fault: Option<&Fault>) -> Result<(), Failure> {
        let Some(header) = head.layout() else { return Ok(()) };
        self.line(&format!("  metadata: {} at 0x20", counted(header.meta_len, "byte")))?;
        let mut values = Values::of(head);
        for value in values.by_ref().take(self.most(VALUES)) {
            self.line(&value_line(&value))?;
        }
        let broken = fault.filter(|fault| fault.name == "Meta");
        let (mut skipped, mut last) = (0, VecDeque::new());
        for value in values {
            last.push_back(value);
            if last.len() > if broken.is_some() { BEFORE_FAULT } else { 0 } {
                last.pop_front();
                skipped += 1;
            }
        }
        self.left_out(skipped, "value")?;
        for value in last {
            self.line(&value_line(&value))?;
        }
        if let Some(fault) = broken {
            let at = fault.at_in_frame.saturating_sub(HEADER_LEN);
            self.line(&format!("    {at:>6}  <-- {}", fault.line))?;
        }
        Ok(())
    }

    /// Header, metadata, padding and descriptors.
    fn bytes_of_head(&mut self, head: &Head, fault: Option<&Fault>) -> Result<(), Failure> {
        self.line("  bytes")?;
        let header_len = head.bytes.len().min(32);
        for (row, bytes) in head.bytes[..header_len].chunks(ROW).enumerate() {
            let note = hex::header_note(head.header.as_ref(), row);
            self.dump_row(wide(row * ROW), bytes, &note, fault)?;
        }
        let Some(header) = head.layout() else { return Ok(()) };
        self.bytes_of_metadata(head, fault)?;
        let padding = head.bytes.iter().take(narrow(header.table_at()));
        let padding: Vec<u8> = padding.skip(narrow(header.meta_end())).copied().collect();
        for (row, bytes) in padding.chunks(ROW).enumerate() {
            self.dump_row(header.meta_end() + wide(row * ROW), bytes, "padding", fault)?;
        }
        let most = self.most(BUFFERS);
        for (place, entry) in head.entries().enumerate() {
            if place < most || !marked(fault, entry.at, DESCRIPTOR_LEN).is_empty() {
                self.bytes_of_descriptor(head, &entry, fault)?;
            }
        }
        Ok(())
    }

    fn bytes_of_metadata(&mut self, head: &Head, fault: Option<&Fault>) -> Result<(), Failure> {
        let most = self.most(META_ROWS);
        let mut left = 0;
        for (row, bytes) in head.metadata().chunks(ROW).enumerate() {
            let at = HEADER_LEN + wide(row * ROW);
            if row >= most && marked(fault, at, wide(ROW)).is_empty() {
                left += wide(bytes.len());
                continue;
            }
            self.left_out(std::mem::take(&mut left), "byte")?;
            self.dump_row(at, bytes, &format!("metadata  {}", hex::ascii(bytes)), fault)?;
        }
        self.left_out(left, "byte")
    }

    fn bytes_of_descriptor(
        &mut self,
        head: &Head,
        entry: &Entry,
        fault: Option<&Fault>,
    ) -> Result<(), Failure> {
        let start = narrow(entry.at);
        let bytes = head.bytes.get(start..).unwrap_or_default().iter().take(32);
        let bytes: Vec<u8> = bytes.copied().collect();
        for (row, bytes) in bytes.chunks(ROW).enumerate() {
            let note = hex::entry_note(entry, row);
            self.dump_row(entry.at + wide(row * ROW), bytes, &note, fault)?;
        }
        Ok(())
    }

    fn dump_row(
        &mut self,
        at: u64,
        bytes: &[u8],
        note: &str,
        fault: Option<&Fault>,
    ) -> Result<(), Failure> {
        let mark = marked(fault, at, wide(bytes.len()));
        self.line(&hex::row(at, bytes, &format!("{note}{mark}")))
    }

    fn rows_of(&mut self, rows: &[Vec<String>]) -> Result<(), Failure> {
        columns(rows).iter().try_for_each(|line| self.line(line))
    }

    fn left_out(&mut self, count: u64, one: &str) -> Result<(), Failure> {
        if count == 0 {
            return Ok(());
        }
        self.line(&format!("    ... {} more; --full draws all", counted(count, one)))
    }
}

impl Drawing for Text<'_> {
    fn most_buffers(&self) -> usize {
        self.most(BUFFERS)
    }

    fn begin(&mut self, input: &Input) -> Result<(), Failure> {
        let len = input.len().map_or(String::new(), |len| format!(": {}", size(len)));
        self.line(&format!("{}{len}", input.name()))
    }

    fn head(&mut self, head: &Head, fault: Option<&Fault>) -> Result<(), Failure> {
        self.title(head)?;
        self.header(head, fault)?;
        self.descriptors(head, fault)?;
        self.metadata(head, fault)?;
        self.bytes_of_head(head, fault)
    }

    fn wants(&self, part: &Part) -> u64 {
        let rows = if part.entry.is_some() { BODY_ROWS } else { 1 };
        if self.full { u64::MAX } else { wide(rows * ROW) }
    }

    fn rows(&mut self, part: &Part, at: u64, bytes: &[u8]) -> Result<(), Failure> {
        for (row, bytes) in bytes.chunks(ROW).enumerate() {
            let elements = part.entry.as_ref().map(|entry| hex::elements(entry.kind, bytes));
            let note = format!("{}  {}", part.name(), elements.unwrap_or_default());
            self.dump_row(at + wide(row * ROW), bytes, &note, None)?;
        }
        Ok(())
    }

    fn end_part(&mut self, part: &Part, drawn: u64) -> Result<(), Failure> {
        let wanted = self.wants(part).min(part.len);
        if drawn < wanted || drawn == part.len {
            return Ok(());
        }
        let (left, end) = (counted(part.len - drawn, "byte"), part.at + part.len);
        self.line(&format!("    ...     {left} more of {}, to {end:#x}", part.name()))
    }

    fn end_frame(&mut self, left: u64, fault: Option<&Fault>) -> Result<(), Failure> {
        self.left_out(left, "buffer")?;
        let Some(fault) = fault else {
            return self.line("  sound: header, table and metadata; `verify` checks buffers too");
        };
        if fault.name == "Truncated" {
            self.line(&format!("    {:06x}  <-- the input ends here", fault.at_in_frame))?;
        }
        self.line(&format!("  error: {}", fault.line))?;
        self.line(&format!("    {}", fault.text))?;
        let (at, in_frame) = (fault.at, fault.at_in_frame);
        self.line(&format!("    at {at:#x} of the input, {in_frame:#x} of the frame"))?;
        self.line(&format!("    {}: {}", fault.category, fault.hint))
    }

    fn end(&mut self, _frames: u64, lost: Option<u64>) -> Result<(), Failure> {
        let Some(at) = lost else { return Ok(()) };
        self.line("")?;
        self.line(&format!(
            "no frame begins where the last one is said to end; from {at:#x} on nothing is drawn"
        ))
    }
}

fn descriptor_row(entry: &Entry, mark: &str) -> Vec<String> {
    let location = match entry.location {
        1 => format!("segment {}, generation {}", entry.segment, entry.generation),
        0 | 2 => entry.location_name.to_owned(),
        other => format!("unknown {other}"),
    };
    let flags = match entry.flags {
        0 => "read-only".to_owned(),
        1 => "writable".to_owned(),
        other => format!("unknown flags {other:#04x}"),
    };
    let elements = entry.contents();
    let crc = if entry.crc == 0 { "none".to_owned() } else { format!("{:#010x}", entry.crc) };
    vec![
        format!("    {}", entry.index),
        format!("{:#x}", entry.at),
        location,
        format!("{:#x}", entry.offset),
        entry.len.to_string(),
        elements,
        format!("2^{}", entry.align),
        crc,
        format!("{flags}{mark}"),
    ]
}

fn value_line(value: &Value) -> String {
    let indent =
        "  ".repeat(usize::try_from(value.depth).map_or(DEEPEST, |depth| depth.min(DEEPEST)));
    let role = match (value.role, value.item) {
        (Role::Key, _) => "key ".to_owned(),
        (_, Some(item)) => format!("[{item}] "),
        _ => String::new(),
    };
    format!("    {:>6}  {indent}{role}{} {}", value.at, value.kind, value.value)
}

/// A sign behind what the fault lies in.
fn marked(fault: Option<&Fault>, at: u64, len: u64) -> String {
    let inside = |fault: &&Fault| fault.at_in_frame >= at && fault.at_in_frame - at < len;
    fault.filter(inside).map_or(String::new(), |fault| format!("  <-- {}", fault.line))
}

/// Descriptors, and buffers by their first rows, that are drawn without `--full`.
const BUFFERS: usize = 32;
const VALUES: usize = 256;
const META_ROWS: usize = 16;
const BODY_ROWS: usize = 2;
/// Values that are drawn before one that is broken, behind those that are left out.
const BEFORE_FAULT: usize = 4;
/// Levels beyond which a line is not indented further.
const DEEPEST: usize = 40;
