//! Panics of tasks: recorded where they happen, told where they are caught.
//!
//! Promises: after [`record_panics`] a panic prints nothing in this process, unless it is the end of it.
//! Does not know: what panicked.
#![forbid(unsafe_code)]

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};

use super::outcome::PanicReport;

thread_local! {
    /// The last panic of this thread, until somebody asks for it.
    static LAST: Cell<Option<PanicReport>> = const { Cell::new(None) };
}

/// Replaces this process's panic hook by one that records and does not print. Not where panics abort: what
/// is recorded there is lost with the process, so the hook that prints stays.
pub(crate) fn record_panics() {
    if cfg!(panic = "abort") {
        return;
    }
    std::panic::set_hook(Box::new(|info| LAST.set(Some(report(info)))));
}

/// Runs `f`; a panic comes back as a report.
///
/// What `f` worked on may be half-done then: the callers either drop it or roll it back.
pub(crate) fn catch<R>(f: impl FnOnce() -> R) -> Result<R, PanicReport> {
    LAST.set(None);
    catch_unwind(AssertUnwindSafe(f)).map_err(|payload| {
        let message = message_of(&*payload);
        // Without the hook (in the parent), or when the last panic was another one that somebody
        // caught and replaced, the payload alone tells.
        let recorded = LAST.take().filter(|last| last.message == message);
        let report = recorded.unwrap_or(PanicReport { message, ..PanicReport::default() });
        // The payload's own destructor may panic; that is not worth a process.
        let _second_panic = catch_unwind(AssertUnwindSafe(|| drop(payload)));
        report
    })
}

fn report(info: &PanicHookInfo<'_>) -> PanicReport {
    let backtrace = Backtrace::capture();
    PanicReport {
        message: message_of(info.payload()),
        location: info.location().map(ToString::to_string),
        backtrace: (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string()),
    }
}

fn message_of(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "a panic whose payload is not text".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_told_by_its_message() {
        assert_eq!(catch(|| 1).unwrap(), 1);
        let payload: Box<dyn Any + Send> = Box::new("out of tea");
        let report = catch(|| -> () { std::panic::resume_unwind(payload) }).unwrap_err();
        assert_eq!(report.message, "out of tea");
    }
}
