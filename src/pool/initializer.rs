//! What each worker runs before its first task.
//!
//! Promises: a worker that does not come through it is never sent a task; why not is told as it was.
//! Does not know: what it does.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::Arc;

use super::core::Core;
use super::error::{RemoteError, StartFailure, TaskError};
use super::inner::Inner;
use super::payload::Payload;
use super::pending::{Answer, Fault, RawResult};
use super::resolve::{Names, outcomes_of};
use super::scheduler::{Event, WorkerId};
use crate::codec::Data;
use crate::task::{Function, Plain};

/// In messages and on the status page, the task that is none.
pub(super) const TASK: u64 = u64::MAX;

/// An initializer that is to be written into shared memory, when there is some.
pub(super) struct Initializer(Box<Pack>);

type Pack = dyn FnOnce(&Arc<Inner>) -> Result<Payload, Fault> + Send;

impl Initializer {
    pub(super) fn new<A: Data, F: Function<A, Result<(), RemoteError>>>(f: F, args: A) -> Self {
        let _ = f;
        let pack = move |pool: &Arc<Inner>| {
            let packer = pool.pack_one(&args, false)?;
            pool.payload::<Plain<F, A, Result<(), RemoteError>>>(packer, None)
        };
        Initializer(Box::new(pack))
    }

    /// Writes it into the pool's memory.
    pub(super) fn pack(self, pool: &Arc<Inner>) -> Result<Arc<Payload>, TaskError> {
        let packed = (self.0)(pool);
        packed.map(Arc::new).map_err(|fault| super::resolve::error_of::<()>(fault, &names()))
    }
}

impl fmt::Debug for Initializer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Initializer(..)")
    }
}

/// A worker has answered the handshake: it is ready, or has the initializer to run.
pub(super) fn welcome(core: &mut Core, pool: &Inner, worker: WorkerId) {
    let Some(payload) = pool.initializer.get() else {
        return core.tell(Event::WorkerReady { worker });
    };
    let Some(peer) = core.peer(worker) else { return };
    let sent = peer.initialise(payload.clone(), &pool.memory);
    core.after_send(pool, worker, sent);
}

/// A worker has run the initializer.
pub(super) fn judge(
    core: &mut Core,
    pool: &Inner,
    worker: WorkerId,
    result: Result<RawResult, Fault>,
) {
    let answer = Answer { first: 0, count: 1, result };
    let outcome = outcomes_of::<Result<(), RemoteError>>(answer, pool, |_| names()).pop();
    let cause = match outcome {
        Some(Ok(Ok(()))) => None,
        Some(Ok(Err(error))) => Some(StartFailure::InitializerFailed(error)),
        Some(Err(TaskError::Panicked(panicked))) => Some(StartFailure::Initializer(panicked)),
        Some(Err(error)) => Some(StartFailure::InitializerFailed(RemoteError::new(error))),
        None => Some(StartFailure::Exited),
    };
    let Some(peer) = core.peer(worker) else { return };
    match cause {
        None => {
            peer.begin_work();
            core.tell(Event::WorkerReady { worker });
        }
        Some(cause) => peer.refuse(cause),
    }
}

fn names() -> Names {
    Names { id: TASK, item: None, function: "the initializer", argument: "its arguments" }
}
