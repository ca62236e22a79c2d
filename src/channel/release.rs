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

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
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
    /// Up to where the records may send buffers back.
    returned: AtomicU64,
}

struct LettingGo {
    producer: Producer<Releases>,
    /// How often records have mentioned a block that is in use.
    mentions: HashMap<BlockName, usize>,
    /// What has found no room yet.
    waiting: Vec<BlockName>,
}

impl Link {
    pub(super) fn new(lane: Arc<Lane>) -> Self {
        let producer = Producer::new(Releases(lane));
        let letting_go = LettingGo { producer, mentions: HashMap::new(), waiting: Vec::new() };
        Link { letting_go: Mutex::new(letting_go), returned: AtomicU64::new(0) }
    }

    /// A record has mentioned this block, and a buffer over it is alive.
    pub(super) fn mention(&self, name: BlockName) {
        *self.lock().mentions.entry(name).or_insert(0) += 1;
    }

    /// A record that ends here sends a buffer back.
    pub(super) fn has_returned(&self, position: u64) {
        // Release, with the load in `flush`: that buffer is dropped after this.
        self.returned.fetch_max(position, Ordering::Release);
    }

    /// Says what there was no room for until now.
    pub(super) fn flush(&self) {
        let mut state = self.lock();
        if !state.waiting.is_empty() {
            self.push(&mut state);
        }
    }

    fn push(&self, state: &mut LettingGo) {
        let after = self.returned.load(Ordering::Acquire);
        while !state.waiting.is_empty() {
            let from = state.waiting.len().saturating_sub(NAMES_AT_ONCE);
            let record = record::releases(after, &state.waiting[from..]);
            // Full: with the next release. Broken: who spoils its own ring has its blocks later.
            if state.producer.push(&[&record]) != Ok(Pushed::Yes) {
                return;
            }
            state.waiting.truncate(from);
        }
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
        let mentions = state.mentions.remove(&name).unwrap_or(0);
        state.waiting.extend(std::iter::repeat_n(name, mentions));
        self.push(&mut state);
    }
}

const RELEASES_AT_ONCE: usize = 256;

/// What the peer lets go of.
pub(super) struct Returns {
    consumer: Consumer<Releases>,
    record: Vec<u8>,
    /// Read, and to be counted only when the records have been taken in so far.
    early: Option<(u64, Vec<BlockName>)>,
    broken: bool,
}

impl Returns {
    pub(super) fn new(lane: Arc<Lane>) -> Self {
        let consumer = Consumer::new(Releases(lane));
        Returns { consumer, record: Vec::new(), early: None, broken: false }
    }

    /// Takes back what counts, now that the records up to `position` were taken in.
    pub(super) fn apply(&mut self, position: u64, memory: &Memory) {
        // As many as the ring has lines: a peer that never stops is no reason not to go on.
        for _ in 0..RELEASES_AT_ONCE {
            let Some((after, names)) = self.next() else { return };
            if after > position {
                self.early = Some((after, names));
                return;
            }
            // What the peer does not hold it cannot let go of: the ledger knows better.
            memory.complete(PEER, &names, &[], &BTreeSet::new());
        }
    }

    fn next(&mut self) -> Option<(u64, Vec<BlockName>)> {
        if self.early.is_some() {
            return self.early.take();
        }
        if self.broken {
            return None;
        }
        let found = match self.consumer.pop(&mut self.record) {
            Ok(false) => return None,
            Ok(true) => record::read_releases(&self.record),
            Err(_) => None,
        };
        // A peer that talks nonsense here gets nothing back; its values may still be sound.
        self.broken = found.is_none();
        found
    }
}
