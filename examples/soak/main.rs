//! Tasks of all kinds while workers are killed: `cargo run --release --example soak -- --kills 10000`.
//!
//! Workers are killed, by others and by their tasks; they are stopped, and run out of time; there are
//! more of them and fewer, and tasks are cancelled. It fails if a task is lost, resolved or delivered
//! twice, or wrong, if anything is left behind, if the number of workers is not the last one asked for,
//! or if this process grows. What it knows it knows from a record that every run of a task writes before
//! anything else, and from the kernel; of the library's own figures only the blocks in use are asked.
#![expect(clippy::print_stdout, reason = "the figures are what this program is for")]

mod run;

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use run::Plan;

/// Kills workers under load, and audits what became of every task.
#[derive(Parser)]
#[command(name = "soak")]
struct Options {
    /// Workers to kill, in all ways; 10,000 if no time is given either, else as many as that allows.
    #[arg(long)]
    kills: Option<u64>,
    /// Ends after so many seconds, whatever was killed by then; an hour if this is not given.
    #[arg(long)]
    seconds: Option<u64>,
    /// The same seed plans the same tasks and kills.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Prints one line of JSON instead of a list.
    #[arg(long)]
    json: bool,
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    // The first line: in a worker it never returns.
    pannier::init();
    let Options { kills, seconds, seed, json } = Options::parse();
    let kills = kills.unwrap_or(if seconds.is_some() { u64::MAX } else { 10_000 });
    let time = Duration::from_secs(seconds.unwrap_or(3_600));
    let report = run::run(&Plan { kills, time, seed })?;
    let text = serde_json::to_string(&report)?;
    if json {
        println!("{text}");
    } else {
        println!("{}", text.trim_matches(['{', '}']).replace(",\"", "\n").replace('"', ""));
    }
    Ok(if report.is_sound() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
