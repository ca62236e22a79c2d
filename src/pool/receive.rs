//! What workers say, taken with caution: each message is checked before the ledger or the scheduler
//! hears of it.
//!
//! Promises: no bytes of a worker panic this process; a worker that says what cannot be is ended.
//! Does not know: what follows for the tasks.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::time::Duration;

use super::core::Core;
use super::initializer::{TASK, judge};
use super::inner::Inner;
use super::memory::Want;
use super::payload::Payload;
use super::peer::Stage;
use super::pending::{Fault, RawResult};
use super::scheduler::{Delivery, Event, TaskId, WorkerId};
use crate::channel::{
    Broken, Completion, FramePlace, SegmentCheck, ToParent, decode, located, pool_limits,
};
use crate::codec::{Body, Copies};
use crate::frame::{Frame, Location};
use crate::shm::{BlockName, Memory};
use crate::sys::fault::fault;

/// A message that a worker in its right mind does not send.
struct Nonsense;

/// Blocks that one completion may name.
const MAX_KEEPING: usize = 1 << 20;

/// Blocks that a worker may ask for before it is answered: more than it has threads.
const MAX_ASKED: usize = 1 << 12;

/// Messages that a worker that asks for something may have left where they are: more than there are
/// contexts and segments that it has not heard the end of.
const MAX_BACKLOG: usize = 1 << 14;

/// Messages of one worker that are read in one go: more than its ring holds, and not without end.
const AT_A_TIME: usize = 4096;

/// Reads and acts on what the worker in a slot has published; whether there may be more.
pub(super) fn some(core: &mut Core, inner: &Inner, slot: usize) -> bool {
    let mut record = core.take_record();
    let read = (0..AT_A_TIME).take_while(|_| one(core, inner, slot, &mut record)).count();
    core.give_record(record);
    if let Some(peer) = core.peers[slot].as_mut().filter(|_| read > 0) {
        peer.end.tell_room();
    }
    read == AT_A_TIME
}

/// Reads and acts on one message, if there is one.
fn one(core: &mut Core, inner: &Inner, slot: usize, record: &mut Vec<u8>) -> bool {
    let Some(peer) = core.peers[slot].as_mut().filter(|peer| peer.is_heard()) else { return false };
    let worker = peer.worker;
    let acted = match peer.end.recv(record) {
        Ok(false) => return false,
        Ok(true) => {
            fault!("parent.after_pop");
            act(core, inner, worker, record)
        }
        Err(Broken) => Err(Nonsense),
    };
    if acted.is_err() {
        hear_no_more(core, inner, worker);
    }
    true
}

/// A worker says nothing sensible.
fn hear_no_more(core: &mut Core, inner: &Inner, worker: WorkerId) {
    if let Some(peer) = core.peer(worker) {
        // Its bells mean nothing any more.
        inner.bells.sockets.remove(&peer.end);
        peer.lose();
    }
    core.tell(Event::WorkerSuspect { worker });
}

fn act(core: &mut Core, inner: &Inner, worker: WorkerId, record: &[u8]) -> Result<(), Nonsense> {
    let peer = core.peer(worker).ok_or(Nonsense)?;
    let (message, frame) = decode::<ToParent>(record).ok_or(Nonsense)?;
    match message {
        ToParent::Keeping { blocks } => {
            peer.keeping.extend(blocks);
            if peer.keeping.len() > MAX_KEEPING {
                return Err(Nonsense);
            }
        }
        ToParent::Completed(completion) => {
            return complete(core, inner, worker, completion, frame);
        }
        ToParent::Failed { task, message } => {
            let over = Over { task: TaskId(task), results: Vec::new(), elapsed: Duration::MAX };
            return end_task(core, inner, worker, over, Err(Fault::Unsendable(message)));
        }
        ToParent::Forgotten { context } => {
            let (slot, kept) = (peer.slot(), std::mem::take(&mut peer.keeping));
            let sent = peer.forgotten(context).ok_or(Nonsense)?;
            inner.memory.complete(slot, &sent, &[], &kept);
            core.wants.turn();
        }
        ToParent::NeedBlock { len } => {
            if peer.unanswered() > MAX_ASKED || peer.end.backlog() > MAX_BACKLOG {
                return Err(Nonsense);
            }
            peer.asks();
            inner.want(core, Want { worker, len });
        }
        ToParent::Released { blocks } => {
            let slot = peer.slot();
            inner.memory.release(slot, &blocks).map_err(|_| Nonsense)?;
            core.wants.turn();
        }
    }
    Ok(())
}

fn complete(
    core: &mut Core,
    inner: &Inner,
    worker: WorkerId,
    completion: Completion,
    message: &[u8],
) -> Result<(), Nonsense> {
    let slot = core.peer(worker).ok_or(Nonsense)?.slot();
    let mut results = Vec::new();
    let raw = read_result(inner, slot, &completion, message, &mut results)?;
    fault!("parent.after_adopt");
    let Completion { task, copies: count, copied_bytes: bytes, .. } = completion;
    inner.counters.add_copies(Copies { count, bytes });
    let over = Over { task: TaskId(task), results, elapsed: raw.elapsed };
    end_task(core, inner, worker, over, Ok(raw))
}

/// A task that a worker is done with.
struct Over {
    task: TaskId,
    /// The blocks of its results.
    results: Vec<BlockName>,
    elapsed: Duration,
}

/// The worker is done with a task: gives back what it held for it, and tells who waits.
fn end_task(
    core: &mut Core,
    inner: &Inner,
    worker: WorkerId,
    Over { task, results, elapsed }: Over,
    result: Result<RawResult, Fault>,
) -> Result<(), Nonsense> {
    let peer = core.peer(worker).ok_or(Nonsense)?;
    if let Stage::Initialising { claim, payload } = &peer.stage {
        if task.0 != TASK {
            return Err(Nonsense);
        }
        let (slot, claim, payload) = (peer.slot(), *claim, payload.clone());
        let kept = std::mem::take(&mut peer.keeping);
        peer.end.settle(claim);
        give_back(inner, slot, &payload, (results, &kept));
        judge(core, inner, worker, result);
        return Ok(());
    }
    let verdict = core.scheduler.complete(worker, task, elapsed);
    let peer = core.peer(worker).ok_or(Nonsense)?;
    let kept = std::mem::take(&mut peer.keeping);
    if verdict == Delivery::Violation || peer.sent.front().is_none_or(|sent| sent.task != task) {
        return Err(Nonsense);
    }
    let slot = peer.slot();
    let sent = peer.sent.pop_front().ok_or(Nonsense)?;
    peer.end.settle(sent.claim);
    give_back(inner, slot, &sent.payload, (results, &kept));
    fault!("parent.before_deliver");
    if verdict == Delivery::Deliver {
        core.deliver(inner, sent.spec, result);
    }
    Ok(())
}

/// Notes what a worker holds no more now that it has run this payload.
fn give_back(
    inner: &Inner,
    slot: u32,
    payload: &Payload,
    (mut results, kept): (Vec<BlockName>, &BTreeSet<BlockName>),
) {
    let arguments = &payload.parcel.names;
    results.retain(|name| arguments.binary_search(name).is_err());
    results.sort_unstable();
    results.dedup();
    inner.memory.complete(slot, arguments, &results, kept);
}

/// Checks a result frame and takes hold of the blocks that it names.
fn read_result(
    inner: &Inner,
    slot: u32,
    completion: &Completion,
    message: &[u8],
    names: &mut Vec<BlockName>,
) -> Result<RawResult, Nonsense> {
    let memory = &inner.memory;
    let copy: Vec<u8>;
    let bytes = match completion.frame {
        FramePlace::Message => message,
        FramePlace::Block { name, offset, len } => {
            let range = (name.segment, offset, len);
            let (buffer, name) =
                memory.adopt(slot, range, name.generation).map_err(|_| Nonsense)?;
            names.push(name);
            // Copied before it is looked at: its writer could still change it.
            copy = Memory::read_while_it_changes(&buffer);
            &copy
        }
    };
    let check = |range, generation| memory.check_held(slot, range, generation).map(|_| ());
    let limits = pool_limits();
    let frame =
        Frame::parse_head_with(bytes, &limits, &SegmentCheck(check)).map_err(|_| Nonsense)?;
    let mut bodies = Vec::new();
    for descriptor in frame.descriptors() {
        if descriptor.location != Location::Segment {
            return Err(Nonsense);
        }
        let at = located(&descriptor);
        let range = (at.segment, at.offset, descriptor.len);
        let (buffer, name) = memory.adopt(slot, range, at.generation).map_err(|_| Nonsense)?;
        names.push(name);
        inner.counters.bytes_out_of_band.add(descriptor.len);
        inner.bells.results.add(descriptor.len);
        bodies.push(Body::Owned { buffer, kind: descriptor.kind });
    }
    let metadata = frame.metadata().to_vec();
    inner.counters.bytes_in_band.add(u64::try_from(metadata.len()).unwrap_or(u64::MAX));
    let elapsed = Duration::from_nanos(completion.nanoseconds);
    Ok(RawResult { metadata, bodies, elapsed })
}
