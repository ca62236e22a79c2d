//! Callbacks: foreign code that runs when a task is over, on a thread of its own.
//!
//! Promises: each runs exactly once, outside all locks; the panic of one does not reach the others, nor
//! the pool.
//! Does not know: results; what it is given has them.
#![forbid(unsafe_code)]

use std::io;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Wake;

/// Something to be called once.
pub(super) type Job = Box<dyn FnOnce() + Send>;

/// The thread of a pool's callbacks, which is started for the first. It ends when the pool and all that
/// belongs to it are dropped.
#[derive(Debug, Default)]
pub(super) struct Callbacks(Mutex<Option<Sender<Job>>>);

impl Callbacks {
    /// Where jobs are sent to.
    pub(super) fn sender(&self) -> io::Result<Sender<Job>> {
        let mut sender = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = &*sender {
            return Ok(sender.clone());
        }
        let (jobs, to_run) = channel::<Job>();
        let run = move || {
            for job in to_run {
                let _panicked = crate::task::catch(job);
            }
        };
        std::thread::Builder::new().name("pannier-callbacks".into()).spawn(run)?;
        Ok(sender.insert(jobs).clone())
    }
}

/// Sends a job to the thread when it is woken.
pub(super) struct Callback {
    job: Mutex<Option<Job>>,
    thread: Sender<Job>,
}

impl Callback {
    pub(super) fn new(job: Job, thread: Sender<Job>) -> Arc<Self> {
        Arc::new(Callback { job: Mutex::new(Some(job)), thread })
    }
}

impl Wake for Callback {
    fn wake(self: Arc<Self>) {
        let job = self.job.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(job) = job {
            // The thread ends only when nobody can send any more.
            let _sent = self.thread.send(job);
        }
    }
}
