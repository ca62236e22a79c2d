//! One worker, as the parent sees it: its process, its connection, and what it has been sent.
//!
//! Promises: no call waits; what a message needs is sent before it.
//! Does not know: why the worker is sent what.
#![forbid(unsafe_code)]

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::error::StartFailure;
use super::initializer::TASK;
use super::once;
use super::payload::{Context, Payload};
use super::quarantine::DEATH_DEADLINE;
use super::scheduler::{Blame, TaskId, TaskSpec, WorkerId};
use super::stderr::StderrTail;
use crate::channel::{ParentEnd, SendState, StatusReader, TaskHead, ToWorker};
use crate::process::{Hello, MESSAGE, Welcome, fits};
use crate::shm::{BlockName, Memory};
use crate::sys::child::Child;
use crate::sys::fault::fault;
use crate::sys::poller::Interest;
use crate::sys::socket::{Received, Wait};

/// How long a start may take.
pub(super) const START_DEADLINE: Duration = Duration::from_secs(20);

/// A worker process.
pub(super) struct Peer {
    pub(super) worker: WorkerId,
    pub(super) child: Child,
    pub(super) end: ParentEnd,
    pub(super) stage: Stage,
    /// What it writes to standard error before it is ready.
    pub(super) stderr: StderrTail,
    pub(super) status: StatusReader,
    /// Dispatched and not completed, in order: the first is running.
    pub(super) sent: VecDeque<Dispatch>,
    /// Of the next completion's blocks, those that the worker goes on using.
    pub(super) keeping: BTreeSet<BlockName>,
    /// What the machine had killed for want of memory when this worker started.
    pub(super) oom_kills_before: Option<u64>,
    /// It has talked nonsense: it is not listened to any more, whatever stage it is in.
    is_deaf: bool,
    /// It left before this process killed it, as far as its socket tells.
    has_left: bool,
    /// When this process killed it first.
    killed_at: Option<Instant>,
    /// What its socket is waited for.
    pub(super) interest: Interest,
    attached: HashSet<u32>,
    /// The contexts that it has been sent, with the blocks that they hold.
    contexts: HashMap<u64, Vec<BlockName>>,
    /// Contexts that it was told to drop, and has not.
    forgetting: usize,
    /// Blocks that it has asked for, without an answer.
    asked: usize,
}

/// How far a worker has come.
#[derive(Debug)]
pub(super) enum Stage {
    /// It has not answered yet.
    Starting {
        hello: Hello,
        deadline: Instant,
    },
    /// It runs the initializer, which it may claim under this number.
    Initialising {
        claim: u64,
        payload: Arc<Payload>,
    },
    /// It cannot be used, and is on its way out.
    Unfit(StartFailure),
    Ready,
    /// This process has killed it.
    Killed,
}

/// A task on its way to a worker, or there.
pub(super) struct Dispatch {
    pub(super) task: TaskId,
    pub(super) attempt: u32,
    pub(super) spec: TaskSpec,
    pub(super) payload: Arc<Payload>,
    /// The number under which the worker claims it.
    pub(super) claim: u64,
}

/// What the answer to the handshake says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    NotYet,
    Ready,
    Unfit,
}

impl Peer {
    pub(super) fn new(
        worker: WorkerId,
        hello: Hello,
        (child, end): (Child, ParentEnd),
        stderr: StderrTail,
        status: StatusReader,
    ) -> Self {
        Peer {
            worker,
            child,
            end,
            stage: Stage::Starting { hello, deadline: Instant::now() + START_DEADLINE },
            stderr,
            status,
            sent: VecDeque::new(),
            keeping: BTreeSet::new(),
            oom_kills_before: crate::sys::host::oom_kills(),
            is_deaf: false,
            has_left: false,
            killed_at: None,
            interest: Interest::Read,
            attached: HashSet::new(),
            contexts: HashMap::new(),
            forgetting: 0,
            asked: 0,
        }
    }

    pub(super) fn slot(&self) -> u32 {
        u32::try_from(self.worker.slot).expect("slots are counted in 32 bits")
    }

    pub(super) fn is_ready(&self) -> bool {
        matches!(self.stage, Stage::Ready)
    }

    /// Whether what it publishes is looked at: it has answered the handshake, and said no nonsense.
    pub(super) fn is_heard(&self) -> bool {
        let has_answered =
            matches!(self.stage, Stage::Initialising { .. } | Stage::Ready | Stage::Killed);
        has_answered && !self.is_deaf
    }

    /// Sends the initializer; the worker is not ready before it has run it.
    pub(super) fn initialise(
        &mut self,
        payload: Arc<Payload>,
        memory: &Memory,
    ) -> io::Result<SendState> {
        let claim = self.end.offer();
        let spec = TaskSpec { payload: TASK, first: 0, count: 1, attempts: 1, timeout: None };
        let task = TaskId(TASK);
        let dispatch = Dispatch { task, attempt: 1, spec, payload: payload.clone(), claim };
        self.stage = Stage::Initialising { claim, payload };
        self.send_task(&dispatch, memory)
    }

    /// It has come through the initializer, and is ready.
    pub(super) fn begin_work(&mut self) {
        self.stage = Stage::Ready;
    }

    /// It cannot be used.
    pub(super) fn refuse(&mut self, cause: StartFailure) {
        self.stage = Stage::Unfit(cause);
        self.kill();
    }

    /// Ends the process and its group.
    pub(super) fn kill(&mut self) {
        if self.is_ready() {
            self.stage = Stage::Killed;
        }
        self.killed_at.get_or_insert_with(Instant::now);
        self.child.kill_group();
    }

    /// When it is given up, if it has not died until then.
    pub(super) fn gives_up_at(&self) -> Option<Instant> {
        self.killed_at.map(|killed_at| killed_at + DEATH_DEADLINE)
    }

    /// Notes that the worker is not worth listening to any more.
    pub(super) fn lose(&mut self) {
        self.is_deaf = true;
    }

    /// Notes that its end of the socket is closed: mostly it is dying, and its death is not ours.
    pub(super) fn leaves(&mut self) {
        self.has_left |= self.is_ready();
    }

    /// Whether it died because this process killed it, and not before that.
    pub(super) fn died_by_us(&self) -> bool {
        matches!(self.stage, Stage::Killed) && !self.has_left
    }

    /// Who is to blame for the worker's death, by its own word and, if it has talked nonsense, by what
    /// it had: its status may be written over as well, and the task that did it must be charged, or
    /// it would go from worker to worker.
    pub(super) fn accuse(&self, blame: Option<Blame>) -> Option<Blame> {
        let first = self.sent.front().filter(|_| self.is_deaf);
        let by_name = blame.filter(|blame| first.is_none_or(|first| first.task == blame.task));
        let by_order = |first: &Dispatch| Blame {
            task: first.task,
            item: first.spec.first,
            // One behind it may have done it, over a result of this one that nobody had read.
            retry_alone: self.sent.len() > 1,
        };
        by_name.or_else(|| first.map(by_order))
    }

    /// Asks the process to end when it has done what it was sent.
    pub(super) fn stop(&mut self) -> io::Result<SendState> {
        if !self.is_ready() {
            self.kill();
            return Ok(SendState::Done);
        }
        self.say(&ToWorker::Stop)
    }

    /// Gives up a start that takes too long.
    pub(super) fn check_deadline(&mut self, now: Instant) {
        match self.stage {
            Stage::Starting { deadline, .. } if deadline <= now => {
                self.stage = Stage::Unfit(StartFailure::TimedOut { after: START_DEADLINE });
                self.kill();
            }
            _ => {}
        }
    }

    /// Reads the answer to the handshake, if it has come; `None` where none is expected any more.
    pub(super) fn finish_handshake(&mut self) -> Option<Answer> {
        let Stage::Starting { hello, .. } = &self.stage else { return None };
        let mut space = vec![0; MESSAGE];
        let len = match self.end.socket().recv(&mut space, Wait::No) {
            Ok(Received::Empty) => return Some(Answer::NotYet),
            Ok(Received::Message(len, _no_fds)) => len,
            // It is dying, and its death will tell how.
            Ok(Received::Closed) | Err(_) => {
                self.stage = Stage::Unfit(StartFailure::Exited);
                return Some(Answer::Unfit);
            }
        };
        let welcome = rmp_serde::from_slice::<Welcome>(&space[..len]);
        let cause = match welcome {
            Ok(welcome) if fits(hello, &welcome) => welcome.obstacle.as_deref().map(once::failure),
            _ => Some(StartFailure::WrongProgram),
        };
        let answer = if cause.is_none() { Answer::Ready } else { Answer::Unfit };
        self.stage = cause.map_or(Stage::Ready, Stage::Unfit);
        Some(answer)
    }

    /// Sends a task, after all that it needs.
    pub(super) fn dispatch(
        &mut self,
        dispatch: Dispatch,
        memory: &Memory,
    ) -> io::Result<SendState> {
        let sent = self.send_task(&dispatch, memory);
        // Whatever became of it: it is this worker's until the scheduler takes it back.
        self.sent.push_back(dispatch);
        sent
    }

    fn send_task(&mut self, dispatch: &Dispatch, memory: &Memory) -> io::Result<SendState> {
        let Dispatch { task, attempt, spec, payload, claim } = dispatch;
        memory.hold(self.slot(), &payload.parcel.names);
        fault!("parent.after_hold");
        if let Some(context) = &payload.context {
            self.send_context(context, memory)?;
        }
        self.attach_all(&payload.parcel.names, false, memory)?;
        let head = TaskHead {
            task: task.0,
            claim: *claim,
            attempt: *attempt,
            entry: payload.entry,
            context: payload.context.as_ref().map(|context| context.id),
            first: spec.first,
            count: spec.count,
            frame: payload.parcel.place,
        };
        self.end.send(&ToWorker::Task(head), &payload.parcel.frame, None)
    }

    /// Takes back a task that the worker has not claimed.
    pub(super) fn take_back(&mut self, task: TaskId) -> Option<Dispatch> {
        let at = self.sent.iter().position(|sent| sent.task == task)?;
        let claim = self.sent[at].claim;
        if self.end.revoke(claim) { self.sent.remove(at) } else { None }
    }

    /// It asks for a block.
    pub(super) fn asks(&mut self) {
        self.asked += 1;
    }

    /// Blocks that it has asked for without having been answered.
    pub(super) fn unanswered(&self) -> usize {
        self.asked
    }

    /// Gives the worker a block of its own arena, or says that there is none.
    pub(super) fn grant(
        &mut self,
        granted: Result<BlockName, (u64, u64)>,
        memory: &Memory,
    ) -> io::Result<SendState> {
        self.asked = self.asked.saturating_sub(1);
        match granted {
            Ok(name) => {
                self.attach_all(&[name], true, memory)?;
                self.say(&ToWorker::Grant(name))
            }
            Err((wanted, limit)) => self.say(&ToWorker::Deny { wanted, limit }),
        }
    }

    pub(super) fn detach(&mut self, segment: u32) -> io::Result<SendState> {
        if self.attached.remove(&segment) {
            return self.say(&ToWorker::Detach { segment });
        }
        self.flush()
    }

    pub(super) fn forget(&mut self, context: u64) -> io::Result<SendState> {
        if self.contexts.contains_key(&context) {
            self.forgetting += 1;
            return self.say(&ToWorker::Forget { context });
        }
        self.flush()
    }

    /// The blocks of a context that the worker has dropped.
    pub(super) fn forgotten(&mut self, context: u64) -> Option<Vec<BlockName>> {
        let blocks = self.contexts.remove(&context)?;
        self.forgetting = self.forgetting.saturating_sub(1);
        Some(blocks)
    }

    /// Whether it will give memory back: it has tasks, or a context to drop.
    pub(super) fn is_at_work(&self) -> bool {
        !self.sent.is_empty() || self.forgetting > 0
    }

    /// Sends what had to wait.
    pub(super) fn flush(&mut self) -> io::Result<SendState> {
        self.end.flush()
    }

    fn say(&mut self, message: &ToWorker) -> io::Result<SendState> {
        self.end.send(message, &Bytes::new(), None)
    }

    fn send_context(&mut self, context: &Context, memory: &Memory) -> io::Result<()> {
        if self.contexts.contains_key(&context.id) {
            return Ok(());
        }
        self.contexts.insert(context.id, context.parcel.names.clone());
        self.attach_all(&context.parcel.names, false, memory)?;
        // Until the worker says that it has dropped the context: as long as it would for a task.
        memory.hold(self.slot(), &context.parcel.names);
        let message = ToWorker::Context { context: context.id, frame: context.parcel.place };
        self.end.send(&message, &context.parcel.frame, None).map(|_| ())
    }

    fn attach_all(
        &mut self,
        names: &[BlockName],
        writable: bool,
        memory: &Memory,
    ) -> io::Result<()> {
        for name in names {
            if !self.attached.insert(name.segment) {
                continue;
            }
            let attachment = memory.attachment(name.segment);
            // A task's blocks are in use. One that was just granted a hostile worker may have given up.
            let attachment = attachment.ok_or(io::ErrorKind::NotFound)?;
            let (len, block_len) = (attachment.len, attachment.block_len);
            let message = ToWorker::Attach { segment: name.segment, len, block_len, writable };
            self.end.send(&message, &Bytes::new(), Some(attachment.fd))?;
        }
        Ok(())
    }
}
