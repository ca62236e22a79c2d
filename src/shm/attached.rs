//! The worker's side: attached segments, what it has been granted, and what it still uses.
//!
//! Promises: the parent hears of every block that the worker lets go of: with the completion of the
//! task that brought it, or later by a message; inputs are mapped read-only.
//! Does not know: how messages travel; it calls [`ParentLink`].
#![expect(unsafe_code, reason = "makes buffers of attached blocks; see docs/SAFETY.md")]

use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::fd::OwnedFd;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::class;
use super::ledger::{BlockName, Fault, name_of_range};
use super::segment;
use super::store::{Copied, Located, Store};
use crate::buffer::{Buffer, BufferMut, Memo, Owner, Place};
use crate::error::{Error, Result};
use crate::sys::epoch::OwnedHere;
use crate::sys::map::Map;
use crate::sys::memory;

/// What a worker says to the parent about memory.
pub(crate) trait ParentLink: Send + Sync + 'static {
    /// Asks for a block of at least so many bytes; returns when one has been granted.
    fn request_block(&self, len: u64) -> Result<()>;

    /// A block that the parent believes kept is not used any more.
    fn released(&self, name: BlockName);
}

/// All shared memory that this worker sees.
pub(crate) struct Attached<L> {
    state: Mutex<State>,
    link: L,
}

#[derive(Default)]
struct State {
    segments: HashMap<u32, Segment>,
    leases: HashMap<BlockName, Lease>,
    /// Blocks of this worker's own arena that are free to write, by length.
    granted: BTreeMap<u64, Vec<BlockName>>,
}

#[derive(Clone)]
struct Segment {
    map: Arc<Map>,
    block_len: u64,
}

/// A block that buffers of this process use.
#[derive(Clone, Copy, Debug)]
struct Lease {
    owners: usize,
    standing: Standing,
}

/// What the parent believes of a block that is in use here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Granted, and the worker's to write.
    Own,
    /// Part of a task or context that is not over; its end will tell.
    InTask,
    /// Kept until the worker says otherwise.
    Kept,
}

impl<L: ParentLink> Attached<L> {
    pub(crate) fn new(link: L) -> Arc<Self> {
        Arc::new(Attached { state: Mutex::default(), link })
    }

    /// Maps a segment that the parent sent; writable only if it is part of this worker's own arena.
    pub(crate) fn attach(
        &self,
        segment: u32,
        (len, block_len): (u64, u64),
        writable: bool,
        fd: OwnedFd,
    ) -> io::Result<()> {
        let is_as_said = if writable {
            let facts = memory::facts(&fd)?.ok_or(rustix::io::Errno::INVAL)?;
            segment::check(&facts, true).map_err(io::Error::other)?;
            facts.len == len
        } else {
            // What only the other side writes: nobody else may begin to write to it.
            segment::readable_len(&fd).map_err(io::Error::other)? == len
        };
        if !is_as_said || block_len == 0 {
            return Err(rustix::io::Errno::INVAL.into());
        }
        let len = usize::try_from(len).map_err(|_| rustix::io::Errno::NOMEM)?;
        let map = if writable { Map::writable(&fd, len) } else { Map::readable(&fd, len) };
        let record = Segment { map: Arc::new(map?), block_len };
        self.lock().segments.insert(segment, record);
        Ok(())
    }

    /// How many segments are attached.
    #[cfg(feature = "channel")]
    pub(crate) fn segments(&self) -> usize {
        self.lock().segments.len()
    }

    /// Unmaps a segment, when the last buffer over it is gone.
    pub(crate) fn detach(&self, segment: u32) {
        let mut state = self.lock();
        let gone = state.segments.remove(&segment);
        for blocks in state.granted.values_mut() {
            blocks.retain(|name| name.segment != segment);
        }
        drop(state);
        drop(gone);
    }

    /// A block of this worker's own arena to write.
    pub(crate) fn add_grant(&self, name: BlockName) {
        let mut state = self.lock();
        if let Some(block_len) = state.segments.get(&name.segment).map(|s| s.block_len) {
            state.granted.entry(block_len).or_default().push(name);
        }
    }

    /// Whether a range that the parent speaks of lies within one block that is attached.
    pub(crate) fn check(&self, segment: u32, offset: u64, len: u64) -> Result<(), Fault> {
        self.lock().find(segment, offset, len, 0).map(|_| ())
    }

    /// Unmaps all segments, as [`detach`](Self::detach) does one.
    #[cfg(feature = "channel")]
    pub(crate) fn detach_all(&self) {
        let gone = std::mem::take(&mut self.lock().segments);
        drop(gone);
    }

    /// A buffer over a range that the parent speaks of.
    pub(crate) fn lease(
        self: &Arc<Self>,
        range: (u32, u64, u64),
        generation: u32,
    ) -> Result<(Buffer<u8>, BlockName), Fault> {
        self.lease_as(range, generation, Standing::InTask)
    }

    /// The same, of a block that the parent believes kept until it is told otherwise.
    #[cfg(feature = "channel")]
    pub(crate) fn lease_kept(
        self: &Arc<Self>,
        range: (u32, u64, u64),
        generation: u32,
    ) -> Result<(Buffer<u8>, BlockName), Fault> {
        self.lease_as(range, generation, Standing::Kept)
    }

    fn lease_as(
        self: &Arc<Self>,
        (segment, offset, len): (u32, u64, u64),
        generation: u32,
        standing: Standing,
    ) -> Result<(Buffer<u8>, BlockName), Fault> {
        let mut state = self.lock();
        let (record, name) = state.find(segment, offset, len, generation)?;
        state.leases.entry(name).or_insert(Lease { owners: 0, standing }).owners += 1;
        drop(state);
        let owner = self.owner(record, name);
        let offset = usize::try_from(offset).map_err(|_| Fault::Bounds)?;
        let len = usize::try_from(len).map_err(|_| Fault::Bounds)?;
        // SAFETY: the range lies within one block of the segment (`find`), which is mapped as long.
        let ptr = unsafe { owner.map.ptr().add(offset) };
        // SAFETY: the range is mapped and initialised as long as `owner` lives; the parent does not
        // write there while this worker holds the block, which it does until the lease is given up.
        Ok((unsafe { Buffer::from_raw(ptr, len, Arc::new(owner)) }, name))
    }

    /// The connection that this memory speaks through.
    pub(crate) fn link(&self) -> &L {
        &self.link
    }

    /// These blocks are part of a result from now on: nobody here writes them again.
    pub(crate) fn publish(&self, names: &[BlockName]) {
        let mut state = self.lock();
        for name in names {
            if let Some(lease) = state.leases.get_mut(name) {
                // A kept block too: the completion says what becomes of it, and nothing before.
                lease.standing = Standing::InTask;
            }
        }
    }

    /// Ends a task or context: `send` gets those of the mentioned blocks that are still in use here.
    ///
    /// What happens to them from now on is told by messages of their own, behind this one. What was
    /// granted for the task and is not used any more goes back.
    pub(crate) fn complete<R>(
        &self,
        mentioned: &[BlockName],
        send: impl FnOnce(&[BlockName]) -> R,
    ) -> R {
        let mut state = self.lock();
        let mut kept = Vec::new();
        for &name in mentioned {
            match state.leases.get_mut(&name) {
                Some(lease) if lease.owners > 0 => {
                    lease.standing = Standing::Kept;
                    kept.push(name);
                }
                _ => {
                    state.leases.remove(&name);
                }
            }
        }
        // Before the end, at which the parent looks whether there is memory to wait for.
        self.give_back(&mut state);
        // Under the lock, so that no later message about these blocks overtakes this one.
        send(&kept)
    }

    /// Returns what was granted and is not used; whether there was any.
    fn give_back(&self, state: &mut State) -> bool {
        let mut unused = std::mem::take(&mut state.granted).into_values().flatten().peekable();
        let any = unused.peek().is_some();
        unused.for_each(|name| self.link.released(name));
        any
    }

    fn owner(self: &Arc<Self>, record: Segment, name: BlockName) -> LeaseOwner<L> {
        LeaseOwner {
            attached: OwnedHere::new(self.clone()),
            map: record.map,
            name,
            memo: Memo::default(),
        }
    }

    fn take_grant(self: &Arc<Self>, block_len: u64) -> Option<(LeaseOwner<L>, NonNull<u8>)> {
        let mut state = self.lock();
        let mut fitting = state.granted.range_mut(block_len..=class::longest_fit(block_len));
        let name = fitting.find_map(|(_, blocks)| blocks.pop())?;
        let record = state.segments.get(&name.segment)?.clone();
        let offset = u64::from(name.index).checked_mul(record.block_len)?;
        let offset = usize::try_from(offset).ok()?;
        let end = offset.checked_add(usize::try_from(record.block_len).ok()?)?;
        if !record.map.is_writable() || end > record.map.len() {
            return None;
        }
        state.leases.insert(name, Lease { owners: 1, standing: Standing::Own });
        drop(state);
        let owner = self.owner(record, name);
        // SAFETY: the whole block lies within the map (checked above).
        let ptr = unsafe { owner.map.ptr().add(offset) };
        Some((owner, ptr))
    }

    fn drop_owner(&self, name: BlockName) {
        let mut state = self.lock();
        let Some(lease) = state.leases.get_mut(&name) else { return };
        lease.owners -= 1;
        if lease.owners > 0 {
            return;
        }
        match lease.standing {
            Standing::InTask => {}
            Standing::Own => {
                state.leases.remove(&name);
                if let Some(block_len) = state.segments.get(&name.segment).map(|s| s.block_len) {
                    state.granted.entry(block_len).or_default().push(name);
                }
            }
            Standing::Kept => {
                state.leases.remove(&name);
                // Under the lock, as in `complete`.
                self.link.released(name);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn find(
        &self,
        segment: u32,
        offset: u64,
        len: u64,
        generation: u32,
    ) -> Result<(Segment, BlockName), Fault> {
        let record = self.segments.get(&segment).ok_or(Fault::Unknown)?;
        let name = name_of_range(record.block_len, segment, offset, len, generation)?;
        let end = offset.checked_add(len).ok_or(Fault::Bounds)?;
        let inside = usize::try_from(end).is_ok_and(|end| end <= record.map.len());
        inside.then(|| (record.clone(), name)).ok_or(Fault::Bounds)
    }
}

impl<L: ParentLink> Store for Arc<Attached<L>> {
    fn locate(&self, buffer: &Buffer<u8>) -> Option<Located> {
        let owner = buffer.owner()?.as_any().downcast_ref::<LeaseOwner<L>>()?;
        if !Arc::ptr_eq(self, &owner.attached) {
            return None;
        }
        let within = buffer.as_ptr().addr() - owner.map.ptr().addr().get();
        Some(Located {
            segment: owner.name.segment,
            offset: u64::try_from(within).ok()?,
            generation: owner.name.generation,
        })
    }

    fn name_of(&self, at: &Located) -> Option<BlockName> {
        let block_len = self.lock().segments.get(&at.segment)?.block_len;
        name_of_range(block_len, at.segment, at.offset, 0, at.generation).ok()
    }

    fn alloc(&self, len: usize, zeroed: bool) -> Result<BufferMut<u8>> {
        let wanted = u64::try_from(len).unwrap_or(u64::MAX);
        let block_len = class::block_len(wanted);
        let block_len = block_len.ok_or(Error::OutOfMemory { wanted, limit: u64::MAX })?;
        loop {
            if let Some((owner, ptr)) = self.take_grant(block_len) {
                // SAFETY: the block is mapped writable (`take_grant`), initialised, at least
                // `block_len` long, and kept by `owner`; the parent granted it to this worker alone
                // and reads it only once it has been sent.
                let mut buffer = unsafe { BufferMut::from_raw(ptr, len, Arc::new(owner)) };
                if zeroed {
                    buffer.fill(0);
                }
                return Ok(buffer);
            }
            if let Err(denied) = self.link.request_block(wanted) {
                // What earlier allocations of this task left may make the difference.
                if !self.give_back(&mut self.lock()) {
                    return Err(denied);
                }
            }
        }
    }

    fn id(&self) -> u64 {
        // A process is one worker, so there is one such store.
        0
    }

    /// The end of this store is the end of the process.
    fn copied(&self, _: &Arc<Copied>) {}
}

/// Holds one lease of a block, and its map.
struct LeaseOwner<L: ParentLink> {
    /// Not even freed in a forked child: the connection's descriptors there are the child's.
    attached: OwnedHere<Arc<Attached<L>>>,
    map: Arc<Map>,
    name: BlockName,
    memo: Memo,
}

impl<L: ParentLink> Owner for LeaseOwner<L> {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn place(&self) -> Place {
        Place::Shared
    }

    fn may_be_exclusive(&self) -> bool {
        let own = |lease: &Lease| lease.standing == Standing::Own;
        self.attached.is_here() && self.attached.lock().leases.get(&self.name).is_some_and(own)
    }

    fn memo(&self) -> &Memo {
        &self.memo
    }
}

impl<L: ParentLink> Drop for LeaseOwner<L> {
    fn drop(&mut self) {
        if self.attached.is_here() {
            self.attached.drop_owner(self.name);
        }
    }
}
