//! The worker's side: takes tasks, runs them, says what became of them.
//!
//! One thread runs tasks. Whoever needs a message from the parent reads for all: the task thread
//! that waits for work, or any thread that waits for a block of memory.
//! Promises: one completion for each task; messages about a block leave in the order of events.
//! Does not know: the pool.
#![forbid(unsafe_code)]

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::buffer::{BufferMut, set_alloc_hook};
use crate::channel::{Control, Incoming, Parcel, StatusWriter, ToParent, ToWorker};
use crate::error::{Error, Result};
use crate::process::Duty;
use crate::shm::{Attached, BlockName, ParentLink, Store};
use crate::sys::epoch::OwnedHere;
use crate::sys::host;
use crate::sys::socket::Wait;
use crate::task::record_panics;

use super::serve::Server;

/// Who runs the task that asks, from [`worker`].
///
/// # Examples
///
/// ```
/// # pannier::premain!();
/// let pool = pannier::Pool::builder().workers(1).build()?;
/// let attempt = |()| pannier::worker().map(|worker| worker.attempt);
/// assert_eq!(pool.submit(attempt, ()).join()?, Some(1));
/// # Ok::<(), pannier::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Worker {
    /// The worker's place in the pool, from 0.
    pub id: usize,
    /// Which worker in that place it is, from 1: the one after a death is the next.
    pub generation: u32,
    /// Which start of the running task this is, from 1.
    pub attempt: u32,
}

/// In a worker: who it is. `None` in every other process.
///
/// # Examples
///
/// ```
/// assert!(pannier::worker().is_none());
/// ```
#[must_use]
pub fn worker() -> Option<Worker> {
    let side = here()?;
    let (id, generation) = side.identity;
    Some(Worker { id, generation, attempt: side.attempt.load(Ordering::Relaxed) })
}

/// What this process has because it is a worker.
pub(super) struct WorkerSide {
    pub(super) memory: Arc<Attached<Link>>,
    pub(super) attempt: AtomicU32,
    identity: (usize, u32),
}

/// Does what the parent asks for, until it asks for the end.
pub(super) fn serve(duty: Duty) -> ! {
    record_panics();
    let Ok(status) = StatusWriter::attach(&duty.status_page) else { host::kill_own_group() };
    let link = Link::new(Control::new(duty.socket));
    let identity = (usize::try_from(duty.slot).unwrap_or(usize::MAX), duty.generation);
    let side = WorkerSide { memory: Attached::new(link), attempt: AtomicU32::new(0), identity };
    let side = SIDE.get_or_init(|| OwnedHere::new(side));
    set_alloc_hook(alloc_for_result);
    let mut server = Server::new(side, status);
    loop {
        match side.memory.link().next_order() {
            Order::Task(head, frame) => server.run(&head, frame),
            Order::Context(context, place, frame) => server.add_context(context, place, frame),
            Order::Forget(context) => server.forget(context),
            // A normal exit: what the program registered for its end runs.
            Order::Stop => std::process::exit(0),
        }
    }
}

static SIDE: OnceLock<OwnedHere<WorkerSide>> = OnceLock::new();

/// This worker; `None` in other processes, and in one that a task forked.
fn here() -> Option<&'static WorkerSide> {
    SIDE.get().filter(|side| side.is_here()).map(|side| &**side)
}

fn alloc_for_result(bytes: usize, zeroed: bool) -> Option<Result<BufferMut<u8>>> {
    Some(here()?.memory.alloc(bytes, zeroed))
}

/// What the task thread does next.
pub(super) enum Order {
    Task(crate::channel::TaskHead, Vec<u8>),
    Context(u64, crate::channel::FramePlace, Vec<u8>),
    Forget(u64),
    Stop,
}

/// The connection to the parent.
pub(super) struct Link {
    control: Control,
    inbox: Mutex<Inbox>,
    changed: Condvar,
    /// Of whoever reads.
    space: Mutex<Vec<u8>>,
    /// Keeps requests in the order of their tickets.
    requests: Mutex<u64>,
}

#[derive(Default)]
struct Inbox {
    /// Somebody is reading for all.
    reading: bool,
    orders: VecDeque<Order>,
    /// Answers to requests for blocks, by ticket: what was denied, as (wanted, limit).
    answers: HashMap<u64, Option<(u64, u64)>>,
    answered: u64,
}

impl Link {
    fn new(control: Control) -> Self {
        Link {
            control,
            inbox: Mutex::default(),
            changed: Condvar::new(),
            space: Mutex::new(Control::space()),
            requests: Mutex::new(0),
        }
    }

    /// Says something. Without a parent there is nobody to work for.
    pub(super) fn say(&self, message: &ToParent, frame: &[u8]) {
        if self.control.send(message, frame).is_err() {
            host::kill_own_group();
        }
    }

    fn next_order(&self) -> Order {
        self.wait_for(|inbox| inbox.orders.pop_front())
    }

    /// Waits until `found` finds something, and reads for all meanwhile if nobody else does.
    fn wait_for<T>(&self, mut found: impl FnMut(&mut Inbox) -> Option<T>) -> T {
        let mut inbox = self.lock();
        loop {
            if let Some(found) = found(&mut inbox) {
                return found;
            }
            if inbox.reading {
                inbox = self.changed.wait(inbox).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            inbox.reading = true;
            drop(inbox);
            let parcel = self.read();
            inbox = self.lock();
            inbox.reading = false;
            inbox.sort(parcel);
            self.changed.notify_all();
        }
    }

    fn read(&self) -> Parcel<ToWorker> {
        let mut space = self.space.lock().unwrap_or_else(PoisonError::into_inner);
        match self.control.recv(&mut space, Wait::Yes) {
            Ok(Incoming::Parcel(parcel)) => parcel,
            // The parent is gone, or not in its right mind.
            Ok(Incoming::Closed | Incoming::Garbage | Incoming::Empty) | Err(_) => {
                host::kill_own_group()
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inbox {
    /// Puts a message where it is waited for; what concerns memory is done at once.
    fn sort(&mut self, parcel: Parcel<ToWorker>) {
        let Some(side) = here() else { host::kill_own_group() };
        let Parcel { message, frame, fds } = parcel;
        match message {
            ToWorker::Attach { segment, len, block_len, writable } => {
                let [fd] = fds.try_into().unwrap_or_else(|_| host::kill_own_group());
                let attached = side.memory.attach(segment, (len, block_len), writable, fd);
                if attached.is_err() {
                    // Out of address space or of descriptors: the parent learns it by our death.
                    host::kill_own_group();
                }
            }
            ToWorker::Detach { segment } => side.memory.detach(segment),
            ToWorker::Grant(name) => {
                side.memory.add_grant(name);
                self.answer(None);
            }
            ToWorker::Deny { wanted, limit } => self.answer(Some((wanted, limit))),
            ToWorker::Task(head) => self.orders.push_back(Order::Task(head, frame)),
            ToWorker::Context { context, frame: place } => {
                self.orders.push_back(Order::Context(context, place, frame));
            }
            ToWorker::Forget { context } => self.orders.push_back(Order::Forget(context)),
            ToWorker::Stop => self.orders.push_back(Order::Stop),
        }
    }

    fn answer(&mut self, denied: Option<(u64, u64)>) {
        self.answers.insert(self.answered, denied);
        self.answered += 1;
    }
}

impl ParentLink for Link {
    fn request_block(&self, len: u64) -> Result<()> {
        let ticket = {
            let mut next = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
            self.say(&ToParent::NeedBlock { len }, &[]);
            *next += 1;
            *next - 1
        };
        match self.wait_for(|inbox| inbox.answers.remove(&ticket)) {
            None => Ok(()),
            Some((wanted, limit)) => Err(Error::OutOfMemory { wanted, limit }),
        }
    }

    fn released(&self, name: BlockName) {
        self.say(&ToParent::Released { blocks: vec![name] }, &[]);
    }
}
