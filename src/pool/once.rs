//! [`Once`]: a function that a process runs before all else, for what it leaves behind there.
//!
//! It is named here and run there, in a fork server or in a worker before its first task.
//! Promises: one that panics is told with its message.
//! Does not know: what it is good for.
#![forbid(unsafe_code)]

use super::error::{Panicked, StartFailed, StartFailure};
use crate::channel::EntryName;
use crate::error::{Error, Result};
use crate::task::{self, Function, PanicReport, name_of, once_entry_of};

/// Such a function.
#[derive(Clone, Debug)]
pub(super) struct Once {
    /// `None` where the file that the function lies in has no build-id.
    entry: Option<EntryName>,
}

impl Once {
    pub(super) fn new<F: Function<(), ()>>(f: F) -> Self {
        // The type is all there is to it.
        let _ = f;
        Once { entry: name_of(once_entry_of::<F>()) }
    }

    /// As it is told to the process.
    pub(super) fn to_words(&self) -> Result<Vec<u8>> {
        let no_name = || Error::StartFailed(StartFailed::before_birth(StartFailure::NoBuildId));
        let name = self.entry.as_ref().ok_or_else(no_name)?;
        rmp_serde::to_vec(name).map_err(|error| std::io::Error::other(error).into())
    }
}

/// Runs the function of these words; why not, if it panics. Nothing is said of words that lead nowhere,
/// which only another program can have sent.
pub(super) fn run(words: &[u8]) -> Result<(), Vec<u8>> {
    task::record_panics();
    let name = rmp_serde::from_slice(words).map_err(|_| Vec::new())?;
    let entry = task::resolve(&name).ok_or_else(Vec::new)?;
    let report = match task::catch(|| entry.once()) {
        Ok(()) => return Ok(()),
        Err(report) => report.brief(),
    };
    Err(rmp_serde::to_vec(&report).unwrap_or_default())
}

/// What [`run`] had to say.
pub(super) fn failure(report: &[u8]) -> StartFailure {
    let Ok(PanicReport { message, location, backtrace }) = rmp_serde::from_slice(report) else {
        return StartFailure::WrongProgram;
    };
    StartFailure::Initializer(Panicked { message, location, backtrace, task: None })
}
