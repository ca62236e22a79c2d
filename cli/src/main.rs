//! `pannier`: frames on the command line.
//!
//! Each command is a module with its arguments and a `run`. Promises: results go to standard
//! output and troubles to standard error; 0 is sound, 1 is a frame that is not, 2 is a command that
//! could not be carried out; no input makes it panic.

mod fault;
mod fields;
mod hex;
mod input;
mod inspect;
mod limits;
mod read;
mod show;
mod values;
mod verify;

#[cfg(test)]
mod tests;

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Draws and checks pannier frames.
#[derive(Parser)]
#[command(name = "pannier", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Inspect(inspect::Args),
    Verify(verify::Args),
}

/// How a command ended that was carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Sound,
    Unsound,
    /// Something could not be opened or read; it was said on standard error.
    Unread,
}

/// Why a command stops.
#[derive(Debug)]
enum Failure {
    /// A file cannot be opened or read.
    Input(String, io::Error),
    /// The results cannot be written.
    Output(io::Error),
}

/// Whatever fails with `?` while results are written; input has its own conversion.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Output(error)
    }
}

fn main() -> ExitCode {
    let command = Cli::parse().command;
    let mut out = BufWriter::new(io::stdout().lock());
    let outcome = match command {
        Command::Inspect(args) => inspect::run(&args, &mut out),
        Command::Verify(args) => verify::run(&args, &mut out),
    };
    let flushed = out.flush();
    match outcome.and_then(|outcome| flushed.map(|()| outcome).map_err(Failure::Output)) {
        Ok(Outcome::Sound) => ExitCode::SUCCESS,
        Ok(Outcome::Unsound) => ExitCode::from(1),
        Ok(Outcome::Unread) => ExitCode::from(2),
        // Whoever read the results has seen enough.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(failure) => {
            complain(&failure);
            ExitCode::from(2)
        }
    }
}

/// Says on standard error what failed.
fn complain(failure: &Failure) {
    let mut stderr = io::stderr().lock();
    // There is nowhere left to tell that standard error is closed.
    let _closed = match failure {
        Failure::Input(name, error) => writeln!(stderr, "pannier: {name}: {error}"),
        Failure::Output(error) => writeln!(stderr, "pannier: results cannot be written: {error}"),
    };
}
