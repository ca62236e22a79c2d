//! The part of `arena` with a pool's ledger: workers that are sent blocks, keep some, write blocks
//! of their own as results, let go of them later, and crash at any time.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use pannier::fuzzing::{Block, PoolMemory, WorkerMemory};
use pannier::{Buffer, Error, SegmentFault};

use crate::Keeper;
use crate::script::{Script, are_all};

pub(crate) fn ledger_of<K: Keeper>(script: &mut Script<'_>) {
    let mut model = Model::<K>::new();
    for _ in 0..STEPS {
        if script.is_over() {
            break;
        }
        model.step(script);
        model.check();
    }
    model.finish();
}

const STEPS: usize = 150;
const SLOTS: usize = 3;
const HOLDERS: usize = 16;
/// Five of the smallest segments.
const LIMIT: u64 = 5 << 18;

/// What the ledger should know of a block.
#[derive(Debug, Default)]
struct Entry {
    generation: u32,
    parents: u32,
    /// By slot: tasks that are not over, and whether the worker keeps it.
    holds: [(u32, bool); SLOTS],
}

impl Entry {
    fn is_live(&self) -> bool {
        self.parents > 0 || self.holds != [(0, false); SLOTS]
    }
}

/// A buffer, all of whose bytes are `stamp`.
struct Held {
    buffer: Buffer<u8>,
    block: Block,
    stamp: u8,
}

impl Held {
    fn check(&self) {
        assert!(are_all(&self.buffer, self.stamp), "{:?} has other bytes", self.block);
    }
}

struct Task {
    sent: Vec<Block>,
    leased: Vec<Held>,
}

struct Worker {
    generation: u32,
    memory: WorkerMemory,
    attached: Vec<u32>,
    tasks: Vec<Task>,
    kept: Vec<Held>,
}

struct Model<K> {
    memory: PoolMemory,
    entries: BTreeMap<(u32, u32), Entry>,
    held: Vec<Held>,
    workers: [Option<Worker>; SLOTS],
    births: u32,
    stamps: u8,
    keeper: PhantomData<K>,
}

impl<K: Keeper> Model<K> {
    fn new() -> Self {
        Model {
            memory: PoolMemory::new(LIMIT),
            entries: BTreeMap::new(),
            held: Vec::new(),
            workers: [const { None }; SLOTS],
            births: 0,
            stamps: 0,
            keeper: PhantomData,
        }
    }

    fn step(&mut self, script: &mut Script<'_>) {
        let slot = script.below(SLOTS);
        match script.below(16) {
            0..=3 => self.alloc(script),
            4..=6 => self.dispatch(slot, script),
            7..=9 => self.end_task(slot, script),
            10 => self.drop_kept(slot, script),
            11 => self.lie(slot, script),
            12 if script.one_in(3) => self.crash(slot),
            13 if script.one_in(3) => self.trim(),
            14 => self.thaw(script),
            _ => self.drop_held(script),
        }
    }

    /// The counts of ledger and model are the same.
    fn check(&self) {
        let live = self.entries.values().filter(|entry| entry.is_live()).count();
        assert_eq!(self.memory.blocks_live(), live as u64, "live blocks: {:?}", self.entries);
        assert!(self.memory.segment_bytes() <= LIMIT);
    }

    fn stamp(&mut self) -> u8 {
        self.stamps = self.stamps.wrapping_add(1);
        self.stamps
    }

    fn entry(&mut self, block: Block) -> &mut Entry {
        self.entries.get_mut(&(block.segment, block.index)).expect("it was given out")
    }

    /// A block that was just given out: it was free, and its generation is the next.
    fn enter(&mut self, block: Block) {
        let entry = self.entries.entry((block.segment, block.index)).or_default();
        assert!(!entry.is_live(), "{block:?} was given out, and {entry:?} is live");
        assert_eq!(block.generation, entry.generation + 1, "the generation of {block:?}");
        entry.generation = block.generation;
    }

    fn len(script: &mut Script<'_>) -> usize {
        [1, 4096, 5000, 60_000][script.below(4)] + script.below(8)
    }

    fn alloc(&mut self, script: &mut Script<'_>) {
        if self.held.len() >= HOLDERS {
            return;
        }
        let (len, zeroed) = (Self::len(script), script.one_in(2));
        let mut buffer = match self.memory.alloc(len, zeroed) {
            Ok(buffer) => buffer,
            Err(Error::OutOfMemory { .. }) => return,
            Err(error) => panic!("{error}"),
        };
        assert!(!zeroed || are_all(&buffer, 0), "zeroed, and not zero");
        let stamp = self.stamp();
        buffer.fill(stamp);
        let buffer = buffer.freeze();
        let (block, _) = K::find(&self.memory, &buffer).expect("the memory's own");
        self.enter(block);
        self.entry(block).parents = 1;
        self.held.push(Held { buffer, block, stamp });
    }

    fn worker(&mut self, slot: usize) -> &mut Worker {
        if self.workers[slot].is_none() {
            self.births += 1;
        }
        let generation = self.births;
        self.workers[slot].get_or_insert_with(|| Worker {
            generation,
            memory: WorkerMemory::new(),
            attached: Vec::new(),
            tasks: Vec::new(),
            kept: Vec::new(),
        })
    }

    fn attach(&mut self, slot: usize, segment: u32, writable: bool) {
        let offer = self.memory.offer(segment).expect("a segment with a live block");
        let worker = self.worker(slot);
        if !worker.attached.contains(&segment) {
            let attached = worker.memory.attach(segment, &offer, writable);
            attached.expect("an honest segment");
            worker.attached.push(segment);
        }
    }

    /// A task with up to three blocks, which its worker leases at once.
    fn dispatch(&mut self, slot: usize, script: &mut Script<'_>) {
        let mut task = Task { sent: Vec::new(), leased: Vec::new() };
        for _ in 0..=script.below(3) {
            let count = self.held.len();
            let Some(held) = self.held.get(script.below(count)) else { break };
            // What a worker has written is copied before it is sent: it is no buffer of ours.
            let Some((block, offset)) = K::find(&self.memory, &held.buffer) else { continue };
            let (stamp, len) = (held.stamp, held.buffer.len() as u64);
            if task.sent.contains(&block) {
                continue;
            }
            self.attach(slot, block.segment, false);
            K::hold(&self.memory, slot as u32, &[block]);
            self.entry(block).holds[slot].0 += 1;
            let leased =
                self.worker(slot).memory.lease((block.segment, offset, len), block.generation);
            let (buffer, name) = leased.expect("what was sent is there");
            assert_eq!(name, block);
            task.sent.push(block);
            task.leased.push(Held { buffer, block, stamp });
        }
        if self.worker(slot).tasks.len() < 4 {
            self.worker(slot).tasks.push(task);
        } else {
            self.complete(slot, task, Vec::new());
        }
    }

    fn end_task(&mut self, slot: usize, script: &mut Script<'_>) {
        if self.worker(slot).tasks.is_empty() {
            return;
        }
        let count = self.worker(slot).tasks.len();
        let mut task = self.worker(slot).tasks.swap_remove(script.below(count));
        for held in std::mem::take(&mut task.leased) {
            held.check();
            if script.one_in(2) {
                task.leased.push(held);
            }
        }
        let results = if script.one_in(2) { self.result(slot, script) } else { Vec::new() };
        self.complete(slot, task, results);
    }

    /// A result in a block of the worker's own, which the parent adopts.
    fn result(&mut self, slot: usize, script: &mut Script<'_>) -> Vec<Block> {
        let len = Self::len(script);
        let (generation, stamp) = (self.worker(slot).generation, self.stamp());
        let block = match self.memory.grant(slot as u32, generation, len as u64) {
            Ok(block) => block,
            Err(Error::OutOfMemory { .. }) => return Vec::new(),
            Err(error) => panic!("{error}"),
        };
        self.enter(block);
        self.entry(block).holds[slot].1 = true;
        self.attach(slot, block.segment, true);
        let worker = self.worker(slot);
        worker.memory.add_grant(block);
        let mut buffer = worker.memory.alloc(len, script.one_in(2)).expect("it was granted");
        buffer.fill(stamp);
        if script.one_in(4) {
            // Not sent after all: it is released with the task.
            return Vec::new();
        }
        let buffer = buffer.freeze();
        let (found, offset) = worker.memory.find(&buffer).expect("the worker's own");
        assert_eq!(found, block, "the block that was granted");
        worker.memory.publish(&[block]);
        if script.one_in(2) {
            worker.kept.push(Held { buffer, block, stamp });
        }
        let range = (block.segment, offset, len as u64);
        let adopted = self.memory.adopt(slot as u32, range, block.generation);
        let (buffer, name) = adopted.expect("its worker holds it");
        assert_eq!(name, block);
        self.entry(block).parents += 1;
        let held = Held { buffer, block, stamp };
        held.check();
        self.held.push(held);
        vec![block]
    }

    /// The worker says what it goes on using; the parent notes it.
    fn complete(&mut self, slot: usize, task: Task, results: Vec<Block>) {
        self.hear(slot);
        let worker = self.worker(slot);
        worker.kept.extend(task.leased);
        let mentioned = [&task.sent[..], &results].concat();
        let kept = worker.memory.complete(&mentioned);
        let in_use = |block: &Block| {
            let leased = worker.tasks.iter().flat_map(|task| &task.leased);
            leased.chain(&worker.kept).any(|held| held.block == *block)
        };
        let expected: Vec<_> = mentioned.iter().copied().filter(in_use).collect();
        assert_eq!(kept, expected, "what the worker goes on using");
        self.memory.complete(slot as u32, &task.sent, &results, &kept);
        for block in &mentioned {
            let tasks = u32::from(task.sent.contains(block));
            let hold = &mut self.entry(*block).holds[slot];
            *hold = (hold.0 - tasks, kept.contains(block));
        }
        self.hear(slot);
    }

    /// What the worker has said of its own accord.
    fn hear(&mut self, slot: usize) {
        for block in self.worker(slot).memory.take_released() {
            assert!(self.entry(block).holds[slot].1, "{block:?} was not kept");
            self.entry(block).holds[slot].1 = false;
            assert_eq!(self.memory.release(slot as u32, block), Ok(()));
        }
    }

    fn drop_kept(&mut self, slot: usize, script: &mut Script<'_>) {
        let kept = &mut self.worker(slot).kept;
        if kept.is_empty() {
            return;
        }
        let held = kept.swap_remove(script.below(kept.len()));
        held.check();
        drop(held);
        self.hear(slot);
    }

    /// A worker speaks of what is not its own, of what is gone, or of what never was.
    fn lie(&mut self, slot: usize, script: &mut Script<'_>) {
        let count = self.entries.len();
        let known = self
            .entries
            .iter()
            .nth(script.below(count))
            .map(|(name, entry)| (*name, entry.generation, entry.holds[slot] != (0, false)));
        let Some(((segment, index), generation, holds)) = known else { return };
        let Some(offer) = self.memory.offer(segment) else { return };
        let said = generation.wrapping_add([0, 1, u32::MAX][script.below(3)]);
        let block = Block { segment, index, generation: said };
        let start = u64::from(index) * offer.block_len;
        let (offset, len) = match script.below(4) {
            0 => (start, offer.block_len + 1),
            1 => (start + 1, offer.block_len),
            2 => (script.number(), script.number()),
            _ => (start, offer.block_len),
        };
        let whole = (offset, len) == (start, offer.block_len);
        let adopted = self.memory.adopt(slot as u32, (segment, offset, len), said);
        if whole {
            let expected = match (said == generation, holds) {
                (false, _) => Some(SegmentFault::Stale),
                (true, false) => Some(SegmentFault::Unknown),
                (true, true) => None,
            };
            assert_eq!(adopted.as_ref().err().copied(), expected, "{block:?} adopted");
        } else if let Ok((buffer, name)) = &adopted {
            // Luck: some other range, but within a block that it holds.
            let within = offset % offer.block_len + len <= offer.block_len;
            assert!(within && buffer.len() as u64 == len, "{name:?} for {offset}, {len}");
            assert!(self.entry(*name).holds[slot] != (0, false), "adopted, and not held");
        }
        drop(adopted);
        if said != generation {
            let refused = self.memory.release(slot as u32, block);
            assert_eq!(refused, Err(SegmentFault::Stale), "{block:?} released");
        } else if !holds {
            let refused = self.memory.release(slot as u32, block);
            assert_eq!(refused, Err(SegmentFault::Unknown), "{block:?} released");
        }
    }

    /// In whatever it was doing: it says nothing any more.
    fn crash(&mut self, slot: usize) {
        let Some(worker) = self.workers[slot].take() else { return };
        K::forget_worker(&self.memory, slot as u32, worker.generation);
        for entry in self.entries.values_mut() {
            entry.holds[slot] = (0, false);
        }
    }

    fn trim(&mut self) {
        self.memory.trim();
        for segment in self.memory.take_retired() {
            let is_live =
                |(name, entry): (&(u32, u32), &Entry)| name.0 == segment && entry.is_live();
            assert!(!self.entries.iter().any(is_live), "segment {segment} is gone, and is in use");
            for worker in self.workers.iter_mut().flatten() {
                worker.memory.detach(segment);
            }
        }
    }

    /// A buffer is writable again exactly if its block is this process's alone.
    fn thaw(&mut self, script: &mut Script<'_>) {
        if self.held.is_empty() {
            return;
        }
        let mut held = self.held.swap_remove(script.below(self.held.len()));
        let is_ours = K::find(&self.memory, &held.buffer).is_some();
        let entry = self.entry(held.block);
        let is_alone = is_ours && entry.parents == 1 && entry.holds == [(0, false); SLOTS];
        held.buffer = match held.buffer.try_into_mut() {
            Ok(mut buffer) => {
                assert!(is_alone, "{:?} is writable, and a worker has it", held.block);
                held.stamp = self.stamp();
                buffer.fill(held.stamp);
                buffer.freeze()
            }
            Err(buffer) => {
                assert!(!is_alone, "{:?} is nobody else's, and not writable", held.block);
                buffer
            }
        };
        self.held.push(held);
    }

    fn drop_held(&mut self, script: &mut Script<'_>) {
        if self.held.is_empty() {
            return;
        }
        let held = self.held.swap_remove(script.below(self.held.len()));
        held.check();
        self.entry(held.block).parents -= 1;
    }

    fn finish(mut self) {
        for slot in 0..SLOTS {
            for held in self.workers[slot].iter().flat_map(|worker| &worker.kept) {
                held.check();
            }
            self.crash(slot);
        }
        self.check();
        while !self.held.is_empty() {
            self.drop_held(&mut Script::new(&[]));
        }
        assert_eq!(self.memory.blocks_live(), 0, "not everything is free at the end");
        self.memory.trim();
        assert_eq!(self.memory.segment_bytes(), 0, "not everything is given back");
    }
}
