//! The worker's side: takes tasks, runs them, says what became of them.
//!
//! One thread runs tasks. Whoever needs a message from the parent reads for all: the task thread
//! that waits for work, or any thread that waits for a block of memory.
//! Promises: one completion for each task; messages about a block leave in the order of events.
//! Does not know: the pool.
#![forbid(unsafe_code)]

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::buffer::{BufferMut, set_alloc_hook};
use crate::channel::{
    AnswerEnd, Broken, InFlight, Line, MessageEnd, Pulse, StatusWriter, ToParent, ToWorker, decode,
    worker_ends,
};
use crate::error::{Error, Result};
use crate::process::{self, Duty};
use crate::shm::{Attached, BlockName, ParentLink, Store};
use crate::sys::epoch::OwnedHere;
use crate::sys::fault::fault;
use crate::sys::host;
use crate::sys::socket::Socket;
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
    let Ok((link, line)) = connect(duty.socket, &duty.memory, duty.hello.spins) else {
        host::kill_own_group()
    };
    let identity = (usize::try_from(duty.hello.slot).unwrap_or(usize::MAX), duty.hello.generation);
    let side = WorkerSide { memory: Attached::new(link), attempt: AtomicU32::new(0), identity };
    let side = SIDE.get_or_init(|| OwnedHere::new(side));
    set_alloc_hook(alloc_for_result);
    let mut server = Server::new(side, StatusWriter::new(line.clone()));
    loop {
        match side.memory.link().next_order() {
            Order::Task(head, frame) if line.claim(head.claim) => server.run(&head, frame),
            Order::Task(..) => {}
            Order::Context(context, place, frame) => server.add_context(context, place, frame),
            Order::Forget(context) => server.forget(context),
            Order::Stop => {
                fault!("worker.before_end");
                process::end()
            }
        }
    }
}

fn connect(
    socket: Socket,
    [down, up, pulse]: &[OwnedFd; 3],
    spins: bool,
) -> io::Result<(Link, Arc<Line>)> {
    let (line, pulse) = (Line::attach(down, up)?, Pulse::attach(pulse)?);
    let (answers, messages) = worker_ends(socket, line.clone(), pulse, spins);
    Ok((Link::new(answers, messages), line))
}

static SIDE: OnceLock<OwnedHere<WorkerSide>> = OnceLock::new();

/// This worker; `None` in other processes, and in one that a task forked.
pub(super) fn here() -> Option<&'static WorkerSide> {
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
    answers: Mutex<AnswerEnd>,
    inbox: Mutex<Inbox>,
    changed: Condvar,
    /// Keeps requests in the order of their tickets.
    requests: Mutex<u64>,
    /// Bytes of buffers that came or went since a message was last waited for.
    pub(super) in_flight: InFlight,
}

struct Inbox {
    /// `None`: somebody waits at it, for all.
    messages: Option<MessageEnd>,
    /// Threads that wait for whoever does.
    sleepers: u32,
    orders: VecDeque<Order>,
    /// Answers to requests for blocks, by ticket: what was denied, as (wanted, limit).
    answers: HashMap<u64, Option<(u64, u64)>>,
    answered: u64,
    /// For one message at a time.
    record: Vec<u8>,
}

impl Link {
    fn new(answers: AnswerEnd, messages: MessageEnd) -> Self {
        let inbox = Inbox {
            messages: Some(messages),
            sleepers: 0,
            orders: VecDeque::new(),
            answers: HashMap::new(),
            answered: 0,
            record: Vec::new(),
        };
        Link {
            answers: Mutex::new(answers),
            inbox: Mutex::new(inbox),
            changed: Condvar::new(),
            requests: Mutex::new(0),
            in_flight: InFlight::default(),
        }
    }

    /// Says something. Without a parent there is nobody to work for.
    pub(super) fn say(&self, message: &ToParent, frame: &[u8]) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.send(message, frame).is_err() {
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
            let Some(mut messages) = inbox.messages.take() else {
                inbox.sleepers += 1;
                inbox = self.changed.wait(inbox).unwrap_or_else(PoisonError::into_inner);
                inbox.sleepers -= 1;
                continue;
            };
            if inbox.read(&mut messages) {
                inbox.messages = Some(messages);
            } else {
                drop(inbox);
                // The parent is gone, or this process is short of what it needs to hear it.
                if messages.wait(self.in_flight.take()).is_err() {
                    host::kill_own_group();
                }
                inbox = self.lock();
                inbox.messages = Some(messages);
            }
            if inbox.sleepers > 0 {
                self.changed.notify_all();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inbox {
    /// Reads the next message, if there is one.
    fn read(&mut self, messages: &mut MessageEnd) -> bool {
        let mut record = std::mem::take(&mut self.record);
        let there = messages.recv(&mut record);
        match there {
            Ok(false) => {}
            Ok(true) => match decode(&record) {
                Some((message, frame)) => self.sort(message, frame, messages),
                None => host::kill_own_group(),
            },
            // The parent is not in its right mind.
            Err(Broken) => host::kill_own_group(),
        }
        self.record = record;
        there == Ok(true)
    }

    /// Puts a message where it is waited for; what concerns memory is done at once.
    fn sort(&mut self, message: ToWorker, frame: &[u8], messages: &mut MessageEnd) {
        let Some(side) = here() else { host::kill_own_group() };
        match message {
            ToWorker::Attach { segment, len, block_len, writable } => {
                let attached = messages
                    .fd()
                    .and_then(|fd| side.memory.attach(segment, (len, block_len), writable, fd));
                if attached.is_err() {
                    // Out of address space or of descriptors: the parent learns it by our death.
                    host::kill_own_group();
                }
                fault!("worker.after_attach");
            }
            ToWorker::Detach { segment } => side.memory.detach(segment),
            ToWorker::Grant(name) => {
                fault!("worker.before_grant");
                side.memory.add_grant(name);
                self.answer(None);
            }
            ToWorker::Deny { wanted, limit } => self.answer(Some((wanted, limit))),
            ToWorker::Task(head) => self.orders.push_back(Order::Task(head, frame.to_vec())),
            ToWorker::Context { context, frame: place } => {
                self.orders.push_back(Order::Context(context, place, frame.to_vec()));
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
            fault!("worker.after_request");
            *next += 1;
            *next - 1
        };
        match self.wait_for(|inbox| inbox.answers.remove(&ticket)) {
            None => Ok(()),
            Some((wanted, limit)) => Err(Error::OutOfMemory { wanted, limit }),
        }
    }

    fn released(&self, name: BlockName) {
        fault!("worker.before_released");
        self.say(&ToParent::Released { blocks: vec![name] }, &[]);
        fault!("worker.after_released");
    }
}
