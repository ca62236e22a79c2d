//! Tasks of all kinds while workers are killed: `cargo run --release --example soak -- --kills 10000`.
//!
//! It fails if a task is lost, resolved or delivered twice, or wrong, or if anything is left behind. What
//! it knows it knows from a record that every run of a task writes before anything else, and from the
//! kernel; of the library's own figures only the blocks in use are asked.
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
    /// Workers to kill, in all ways.
    #[arg(long, default_value_t = 10_000)]
    kills: u64,
    /// Ends after so many seconds, whatever was killed by then.
    #[arg(long, default_value_t = 3_600)]
    seconds: u64,
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
    let report = run::run(&Plan { kills, time: Duration::from_secs(seconds), seed })?;
    let text = serde_json::to_string(&report)?;
    if json {
        println!("{text}");
    } else {
        println!("{}", text.trim_matches(['{', '}']).replace(',', "\n").replace('"', ""));
    }
    Ok(if report.is_sound() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
