//! How long workers outlive their parent: `cargo run --release --example parent -- --times 100`.
//!
//! A program with four workers is killed by SIGKILL while one of them is busy, one waits for a child,
//! one has left a child behind, and one is stopped. The figures are from the kill to the deaths, by
//! pidfds that this program opened before.
#![expect(clippy::print_stdout, reason = "the figures are what this program is for")]

mod rounds;

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use rounds::{KINDS, Round, names, round};
use serde::Serialize;

/// Kills a program with a pool again and again, and times the deaths of what it had started.
#[derive(Parser)]
#[command(name = "parent")]
struct Options {
    /// Programs to kill.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    times: u32,
    /// What each worker at work holds, in MiB.
    #[arg(long, default_value_t = 16)]
    mib: usize,
    /// Prints one line of JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// From the kill to a death, in milliseconds.
#[derive(Serialize)]
struct Latency {
    of: String,
    count: usize,
    median_ms: f64,
    p99_ms: f64,
    max_ms: f64,
}

impl Latency {
    fn new(of: &str, mut taken: Vec<Duration>) -> Self {
        taken.sort_unstable();
        let at = |percent: usize| {
            let place = taken.len().saturating_sub(1) * percent / 100;
            taken.get(place).map_or(f64::NAN, |taken| taken.as_secs_f64() * 1e3)
        };
        let (median_ms, p99_ms, max_ms) = (at(50), at(99), at(100));
        Latency { of: of.to_lowercase(), count: taken.len(), median_ms, p99_ms, max_ms }
    }
}

#[derive(Serialize)]
struct Report {
    times: u32,
    mib: usize,
    /// Processes that did not die.
    left: usize,
    names: usize,
    /// The last death of each program, and the deaths of each kind of process.
    latencies: Vec<Latency>,
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    // The first line: in a worker it never returns.
    pannier::init();
    if rounds::play() {
        return Ok(ExitCode::SUCCESS);
    }
    let Options { times, mib, json } = Options::parse();
    let before = names();
    let rounds: Vec<Round> =
        (0..times as usize).map(|number| round(number, mib)).collect::<Result<_, _>>()?;
    let report = Report {
        times,
        mib,
        left: rounds.iter().map(|round| round.left.len()).sum(),
        names: names().difference(&before).count(),
        latencies: latencies(&rounds),
    };
    if json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print(&report);
    }
    let sound = report.left == 0 && report.names == 0;
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn latencies(rounds: &[Round]) -> Vec<Latency> {
    let last = |round: &Round| round.deaths.iter().map(|death| death.1).max();
    let mut all = vec![Latency::new("the last", rounds.iter().filter_map(last).collect())];
    for kind in KINDS {
        let deaths = rounds.iter().flat_map(|round| &round.deaths);
        let taken = deaths.filter(|death| death.0 == kind).map(|death| death.1).collect();
        all.push(Latency::new(&format!("{kind:?}"), taken));
    }
    all
}

fn print(report: &Report) {
    println!("{} programs killed, {} MiB in each worker at work", report.times, report.mib);
    println!("{} processes left, {} names left\n", report.left, report.names);
    println!("{:12}{:>8}{:>12}{:>12}{:>12}", "", "deaths", "median ms", "p99 ms", "most ms");
    for Latency { of, count, median_ms, p99_ms, max_ms } in &report.latencies {
        println!("{of:12}{count:>8}{median_ms:>12.2}{p99_ms:>12.2}{max_ms:>12.2}");
    }
}
