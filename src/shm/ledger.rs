//! The ledger: every block, its generation, and who holds it.
//!
//! A block is free when the parent has no reference and no worker a hold. A worker's hold has two
//! parts: `pending`, one for each dispatched task or context that mentions the block and is not over, and
//! `kept`, what the worker itself last said (it has been granted the block, or still uses it).
//! Promises: the generation changes exactly when a free block is given out; a name of an earlier
//! generation never reaches the block again; the death of a worker is one scan; what a worker held
//! that was given up alive is never taken for its successor's.
//! Does not know: where the memory is. Pure.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};

use super::class;

/// The name of a block, with the generation under which it was given out.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub(crate) struct BlockName {
    pub(crate) segment: u32,
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

/// Whose memory a segment is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum ArenaKind {
    /// The parent writes, workers read.
    Inbound,
    /// The worker in this slot writes, the parent reads.
    Outbound { slot: u32, generation: u32 },
}

/// Which worker holds a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Holder {
    /// The one that is in this slot.
    Present(u32),
    /// One that was in it, was given up, and is not dead.
    SetAside { slot: u32, generation: u32 },
}

/// Why a name or range was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// No such segment, or no block of it that the speaker holds.
    Unknown,
    /// The block was given out again since.
    Stale,
    /// The range does not lie within one block.
    Bounds,
}

/// Every segment and block of a pool.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    segments: BTreeMap<u32, Segment>,
    free: BTreeMap<ArenaKind, BTreeMap<u64, Vec<(u32, u32)>>>,
    last_segment: u32,
    /// Blocks that are not free, and the most there have been at a time.
    live: u64,
    peak: u64,
    /// Bytes of those in memory that are not free.
    live_bytes: u64,
}

#[derive(Debug)]
struct Segment {
    arena: ArenaKind,
    block_len: u64,
    blocks: Vec<Block>,
    live: usize,
    /// A block was taken since somebody last looked for idle segments.
    was_used: bool,
    in_memory: bool,
}

#[derive(Debug, Default)]
struct Block {
    generation: u32,
    parent: u32,
    /// A block is held by few workers at a time.
    holds: Vec<(Holder, Hold)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Hold {
    pending: u32,
    kept: bool,
}

impl Segment {
    /// Of one block.
    fn bytes_in_memory(&self) -> u64 {
        if self.in_memory { self.block_len } else { 0 }
    }
}

impl Block {
    fn is_free(&self) -> bool {
        self.parent == 0 && self.holds.is_empty()
    }

    fn hold(&mut self, slot: u32) -> &mut Hold {
        let at = self
            .holds
            .iter()
            .position(|(holder, _)| *holder == Holder::Present(slot))
            .unwrap_or_else(|| {
                self.holds.push((Holder::Present(slot), Hold::default()));
                self.holds.len() - 1
            });
        &mut self.holds[at].1
    }

    fn forget_empty_holds(&mut self) {
        self.holds.retain(|(_, hold)| hold.pending > 0 || hold.kept);
    }
}

impl Ledger {
    /// A free block of at least `block_len`, under a new generation and with one parent reference.
    pub(super) fn take(&mut self, arena: ArenaKind, block_len: u64) -> Option<BlockName> {
        let by_len = self.free.get_mut(&arena)?;
        let mut fitting = by_len.range_mut(block_len..=class::longest_fit(block_len));
        let (segment, index) = fitting.find_map(|(_, blocks)| blocks.pop())?;
        let name = BlockName { segment, index, generation: 0 };
        let record = self.segments.get_mut(&segment).expect("a free block lies in a segment");
        record.live += 1;
        record.was_used = true;
        self.live += 1;
        self.live_bytes += record.bytes_in_memory();
        self.peak = self.peak.max(self.live);
        let block = Self::block_at(record, name).expect("a free block lies in its segment");
        block.generation = block.generation.wrapping_add(1);
        block.parent = 1;
        Some(BlockName { generation: block.generation, ..name })
    }

    /// Enters a new segment whose blocks are all free; how many there are already sizes the next.
    pub(super) fn add_segment(
        &mut self,
        arena: ArenaKind,
        block_len: u64,
        count: u32,
        in_memory: bool,
    ) -> u32 {
        self.last_segment += 1;
        let segment = self.last_segment;
        let blocks = (0..count).map(|_| Block::default()).collect();
        self.segments.insert(
            segment,
            Segment { arena, block_len, blocks, live: 0, was_used: true, in_memory },
        );
        let free = self.free.entry(arena).or_default().entry(block_len).or_default();
        free.extend((0..count).rev().map(|index| (segment, index)));
        segment
    }

    pub(super) fn segments_of(&self, arena: ArenaKind, block_len: u64) -> usize {
        let same = |s: &&Segment| s.arena == arena && s.block_len == block_len;
        self.segments.values().filter(same).count()
    }

    /// One more parent reference to a block that somebody holds already.
    pub(super) fn add_parent(&mut self, name: BlockName) -> Result<(), Fault> {
        self.block(name)?.parent += 1;
        Ok(())
    }

    /// One parent reference less.
    pub(super) fn drop_parent(&mut self, name: BlockName) {
        if let Ok(block) = self.block(name) {
            assert!(block.parent > 0, "a parent reference is dropped once");
            block.parent -= 1;
        }
        self.settle(name);
    }

    /// Whether one parent reference is all that keeps the block.
    pub(super) fn is_exclusive(&mut self, name: BlockName) -> bool {
        self.block(name).is_ok_and(|block| block.parent == 1 && block.holds.is_empty())
    }

    /// A task or context that mentions these blocks is dispatched to the worker in `slot`.
    pub(super) fn hold(&mut self, slot: u32, names: &[BlockName]) {
        for &name in names {
            let block = self.block(name).expect("a dispatched task keeps its blocks");
            block.hold(slot).pending += 1;
        }
    }

    /// The worker has been granted the block for its own use.
    pub(super) fn keep(&mut self, slot: u32, name: BlockName) {
        let block = self.block(name).expect("what is given to a worker is referenced");
        block.hold(slot).kept = true;
    }

    /// A task or context is over that was sent with the blocks in `sent` and brought back those in
    /// `results`; of both, the worker goes on using those in `kept`. No list names a block twice.
    pub(super) fn complete(
        &mut self,
        slot: u32,
        sent: &[BlockName],
        results: &[BlockName],
        kept: &BTreeSet<BlockName>,
    ) {
        let holders = sent.iter().map(|name| (name, 1)).chain(results.iter().map(|name| (name, 0)));
        for (&name, tasks) in holders {
            let Ok(block) = self.block(name) else { continue };
            let Some((_, hold)) =
                block.holds.iter_mut().find(|(holder, _)| *holder == Holder::Present(slot))
            else {
                continue;
            };
            hold.pending = hold.pending.saturating_sub(tasks);
            hold.kept = kept.contains(&name);
            self.settle(name);
        }
    }

    /// A task that was sent with these blocks has been taken back unread.
    pub(super) fn withdraw(&mut self, slot: u32, names: &[BlockName]) {
        for &name in names {
            let Ok(block) = self.block(name) else { continue };
            if let Some((_, hold)) =
                block.holds.iter_mut().find(|(holder, _)| *holder == Holder::Present(slot))
            {
                hold.pending = hold.pending.saturating_sub(1);
                self.settle(name);
            }
        }
    }

    /// The worker no longer uses what it kept.
    pub(super) fn release(&mut self, slot: u32, name: BlockName) -> Result<(), Fault> {
        let block = self.block(name)?;
        let holder = block.holds.iter_mut().find(|(holder, _)| *holder == Holder::Present(slot));
        holder.ok_or(Fault::Unknown)?.1.kept = false;
        self.settle(name);
        Ok(())
    }

    /// Whether the worker in `slot` may speak of this range: it holds the block.
    pub(super) fn check_held(
        &mut self,
        slot: u32,
        (segment, offset, len): (u32, u64, u64),
        generation: u32,
    ) -> Result<BlockName, Fault> {
        let record = self.segments.get(&segment).ok_or(Fault::Unknown)?;
        let name = name_of_range(record.block_len, segment, offset, len, generation)?;
        let block = self.block(name)?;
        let held = block.holds.iter().any(|(holder, _)| *holder == Holder::Present(slot));
        held.then_some(name).ok_or(Fault::Unknown)
    }

    /// Another worker is to be in this slot, though the one that was there is not dead: it goes on
    /// holding what it held.
    pub(super) fn set_aside(&mut self, slot: u32, generation: u32) {
        let blocks = self.segments.values_mut().flat_map(|record| &mut record.blocks);
        for (holder, _) in blocks.flat_map(|block| &mut block.holds) {
            if *holder == Holder::Present(slot) {
                *holder = Holder::SetAside { slot, generation };
            }
        }
    }

    /// The worker is dead: it holds nothing any more, and nobody allocates from its arena.
    pub(super) fn forget_worker(&mut self, dead: Holder, arena: ArenaKind) {
        self.free.remove(&arena);
        let mut held = Vec::new();
        for (&segment, record) in &mut self.segments {
            for (index, block) in (0..).zip(&mut record.blocks) {
                if let Some(at) = block.holds.iter().position(|(holder, _)| *holder == dead) {
                    block.holds.swap_remove(at);
                    held.push(BlockName { segment, index, generation: block.generation });
                }
            }
        }
        for name in held {
            self.settle(name);
        }
    }

    /// Nobody will tell what workers let go of: what is not referenced here is free, of all blocks or
    /// of one.
    pub(super) fn forget_holds(&mut self) {
        let mut unreferenced = Vec::new();
        for (&segment, record) in &self.segments {
            let held = (0..).zip(&record.blocks).filter(|(_, block)| !block.holds.is_empty());
            let name =
                |index, block: &Block| BlockName { segment, index, generation: block.generation };
            unreferenced.extend(held.map(|(index, block)| name(index, block)));
        }
        unreferenced.into_iter().for_each(|name| self.forget_holds_of(name));
    }

    pub(super) fn forget_holds_of(&mut self, name: BlockName) {
        if let Ok(block) = self.block(name) {
            if block.parent == 0 && !block.holds.is_empty() {
                block.holds.clear();
                self.settle(name);
            }
        }
    }

    /// Whether nobody allocates from this arena any more: its worker is dead.
    pub(super) fn is_orphaned(&self, arena: ArenaKind) -> bool {
        arena != ArenaKind::Inbound && !self.free.contains_key(&arena)
    }

    /// Takes out the empty segments of dead workers, or those of all arenas.
    pub(super) fn remove_empty(&mut self, of_all: bool) -> Vec<u32> {
        let wanted = |s: &Segment| of_all || self.is_orphaned(s.arena);
        let empty = self.segments.iter().filter(|(_, s)| s.live == 0 && wanted(s));
        let empty: Vec<u32> = empty.map(|(&segment, _)| segment).collect();
        empty.iter().for_each(|&segment| self.remove(segment));
        empty
    }

    /// Takes out the segments that are empty and of which no block was taken since the last call.
    pub(super) fn remove_idle(&mut self) -> Vec<u32> {
        let is_idle = |s: &mut Segment| !std::mem::take(&mut s.was_used) && s.live == 0;
        let idle = self.segments.iter_mut().filter_map(|(&id, s)| is_idle(s).then_some(id));
        let idle: Vec<u32> = idle.collect();
        idle.iter().for_each(|&segment| self.remove(segment));
        idle
    }

    fn remove(&mut self, segment: u32) {
        let Some(record) = self.segments.remove(&segment) else { return };
        if let Some(by_len) = self.free.get_mut(&record.arena) {
            by_len.entry(record.block_len).or_default().retain(|&(s, _)| s != segment);
        }
    }

    /// The free parts of a segment as (offset, len), for giving their pages back.
    pub(super) fn free_ranges(&self, segment: u32) -> Vec<(u64, u64)> {
        let Some(record) = self.segments.get(&segment) else { return Vec::new() };
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for (index, _) in (0_u64..).zip(&record.blocks).filter(|(_, block)| block.is_free()) {
            let offset = index * record.block_len;
            match ranges.last_mut() {
                Some((start, len)) if *start + *len == offset => *len += record.block_len,
                _ => ranges.push((offset, record.block_len)),
            }
        }
        ranges
    }

    /// The segments of an arena.
    pub(super) fn segments_in(&self, arena: ArenaKind) -> Vec<u32> {
        let of_arena = self.segments.iter().filter(|(_, s)| s.arena == arena);
        of_arena.map(|(&segment, _)| segment).collect()
    }

    pub(super) fn arena_of(&self, segment: u32) -> Option<ArenaKind> {
        self.segments.get(&segment).map(|record| record.arena)
    }

    pub(super) fn block_len(&self, segment: u32) -> Option<u64> {
        self.segments.get(&segment).map(|record| record.block_len)
    }

    /// Blocks that are not free.
    pub(super) fn live_blocks(&self) -> u64 {
        self.live
    }

    /// Bytes of those that are in memory.
    pub(super) fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    /// The most blocks that were not free at a time.
    pub(super) fn peak_blocks(&self) -> u64 {
        self.peak
    }

    /// Checks what holds between any two calls: each block is free or in use and counted as that, the
    /// free ones of an arena that is used are in its list once, and only `holders` hold any.
    #[cfg(feature = "fault-points")]
    pub(super) fn audit(&self, holders: &BTreeSet<Holder>) {
        let (mut live, mut free) = (0, Vec::new());
        for (&segment, record) in &self.segments {
            let is_listed = !self.is_orphaned(record.arena);
            let mut busy = 0;
            for (index, block) in (0..).zip(&record.blocks) {
                if !block.is_free() {
                    busy += 1;
                } else if is_listed {
                    free.push((segment, index));
                }
                for (holder, hold) in &block.holds {
                    assert!(hold.pending > 0 || hold.kept, "an empty hold in segment {segment}");
                    assert!(holders.contains(holder), "a hold of {holder:?}, who is nobody");
                }
            }
            assert_eq!(record.live, busy, "the blocks of segment {segment} that are in use");
            live += record.live;
        }
        assert_eq!(u64::try_from(live), Ok(self.live), "the blocks that are in use");
        let listed = self.free.values().flat_map(BTreeMap::values).flatten();
        let mut listed: Vec<(u32, u32)> = listed.copied().collect();
        listed.sort_unstable();
        assert!(listed == free, "a free block is listed once: {listed:?}, {free:?}");
    }

    fn block(&mut self, name: BlockName) -> Result<&mut Block, Fault> {
        let record = self.segments.get_mut(&name.segment).ok_or(Fault::Unknown)?;
        let block = Self::block_at(record, name).ok_or(Fault::Bounds)?;
        (block.generation == name.generation).then_some(block).ok_or(Fault::Stale)
    }

    fn block_at(record: &mut Segment, name: BlockName) -> Option<&mut Block> {
        record.blocks.get_mut(usize::try_from(name.index).ok()?)
    }

    /// Returns the block to the free ones if nobody is left.
    fn settle(&mut self, name: BlockName) {
        let Ok(block) = self.block(name) else { return };
        block.forget_empty_holds();
        if !block.is_free() {
            return;
        }
        // The name is dead from now on, though the next generation begins only with the next owner.
        let record = self.segments.get_mut(&name.segment).expect("the block lies in it");
        record.live -= 1;
        self.live -= 1;
        self.live_bytes -= record.bytes_in_memory();
        if let Some(by_len) = self.free.get_mut(&record.arena) {
            by_len.entry(record.block_len).or_default().push((name.segment, name.index));
        }
    }
}

/// The block that holds the whole range.
pub(super) fn name_of_range(
    block_len: u64,
    segment: u32,
    offset: u64,
    len: u64,
    generation: u32,
) -> Result<BlockName, Fault> {
    let end = (offset % block_len).checked_add(len).ok_or(Fault::Bounds)?;
    let index = u32::try_from(offset / block_len).map_err(|_| Fault::Bounds)?;
    let name = BlockName { segment, index, generation };
    (end <= block_len).then_some(name).ok_or(Fault::Bounds)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKER: ArenaKind = ArenaKind::Outbound { slot: 1, generation: 1 };

    fn ledger() -> Ledger {
        let mut ledger = Ledger::default();
        ledger.add_segment(ArenaKind::Inbound, 4096, 2, true);
        ledger.add_segment(WORKER, 4096, 2, true);
        ledger
    }

    fn whole(name: BlockName) -> (u32, u64, u64) {
        (name.segment, u64::from(name.index) * 4096, 4096)
    }

    #[test]
    fn a_block_comes_back_warm_and_under_a_new_generation() {
        let mut ledger = ledger();
        let first = ledger.take(ArenaKind::Inbound, 4096).unwrap();
        ledger.drop_parent(first);
        let again = ledger.take(ArenaKind::Inbound, 4096).unwrap();
        assert_eq!((first.segment, first.index), (again.segment, again.index));
        assert_eq!(again.generation, first.generation + 1);
        assert_eq!(ledger.add_parent(first), Err(Fault::Stale));
    }

    #[test]
    fn a_dispatched_block_lives_without_the_parent_until_its_task_is_over() {
        let mut ledger = ledger();
        let name = ledger.take(ArenaKind::Inbound, 4096).unwrap();
        ledger.hold(0, &[name]);
        ledger.hold(0, &[name]);
        ledger.drop_parent(name);
        ledger.complete(0, &[name], &[], &BTreeSet::new());
        assert_eq!(ledger.live_blocks(), 1, "another task of the worker needs it");
        ledger.complete(0, &[name], &[], &BTreeSet::new());
        assert_eq!(ledger.live_blocks(), 0);
    }

    #[test]
    fn what_a_worker_keeps_lives_until_it_says_so() {
        let mut ledger = ledger();
        let name = ledger.take(ArenaKind::Inbound, 4096).unwrap();
        ledger.hold(0, &[name]);
        ledger.complete(0, &[name], &[], &BTreeSet::from([name]));
        ledger.drop_parent(name);
        assert!(!ledger.is_exclusive(name));
        assert_eq!(ledger.live_blocks(), 1);
        assert_eq!(ledger.release(3, name), Err(Fault::Unknown), "another worker's word");
        ledger.release(0, name).unwrap();
        assert_eq!(ledger.live_blocks(), 0);
        assert_eq!(ledger.release(0, name), Err(Fault::Unknown), "said twice");
    }

    #[test]
    fn a_completion_ends_the_hold_of_its_own_task_alone() {
        let mut ledger = ledger();
        let name = ledger.take(ArenaKind::Inbound, 4096).unwrap();
        let (nothing, this) = (BTreeSet::new(), BTreeSet::from([name]));
        ledger.hold(0, &[name]);
        ledger.complete(0, &[name], &[], &this);
        ledger.hold(0, &[name]);
        // Another task brings the kept block back as its result; the one behind it has it still.
        ledger.complete(0, &[], &[name], &nothing);
        ledger.drop_parent(name);
        assert_eq!(ledger.live_blocks(), 1);
        ledger.complete(0, &[name], &[], &this);
        assert_eq!(ledger.live_blocks(), 1);
        ledger.release(0, name).unwrap();
        assert_eq!(ledger.live_blocks(), 0);
    }

    #[test]
    fn a_worker_speaks_only_of_what_it_holds() {
        let mut ledger = ledger();
        let name = ledger.take(ArenaKind::Inbound, 4096).unwrap();
        let generation = name.generation;
        assert_eq!(ledger.check_held(0, whole(name), generation), Err(Fault::Unknown));
        ledger.hold(0, &[name]);
        assert_eq!(ledger.check_held(0, whole(name), generation), Ok(name));
        assert_eq!(ledger.check_held(2, whole(name), generation), Err(Fault::Unknown));
        assert_eq!(ledger.check_held(0, whole(name), generation + 1), Err(Fault::Stale));
        let (segment, offset, len) = whole(name);
        for (offset, len) in [(offset + 1, len), (offset, len + 1), (1 << 40, 1), (0, u64::MAX)] {
            let refused = ledger.check_held(0, (segment, offset, len), generation);
            assert_eq!(refused, Err(Fault::Bounds), "{offset}, {len}");
        }
        assert_eq!(ledger.check_held(0, (99, 0, 1), 1), Err(Fault::Unknown));
    }

    #[test]
    fn the_death_of_a_worker_frees_all_it_held() {
        let mut ledger = ledger();
        let argument = ledger.take(ArenaKind::Inbound, 4096).unwrap();
        let (granted, result) =
            (ledger.take(WORKER, 4096).unwrap(), ledger.take(WORKER, 4096).unwrap());
        ledger.hold(1, &[argument]);
        for name in [granted, result] {
            ledger.keep(1, name);
        }
        ledger.drop_parent(argument);
        ledger.drop_parent(granted);
        ledger.forget_worker(Holder::Present(1), WORKER);
        assert_eq!(ledger.live_blocks(), 1, "the result that the parent has");
        assert!(ledger.is_orphaned(WORKER));
        assert_eq!(ledger.take(WORKER, 4096), None);
        assert!(ledger.remove_empty(false).is_empty());
        ledger.drop_parent(result);
        assert_eq!(ledger.remove_empty(false), [2]);
        assert_eq!(ledger.remove_empty(true), [1]);
        assert_eq!(ledger.take(ArenaKind::Inbound, 4096), None);
    }

    #[test]
    fn what_a_worker_holds_that_was_set_aside_is_not_its_successors() {
        let mut ledger = ledger();
        let second = ArenaKind::Outbound { slot: 1, generation: 2 };
        let argument = ledger.take(ArenaKind::Inbound, 4096).unwrap();
        ledger.hold(1, &[argument]);
        let granted = ledger.take(WORKER, 4096).unwrap();
        ledger.keep(1, granted);
        ledger.drop_parent(granted);
        ledger.set_aside(1, 1);

        let generation = granted.generation;
        assert_eq!(ledger.check_held(1, whole(granted), generation), Err(Fault::Unknown));
        assert_eq!(ledger.release(1, granted), Err(Fault::Unknown));
        // The argument goes to the successor too, who is done with it, and then dies.
        ledger.hold(1, &[argument]);
        ledger.complete(1, &[argument], &[], &BTreeSet::new());
        ledger.drop_parent(argument);
        ledger.hold(1, &[argument]);
        ledger.forget_worker(Holder::Present(1), second);
        assert_eq!(ledger.live_blocks(), 2, "the first worker may be at both still");

        ledger.forget_worker(Holder::SetAside { slot: 1, generation: 1 }, WORKER);
        assert_eq!(ledger.live_blocks(), 0);
        assert_eq!(ledger.remove_empty(false), [2]);
    }
}
