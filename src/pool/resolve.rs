//! From an answer to results: the last decoding, on the thread that owns the handle.
//!
//! Promises: as many results as the answer has items, whatever its bytes are.
//! Does not know: who asks.
#![forbid(unsafe_code)]

use super::error::{Panicked, TaskError, TaskInfo, ValueError};
use super::hardening::{result_limits, trusted};
use super::inner::Inner;
use super::pending::{Answer, Fault, RawResult, copy_of};
use crate::codec::{Bodies, CodecError, Data, Reader};
use crate::frame::check_metadata;
use crate::task::{Outcome, PanicReport};

/// How a task is named to its owner.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    pub(crate) id: u64,
    pub(crate) item: Option<u64>,
    pub(crate) function: &'static str,
    pub(crate) argument: &'static str,
}

impl Names {
    fn info(&self) -> Box<TaskInfo> {
        Box::new(TaskInfo { id: self.id, item: self.item, function: self.function })
    }

    fn value_error(&self, type_name: &'static str, source: CodecError) -> ValueError {
        ValueError { task: self.info(), type_name, source }
    }
}

/// The results of the answer's items, in order; `names` names an item by its number in the payload.
pub(crate) fn outcomes_of<R: Data>(
    answer: Answer,
    pool: &Inner,
    names: impl Fn(u32) -> Names,
) -> Vec<Result<R, TaskError>> {
    let Answer { first, count, result } = answer;
    let items = first..first + count;
    match result {
        Ok(raw) => decode(raw, pool, items.map(names).collect()),
        Err(fault) => items.map(|item| Err(error_of::<R>(fault.copy(), &names(item)))).collect(),
    }
}

fn decode<R: Data>(raw: RawResult, pool: &Inner, names: Vec<Names>) -> Vec<Result<R, TaskError>> {
    let RawResult { metadata, bodies, .. } = raw;
    let buffers = u32::try_from(bodies.len()).unwrap_or(u32::MAX);
    let fail = |error: &CodecError| {
        let fault = |name: &Names| {
            let source = copy_of(error);
            Err(TaskError::Decode(name.value_error(std::any::type_name::<R>(), source)))
        };
        names.iter().map(fault).collect()
    };
    let bodies = match trusted(pool, bodies) {
        Ok(bodies) => Bodies::new(bodies),
        Err(error) => return fail(&error),
    };
    let limits = result_limits(pool);
    let mut reader = Reader::new(&metadata, &bodies, &limits);
    let sound = check_metadata(&metadata, buffers, &limits)
        .map_err(CodecError::Frame)
        .and_then(|()| reader.array().map(|_| ()));
    if let Err(error) = sound {
        return fail(&error);
    }
    let results = names.iter().map(|names| decode_one(&mut reader, names)).collect();
    pool.counters.add_copies(reader.copies());
    results
}

fn decode_one<R: Data>(reader: &mut Reader<'_>, names: &Names) -> Result<R, TaskError> {
    let result = std::any::type_name::<R>();
    match crate::task::catch(|| reader.next::<Outcome<R>>()) {
        Ok(Ok(Outcome::Done(value))) => Ok(value),
        Ok(Ok(Outcome::Panicked(report))) => Err(TaskError::Panicked(panicked(report, names))),
        Ok(Ok(Outcome::Unreadable { at, message })) => {
            let source = CodecError::Decode { at, message };
            Err(TaskError::Decode(names.value_error(names.argument, source)))
        }
        Ok(Ok(Outcome::Unwritable(message))) => {
            let source = CodecError::Encode(message);
            Err(TaskError::Encode(names.value_error(result, source)))
        }
        Ok(Err(source)) => Err(TaskError::Decode(names.value_error(result, source))),
        Err(report) => Err(TaskError::Panicked(panicked(report, names))),
    }
}

/// The error of one item that never had a result.
pub(crate) fn error_of<R>(fault: Fault, names: &Names) -> TaskError {
    match fault {
        Fault::Cancelled => TaskError::Cancelled,
        Fault::Killed => TaskError::Killed,
        Fault::TimedOut(after) => TaskError::TimedOut { after, task: names.info() },
        Fault::Closed => TaskError::PoolClosed,
        Fault::Forked => TaskError::ForkedHandle,
        Fault::Broken(failure) => TaskError::PoolBroken(failure),
        Fault::Died(mut death) => {
            death.task = names.info();
            TaskError::WorkerDied(*death)
        }
        Fault::Unsendable(message) => TaskError::Encode(
            names.value_error(std::any::type_name::<R>(), CodecError::Encode(message)),
        ),
        Fault::Unwritable(source) => TaskError::Encode(names.value_error(names.argument, source)),
        Fault::Panicked(report) => TaskError::Panicked(panicked(report, names)),
    }
}

fn panicked(report: PanicReport, names: &Names) -> Panicked {
    let PanicReport { message, location, backtrace } = report;
    Panicked { message, location, backtrace, task: Some(names.info()) }
}
