//! `arena`: memory that is used again and again, by any history of allocating, writing, freezing,
//! leasing, sending, dropping, giving back and dying: live blocks do not overlap, contents stay as
//! long as anybody may read them, counts are right, what was zeroed is zero, and at the end everything
//! is free. Half of the inputs go to an [`Arena`] with a reader at its other side, the others to the
//! ledger of a pool with workers that crash.

use std::marker::PhantomData;
use std::os::fd::AsFd;

use pannier::fuzzing::{Block, PoolMemory};
use pannier::shm::{Arena, ArenaReader, Lease};
use pannier::{Buffer, BufferMut, CodecError, Encoder, Error};

use crate::ledger;
use crate::script::{Script, are_all};

/// What gives and takes back memory, each of which a test may replace by one with a fault.
pub trait Keeper {
    /// A block of an arena.
    fn alloc(arena: &Arena, len: usize, zeroed: bool) -> Result<BufferMut<u8>, Error> {
        if zeroed { arena.alloc_zeroed(len) } else { arena.alloc(len) }
    }

    /// What was placed.
    fn take_lease(arena: &mut Arena) -> Lease {
        arena.take_lease()
    }

    /// The block of a pool's buffer, and where it begins.
    fn find(memory: &PoolMemory, buffer: &Buffer<u8>) -> Option<(Block, u64)> {
        memory.find(buffer)
    }

    /// A task with these blocks goes to a worker.
    fn hold(memory: &PoolMemory, slot: u32, blocks: &[Block]) {
        memory.hold(slot, blocks);
    }

    /// A worker is dead.
    fn forget_worker(memory: &PoolMemory, slot: u32, generation: u32) {
        memory.forget_worker(slot, generation);
    }
}

/// That of the library.
#[derive(Debug)]
pub struct Careful;

impl Keeper for Careful {}

/// Any bytes, as a history.
pub fn arena(data: &[u8]) {
    arena_of::<Careful>(data);
}

/// The same for another keeper.
pub fn arena_of<K: Keeper>(data: &[u8]) {
    let mut script = Script::new(data);
    if script.one_in(2) {
        return ledger::ledger_of::<K>(&mut script);
    }
    let mut model = Model::<K>::new(&mut script);
    for _ in 0..STEPS {
        if script.is_over() {
            break;
        }
        model.step(&mut script);
    }
    model.finish();
}

const STEPS: usize = 150;
/// Of things that hold blocks at a time.
const HOLDERS: usize = 24;
/// Takes two segments of the smallest blocks, or one of the largest that share.
const BUDGET: u64 = 1 << 20;

/// Something that holds a block, all of whose bytes are `stamp`.
struct Holder {
    /// Tells its block from all others.
    block: u32,
    stamp: u8,
    what: What,
}

enum What {
    Mine(BufferMut<u8>),
    Frozen(Buffer<u8>),
    /// And what the peer reads there.
    Sent {
        lease: Lease,
        seen: Vec<Buffer<u8>>,
    },
}

impl Holder {
    fn slices(&self) -> Vec<&[u8]> {
        match &self.what {
            What::Mine(buffer) => vec![&buffer[..]],
            What::Frozen(buffer) => vec![&buffer[..]],
            What::Sent { seen, .. } => seen.iter().map(|buffer| &buffer[..]).collect(),
        }
    }

    fn check(&self) {
        let intact = |bytes: &&[u8]| are_all(bytes, self.stamp);
        assert!(self.slices().iter().all(intact), "a live block has other bytes");
    }
}

struct Model<K> {
    arenas: Vec<Arena>,
    peer: ArenaReader,
    holders: Vec<Holder>,
    blocks: u32,
    keeper: PhantomData<K>,
}

impl<K: Keeper> Model<K> {
    fn new(script: &mut Script<'_>) -> Self {
        let budget = if script.one_in(4) { script.number() % BUDGET } else { BUDGET };
        let arena = Arena::create(budget).expect("an arena");
        Model {
            arenas: vec![arena],
            peer: ArenaReader::new(),
            holders: Vec::new(),
            blocks: 0,
            keeper: PhantomData,
        }
    }

    fn step(&mut self, script: &mut Script<'_>) {
        match script.below(16) {
            0..=4 => self.alloc(script),
            5 | 6 => self.freeze(script),
            7 | 8 => self.send(script),
            9 => self.share(script),
            10 => self.thaw(script),
            11 => self.write(script),
            12 if script.one_in(3) => self.clone_or_drop_arena(script),
            13 if script.one_in(3) => self.arenas[0].trim(),
            _ => self.drop_one(script),
        }
        let live: std::collections::BTreeSet<_> = self.holders.iter().map(|h| h.block).collect();
        let stats = self.arenas[0].stats();
        assert_eq!(stats.blocks_live, live.len() as u64, "live blocks: {stats:?}");
        assert!(stats.memory_bytes <= BUDGET && stats.file_bytes == 0, "{stats:?}");
    }

    fn new_block(&mut self) -> (u32, u8) {
        self.blocks += 1;
        (self.blocks, self.blocks.wrapping_mul(37).to_le_bytes()[0] | 1)
    }

    fn len(script: &mut Script<'_>) -> usize {
        let base = [1, 4096, 8192, 65_536, 1 << 17][script.below(5)];
        base + script.below(2) * script.below(200)
    }

    fn alloc(&mut self, script: &mut Script<'_>) {
        if self.holders.len() >= HOLDERS {
            return;
        }
        let (len, zeroed) = (Self::len(script), script.one_in(2));
        let made = K::alloc(&self.arenas[script.below(self.arenas.len())], len, zeroed);
        let Some(mut buffer) = self.unless_full(made) else { return };
        assert_eq!(buffer.len(), len);
        assert!(!zeroed || are_all(&buffer, 0), "zeroed, and not zero");
        self.overlaps_nothing(&buffer);
        let (block, stamp) = self.new_block();
        buffer.fill(stamp);
        self.holders.push(Holder { block, stamp, what: What::Mine(buffer) });
    }

    /// A refusal names figures that explain it.
    fn unless_full<T>(&self, made: Result<T, Error>) -> Option<T> {
        match made {
            Ok(made) => Some(made),
            Err(Error::OutOfMemory { limit, .. }) => {
                assert!(limit <= BUDGET);
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Addresses that nobody else has: a block that is new to us is free to write.
    fn overlaps_nothing(&self, new: &[u8]) {
        let new = new.as_ptr_range();
        for holder in self.holders.iter().filter(|h| !matches!(h.what, What::Sent { .. })) {
            for old in holder.slices() {
                let old = old.as_ptr_range();
                assert!(old.end <= new.start || new.end <= old.start, "two live blocks overlap");
            }
        }
    }

    fn take(&mut self, script: &mut Script<'_>) -> Option<Holder> {
        let count = self.holders.len();
        (count > 0).then(|| self.holders.swap_remove(script.below(count)))
    }

    fn freeze(&mut self, script: &mut Script<'_>) {
        let Some(mut holder) = self.take(script) else { return };
        if let What::Mine(buffer) = holder.what {
            holder.what = What::Frozen(buffer.freeze());
        }
        self.holders.push(holder);
    }

    /// Places a buffer of the arena, or one from the heap, for the peer.
    fn send(&mut self, script: &mut Script<'_>) {
        if self.holders.len() >= HOLDERS {
            return;
        }
        let at = script.below(self.arenas.len());
        let frozen: Vec<_> = self
            .holders
            .iter()
            .filter_map(|holder| match &holder.what {
                What::Frozen(buffer) => Some((buffer.clone(), holder.block, holder.stamp)),
                _ => None,
            })
            .collect();
        let (buffer, block, stamp) = match frozen.get(script.below(frozen.len() + 1)) {
            Some(found) => found.clone(),
            None => {
                let (block, stamp) = self.new_block();
                (Buffer::from(vec![stamp; Self::len(script)]), block, stamp)
            }
        };
        let is_heap = !buffer.is_shared();
        let arena = &mut self.arenas[at];
        let placed = Encoder::new().threshold(1).to_parts(&buffer, arena);
        let lease = K::take_lease(arena);
        let placed = placed.map_err(|error| match error {
            CodecError::Buffer(why) => *why.downcast::<Error>().expect("an arena's error"),
            other => panic!("{other}"),
        });
        if self.unless_full(placed).is_none() {
            assert!(lease.places().is_empty(), "the arena failed, and placed something");
            return;
        }
        let copied = if is_heap { buffer.len() as u64 } else { 0 };
        assert_eq!((lease.places().len(), lease.copied_bytes()), (1, copied));
        self.attach_all();
        let seen = self.peer.buffers(lease.places()).expect("places of the arena");
        assert!(seen[0] == buffer, "the peer sees other bytes");
        self.holders.push(Holder { block, stamp, what: What::Sent { lease, seen } });
    }

    #[expect(unsafe_code, reason = "the reader is this process, too")]
    fn attach_all(&mut self) {
        for segment in self.arenas[0].segments() {
            let fd = segment.as_fd().try_clone_to_owned().expect("a descriptor");
            // SAFETY: the owner is this library, and `What::Sent` keeps each lease until the
            // buffers over its places are dropped, which is before it in `drop_one`.
            unsafe { self.peer.attach(segment.number(), fd) }.expect("a segment of the arena");
        }
    }

    /// A second holder of the same block.
    fn share(&mut self, script: &mut Script<'_>) {
        if self.holders.len() >= HOLDERS {
            return;
        }
        let Some(holder) = self.take(script) else { return };
        if let What::Frozen(buffer) = &holder.what {
            let start = script.short() % buffer.len();
            let what = What::Frozen(buffer.slice(start..buffer.len()));
            self.holders.push(Holder { block: holder.block, stamp: holder.stamp, what });
        }
        self.holders.push(holder);
    }

    /// A frozen buffer becomes writable again exactly if nobody else holds its block.
    fn thaw(&mut self, script: &mut Script<'_>) {
        let Some(mut holder) = self.take(script) else { return };
        let is_alone = self.holders.iter().all(|other| other.block != holder.block);
        if let What::Frozen(buffer) = holder.what {
            holder.what = match buffer.try_into_mut() {
                Ok(buffer) => {
                    assert!(is_alone, "writable, and somebody else reads it");
                    What::Mine(buffer)
                }
                Err(buffer) => {
                    assert!(!is_alone, "nobody else has it, and it is not writable");
                    What::Frozen(buffer)
                }
            };
        }
        self.holders.push(holder);
    }

    fn write(&mut self, script: &mut Script<'_>) {
        let count = self.holders.len();
        let Some(holder) = self.holders.get_mut(script.below(count)) else { return };
        if let What::Mine(buffer) = &mut holder.what {
            holder.stamp = script.byte();
            buffer.fill(holder.stamp);
        }
    }

    fn clone_or_drop_arena(&mut self, script: &mut Script<'_>) {
        if self.arenas.len() < 3 {
            self.arenas.push(self.arenas[0].clone());
        } else {
            self.arenas.swap_remove(script.below(3));
        }
    }

    fn drop_one(&mut self, script: &mut Script<'_>) {
        let Some(holder) = self.take(script) else { return };
        holder.check();
        if let What::Sent { lease, seen } = holder.what {
            // The peer is done first; one that dies says nothing, and the owner drops the lease.
            drop(seen);
            drop(lease);
        }
    }

    /// Buffers outlive the arena; when they are gone, so is all of it.
    fn finish(mut self) {
        self.holders.iter().for_each(Holder::check);
        let last = self.arenas.swap_remove(0);
        self.arenas.clear();
        let early = self.blocks % 2 == 0;
        if early {
            drop(last);
            self.holders.iter().for_each(Holder::check);
            return;
        }
        while self.take(&mut Script::new(&[])).is_some() {}
        assert_eq!(last.stats().blocks_live, 0, "not everything is free at the end");
        last.trim();
        assert_eq!(last.stats().segments, 0, "not everything is given back");
    }
}
