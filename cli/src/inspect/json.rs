//! The drawing for programs: one document, a frame a line.
//!
//! Frames are written as they end, so a long file needs no more memory than its largest head. The
//! keys are listed in the README of this package and stay as they are.

use std::io::Write;

use serde::{Serialize, Serializer};

use crate::Failure;
use crate::fault::Fault;
use crate::fields::{Entry, HEADER_LEN, digits, header_fields};
use crate::input::Input;
use crate::inspect::Drawing;
use crate::inspect::parts::Part;
use crate::read::Head;
use crate::show::{narrow, wide};
use crate::values::Values;

pub(crate) struct Json<'o> {
    out: &'o mut dyn Write,
    full: bool,
    first: bool,
    parts: Vec<PartOut>,
}

#[derive(Serialize)]
struct Metadata<'a> {
    at: u64,
    len: u64,
    #[serde(serialize_with = "each_value")]
    values: (&'a Head, usize),
    values_left_out: u64,
}

#[derive(Serialize)]
struct PartOut {
    part: &'static str,
    buffer: Option<u64>,
    at: u64,
    len: u64,
    /// The first bytes.
    hex: String,
}

impl<'o> Json<'o> {
    pub(crate) fn new(out: &'o mut dyn Write, full: bool) -> Self {
        Json { out, full, first: true, parts: Vec::new() }
    }

    fn most(&self, usual: usize) -> usize {
        if self.full { usize::MAX } else { usual }
    }

    fn add_part(&mut self, part: &'static str, at: u64, len: u64, bytes: &[u8], most: usize) {
        let shown = bytes.get(..most.min(bytes.len())).unwrap_or_default();
        self.parts.push(PartOut { part, buffer: None, at, len, hex: digits(shown) });
    }

    fn parts_of_head(&mut self, head: &Head) {
        let bytes = |start: u64, end: u64| {
            let end = narrow(end).min(head.bytes.len());
            head.bytes.get(narrow(start)..end).unwrap_or_default()
        };
        let first = bytes(0, HEADER_LEN);
        self.add_part("header", 0, wide(first.len()), first, usize::MAX);
        let Some(header) = head.layout() else { return };
        let (meta_end, table_at) = (header.meta_end(), header.table_at());
        let most = self.most(BYTES);
        self.add_part("metadata", HEADER_LEN, header.meta_len, head.metadata(), most);
        if table_at > meta_end {
            let padding = bytes(meta_end, table_at);
            self.add_part("padding", meta_end, table_at - meta_end, padding, most);
        }
        if header.count > 0 {
            let table = bytes(table_at, header.head_len());
            self.add_part("table", table_at, header.head_len() - table_at, table, most);
        }
    }

    fn raw(&mut self, text: &str) -> Result<(), Failure> {
        Ok(self.out.write_all(text.as_bytes())?)
    }

    /// One more member of the object that is open.
    fn member(&mut self, key: &str, value: &impl Serialize) -> Result<(), Failure> {
        self.raw(",")?;
        self.write(&key)?;
        self.raw(":")?;
        self.write(value)
    }

    fn write(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        serde_json::to_writer(&mut *self.out, value).map_err(|error| Failure::Output(error.into()))
    }
}

impl Drawing for Json<'_> {
    fn most_buffers(&self) -> usize {
        self.most(BUFFERS)
    }

    fn begin(&mut self, input: &Input) -> Result<(), Failure> {
        self.raw("{\"file\":")?;
        self.write(&input.name())?;
        self.member("bytes", &input.len())?;
        self.raw(",\"frames\":[")
    }

    fn head(&mut self, head: &Head, _fault: Option<&Fault>) -> Result<(), Failure> {
        let first = std::mem::take(&mut self.first);
        self.raw(if first { "\n" } else { ",\n" })?;
        let most = self.most(BUFFERS);
        let values = self.most(VALUES);
        let metadata = head.layout().map(|header| Metadata {
            at: HEADER_LEN,
            len: header.meta_len,
            values: (head, values),
            values_left_out: wide(Values::of(head).skip(values).count()),
        });
        let descriptors: Vec<Entry> = head.entries().take(most).collect();
        self.raw("{\"frame\":")?;
        self.write(&head.number)?;
        self.member("at", &head.at)?;
        self.member("header", &header_fields(&head.bytes))?;
        self.member("descriptors", &descriptors)?;
        self.member("descriptors_left_out", &wide(head.entries().skip(most).count()))?;
        self.member("metadata", &metadata)?;
        self.parts_of_head(head);
        Ok(())
    }

    fn wants(&self, part: &Part) -> u64 {
        if part.entry.is_some() { wide(BODY_BYTES) } else { wide(BODY_BYTES / 2) }
    }

    fn rows(&mut self, part: &Part, _at: u64, bytes: &[u8]) -> Result<(), Failure> {
        let name = if part.entry.is_some() { "buffer" } else { "padding" };
        let buffer = part.entry.as_ref().map(|entry| entry.index);
        let (at, len) = (part.at, part.len);
        self.parts.push(PartOut { part: name, buffer, at, len, hex: digits(bytes) });
        Ok(())
    }

    fn end_part(&mut self, _part: &Part, _drawn: u64) -> Result<(), Failure> {
        Ok(())
    }

    fn end_frame(&mut self, _left: u64, fault: Option<&Fault>) -> Result<(), Failure> {
        let parts = std::mem::take(&mut self.parts);
        self.member("parts", &parts)?;
        self.member("sound", &fault.is_none())?;
        self.member("error", &fault)?;
        self.raw("}")
    }

    fn end(&mut self, frames: u64, lost: Option<u64>) -> Result<(), Failure> {
        self.raw("\n]")?;
        self.member("count", &frames)?;
        self.member("lost_at", &lost)?;
        self.raw("}\n")
    }
}

fn each_value<S: Serializer>(
    &(head, most): &(&Head, usize),
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(Values::of(head).take(most))
}

/// Drawn without `--full`.
const BUFFERS: usize = 32;
const VALUES: usize = 256;
const BYTES: usize = 1024;
/// Drawn of a buffer in any case: bytes in numbers belong to other tools.
const BODY_BYTES: usize = 32;
