//! Workers that were killed and do not die: the kernel keeps them, in uninterruptible sleep most often.
//!
//! Such a worker is given up after a while. What it had completed counts, its tasks are judged as by a
//! death, and another takes its place. What it may be writing to stays booked until its pidfd fires:
//! a system call of its own may go on filling a buffer when it wakes, before it sees the signal.
//!
//! Promises: no block is given out while a process that is not dead holds it; nobody waits for such
//! a process.
//! Does not know: what keeps it.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use super::core::Core;
use super::inner::Inner;
use super::peer::Peer;
use super::receive;
use super::scheduler::WorkerId;
use super::supervisor::{lay_to_rest, part};
use crate::sys::child::ExitStatus;

/// How long the death of a worker may take that this process has killed.
///
/// The kernel tells of a death once the process has left its memory: after some 70 µs, and after
/// seconds where there are hundreds of gigabytes to give back. What takes longer sleeps in the kernel
/// (a dead network disk, a frozen control group), and there is no telling for how long. A worker
/// that is given up too early costs a start: nothing that it does any more is looked at, and what it
/// holds is its own until it is dead.
pub(super) const DEATH_DEADLINE: Duration = Duration::from_secs(10);

impl Core {
    /// Whether nothing is left of the pool.
    pub(super) fn is_over(&self) -> bool {
        self.scheduler.is_closed() && self.quarantine.is_empty()
    }

    /// Whether nothing is left of the pool but workers that do not die.
    pub(super) fn waits_for_the_undying(&self) -> bool {
        self.scheduler.is_closed() && !self.quarantine.is_empty()
    }

    /// A worker has just been killed: it is to be looked whether it has died.
    pub(super) fn expect_death(&mut self) {
        let deadline = Instant::now() + DEATH_DEADLINE;
        self.gives_up_at =
            Some(self.gives_up_at.map_or(deadline, |earliest| earliest.min(deadline)));
    }
}

/// Gives up the workers that should be dead by now.
pub(super) fn check(core: &mut Core, inner: &Inner) {
    let now = Instant::now();
    // Of one that has ended, its pidfd is about to tell.
    let is_late = |peer: &&Peer| {
        peer.gives_up_at().is_some_and(|deadline| deadline <= now) && !peer.child.has_ended()
    };
    let late = core.peers.iter().flatten().filter(is_late).map(|peer| peer.worker);
    for worker in late.collect::<Vec<WorkerId>>() {
        give_up(core, inner, worker);
    }
    core.gives_up_at = core.peers.iter().flatten().filter_map(Peer::gives_up_at).min();
}

fn give_up(core: &mut Core, inner: &Inner, worker: WorkerId) {
    // Once: more than its ring holds. It may not be the death of one that goes on and on.
    receive::some(core, inner, worker.slot);
    let Some(mut peer) = core.peers[worker.slot].take() else { return };
    inner.memory.set_aside(peer.slot(), worker.generation);
    part(core, inner, &mut peer, ExitStatus::Unknown);
    core.quarantine.push(peer);
}

/// A worker that was given up is dead at last.
pub(super) fn release(core: &mut Core, inner: &Inner, worker: WorkerId) {
    let Some(at) = core.quarantine.iter().position(|peer| peer.worker == worker) else { return };
    let mut peer = core.quarantine.swap_remove(at);
    lay_to_rest(inner, &mut peer);
    inner.memory.forget_set_aside(peer.slot(), worker.generation);
    core.wants.turn();
}
