//! What became of one item, as it travels back.
//!
//! Does not know: which item.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

/// One item's result, or why there is none.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Outcome<R> {
    Done(R),
    Panicked(PanicReport),
    /// The argument could not be read: where in the metadata, and the message.
    Unreadable {
        at: u64,
        message: String,
    },
    /// The result could not be written.
    Unwritable(String),
}

/// A panic, as the worker saw it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PanicReport {
    pub(crate) message: String,
    pub(crate) location: Option<String>,
    pub(crate) backtrace: Option<String>,
}

impl PanicReport {
    /// As much as fits a short message.
    pub(crate) fn brief(mut self) -> Self {
        const KEPT: usize = 8 << 10;
        let end = (0..=KEPT).rev().find(|&at| self.message.is_char_boundary(at)).unwrap_or(0);
        self.message.truncate(end);
        self.backtrace = None;
        self
    }
}

/// The text of an error with those of its sources, for where only text can go.
pub(crate) fn with_sources(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(error.source(), |error| error.source());
    sources.fold(error.to_string(), |text, source| format!("{text}: {source}"))
}
