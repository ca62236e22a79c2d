//! A load as a service has it, with an audit: `cargo run --release --example load`.
//!
//! Frames of all sizes go to a pool of two workers and over a channel to another program, which is
//! this one started again: buffers of 0 B to 64 MiB, several in a frame, parts of others, the same
//! one twice, echoed, kept, made there, and results that are sent on. Each buffer is checked by its
//! bytes. Meanwhile the kernel is asked what all the processes hold: descriptors, maps, memory, names
//! in `/dev/shm` and the temporary folder.
//!
//! It fails if a frame is lost, resolved twice or wrong, if something is left at the end, or if a
//! figure is not flat: its median over the last tenth of the samples may be at most a twentieth and a
//! small constant above that of the first tenth after the warm-up, which is a tenth as well.
#![expect(clippy::print_stdout, reason = "the figures are what this program is for")]

mod service;

use std::error::Error;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use service::{Plan, Report};

/// Sends frames of all sizes through a pool and a channel, and audits what is held meanwhile.
#[derive(Parser)]
#[command(name = "load")]
struct Options {
    /// Frames in all [default: 100000, with --seconds as many as there is time for].
    #[arg(long)]
    frames: Option<u64>,
    /// Ends after so many seconds.
    #[arg(long)]
    seconds: Option<u64>,
    /// Sends at most so many frames a second.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// The same seed makes the same frames.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Kills so many workers on the way, at even intervals.
    #[arg(long, default_value_t = 0)]
    kills: u32,
    /// The longest buffer, in MiB.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1024))]
    largest: u32,
    /// Prints one line of JSON, with every sample, instead of a table.
    #[arg(long)]
    json: bool,
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    // The first line: in a worker it never returns.
    pannier::init();
    if service::play() {
        return Ok(ExitCode::SUCCESS);
    }
    let options = Options::parse();
    let plan = Plan {
        frames: options.frames.unwrap_or(if options.seconds.is_some() {
            u64::MAX
        } else {
            100_000
        }),
        time: options.seconds.map(Duration::from_secs),
        rate: options.rate,
        seed: options.seed,
        kills: options.kills,
        largest: usize::try_from(options.largest)? << 20,
    };
    let is_watched = std::io::stderr().is_terminal();
    let report = service::run(&plan, |sample| {
        if is_watched {
            let (frames, pss, fds) = (sample.frames, sample.pss_kib >> 10, sample.fds);
            let mut line = std::io::stderr().lock();
            let _unseen = write!(line, "\r{frames} frames, {pss} MiB, {fds} descriptors   ");
        }
    })?;
    let faults = report.faults();
    if options.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print(&report);
    }
    for fault in &faults {
        println!("NOT AS IT MUST BE: {fault}");
    }
    Ok(if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(report: &Report) {
    let Report { seconds, submitted, resolved, lost, twice, wrong, failed, killed, .. } = report;
    let (rate, bytes) = (*submitted as f64 / seconds, report.bytes as f64 / f64::from(1 << 30));
    println!("seed {}: {submitted} frames in {seconds:.1} s, {rate:.0} a second", report.seed);
    println!("{bytes:.1} GiB in their buffers, {killed} workers killed");
    println!("resolved {resolved}, lost {lost}, twice {twice}, wrong {wrong}, failed {failed}");
    report.errors.iter().for_each(|error| println!("  {error}"));
    println!(
        "\n{:28}{:>12}{:>12}{:>12}   {} samples",
        "",
        "first",
        "last",
        "most",
        report.samples.len()
    );
    for course in &report.courses {
        let verdict = if course.is_flat { "flat" } else { "GREW" };
        let (first, last, most) = (course.first, course.last, course.most);
        println!("{:28}{first:>12}{last:>12}{most:>12}   {verdict}", course.name);
    }
    let (before, after) = (report.before, report.after);
    println!("descriptors, shared maps, children: {before:?} before, {after:?} after");
}
