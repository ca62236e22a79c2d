//! The pool: worker processes that may die, and the tasks that survive them.
//!
//! The rules are a pure state machine (`scheduler`); the pool's own thread performs what it asks for
//! (`supervisor`), and so do, for sends, the threads that submit. README.md beside this file draws
//! the states.
//! Promises: each task resolves exactly once; one death costs at most the task that ran; nothing is
//! left behind.
//! Does not know: maps; they are made of the same payloads, one floor up.

mod births;
mod builder;
mod callback;
mod core;
mod drive;
mod error;
mod front;
mod handle;
mod hardening;
#[cfg(test)]
mod hostile;
mod initializer;
mod inner;
mod memory;
mod once;
mod one;
mod pack;
mod payload;
mod peer;
mod pending;
mod quarantine;
mod raw_fork;
mod receive;
mod resolve;
mod scheduler;
mod serve;
mod start;
mod stats;
mod stderr;
mod submit;
mod supervisor;
mod worker;

pub use self::builder::{PoolBuilder, StartMethod};
pub use self::error::{
    Panicked, RemoteError, StartFailed, StartFailure, TaskError, TaskInfo, ValueError, WorkerDied,
};
pub use self::front::Pool;
pub use self::handle::{AbortHandle, JoinHandle};
pub use self::hardening::Hardening;
pub use self::one::{TaskBuilder, TrySubmitError};
pub use self::scheduler::Shutdown;
pub use self::start::{__premain, init};
pub use self::stats::Stats;
pub use self::worker::{Worker, worker};

pub(crate) use self::handle::cancel;
pub(crate) use self::inner::{Inner, Settings};
pub(crate) use self::payload::{Context, Packer};
pub(crate) use self::pending::{Fault, Pending};
pub(crate) use self::resolve::{Names, error_of, outcomes_of};
