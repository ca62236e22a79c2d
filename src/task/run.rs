//! Running the items of a task, one after the other.
//!
//! Promises: each item has exactly one outcome in the result; before each one the status page names
//! it, so that whatever kills this process is blamed on the item that ran.
//! Does not know: where items come from and results go.
#![forbid(unsafe_code)]

use std::any::Any;

use super::entry::Call;
use super::outcome::{Outcome, PanicReport, with_sources};
use super::panic::catch;
use crate::channel::{Phase, StatusWriter};
use crate::codec::{CodecError, Reader, Sink, Writer};

/// What all items of a map share, decoded.
pub(crate) struct Context(Box<dyn Any + Send>);

impl Context {
    pub(crate) fn new<C: Any + Send>(context: C) -> Self {
        Context(Box::new(context))
    }
}

/// The items of one task, and where their outcomes go.
pub(crate) struct Run<'r> {
    /// Stands before the first item.
    pub(crate) items: Reader<'r>,
    pub(crate) first: u32,
    pub(crate) count: u32,
    /// What the items share, or why there is no such thing; `None` for a call without.
    pub(crate) context: Option<&'r Result<Context, Failure>>,
    pub(crate) status: &'r StatusWriter,
    pub(crate) outcomes: Writer,
    pub(crate) sink: &'r mut dyn Sink,
}

/// Why a value could not be made from its bytes.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    Unreadable { at: u64, message: String },
    Panicked(PanicReport),
}

impl From<CodecError> for Failure {
    fn from(error: CodecError) -> Self {
        match error {
            CodecError::Decode { at, message, .. } => Failure::Unreadable { at, message },
            other => Failure::Unreadable { at: 0, message: with_sources(&other) },
        }
    }
}

impl<R> From<Failure> for Outcome<R> {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Unreadable { at, message } => Outcome::Unreadable { at, message },
            Failure::Panicked(report) => Outcome::Panicked(report),
        }
    }
}

/// What an [`Entry`](super::Entry) does.
pub(super) fn run_items<C: Call>(run: &mut Run<'_>) {
    for item in (run.first..).zip(0..run.count).map(|(item, _)| item) {
        run.status.progress(Phase::Decoding, item);
        let outcome = run_item::<C>(run, item);
        run.status.progress(Phase::Encoding, item);
        run.write(outcome);
    }
}

fn run_item<C: Call>(run: &mut Run<'_>, item: u32) -> Outcome<C::Output> {
    let unit: Box<dyn Any + Send> = Box::new(());
    let context = match run.context {
        None => &unit,
        Some(Ok(context)) => &context.0,
        Some(Err(failure)) => return failure.clone().into(),
    };
    let Some(context) = context.downcast_ref::<C::Context>() else {
        return Outcome::Unreadable { at: 0, message: "the context is of another type".into() };
    };
    let argument = match catch(|| run.items.next::<C::Item>()) {
        Ok(Ok(argument)) => argument,
        Ok(Err(error)) => return Failure::from(error).into(),
        Err(panic) => return Outcome::Panicked(panic),
    };
    run.status.progress(Phase::Running, item);
    match catch(|| C::call(context, argument)) {
        Ok(output) => Outcome::Done(output),
        Err(panic) => Outcome::Panicked(panic),
    }
}

impl Run<'_> {
    /// Writes the outcome, or that it could not be written; and drops it, which may panic too.
    fn write<R: serde::Serialize>(&mut self, outcome: Outcome<R>) {
        let written = catch(|| self.outcomes.push(&outcome, self.sink));
        let dropped = catch(|| drop(outcome));
        if dropped.is_err() && matches!(written, Ok(Ok(()))) {
            // The result is whole and written; a destructor that fails here takes nothing from it.
            return;
        }
        let failure: Outcome<()> = match written {
            Ok(Ok(())) => return,
            Ok(Err(CodecError::Encode(message))) => Outcome::Unwritable(message),
            Ok(Err(error)) => Outcome::Unwritable(with_sources(&error)),
            Err(panic) => Outcome::Panicked(panic),
        };
        let written = self.outcomes.push(&failure, self.sink);
        written.expect("a report of text and numbers can be written");
    }
}
