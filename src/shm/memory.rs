//! The side that has the ledger: segments, their maps, and the buffers over them. It is a pool's, or
//! that of an arena that stands alone.
//!
//! Promises: a block lives as long as a buffer of this process or a worker uses it; buffers outlive
//! the pool; memory beyond the limit is a typed error before the kernel is asked, or lies in a file.
//! Does not know: who sends what to whom.
#![expect(unsafe_code, reason = "makes buffers of mapped blocks; see docs/SAFETY.md")]

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, fallocate};

use super::class;
use super::grow::{Terms, Wanted};
use super::ledger::{ArenaKind, BlockName, Fault, Holder, Ledger, name_of_range};
use super::store::{Copied, Located, Store};
use crate::buffer::{Buffer, BufferMut, Memo, Owner, Place};
use crate::error::Result;
use crate::sys::epoch::OwnedHere;
use crate::sys::map::Map;

/// All shared memory of one pool.
pub(crate) struct Memory {
    state: Mutex<State>,
    limit: u64,
    id: u64,
    /// Somebody who found no memory is to be told when a buffer gives some back.
    awaited: AtomicBool,
}

pub(super) struct State {
    pub(super) ledger: Ledger,
    pub(super) segments: BTreeMap<u32, Mapped>,
    /// Bytes of all segments in memory. It grows only while its `Room` is held.
    pub(super) bytes: u64,
    /// The pool is at its end: what is not in use is given back.
    closed: bool,
    /// What workers hold counts only as long as it is referenced here: they are not heard any more.
    abandoned: bool,
    /// Copies that buffers elsewhere remember.
    copies: Vec<Weak<Copied>>,
    /// Segments that are gone here and that workers may still have attached; `None` if nobody asks.
    retired: Option<Vec<u32>>,
    /// The folder for what is beyond the limit.
    pub(super) spill: Option<Arc<OwnedFd>>,
    /// The most bytes that a worker has asked for.
    pub(super) largest_result: u64,
    /// When it was last looked for idle segments.
    looked_at: Instant,
    /// Told of memory that buffers give back.
    told: Option<Box<dyn Fn() + Send>>,
    /// Buffers gave some back since somebody last waited for it.
    freed: bool,
}

/// How long a segment may be empty before it is given back.
pub(crate) const IDLE: Duration = Duration::from_secs(10);

/// A segment in this process.
#[derive(Clone)]
pub(super) struct Mapped {
    /// What another process may be given.
    pub(super) fd: Arc<OwnedFd>,
    pub(super) map: Arc<Map>,
    pub(super) in_file: bool,
}

/// What a worker needs to attach a segment.
#[derive(Clone, Debug)]
pub(crate) struct Attachment {
    pub(crate) len: u64,
    pub(crate) block_len: u64,
    pub(crate) fd: Arc<OwnedFd>,
}

/// What the pool's counters say of memory.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct MemoryStats {
    pub(crate) blocks_live: u64,
    pub(crate) blocks_peak: u64,
    pub(crate) segments_live: u64,
    /// Those in memory; files are not counted.
    pub(crate) segment_bytes: u64,
    pub(crate) file_bytes: u64,
}

impl Memory {
    /// A pool's memory of at most `limit` bytes, all segments together.
    pub(crate) fn new(limit: u64) -> Arc<Self> {
        Self::with_retired(limit, Some(Vec::new()))
    }

    /// The same without a pool: nobody is told which segments are gone.
    pub(crate) fn alone(limit: u64) -> Arc<Self> {
        Self::with_retired(limit, None)
    }

    fn with_retired(limit: u64, retired: Option<Vec<u32>>) -> Arc<Self> {
        let state = State {
            ledger: Ledger::default(),
            segments: BTreeMap::new(),
            bytes: 0,
            closed: false,
            abandoned: false,
            copies: Vec::new(),
            retired,
            spill: None,
            largest_result: 0,
            looked_at: Instant::now(),
            told: None,
            freed: false,
        };
        let (state, awaited) = (Mutex::new(state), AtomicBool::new(false));
        Arc::new(Memory { state, limit, id: next_id(), awaited })
    }

    /// What to call when memory that was [awaited](Self::await_memory) comes back. It is called under
    /// the lock.
    pub(crate) fn tell(&self, told: impl Fn() + Send + 'static) {
        self.lock().told = Some(Box::new(told));
    }

    /// Asks to be told of the next block that a buffer gives back. To be called before one looks
    /// whether there is any.
    pub(crate) fn await_memory(&self) {
        // Relaxed: the lock of the state orders it before the look.
        self.awaited.store(true, Ordering::Relaxed);
    }

    /// Whether buffers have given blocks back that somebody waits for.
    pub(crate) fn take_freed(&self) -> bool {
        std::mem::take(&mut self.lock().freed)
    }

    /// The bytes that the segments in memory may have together.
    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    /// From now on what is beyond the limit lies in files without a name in this folder.
    pub(crate) fn spill_to(&self, folder: OwnedFd) {
        self.lock().spill = Some(Arc::new(folder));
    }

    /// An exclusive inbound block of `len` bytes. A recycled one keeps its contents, unless `zeroed`.
    pub(crate) fn alloc_inbound(
        self: &Arc<Self>,
        len: usize,
        zeroed: bool,
        terms: Terms,
    ) -> Result<BufferMut<u8>> {
        let (name, fresh) = self.take(ArenaKind::Inbound, len, terms)?;
        self.write_to(name, len, zeroed && !fresh)
    }

    /// The same of what is there and free.
    pub(crate) fn recycle(
        self: &Arc<Self>,
        len: usize,
        zeroed: bool,
        terms: Terms,
    ) -> Option<Result<BufferMut<u8>>> {
        let block_len = class::block_len(u64::try_from(len).ok()?)?;
        let name = {
            let wanted = Wanted { arena: ArenaKind::Inbound, block_len, terms };
            self.lock().recycle(&wanted, self.limit)?
        };
        Some(self.write_to(name, len, zeroed))
    }

    fn write_to(
        self: &Arc<Self>,
        name: BlockName,
        len: usize,
        zeroed: bool,
    ) -> Result<BufferMut<u8>> {
        let owner = self.own(name)?;
        let (ptr, _) = owner.range();
        // SAFETY: the block is mapped writable (inbound) and initialised (zeros of a new memfd, or
        // what was written before) over at least `len` bytes (`take`); `owner` keeps the map and the
        // block. The ledger gave this block to nobody else, and workers map it read-only.
        let mut buffer = unsafe { BufferMut::from_raw(ptr, len, Arc::new(owner)) };
        if zeroed {
            buffer.fill(0);
        }
        Ok(buffer)
    }

    /// A block of a worker's own arena, for that worker to write.
    pub(crate) fn grant(&self, slot: u32, generation: u32, len: u64) -> Result<BlockName> {
        {
            let mut state = self.lock();
            state.largest_result = state.largest_result.max(len);
        }
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        // Its worker could truncate a file under the buffers of this process.
        let arena = ArenaKind::Outbound { slot, generation };
        let (name, _) = self.take(arena, len, Terms::IN_MEMORY)?;
        let mut state = self.lock();
        state.ledger.keep(slot, name);
        state.ledger.drop_parent(name);
        Ok(name)
    }

    /// Notes that a task or context with these blocks goes to the worker in `slot`.
    pub(crate) fn hold(&self, slot: u32, names: &[BlockName]) {
        if names.is_empty() {
            return;
        }
        self.lock().ledger.hold(slot, names);
    }

    /// Notes that a task or context is over, and what its worker goes on using.
    pub(crate) fn complete(
        &self,
        slot: u32,
        sent: &[BlockName],
        results: &[BlockName],
        kept: &BTreeSet<BlockName>,
    ) {
        if sent.is_empty() && results.is_empty() {
            return;
        }
        self.lock().ledger.complete(slot, sent, results, kept);
    }

    /// Notes that a task was taken back before the worker read it.
    pub(crate) fn withdraw(&self, slot: u32, names: &[BlockName]) {
        self.lock().ledger.withdraw(slot, names);
    }

    /// Notes that the worker let go of what it kept.
    pub(crate) fn release(&self, slot: u32, names: &[BlockName]) -> Result<(), Fault> {
        let mut state = self.lock();
        names.iter().try_for_each(|&name| state.ledger.release(slot, name))
    }

    /// Whether the worker in `slot` may speak of this range.
    pub(crate) fn check_held(
        &self,
        slot: u32,
        range: (u32, u64, u64),
        generation: u32,
    ) -> Result<BlockName, Fault> {
        self.lock().ledger.check_held(slot, range, generation)
    }

    /// A buffer over a range that the worker in `slot` speaks of.
    pub(crate) fn adopt(
        self: &Arc<Self>,
        slot: u32,
        (segment, offset, len): (u32, u64, u64),
        generation: u32,
    ) -> Result<(Buffer<u8>, BlockName), Fault> {
        let name = {
            let mut state = self.lock();
            let name = state.ledger.check_held(slot, (segment, offset, len), generation)?;
            state.ledger.add_parent(name)?;
            name
        };
        let owner = self.own(name).map_err(|_| Fault::Unknown)?;
        let (start, block_len) = owner.range();
        let within = usize::try_from(offset).map_err(|_| Fault::Bounds)? % block_len;
        let len = usize::try_from(len).map_err(|_| Fault::Bounds)?;
        // SAFETY: `within + len` lies inside the block (`check_held`), which is mapped.
        let ptr = unsafe { start.add(within) };
        // SAFETY: the range is mapped and initialised as long as `owner` lives. Nobody writes there:
        // inbound blocks are written only through a `BufferMut` of this process, which exists only
        // while the ledger knows no other holder; an outbound one is published, and its worker does
        // not write again before the block is granted anew (crash-only trust, docs/SAFETY.md).
        Ok((unsafe { Buffer::from_raw(ptr, len, Arc::new(owner)) }, name))
    }

    /// Whether a worker has, or had, this memory to write.
    pub(super) fn is_of_worker(&self, buffer: &Buffer<u8>) -> bool {
        let owner = buffer.owner().and_then(|owner| owner.as_any().downcast_ref::<BlockOwner>());
        owner.is_some_and(|owner| owner.arena != ArenaKind::Inbound)
    }

    /// What a worker must attach before it can be told of this segment; `None` if it is gone.
    pub(crate) fn attachment(&self, segment: u32) -> Option<Attachment> {
        let state = self.lock();
        let mapped = state.segments.get(&segment)?;
        let block_len = state.ledger.block_len(segment)?;
        let len = u64::try_from(mapped.map.len()).ok()?;
        Some(Attachment { len, block_len, fd: mapped.fd.clone() })
    }

    /// Segments that workers should detach; each is named once.
    pub(crate) fn take_retired(&self) -> Vec<u32> {
        self.lock().retired.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// All segments: number and descriptor.
    pub(crate) fn segments(&self) -> Vec<(u32, Arc<OwnedFd>)> {
        let state = self.lock();
        state.segments.iter().map(|(&number, mapped)| (number, mapped.fd.clone())).collect()
    }

    /// The maps of all segments.
    pub(crate) fn maps(&self) -> Vec<Arc<Map>> {
        self.lock().segments.values().map(|mapped| mapped.map.clone()).collect()
    }

    /// Gives back the segments that nobody uses.
    pub(crate) fn trim(&self) {
        self.lock().drop_empty(true);
    }

    /// Gives back the segments that nobody has used for [`IDLE`] to twice that, if it is time to look.
    pub(crate) fn trim_idle(&self) {
        let mut state = self.lock();
        if state.looked_at.elapsed() < IDLE {
            return;
        }
        state.looked_at = Instant::now();
        let idle = state.ledger.remove_idle();
        let unmapped = state.take_out(idle);
        // Unmapping a large one takes a while.
        drop(state);
        drop(unmapped);
    }

    /// Takes back all that a dead worker held. What it sent stays readable; the pages of the rest of
    /// its arena are returned.
    pub(crate) fn forget_worker(&self, slot: u32, generation: u32) {
        self.forget(Holder::Present(slot), ArenaKind::Outbound { slot, generation });
    }

    /// A worker is given up alive: it goes on holding what it held, whoever comes into its slot.
    pub(crate) fn set_aside(&self, slot: u32, generation: u32) {
        self.lock().ledger.set_aside(slot, generation);
    }

    /// As [`forget_worker`](Self::forget_worker), for one that was set aside before it died.
    pub(crate) fn forget_set_aside(&self, slot: u32, generation: u32) {
        let dead = Holder::SetAside { slot, generation };
        self.forget(dead, ArenaKind::Outbound { slot, generation });
    }

    fn forget(&self, dead: Holder, arena: ArenaKind) {
        let mut state = self.lock();
        state.ledger.forget_worker(dead, arena);
        state.drop_empty(false);
        for segment in state.ledger.segments_in(arena) {
            let Some(mapped) = state.segments.get(&segment) else { continue };
            for (offset, len) in state.ledger.free_ranges(segment) {
                let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                // Not a loss but of memory: the segment goes as a whole with its last buffer.
                let _refused = fallocate(&*mapped.fd, punch, offset, len);
            }
        }
    }

    /// Gives up the copies of buffers elsewhere; those that are sent stay until their tasks are over.
    pub(super) fn forget_copies(&self) {
        let copies = std::mem::take(&mut self.lock().copies);
        for copy in copies.iter().filter_map(Weak::upgrade) {
            // Dropped without any lock: it comes back to this memory.
            let _copy = copy.lock().unwrap_or_else(PoisonError::into_inner).take();
        }
    }

    /// Gives back what is not in use, now and whenever a buffer is dropped from now on.
    pub(crate) fn close(&self) {
        self.forget_copies();
        let mut state = self.lock();
        state.closed = true;
        state.drop_empty(true);
    }

    /// Closes, and hears no more of what others let go of: nothing is kept for them. They keep what
    /// they have mapped. What they hold stays unwritable here.
    #[cfg(feature = "channel")]
    pub(crate) fn abandon(&self) {
        {
            let mut state = self.lock();
            state.abandoned = true;
            state.ledger.forget_holds();
        }
        self.close();
    }

    /// Panics if the ledger does not balance, or if others than these hold anything.
    #[cfg(feature = "fault-points")]
    pub(crate) fn audit(&self, holders: &BTreeSet<Holder>) {
        let state = self.lock();
        if !state.abandoned {
            state.ledger.audit(holders);
        }
    }

    pub(crate) fn stats(&self) -> MemoryStats {
        let state = self.lock();
        MemoryStats {
            blocks_live: state.ledger.live_blocks(),
            blocks_peak: state.ledger.peak_blocks(),
            segments_live: u64::try_from(state.segments.len()).unwrap_or(u64::MAX),
            segment_bytes: state.bytes,
            file_bytes: state.segments.values().filter(|m| m.in_file).map(Mapped::len).sum(),
        }
    }

    /// The owner that holds the parent reference which the caller has taken.
    fn own(self: &Arc<Self>, name: BlockName) -> Result<BlockOwner> {
        let state = self.lock();
        let mapped = state.segments.get(&name.segment).ok_or(rustix::io::Errno::STALE);
        let mapped = mapped.map_err(io::Error::from)?;
        let arena = state.ledger.arena_of(name.segment).unwrap_or(ArenaKind::Inbound);
        let block_len = state.ledger.block_len(name.segment).unwrap_or(0);
        Ok(BlockOwner {
            memory: OwnedHere::new(self.clone()),
            map: mapped.map.clone(),
            name,
            arena,
            block_len,
            memo: Memo::default(),
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in this module panics between two related changes.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Gives up the segments that nobody uses.
    pub(super) fn drop_empty(&mut self, of_all: bool) {
        let empty = self.ledger.remove_empty(of_all);
        self.take_out(empty);
    }

    /// Takes segments out that the ledger does not know any more.
    fn take_out(&mut self, segments: Vec<u32>) -> Vec<Mapped> {
        let mut taken = Vec::new();
        for segment in segments {
            let Some(mapped) = self.segments.remove(&segment) else { continue };
            if !mapped.in_file {
                self.bytes -= mapped.len();
            }
            if let Some(retired) = &mut self.retired {
                retired.push(segment);
            }
            taken.push(mapped);
        }
        taken
    }
}

impl Store for Arc<Memory> {
    fn locate(&self, buffer: &Buffer<u8>) -> Option<Located> {
        let owner = buffer.owner()?.as_any().downcast_ref::<BlockOwner>()?;
        let ours = Arc::ptr_eq(self, &owner.memory) && owner.arena == ArenaKind::Inbound;
        ours.then(|| owner.locate(buffer.as_ptr()))
    }

    fn name_of(&self, at: &Located) -> Option<BlockName> {
        let block_len = self.lock().ledger.block_len(at.segment)?;
        name_of_range(block_len, at.segment, at.offset, 0, at.generation).ok()
    }

    fn alloc(&self, len: usize, zeroed: bool) -> Result<BufferMut<u8>> {
        self.alloc_inbound(len, zeroed, Terms::ALL)
    }

    fn id(&self) -> u64 {
        self.id
    }

    fn copied(&self, copy: &Arc<Copied>) {
        let mut state = self.lock();
        if state.closed {
            return;
        }
        if state.copies.len() == state.copies.capacity() {
            // Before it grows: buffers that are gone remember nothing.
            state.copies.retain(|copy| copy.strong_count() > 0);
        }
        state.copies.push(Arc::downgrade(copy));
    }
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Memory").field("limit", &self.limit).finish_non_exhaustive()
    }
}

/// Holds one parent reference of a block, and its map.
struct BlockOwner {
    /// Not even freed in a forked child: the descriptors there are the child's.
    memory: OwnedHere<Arc<Memory>>,
    map: Arc<Map>,
    name: BlockName,
    arena: ArenaKind,
    block_len: u64,
    memo: Memo,
}

impl BlockOwner {
    fn offset(&self) -> u64 {
        u64::from(self.name.index) * self.block_len
    }

    /// The block's first byte and length in this process.
    fn range(&self) -> (std::ptr::NonNull<u8>, usize) {
        let offset = usize::try_from(self.offset()).expect("a mapped offset fits an address");
        let len = usize::try_from(self.block_len).expect("a mapped length fits an address");
        // SAFETY: the ledger has the block within its segment, whose map is as long.
        (unsafe { self.map.ptr().add(offset) }, len)
    }

    fn locate(&self, ptr: *const u8) -> Located {
        let within = ptr.addr() - self.map.ptr().addr().get();
        Located {
            segment: self.name.segment,
            offset: u64::try_from(within).expect("an address fits 64 bits"),
            generation: self.name.generation,
        }
    }
}

impl Owner for BlockOwner {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn place(&self) -> Place {
        Place::Shared
    }

    fn may_be_exclusive(&self) -> bool {
        let writable = self.map.is_writable() && self.memory.is_here();
        writable && self.memory.lock().ledger.is_exclusive(self.name)
    }

    fn memo(&self) -> &Memo {
        &self.memo
    }
}

impl Drop for BlockOwner {
    fn drop(&mut self) {
        // A forked child has no part in the ledger, and its lock may be held for ever there.
        if !self.memory.is_here() {
            return;
        }
        let mut state = self.memory.lock();
        let before = state.ledger.live_blocks();
        state.ledger.drop_parent(self.name);
        if state.abandoned {
            state.ledger.forget_holds_of(self.name);
        }
        let is_awaited = || self.memory.awaited.swap(false, Ordering::Relaxed);
        if state.ledger.live_blocks() < before && is_awaited() {
            state.freed = true;
            state.told.iter().for_each(|told| told());
        }
        if state.closed || state.ledger.is_orphaned(self.arena) {
            // Nobody will want the block again: the last buffer of a segment takes it along.
            let closed = state.closed;
            state.drop_empty(closed);
        }
    }
}

impl Mapped {
    pub(super) fn len(&self) -> u64 {
        u64::try_from(self.map.len()).unwrap_or(u64::MAX)
    }
}

fn next_id() -> u64 {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::sys::room::tests::{MADE_UP, MadeUp};

    #[test]
    fn memory_beyond_the_limit_is_refused_with_both_figures() {
        let memory = Memory::new(1 << 20);
        let refused = memory.alloc_inbound(2 << 20, false, Terms::ALL).unwrap_err();
        assert!(matches!(refused, Error::OutOfMemory { wanted: 0x20_0000, limit: 0x10_0000 }));
        assert!(memory.alloc_inbound(1 << 19, false, Terms::ALL).is_ok());
    }

    #[test]
    fn segments_that_nobody_uses_make_room_for_others() {
        let memory = Memory::new(8 << 20);
        drop(memory.alloc_inbound(5 << 20, false, Terms::ALL).unwrap());
        drop(memory.alloc_inbound(8 << 20, false, Terms::ALL).unwrap());
        assert_eq!(memory.stats().segment_bytes, 8 << 20);
        assert_eq!(memory.take_retired().len(), 1);
    }

    #[test]
    fn segments_are_given_back_when_nobody_has_used_them_for_a_while() {
        let memory = Memory::new(64 << 20);
        let pass_time = || {
            memory.lock().looked_at -= IDLE;
            memory.trim_idle();
            memory.stats().segments_live
        };
        let kept = memory.alloc_inbound(5 << 20, false, Terms::ALL).unwrap();
        drop(memory.alloc_inbound(20 << 20, false, Terms::ALL).unwrap());
        memory.trim_idle();
        assert_eq!(memory.stats().segments_live, 2, "not yet time to look");
        assert_eq!(pass_time(), 2, "used since the last time");
        drop(memory.alloc_inbound(20 << 20, false, Terms::ALL).unwrap());
        assert_eq!(pass_time(), 2, "used again");
        assert_eq!(pass_time(), 1);
        drop(kept);
        assert_eq!(pass_time(), 0);
        assert_eq!(memory.take_retired().len(), 2);
    }

    /// What six threads at once get, on a made-up machine that has room for two and a half.
    fn granted_at_once<T: Send>(unit: u64, take: impl Fn(usize) -> Result<T> + Sync) -> usize {
        let len = unit * 16;
        let made_up = MadeUp { limit: len * 5 / 2, unit };
        let together = std::sync::Barrier::new(6);
        std::thread::scope(|scope| {
            let race = || {
                MADE_UP.set(Some(made_up));
                together.wait();
                take(usize::try_from(len).unwrap())
            };
            let threads: Vec<_> = (0..6).map(|_| scope.spawn(race)).collect();
            let taken: Vec<_> = threads.into_iter().map(|t| t.join().unwrap()).collect();
            assert!(made_up.allocated() <= made_up.limit, "{} bytes", made_up.allocated());
            taken.iter().filter(|outcome| outcome.is_ok()).count()
        })
    }

    #[test]
    fn threads_together_take_no_more_than_the_machine_has() {
        for _ in 0..3 {
            let memory = Memory::new(u64::MAX);
            let alloc = |len| memory.alloc_inbound(len, false, Terms::ALL);
            assert_eq!(granted_at_once((17 * 64) << 10, alloc), 2);
            assert_eq!(granted_at_once((19 * 64) << 10, crate::shm::Segment::create), 2);
        }
    }

    #[test]
    fn what_a_peer_keeps_is_not_free_when_it_is_dropped_here() {
        let unit = (23 * 64) << 10;
        let (limit, len) = (unit * 5, usize::try_from(unit).unwrap());
        MADE_UP.set(Some(MadeUp { limit, unit }));
        let memory = Memory::new(u64::MAX);
        drop(memory.alloc_inbound(3 * len, false, Terms::ALL).unwrap());
        let peers = memory.segments();
        let refused = memory.alloc_inbound(4 * len, false, Terms::ALL).unwrap_err();
        let expected = (4 * unit, 2 * unit);
        assert!(
            matches!(refused, Error::OutOfMemory { wanted, limit } if (wanted, limit) == expected),
            "{refused:?}"
        );
        assert!(memory.alloc_inbound(2 * len, false, Terms::ALL).is_ok());
        drop(peers);
        assert!(memory.alloc_inbound(4 * len, false, Terms::ALL).is_ok());
        MADE_UP.set(None);
    }

    #[test]
    fn a_recycled_block_is_zeroed_on_request_only() {
        let memory = Memory::new(1 << 20);
        let mut block = memory.alloc_inbound(4096, true, Terms::ALL).unwrap();
        assert!(block.iter().all(|&byte| byte == 0));
        block.fill(7);
        let address = block.as_ptr();
        drop(block);
        let block = memory.alloc_inbound(4096, false, Terms::ALL).unwrap();
        assert_eq!((block.as_ptr(), block[0]), (address, 7));
        drop(block);
        assert_eq!(memory.alloc_inbound(4096, true, Terms::ALL).unwrap()[0], 0);
    }

    #[test]
    fn a_frozen_block_is_exclusive_again_when_its_twin_is_gone() {
        let memory = Memory::new(1 << 20);
        let buffer = memory.alloc_inbound(10, true, Terms::ALL).unwrap().freeze();
        let twin = buffer.slice(2..4);
        let buffer = buffer.try_into_mut().unwrap_err();
        drop(twin);
        assert!(buffer.try_into_mut().is_ok());
    }

    #[test]
    fn a_block_that_a_worker_holds_is_not_exclusive() {
        let memory = Memory::new(1 << 20);
        let buffer = memory.alloc_inbound(10, true, Terms::ALL).unwrap().freeze();
        let names = [memory.name_of(&memory.locate(&buffer).unwrap()).unwrap()];
        memory.hold(0, &names);
        let buffer = buffer.try_into_mut().unwrap_err();
        memory.complete(0, &names, &[], &BTreeSet::new());
        assert!(buffer.try_into_mut().is_ok());
    }

    #[test]
    fn results_outlive_their_worker_and_take_its_segments_along() {
        let memory = Memory::new(1 << 20);
        let name = memory.grant(4, 1, 100).unwrap();
        let (result, _) = memory.adopt(4, (name.segment, 0, 100), name.generation).unwrap();
        memory.complete(4, &[], &[name], &BTreeSet::new());
        memory.forget_worker(4, 1);
        assert_eq!(result[99], 0);
        assert_eq!(memory.stats().segments_live, 1);
        drop(result);
        assert_eq!(memory.stats().segments_live, 0);
        assert_eq!(memory.stats().segment_bytes, 0);
    }
}
