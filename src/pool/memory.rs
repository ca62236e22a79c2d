//! Memory for arguments and results when there is none left: who waits for it, and how long.
//!
//! A thread that encodes arguments waits while tasks are under way, since they give memory back when
//! they are over; a worker that asks for a block for its result waits while another worker goes on.
//! When nobody is left to wait for, arguments lie in a file, if the builder names a folder, and else
//! there is a typed error.
//!
//! ```text
//!   no memory ─┬─ tasks under way, blocks on their way back ── wait for either ── look again
//!              └─ nothing of the kind ── a file, or `OutOfMemory`
//! ```
//!
//! Promises: nobody waits for a thing that does not happen any more; of workers that wait for each
//! other the first is refused.
//! Does not know: where the memory comes from; what a task does.
#![forbid(unsafe_code)]

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::core::Core;
use super::inner::Inner;
use super::peer::Peer;
use super::scheduler::WorkerId;
use crate::buffer::{Buffer, BufferMut};
use crate::error::{Error, Result};
use crate::shm::{BlockName, Copied, Located, Store, Terms};
use crate::sys::fault::fault;

/// How much memory a pool has, and what it does when that is used up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Policy {
    /// Bytes.
    pub(super) limit: u64,
    /// Whoever needs memory waits for it, as long as that makes sense.
    pub(super) waits: bool,
}

/// Requests of workers for blocks, in their order.
#[derive(Debug, Default)]
pub(super) struct Wants {
    list: Vec<Want>,
    /// What has happened that may have freed memory, or that ends the hope for it.
    turns: u64,
    /// The turn in which the requests were last looked at.
    looked_at: u64,
    /// Threads that wait for the next turn are not told of this one yet.
    is_news: bool,
}

/// A worker asks for a block of so many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Want {
    pub(super) worker: WorkerId,
    pub(super) len: u64,
}

impl Wants {
    pub(super) fn add(&mut self, want: Want) {
        self.list.push(want);
        self.turn();
    }

    /// Something has happened after which it is worth to look again.
    pub(super) fn turn(&mut self) {
        self.turns += 1;
        self.is_news = true;
    }

    /// How many turns there were.
    pub(super) fn turns(&self) -> u64 {
        self.turns
    }

    /// Whether the requests are to be looked at.
    pub(super) fn are_due(&self) -> bool {
        !self.list.is_empty() && self.looked_at != self.turns
    }

    /// Whether waiting threads are to be told.
    pub(super) fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.is_news)
    }

    fn look(&mut self) -> Vec<Want> {
        self.looked_at = self.turns;
        self.list.clone()
    }

    /// Takes out the first request of a worker.
    fn take(&mut self, worker: WorkerId) -> Option<Want> {
        let at = self.list.iter().position(|want| want.worker == worker)?;
        Some(self.list.remove(at))
    }

    fn has(&self, worker: WorkerId) -> bool {
        self.list.iter().any(|want| want.worker == worker)
    }
}

impl Core {
    /// Whether memory may come back without anybody doing anything: from tasks that are under way or
    /// from contexts that are being given up, unless only workers that wait for memory have them.
    fn may_free_memory(&self) -> bool {
        let is_queued = self.scheduler.queued() > 0;
        let goes_on = |slot: &Option<Peer>| match slot {
            // It is being started, and takes what is queued.
            None => is_queued,
            Some(peer) => !self.wants.has(peer.worker) && (is_queued || peer.is_at_work()),
        };
        self.peers.iter().any(goes_on)
    }
}

impl Inner {
    /// A block for arguments; `waits` if this thread may wait for one.
    pub(super) fn alloc(&self, len: usize, zeroed: bool, waits: bool) -> Result<BufferMut<u8>> {
        let meanwhile = Terms { results: self.workers() as u64, ..Terms::IN_MEMORY };
        if let Some(recycled) = self.memory.recycle(len, zeroed, meanwhile) {
            return recycled;
        }
        // The pool's own thread runs wakers, and is what others wait for.
        let waits = waits && !self.is_own_thread();
        let _waiting = self.waiting();
        let mut hopes = self.policy.waits;
        loop {
            self.memory.await_memory();
            let turn = self.lock().wants.turns();
            hopes = hopes && self.may_free_memory();
            if !hopes {
                // What workers have let go of may not have been heard yet.
                self.take_in();
                return self.memory.alloc_inbound(len, zeroed, Terms::ALL);
            }
            match self.memory.alloc_inbound(len, zeroed, meanwhile) {
                // More than there can ever be is not worth waiting for.
                Err(Error::OutOfMemory { wanted, limit }) if wanted > limit => hopes = false,
                Err(Error::OutOfMemory { .. }) if waits => {
                    self.counters.memory_waits.add(1);
                    self.wait_for_turn(turn);
                }
                done => return done,
            }
        }
    }

    fn may_free_memory(&self) -> bool {
        // In this order: a task that is over is being given until its memory is back.
        let is_under_way = {
            let core = self.lock();
            !core.is_closed() && core.may_free_memory()
        };
        is_under_way || self.giving.load(Ordering::SeqCst) > 0 || self.has_forgotten()
    }

    /// Waits until something has happened since then.
    pub(super) fn wait_for_turn(&self, last: u64) {
        let mut core = self.lock();
        while core.wants.turns == last {
            core = self.turned.wait(core).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// This thread waits for turns, until what this returns is dropped. To be said before it looks at
    /// what it waits for.
    pub(super) fn waiting(&self) -> Waiting<'_> {
        self.waiters.fetch_add(1, Ordering::SeqCst);
        Waiting(self)
    }

    /// This thread is about to give memory back; it has, when what this returns is dropped.
    pub(super) fn giving(&self) -> Giving<'_> {
        self.giving.fetch_add(1, Ordering::SeqCst);
        Giving(self)
    }

    /// Memory may have come back.
    pub(super) fn turn_over(&self) {
        self.with_core(|core| core.wants.turn());
    }

    /// Gives workers the blocks that they ask for, as far as there are any. On the pool's thread, which
    /// buries workers too: they do not die in between.
    pub(super) fn grant_wants(&self) {
        let wants = self.with_core(|core| core.wants.look());
        // A worker's requests are answered in their order.
        let mut stuck: Vec<Want> = Vec::new();
        for want in wants {
            let waits = stuck.iter().any(|before| before.worker == want.worker);
            if !waits && !self.grant(want) {
                self.counters.memory_waits.add(1);
                stuck.push(want);
            }
        }
        let Some(&first) = stuck.first() else { return };
        if self.may_free_memory() {
            return;
        }
        // What workers have let go of may not have been heard yet.
        self.take_in();
        if !self.lock().wants.are_due() {
            // Its task ends by that and gives memory back, so that the others may go on.
            self.answer_want(first.worker, Err((first.len, self.policy.limit)));
        }
    }

    /// Requests of a worker that is dead.
    pub(super) fn forget_wants(&self, core: &mut Core, worker: WorkerId) {
        while core.wants.take(worker).is_some() {
            self.waiters.fetch_sub(1, Ordering::SeqCst);
        }
        core.wants.turn();
    }

    /// A worker asks for a block.
    pub(super) fn want(&self, core: &mut Core, want: Want) {
        self.waiters.fetch_add(1, Ordering::SeqCst);
        core.wants.add(want);
    }

    /// Gives a worker a block, or refuses it; not if it is worth waiting for one.
    fn grant(&self, Want { worker, len }: Want) -> bool {
        let Ok(slot) = u32::try_from(worker.slot) else { return true };
        self.memory.await_memory();
        fault!("parent.before_grant");
        // Without the lock: the kernel takes a while for a large one.
        let granted = match self.memory.grant(slot, worker.generation, len) {
            Ok(name) => Ok(name),
            Err(Error::OutOfMemory { wanted, limit }) if self.policy.waits && wanted <= limit => {
                return false;
            }
            Err(Error::OutOfMemory { wanted, limit }) => Err((wanted, limit)),
            Err(_) => Err((len, 0)),
        };
        fault!("parent.after_grant");
        self.answer_want(worker, granted);
        true
    }

    fn answer_want(&self, worker: WorkerId, granted: Result<BlockName, (u64, u64)>) {
        self.with_core(|core| {
            if core.wants.take(worker).is_some() {
                self.waiters.fetch_sub(1, Ordering::SeqCst);
            }
            let Some(peer) = core.peer(worker) else { return };
            let sent = peer.grant(granted, &self.memory);
            core.after_send(self, worker, sent);
        });
    }
}

/// A thread that waits for a turn, while it does.
pub(super) struct Waiting<'p>(&'p Inner);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiters.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A thread that gives memory back, while it does.
pub(super) struct Giving<'p>(&'p Inner);

impl Drop for Giving<'_> {
    fn drop(&mut self) {
        self.0.giving.fetch_sub(1, Ordering::SeqCst);
        if self.0.waiters.load(Ordering::SeqCst) > 0 {
            self.0.turn_over();
        }
    }
}

/// The pool's memory, for arguments.
pub(super) struct Arguments {
    pub(super) pool: Arc<Inner>,
    /// This thread may wait for it.
    pub(super) waits: bool,
}

impl Store for Arguments {
    fn locate(&self, buffer: &Buffer<u8>) -> Option<Located> {
        self.pool.memory.locate(buffer)
    }

    fn name_of(&self, at: &Located) -> Option<BlockName> {
        self.pool.memory.name_of(at)
    }

    fn alloc(&self, len: usize, zeroed: bool) -> Result<BufferMut<u8>> {
        self.pool.alloc(len, zeroed, self.waits)
    }

    fn id(&self) -> u64 {
        self.pool.memory.id()
    }

    fn copied(&self, copy: &Arc<Copied>) {
        self.pool.memory.copied(copy);
    }
}
