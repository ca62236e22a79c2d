//! `pannier verify`: checks every byte of every frame that the format has a rule for.
//!
//! Files are read once, in order, with memory for a head and a chunk. Promises: the fault
//! of a frame is the first in the format's order; behind a broken frame it goes on where the header
//! says that the next begins.

use std::io::Write;
use std::path::PathBuf;

use pannier::frame::checksum_append;
use pannier::{FrameError, Limits};
use serde::Serialize;

use crate::fault::Fault;
use crate::fields::Entry;
use crate::input::Input;
use crate::limits::LimitArgs;
use crate::read::{self, Head, Next};
use crate::show::{counted, size, wide};
use crate::{Failure, Outcome, complain};

/// Checks every frame of each file: head, metadata, padding, and buffers where there are checksums.
///
/// Exits with 0 if all are sound, with 1 if one is not, and with 2 if a file cannot be read.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// What to check; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Print one JSON document a file, on a line of its own; cli/README.md lists its keys
    #[arg(long)]
    json: bool,
    /// Say nothing of files that are sound
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    limits: LimitArgs,
}

/// What was found in one file.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    file: String,
    pub(crate) sound: bool,
    /// Bytes that were read, or skipped because they belong to a frame that is not sound.
    bytes: u64,
    frames: u64,
    pub(crate) bad_frames: u64,
    /// Frames in whose buffers, and in whose head, damage cannot be seen.
    without_checksums: u64,
    /// Buffers that are not in the file.
    external_buffers: u64,
    /// Where no frame could be found any more.
    lost_at: Option<u64>,
    /// Of the first bad frames; there may be more.
    pub(crate) problems: Vec<Problem>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Problem {
    frame: u64,
    /// Where in the file the frame begins.
    at: u64,
    pub(crate) error: Fault,
}

pub(crate) fn run(args: &Args, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let limits = args.limits.limits();
    let mut outcome = Outcome::Sound;
    for path in &args.files {
        let report = Input::open(path).and_then(|mut input| check(&mut input, &limits));
        match report {
            Ok(report) => {
                if !report.sound && outcome == Outcome::Sound {
                    outcome = Outcome::Unsound;
                }
                tell(&report, args, out)?;
                out.flush()?;
            }
            Err(failure @ Failure::Input(..)) => {
                complain(&failure);
                outcome = Outcome::Unread;
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(outcome)
}

pub(crate) fn check(input: &mut Input, limits: &Limits) -> Result<Report, Failure> {
    let mut report = Report::new(input.name());
    while let Some(head) = Head::read(input, report.frames, limits)? {
        let fault = check_frame(input, &head)?;
        report.add(&head, fault);
        if let Next::Lost = read::leave(input, &head, fault)? {
            report.lost_at = Some(input.at());
            break;
        }
    }
    report.bytes = input.at();
    Ok(report)
}

/// Goes to the end of the frame, if its head is sound, and says what is wrong with it.
fn check_frame(input: &mut Input, head: &Head) -> Result<Option<FrameError>, Failure> {
    if head.fault.is_some() {
        return Ok(head.fault);
    }
    let mut bodies = Bodies { input, start: head.at, fault: None };
    for entry in head.entries().filter(Entry::is_inline) {
        bodies.check_padding(entry.offset)?;
        bodies.check_buffer(&entry, head.has_checksums())?;
    }
    bodies.check_padding(head.frame_len())?;
    let fault = bodies.fault;
    Ok(head.verdict(input.at() - head.at).or(fault))
}

/// The part of a frame behind its head.
struct Bodies<'i> {
    input: &'i mut Input,
    /// Where in the input the frame begins.
    start: u64,
    fault: Option<FrameError>,
}

impl Bodies<'_> {
    /// From here to `end` of the frame.
    fn check_padding(&mut self, end: u64) -> Result<(), Failure> {
        let mut set = None;
        self.read_to(end, |at, bytes| {
            let found = bytes.iter().position(|&byte| byte != 0);
            set = set.or(found.map(|index| at + wide(index)));
        })?;
        self.fault = self.fault.or(set.map(|at| FrameError::Padding { at }));
        Ok(())
    }

    /// Without checksums there is no rule for its bytes, and they need not be read.
    fn check_buffer(&mut self, entry: &Entry, checksums: bool) -> Result<(), Failure> {
        let end = entry.offset.saturating_add(entry.len);
        if !checksums {
            self.input.skip_to(self.start.saturating_add(end))?;
            return Ok(());
        }
        let mut crc = 0;
        self.read_to(end, |_, bytes| crc = checksum_append(crc, bytes))?;
        let damaged = u64::from(crc) != entry.crc;
        let index = u32::try_from(entry.index).unwrap_or(u32::MAX);
        self.fault = self.fault.or(damaged.then_some(FrameError::BufferChecksum { index }));
        Ok(())
    }

    /// Gives out what there is, up to position `end` of the frame, with the position of each piece.
    fn read_to(&mut self, end: u64, mut piece: impl FnMut(u64, &[u8])) -> Result<(), Failure> {
        loop {
            let at = self.input.at() - self.start;
            let bytes = self.input.read(end.saturating_sub(at).min(CHUNK))?;
            if bytes.is_empty() {
                return Ok(());
            }
            piece(at, &bytes);
        }
    }
}

impl Report {
    fn new(name: &str) -> Report {
        Report {
            file: name.to_owned(),
            sound: true,
            bytes: 0,
            frames: 0,
            bad_frames: 0,
            without_checksums: 0,
            external_buffers: 0,
            lost_at: None,
            problems: Vec::new(),
        }
    }

    fn add(&mut self, head: &Head, fault: Option<FrameError>) {
        self.frames += 1;
        if let Some(error) = fault {
            self.sound = false;
            self.bad_frames += 1;
            if self.problems.len() < PROBLEMS {
                let error = Fault::new(error, head);
                self.problems.push(Problem { frame: head.number, at: head.at, error });
            }
            return;
        }
        self.without_checksums += u64::from(!head.has_checksums());
        let external = head.entries().filter(|entry| !entry.is_inline()).count();
        self.external_buffers += wide(external);
    }
}

fn tell(report: &Report, args: &Args, out: &mut dyn Write) -> Result<(), Failure> {
    if report.sound && args.quiet {
        return Ok(());
    }
    if args.json {
        serde_json::to_writer(&mut *out, report).map_err(std::io::Error::from)?;
        return Ok(writeln!(out)?);
    }
    for Problem { frame, at, error } in &report.problems {
        writeln!(out, "{}: frame {frame} at {at:#x}: {}", report.file, error.line)?;
        writeln!(out, "    {}", error.text)?;
        writeln!(out, "    at {:#x} of the file, {:#x} of the frame", error.at, error.at_in_frame)?;
        writeln!(out, "    {}: {}", error.category, error.hint)?;
    }
    Ok(writeln!(out, "{}", summary(report))?)
}

fn summary(report: &Report) -> String {
    let (frames, bytes) = (counted(report.frames, "frame"), size(report.bytes));
    let mut line = format!("{}: sound, {frames}, {bytes}", report.file);
    if !report.sound {
        line = format!("{}: not sound, {} of {frames}", report.file, report.bad_frames);
    }
    let unlisted = report.bad_frames - wide(report.problems.len());
    if unlisted > 0 {
        line.push_str(&format!("; {unlisted} of them are not listed"));
    }
    if let Some(at) = report.lost_at {
        line.push_str(&format!("; no frame is found from {at:#x} on"));
    }
    if report.without_checksums > 0 {
        let which = counted(report.without_checksums, "frame");
        line.push_str(&format!("; no checksums in {which}: damage in buffers would not be seen"));
    }
    if report.external_buffers > 0 {
        let which = counted(report.external_buffers, "buffer");
        line.push_str(&format!("; {which} elsewhere, not checked"));
    }
    line
}

/// Read at once.
const CHUNK: u64 = 256 << 10;
/// Listed of one file.
const PROBLEMS: usize = 1000;
