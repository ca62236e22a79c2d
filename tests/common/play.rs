//! This test program in a part: started again, with all that it starts in turn.
//!
//! For programs whose `main` is their own: with the name of a part in the environment it plays that.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::common::{self, environment, eventually, is_dead, processes, unique};

/// The part that a process of this program plays.
pub(crate) const PART: &str = "PANNIER_TEST_PART";
/// What all processes of one play carry, however deep they are.
const MARK: &str = "PANNIER_TEST_MARK";

/// Within which everything ends; milliseconds, on a machine that has nothing else to do.
pub(crate) const BOUND: Duration = Duration::from_secs(5);

/// This program in a part, with all that it starts.
pub(crate) struct Play {
    pub(crate) program: Child,
    mark: String,
    /// What it said, up to "ready".
    pub(crate) said: Vec<String>,
    stdout: BufReader<std::process::ChildStdout>,
}

impl Play {
    /// Starts the part, and hears it until it is ready.
    pub(crate) fn start(part: &str) -> Self {
        Self::start_with(part, |command| command)
    }

    pub(crate) fn start_with(
        part: &str,
        change: impl FnOnce(&mut Command) -> &mut Command,
    ) -> Self {
        let mut command = Command::new(this_program());
        change(&mut command);
        Self::begin(part, command).listen()
    }

    /// Starts the part by this command, without waiting for what it says.
    pub(crate) fn begin(part: &str, mut command: Command) -> Self {
        let mark = unique("play");
        command.env(PART, part).env(MARK, &mark).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut program = command.spawn().expect("this program starts");
        let stdout = BufReader::new(program.stdout.take().expect("a pipe"));
        Play { program, mark, said: Vec::new(), stdout }
    }

    /// Hears it until it is ready.
    pub(crate) fn listen(mut self) -> Self {
        while let Some(line) = self.hear().filter(|line| line != "ready") {
            self.said.push(line);
        }
        self
    }

    /// The next line that it says; `None` when it says no more.
    pub(crate) fn hear(&mut self) -> Option<String> {
        // A part that hangs is ended, which ends its pipe.
        let patience = common::watchdog();
        let mut line = String::new();
        let len = self.stdout.read_line(&mut line).expect("text");
        drop(patience);
        (len > 0).then(|| line.trim_end().to_owned())
    }

    /// The numbers that it said behind this word.
    pub(crate) fn numbers(&self, word: &str) -> Vec<u32> {
        let numbers =
            self.said.iter().filter_map(|line| line.strip_prefix(word)?.trim().parse().ok());
        numbers.collect()
    }

    /// All living processes of this play.
    pub(crate) fn cast(&self) -> Vec<u32> {
        let wanted = format!("{MARK}={}", self.mark);
        processes().filter(|&pid| !is_dead(pid) && environment(pid).contains(&wanted)).collect()
    }

    /// All that it started is gone soon after it; how it ended.
    pub(crate) fn leaves_nobody(mut self) -> ExitStatus {
        let began = Instant::now();
        let status = self.program.wait().expect("it has ended");
        let cast = || self.cast();
        eventually("nothing that it started is left", || cast().is_empty());
        assert!(began.elapsed() < BOUND, "it took {:?}", began.elapsed());
        status
    }
}

pub(crate) fn this_program() -> PathBuf {
    std::env::current_exe().expect("a program")
}
