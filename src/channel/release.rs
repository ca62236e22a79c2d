//! Blocks on their way back: what this side lets go of, and what the peer has let go of.
//!
//! Each mention of a block in a record is one hold in the sender's ledger. The receiver counts the
//! mentions of the blocks that it uses and, when the last buffer of one is dropped, from whatever
//! thread, gives that many holds back, through a ring of its own: releases never wait behind values
//! that nobody receives. A release says how far the records must have been taken in before it
//! counts, so that a buffer which is sent back arrives before its block is let go of.
//! Promises: dropping a buffer never waits and never fails, also when the channel is gone.
//! Does not know: what was in the blocks.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::lane::{Lane, Releases};
use super::record::{self, NAMES_AT_ONCE};
use super::ring::{Consumer, Producer, Pushed};
use crate::error::{Error, Result};
use crate::shm::{BlockName, Memory, ParentLink};

/// The only peer, in the ledger's words.
pub(super) const PEER: u32 = 0;

/// Tells the peer which of its blocks are not used here any more.
pub(super) struct Link {
    letting_go: Mutex<LettingGo>,
    /// Whether something waits for room; only a hint.
    waits: AtomicBool,
}

struct LettingGo {
    producer: Producer<Releases>,
    /// The peer's blocks that are in use.
    uses: BTreeMap<BlockName, Use>,
    /// What has found no room yet, with the position after which it counts.
    waiting: Vec<(u64, BlockName)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Use {
    /// How often records have mentioned the block.
    mentions: usize,
    /// Where the last record ends that sends it back.
    returned: u64,
}

impl Link {
    pub(super) fn new(lane: Arc<Lane>) -> Self {
        let producer = Producer::new(Releases(lane));
        let letting_go = LettingGo { producer, uses: BTreeMap::new(), waiting: Vec::new() };
        Link { letting_go: Mutex::new(letting_go), waits: AtomicBool::new(false) }
    }

    /// A record has mentioned this block, and a buffer over it is alive.
    pub(super) fn mention(&self, name: BlockName) {
        self.lock().uses.entry(name).or_default().mentions += 1;
    }

    /// A record that ends here sends these back. Buffers over them are alive.
    pub(super) fn has_returned(&self, names: &[BlockName], position: u64) {
        let mut state = self.lock();
        for name in names {
            let returned = &mut state.uses.entry(*name).or_default().returned;
            *returned = (*returned).max(position);
        }
    }

    /// Says what there was no room for until now.
    pub(super) fn flush(&self) {
        if self.waits.load(Ordering::Relaxed) {
            self.push(&mut self.lock());
        }
    }

    fn push(&self, state: &mut LettingGo) {
        while let Some(&(after, _)) = state.waiting.last() {
            // Those that count from the same position on, as many as fit.
            let same = state.waiting.iter().rev().take_while(|(other, _)| *other == after);
            let from = state.waiting.len() - same.take(NAMES_AT_ONCE).count();
            let names = state.waiting[from..].iter().map(|&(_, name)| name);
            let record = record::releases(after, names);
            // Full: later. Broken: who spoils its own ring has its blocks later.
            if state.producer.push(&[&record]) != Ok(Pushed::Yes) {
                break;
            }
            state.waiting.truncate(from);
        }
        self.waits.store(!state.waiting.is_empty(), Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, LettingGo> {
        self.letting_go.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ParentLink for Link {
    /// A channel's end has no arena at the peer's.
    fn request_block(&self, wanted: u64) -> Result<()> {
        Err(Error::OutOfMemory { wanted, limit: 0 })
    }

    fn released(&self, name: BlockName) {
        let mut state = self.lock();
        let Use { mentions, returned } = state.uses.remove(&name).unwrap_or_default();
        state.waiting.extend(std::iter::repeat_n((returned, name), mentions));
        self.push(&mut state);
    }
}

const RELEASES_AT_ONCE: usize = 256;

/// Releases that may wait for the records before them. An honest peer has not more of them than the
/// ring has records.
const EARLY_MAX: usize = 4096;

/// What the peer lets go of.
pub(super) struct Returns {
    consumer: Consumer<Releases>,
    record: Vec<u8>,
    names: Vec<BlockName>,
    /// Read, and to be counted only when the records have been taken in so far.
    early: Vec<(u64, Vec<BlockName>)>,
    broken: bool,
}

impl Returns {
    pub(super) fn new(lane: Arc<Lane>) -> Self {
        let consumer = Consumer::new(Releases(lane));
        let (record, names, early) = (Vec::new(), Vec::new(), Vec::new());
        Returns { consumer, record, names, early, broken: false }
    }

    /// Takes back what counts, now that the records up to `position` were taken in.
    pub(super) fn apply(&mut self, position: u64, memory: &Memory) {
        // What the peer does not hold it cannot let go of: the ledger knows better.
        let let_go = |names: &[BlockName]| memory.complete(PEER, names, &[], &BTreeSet::new());
        self.early.retain(|(after, names)| {
            let is_early = *after > position;
            if !is_early {
                let_go(names);
            }
            is_early
        });
        // As many as the ring has lines: a peer that never stops is no reason not to go on.
        for _ in 0..RELEASES_AT_ONCE {
            if self.early.len() >= EARLY_MAX {
                return;
            }
            let Some(after) = self.next() else { return };
            if after > position {
                self.early.push((after, std::mem::take(&mut self.names)));
            } else {
                let_go(&self.names);
            }
        }
    }

    /// Reads the next release into `names`: from which position on it counts.
    fn next(&mut self) -> Option<u64> {
        if self.broken {
            return None;
        }
        let found = match self.consumer.pop(&mut self.record) {
            Ok(false) => return None,
            Ok(true) => record::read_releases(&self.record, &mut self.names),
            Err(_) => None,
        };
        // A peer that talks nonsense here gets nothing back; its values may still be sound.
        self.broken = found.is_none();
        found
    }
}
