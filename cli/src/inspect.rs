//! `pannier inspect`: draws the frames of a file, sound or broken.
//!
//! A frame is drawn while the input is read: its head, then of each part behind it as much as the
//! drawing wants. Promises: of a file it reads heads and what is drawn. Checksums and padding of
//! bodies are not looked at; `verify` does that.

mod json;
mod parts;
mod text;

use std::io::Write;
use std::path::PathBuf;

use pannier::{FrameError, Limits};

use crate::fault::Fault;
use crate::input::Input;
use crate::limits::LimitArgs;
use crate::read::{self, Head, Next};
use crate::show::wide;
use crate::{Failure, Outcome};

use json::Json;
use parts::Part;
use text::Text;

/// Draws header, descriptors, metadata and bytes of each frame, also of broken ones.
///
/// Exits with 0 if all frames are sound as far as they are drawn, with 1 if one is not, and with 2
/// if the file cannot be read.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// What to draw; `-` is standard input
    file: PathBuf,
    /// Print one JSON document, a frame a line; cli/README.md lists its keys
    #[arg(long)]
    json: bool,
    /// Draw everything: all buffers, all values, and in the text every byte
    #[arg(long)]
    full: bool,
    #[command(flatten)]
    limits: LimitArgs,
}

/// What is done with the parts of a file as they come.
pub(crate) trait Drawing {
    /// How many descriptors, and how many buffers by their first bytes, are drawn.
    fn most_buffers(&self) -> usize;
    fn begin(&mut self, input: &Input) -> Result<(), Failure>;
    /// `fault` is what is wrong, as far as that is known by now.
    fn head(&mut self, head: &Head, fault: Option<&Fault>) -> Result<(), Failure>;
    /// How many bytes of a part are wanted.
    fn wants(&self, part: &Part) -> u64;
    /// Rows of a part, from `at` of the frame on.
    fn rows(&mut self, part: &Part, at: u64, bytes: &[u8]) -> Result<(), Failure>;
    /// Nothing comes of this part any more; `drawn` bytes were.
    fn end_part(&mut self, part: &Part, drawn: u64) -> Result<(), Failure>;
    /// The frame is over, with `left` buffers that were not drawn.
    fn end_frame(&mut self, left: u64, fault: Option<&Fault>) -> Result<(), Failure>;
    /// The input is over; `lost` is where no frame could be found any more.
    fn end(&mut self, frames: u64, lost: Option<u64>) -> Result<(), Failure>;
}

pub(crate) fn run(args: &Args, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let mut input = Input::open(&args.file)?;
    let limits = args.limits.limits();
    if args.json {
        draw(&mut input, &limits, &mut Json::new(out, args.full))
    } else {
        draw(&mut input, &limits, &mut Text::new(out, args.full))
    }
}

fn draw(input: &mut Input, limits: &Limits, drawing: &mut dyn Drawing) -> Result<Outcome, Failure> {
    drawing.begin(input)?;
    let (mut outcome, mut frames, mut lost) = (Outcome::Sound, 0, None);
    while let Some(head) = Head::read(input, frames, limits)? {
        frames += 1;
        let fault = draw_frame(input, &head, drawing)?;
        if fault.is_some() {
            outcome = Outcome::Unsound;
        }
        if let Next::Lost = read::leave(input, &head, fault)? {
            lost = Some(input.at());
            break;
        }
    }
    drawing.end(frames, lost)?;
    Ok(outcome)
}

fn draw_frame(
    input: &mut Input,
    head: &Head,
    drawing: &mut dyn Drawing,
) -> Result<Option<FrameError>, Failure> {
    let have = input.len().map(|len| len.saturating_sub(head.at));
    let known = head.verdict(have.unwrap_or(u64::MAX)).map(|error| Fault::new(error, head));
    drawing.head(head, known.as_ref())?;
    let most = drawing.most_buffers();
    for part in parts::behind(head, most) {
        draw_part(input, head, &part, drawing)?;
    }
    if head.layout().is_some() {
        input.skip_to(head.at.saturating_add(head.frame_len()))?;
    }
    let fault = head.verdict(input.at() - head.at);
    let left = wide(head.entries().skip(most).count());
    drawing.end_frame(left, fault.map(|error| Fault::new(error, head)).as_ref())?;
    Ok(fault)
}

fn draw_part(
    input: &mut Input,
    head: &Head,
    part: &Part,
    drawing: &mut dyn Drawing,
) -> Result<(), Failure> {
    let start = head.at.saturating_add(part.at);
    if input.skip_to(start)? < start {
        return Ok(());
    }
    let (wanted, mut drawn) = (drawing.wants(part).min(part.len), 0);
    while drawn < wanted {
        let bytes = input.read((wanted - drawn).min(CHUNK))?;
        if bytes.is_empty() {
            break;
        }
        drawing.rows(part, part.at + drawn, &bytes)?;
        drawn += wide(bytes.len());
    }
    drawing.end_part(part, drawn)
}

/// Read at once; whole rows.
const CHUNK: u64 = 64 << 10;

#[cfg(test)]
pub(crate) fn draw_bytes(
    bytes: &[u8],
    limits: &Limits,
    json: bool,
    full: bool,
) -> (Outcome, String) {
    let (mut input, mut out) = (Input::of_bytes(bytes), Vec::new());
    let outcome = if json {
        draw(&mut input, limits, &mut Json::new(&mut out, full))
    } else {
        draw(&mut input, limits, &mut Text::new(&mut out, full))
    };
    (outcome.expect("memory can be read and written"), String::from_utf8(out).expect("text"))
}
