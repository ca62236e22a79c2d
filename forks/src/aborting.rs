//! Where panics abort (`panic = "abort"`), program, library and all: a panic is the death of its worker, and
//! its message is written to standard error, since nobody is left to tell it.

use std::io::Read;
use std::process::{Command, Stdio};

use pannier::{ExitStatus, Phase, Pool, TaskError};

use crate::status_in_time;

/// Makes this program the one whose task panics.
const PART: &str = "a task panics";
const MESSAGE: &str = "a planned panic";

/// Plays the part, or has it played and looks at what was said.
pub(crate) fn holds() -> bool {
    if std::env::args().nth(1).as_deref() == Some(PART) {
        return dies_and_goes_on();
    }
    let program = std::env::current_exe().expect("a program");
    let mut command = Command::new(program);
    command.arg(PART).stdin(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("this program starts");
    let ends_well = status_in_time(&mut child) == Some(true);
    let mut said = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut said).expect("text");
    let holds = ends_well && said.contains(MESSAGE) && said.contains(file!());
    println!("where panics abort, a panic is a death and its message is printed: {holds}");
    holds
}

fn dies_and_goes_on() -> bool {
    let pool = Pool::builder().workers(1).attempts(1).build().expect("a worker starts");
    let died = pool.submit(|()| -> () { panic!("{MESSAGE}") }, ()).join();
    let Err(TaskError::WorkerDied(death)) = died else { return false };
    let is_abort = matches!(death.status, ExitStatus::Signaled { signal: libc::SIGABRT, .. });
    let goes_on = pool.submit(|x: u32| x + 1, 1).join().is_ok_and(|sum| sum == 2);
    is_abort && death.phase == Phase::Running && goes_on
}
