//! Running one task in a worker: from its frame to the frame of its outcomes.
//!
//! Promises: what a task brought is let go of, or told to be kept, when it is completed.
//! Does not know: how messages come and go.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

#[cfg(feature = "testing")]
use super::initializer::TASK;
use super::pack::pack;
use super::worker::{Link, WorkerSide};
use crate::channel::{
    Completion, EntryName, FramePlace, Phase, SegmentCheck, StatusWriter, StoreSink, TaskHead,
    ToParent, located, pool_limits,
};
use crate::codec::{Bodies, Body, CodecError, Copies, Options, Reader, Sink, Writer};
use crate::frame::{Frame, FrameError, Location, SegmentFault};
use crate::shm::{Attached, BlockName};
use crate::sys::fault::fault;
use crate::task::{Context, Entry, Failure, Outcome, Run, catch, resolve, with_sources};

/// What a worker keeps from task to task.
pub(super) struct Server {
    side: &'static WorkerSide,
    status: StatusWriter,
    entries: HashMap<EntryName, Option<&'static Entry>>,
    contexts: HashMap<u64, ContextState>,
    /// What is to go wrong here.
    #[cfg(feature = "testing")]
    chaos: Option<crate::process::Chaos>,
}

/// What the items of a map share, before and after the first of them needs it.
enum ContextState {
    Raw(FramePlace, Vec<u8>),
    /// With the blocks that came with it.
    Decoded(Result<Context, Failure>, Vec<BlockName>),
}

/// A frame with its bodies leased.
struct Opened {
    metadata: Vec<u8>,
    bodies: Bodies<'static>,
    /// The blocks that it names or lies in.
    names: Vec<BlockName>,
}

/// Names in one message; more go in several.
const NAMES_AT_ONCE: usize = 1_000;

impl Server {
    pub(super) fn new(side: &'static WorkerSide, status: StatusWriter) -> Self {
        Server {
            side,
            status,
            entries: HashMap::new(),
            contexts: HashMap::new(),
            #[cfg(feature = "testing")]
            chaos: crate::process::Chaos::of_worker(),
        }
    }

    pub(super) fn add_context(&mut self, context: u64, place: FramePlace, frame: Vec<u8>) {
        self.contexts.insert(context, ContextState::Raw(place, frame));
    }

    pub(super) fn forget(&mut self, context: u64) {
        let forgotten = self.contexts.remove(&context);
        let names = match &forgotten {
            Some(ContextState::Decoded(_, names)) => names.clone(),
            Some(ContextState::Raw(..)) | None => Vec::new(),
        };
        // Its destructor is the user's.
        let _panicked = catch(|| drop(forgotten));
        fault!("worker.before_forgotten");
        self.end(&names, &ToParent::Forgotten { context }, &[]);
    }

    /// Runs a task and says what became of it.
    pub(super) fn run(&mut self, head: &TaskHead, frame: Vec<u8>) {
        fault!("worker.after_claim");
        self.side.attempt.store(head.attempt, Ordering::Relaxed);
        self.status.begin(head.task, head.first);
        #[cfg(feature = "testing")]
        if let Some(chaos) = self.chaos.filter(|_| head.task != TASK) {
            chaos.before(head.task, head.attempt);
        }
        let began = Instant::now();
        let mut mentioned = Vec::new();
        let mut sink = StoreSink::new(&self.side.memory);
        let outcomes = Writer::new(&Options { depth: 1, ..Options::default() });
        let opened = self.open(head.frame, frame);
        let (outcomes, mut copies) = match opened {
            Ok(opened) => {
                mentioned.clone_from(&opened.names);
                self.run_opened(head, opened, outcomes, &mut sink)
            }
            Err(error) => {
                let outcomes = all_failed(head.count, &error.into(), outcomes, &mut sink);
                (outcomes, Copies::default())
            }
        };
        copies.add(sink.copies());
        let nanoseconds = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let completion = Completion {
            task: head.task,
            frame: FramePlace::Message,
            copies: copies.count,
            copied_bytes: copies.bytes,
            nanoseconds,
        };
        #[cfg(feature = "testing")]
        if let Some(chaos) = self.chaos.filter(|_| head.task != TASK) {
            chaos.after(head.task, head.attempt);
        }
        self.status.progress(Phase::Sending, head.first + head.count - 1);
        self.complete(completion, outcomes, mentioned);
        fault!("worker.before_idle");
        self.status.idle();
        fault!("worker.after_idle");
    }

    fn run_opened(
        &mut self,
        head: &TaskHead,
        opened: Opened,
        outcomes: Writer,
        sink: &mut StoreSink<'_, Arc<Attached<Link>>>,
    ) -> (Writer, Copies) {
        let entry = *self.entries.entry(head.entry).or_insert_with(|| resolve(&head.entry));
        let Some(entry) = entry else {
            let message = "the function is not part of the worker's program".to_owned();
            let failure = Failure::Unreadable { at: 0, message };
            return (all_failed(head.count, &failure, outcomes, sink), Copies::default());
        };
        let context_copies =
            head.context.map_or(Copies::default(), |context| self.decode_context(context, entry));
        let context = head.context.and_then(|context| match self.contexts.get(&context) {
            Some(ContextState::Decoded(context, _)) => Some(context),
            _ => None,
        });
        let mut items = Reader::new(&opened.metadata, &opened.bodies, &pool_limits());
        let positioned = items.array().and_then(|_| items.skip(head.first));
        if let Err(error) = positioned {
            return (all_failed(head.count, &error.into(), outcomes, sink), Copies::default());
        }
        let (first, count, status) = (head.first, head.count, &self.status);
        let mut run = Run { items, first, count, context, status, outcomes, sink };
        fault!("worker.before_run");
        entry.run(&mut run);
        fault!("worker.after_run");
        let mut copies = run.items.copies();
        copies.add(context_copies);
        (run.outcomes, copies)
    }

    /// Reads a context when the first task asks for it; a death on the way is that task's. What had
    /// to be copied is the answer.
    fn decode_context(&mut self, id: u64, entry: &Entry) -> Copies {
        let Some(ContextState::Raw(place, frame)) = self.contexts.get_mut(&id) else {
            return Copies::default();
        };
        let (place, frame) = (*place, std::mem::take(frame));
        let (mut names, mut copies) = (Vec::new(), Copies::default());
        let decode = || {
            let opened = self.open(place, frame)?;
            names.clone_from(&opened.names);
            let mut reader = Reader::new(&opened.metadata, &opened.bodies, &pool_limits());
            reader.array()?;
            let context = entry.context(&mut reader);
            copies = reader.copies();
            context
        };
        let decoded = match catch(decode) {
            Ok(decoded) => decoded.map_err(Failure::from),
            Err(report) => Err(Failure::Panicked(report)),
        };
        self.contexts.insert(id, ContextState::Decoded(decoded, names));
        copies
    }

    /// Checks a frame and leases what it refers to.
    fn open(&self, place: FramePlace, message: Vec<u8>) -> Result<Opened, CodecError> {
        let memory = &self.side.memory;
        let unknown = |index| FrameError::Segment { index, why: SegmentFault::Unknown };
        let mut names = Vec::new();
        let bytes = match place {
            FramePlace::Message => message,
            FramePlace::Block { name, offset, len } => {
                let range = (name.segment, offset, len);
                let leased = memory.lease(range, name.generation);
                let (block, name) = leased.map_err(|_| unknown(0))?;
                names.push(name);
                block.to_vec()
            }
        };
        let check = |(segment, offset, len), _| memory.check(segment, offset, len);
        let frame = Frame::parse_with(&bytes, &pool_limits(), &SegmentCheck(check))?;
        let mut bodies = Vec::new();
        for (index, descriptor) in (0..).zip(frame.descriptors()) {
            if descriptor.location != Location::Segment {
                return Err(unknown(index).into());
            }
            let at = located(&descriptor);
            let range = (at.segment, at.offset, descriptor.len);
            let leased = memory.lease(range, at.generation);
            let (buffer, name) = leased.map_err(|_| unknown(index))?;
            names.push(name);
            memory.link().in_flight.add(descriptor.len);
            bodies.push(Body::Owned { buffer, kind: descriptor.kind });
        }
        names.sort_unstable();
        names.dedup();
        Ok(Opened { metadata: frame.metadata().to_vec(), bodies: Bodies::new(bodies), names })
    }

    /// Sends the outcomes, and tells which of the blocks that came or go are still in use here.
    fn complete(
        &self,
        mut completion: Completion,
        outcomes: Writer,
        mut mentioned: Vec<BlockName>,
    ) {
        let memory = &self.side.memory;
        let packed = match pack(memory, outcomes) {
            Ok(packed) => packed,
            Err(error) => {
                let message = with_sources(&error);
                let failed = ToParent::Failed { task: completion.task, message };
                return self.end(&mentioned, &failed, &[]);
            }
        };
        completion.frame = packed.place;
        memory.link().in_flight.add(packed.bytes_out_of_band);
        memory.publish(&packed.names);
        fault!("worker.after_write");
        // Whether a result is still in use here is to be told by what else holds it.
        drop(packed.buffers);
        mentioned.extend(packed.names);
        mentioned.sort_unstable();
        mentioned.dedup();
        self.end(&mentioned, &ToParent::Completed(completion), &packed.frame);
    }

    /// Says that a task or context is over, after what of its blocks is still in use here.
    fn end(&self, mentioned: &[BlockName], message: &ToParent, frame: &[u8]) {
        let memory = &self.side.memory;
        memory.complete(mentioned, |kept| {
            for blocks in kept.chunks(NAMES_AT_ONCE) {
                memory.link().say(&ToParent::Keeping { blocks: blocks.to_vec() }, &[]);
                fault!("worker.after_keeping");
            }
            memory.link().say(message, frame);
        });
    }
}

/// The outcomes of a task none of whose items can be read.
fn all_failed(count: u32, failure: &Failure, mut outcomes: Writer, sink: &mut dyn Sink) -> Writer {
    for _ in 0..count {
        let outcome: Outcome<()> = failure.clone().into();
        let written = outcomes.push(&outcome, sink);
        written.expect("a report of text and numbers can be written");
    }
    outcomes
}
