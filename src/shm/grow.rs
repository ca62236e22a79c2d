//! How memory grows: what the next segment is made of, and whether there may be one.
//!
//! Promises: the budget and what the machine has left are asked before the kernel is; what the kernel
//! was asked for counts before anybody else asks.
//! Does not know: what the blocks are for.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::class;
use super::ledger::{ArenaKind, BlockName};
use super::memory::{Mapped, Memory, State};
use super::segment::out_of_memory_or;
use crate::error::{Error, Result};
use crate::sys::map::Map;
use crate::sys::room::Room;
use crate::sys::{memory, spill};

/// What an allocation may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// So many results are to find room beside it.
    pub(crate) results: u64,
    /// It may lie in a file, if there is a folder for them.
    pub(crate) may_spill: bool,
}

/// What a new segment is made of.
#[derive(Clone, Debug)]
enum Backing {
    Memory,
    /// A file without a name, in this folder.
    File(Arc<OwnedFd>),
}

/// A block that there is to be, and the segment around it if there is none.
pub(super) struct Wanted {
    pub(super) arena: ArenaKind,
    pub(super) block_len: u64,
    pub(super) terms: Terms,
}

/// How many blocks a segment is to have, and the limit that it was measured by.
struct Plan {
    count: u32,
    limit: u64,
}

impl Terms {
    /// All there is.
    pub(crate) const ALL: Terms = Terms { results: 0, may_spill: true };
    /// All there is in memory.
    pub(crate) const IN_MEMORY: Terms = Terms { results: 0, may_spill: false };
}

impl Memory {
    /// A block with one parent reference, and whether it was never used before.
    pub(super) fn take(
        &self,
        arena: ArenaKind,
        len: usize,
        terms: Terms,
    ) -> Result<(BlockName, bool)> {
        let wanted = u64::try_from(len).unwrap_or(u64::MAX);
        let too_much = |limit| Error::OutOfMemory { wanted, limit };
        let block_len = class::block_len(wanted).ok_or_else(|| too_much(self.limit()))?;
        let segment = Wanted { arena, block_len, terms };
        if let Some(name) = self.lock().recycle(&segment, self.limit()) {
            return Ok((name, false));
        }
        self.trim_idle();
        // Until the segment counts: what is left does not show what is only planned.
        let room = Room::wait();
        let planned = self.lock().plan(&segment, self.limit(), &room);
        let (plan, backing) = match planned {
            Ok(plan) => (plan, Backing::Memory),
            Err(_too_much) => {
                self.forget_copies();
                let mut state = self.lock();
                if let Some(name) = state.recycle(&segment, self.limit()) {
                    return Ok((name, false));
                }
                state.plan_or_spill(&segment, self.limit(), &room).map_err(too_much)?
            }
        };
        let _room = Some(room).filter(|_| !backing.is_file());
        // Without the lock: a large segment takes the kernel a while.
        let (made, count) = segment.make(plan.count, &backing);
        let mapped = made.map_err(|error| match backing {
            Backing::File(_) => Error::Io(error),
            Backing::Memory => out_of_memory_or(error, wanted, plan.limit),
        })?;
        Ok(self.lock().add(arena, (block_len, count), mapped))
    }
}

impl State {
    /// A block that is there and free.
    pub(super) fn recycle(&mut self, wanted: &Wanted, limit: u64) -> Option<BlockName> {
        let has_room = self.has_room_for_results(wanted, limit);
        has_room.then(|| self.ledger.take(wanted.arena, wanted.block_len)).flatten()
    }

    /// Whether results will find room beside this block. If all memory were full of arguments no result
    /// could come back, and no task could end. What results will need is not known: as much as the
    /// largest so far, or as this block, but no more than half of all. The other half is anybody's.
    fn has_room_for_results(&self, wanted: &Wanted, limit: u64) -> bool {
        let Wanted { block_len, terms, .. } = *wanted;
        let half = limit / 2;
        let results = self.largest_result.max(block_len).saturating_mul(terms.results).min(half);
        let in_use = self.ledger.live_bytes();
        let with_both = in_use.saturating_add(block_len).saturating_add(results);
        terms.results == 0 || in_use < half || with_both <= limit
    }

    /// A segment in memory, or in a file where that is too much and files are wanted. Otherwise the
    /// limit that it is too much for.
    fn plan_or_spill(
        &mut self,
        segment: &Wanted,
        budget: u64,
        room: &Room,
    ) -> Result<(Plan, Backing), u64> {
        match self.plan(segment, budget, room) {
            Ok(plan) => Ok((plan, Backing::Memory)),
            Err(plan) => {
                let folder = self.spill.clone().filter(|_| segment.terms.may_spill);
                let folder = folder.ok_or(plan.limit)?;
                Ok((plan, Backing::File(folder)))
            }
        }
    }

    /// A segment in memory: of the usual size, or of one block where that is too much for the limit.
    /// The usual plan is the error where one block is too much as well.
    fn plan(&mut self, segment: &Wanted, budget: u64, room: &Room) -> Result<Plan, Plan> {
        let Wanted { arena, block_len, .. } = *segment;
        let count = class::blocks_in_segment(block_len, self.ledger.segments_of(arena, block_len));
        // What the budget forbids needs no look at the machine, which is dear.
        let in_budget = self.fits(segment, 1, budget);
        let limit = if in_budget { self.limit_in(budget, room) } else { budget };
        if in_budget && self.fits(segment, count, limit) {
            return Ok(Plan { count, limit });
        }
        self.drop_empty(true);
        if !self.fits(segment, 1, budget) {
            return Err(Plan { count, limit: budget });
        }
        // Asked again: peers may keep what is dropped here.
        let limit = self.limit_in(budget, room);
        let fitting = [count, 1].into_iter().find(|&count| self.fits(segment, count, limit));
        fitting.map(|count| Plan { count, limit }).ok_or(Plan { count, limit })
    }

    /// The budget, or less where the machine has less left.
    fn limit_in(&self, budget: u64, room: &Room) -> u64 {
        budget.min(self.bytes.saturating_add(room.left()))
    }

    fn fits(&self, segment: &Wanted, count: u32, limit: u64) -> bool {
        let Some(more) = segment.block_len.checked_mul(u64::from(count)) else { return false };
        let fits = self.bytes.saturating_add(more) <= limit;
        fits && self.has_room_for_results(segment, limit)
    }

    /// Enters a new segment of blocks of a length; one of them, and whether it is new.
    fn add(
        &mut self,
        arena: ArenaKind,
        (block_len, count): (u64, u32),
        mapped: Mapped,
    ) -> (BlockName, bool) {
        if !mapped.in_file {
            self.bytes += mapped.len();
        }
        let segment = self.ledger.add_segment(arena, block_len, count, !mapped.in_file);
        self.segments.insert(segment, mapped);
        let name = self.ledger.take(arena, block_len).expect("a new segment has free blocks");
        (name, name.segment == segment)
    }
}

impl Wanted {
    /// The segment, and how many blocks it has.
    fn make(&self, count: u32, backing: &Backing) -> (io::Result<Mapped>, u32) {
        let make = |count| make_segment(self.arena, backing, self.block_len * u64::from(count));
        match make(count) {
            // A disk that is almost full may still have room for one block.
            Err(_) if count > 1 && backing.is_file() => (make(1), 1),
            made => (made, count),
        }
    }
}

impl Backing {
    fn is_file(&self) -> bool {
        matches!(self, Backing::File(_))
    }
}

fn make_segment(arena: ArenaKind, backing: &Backing, len: u64) -> io::Result<Mapped> {
    let in_process = usize::try_from(len).map_err(|_| rustix::io::Errno::NOMEM)?;
    let (fd, map) = match (backing, arena) {
        (Backing::File(folder), _) => {
            let (file, for_readers) = spill::create(folder, len)?;
            (for_readers, Map::writable(file, in_process)?)
        }
        (Backing::Memory, ArenaKind::Inbound) => {
            let fd = memory::create("pannier", len)?;
            let map = Map::writable(&fd, in_process)?;
            memory::seal_future_writes(&fd)?;
            (fd, map)
        }
        (Backing::Memory, ArenaKind::Outbound { .. }) => {
            let fd = memory::create("pannier", len)?;
            memory::seal_seals(&fd)?;
            let map = Map::readable(&fd, in_process)?;
            (fd, map)
        }
    };
    Ok(Mapped { fd: Arc::new(fd), map: Arc::new(map), in_file: backing.is_file() })
}
