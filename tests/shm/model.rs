//! Random histories of an arena against what anybody would expect: contents stay, blocks are not
//! given out twice, the budget holds, everything comes back.

use std::collections::{BTreeMap, BTreeSet};

use pannier::shm::{Arena, ArenaReader, Lease};
use pannier::{Buffer, BufferMut, CodecError, Encoder, Error};

use crate::arena::attach_all;
use crate::child::Folder;

const BUDGET: u64 = 8 << 20;
const STEPS: usize = 400;

/// SplitMix64: the same history for the same seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("it is below a usize")
    }

    /// Of every class, mostly small.
    fn len(&mut self) -> usize {
        let magnitude = 1 << self.below(22);
        1 + self.below(magnitude)
    }
}

/// Something that holds a block of the arena, all of whose bytes are `byte`.
struct Holder {
    block: u64,
    byte: u8,
    what: What,
}

enum What {
    Exclusive(BufferMut<u8>),
    Shared(Buffer<u8>),
    /// And what a peer reads there.
    Leased(Lease, Vec<Buffer<u8>>),
}

struct Model {
    random: Random,
    arena: Arena,
    spills: bool,
    peer: ArenaReader,
    holders: Vec<Holder>,
    last_block: u64,
}

impl Model {
    fn new(seed: u64, folder: Option<&Folder>) -> Self {
        let arena = Arena::create(BUDGET).expect("an arena");
        let arena = match folder {
            Some(folder) => arena.spill(folder).expect("a folder"),
            None => arena,
        };
        let (random, spills) = (Random(seed), folder.is_some());
        let (peer, holders) = (ArenaReader::new(), Vec::new());
        Model { random, arena, spills, peer, holders, last_block: 0 }
    }

    fn step(&mut self) {
        match self.random.below(16) {
            0..=5 => self.alloc(),
            6..=7 => self.place_heap(),
            8..=9 => self.change(),
            15 if self.random.below(4) == 0 => self.arena.trim(),
            _ => self.drop_one(),
        }
        let stats = self.arena.stats();
        assert!(stats.memory_bytes <= BUDGET, "{stats:?}");
        assert!(self.spills || stats.file_bytes == 0, "{stats:?}");
        let blocks: BTreeSet<u64> = self.holders.iter().map(|holder| holder.block).collect();
        assert_eq!(stats.blocks_live, blocks.len() as u64);
    }

    fn new_block(&mut self) -> (u64, u8) {
        self.last_block += 1;
        (self.last_block, self.last_block.to_le_bytes()[0])
    }

    fn alloc(&mut self) {
        let len = self.random.len();
        let made = self.arena.alloc(len);
        let Some(mut buffer) = self.unless_full(made) else { return };
        let (block, byte) = self.new_block();
        assert_eq!(buffer.len(), len);
        buffer.fill(byte);
        self.holders.push(Holder { block, byte, what: What::Exclusive(buffer) });
    }

    fn place_heap(&mut self) {
        let (len, byte) = (4096 + self.random.len(), 0xfe);
        let heap: Buffer<u8> = vec![byte; len].into();
        let (block, _) = self.new_block();
        self.place(&heap, block, byte);
    }

    fn place(&mut self, buffer: &Buffer<u8>, block: u64, byte: u8) {
        let placed = Encoder::new().threshold(1).to_parts(buffer, &mut self.arena);
        let lease = self.arena.take_lease();
        let placed = placed.map_err(|error| match error {
            CodecError::Buffer(why) => *why.downcast::<Error>().expect("an arena's error"),
            other => panic!("{other}"),
        });
        if self.unless_full(placed).is_none() {
            return;
        }
        attach_all(&mut self.peer, &self.arena);
        let read = self.peer.buffers(lease.places()).expect("places of the arena");
        self.holders.push(Holder { block, byte, what: What::Leased(lease, read) });
    }

    /// One of the holders becomes another kind.
    fn change(&mut self) {
        let Some(at) = self.holders.len().checked_sub(1).map(|last| self.random.below(last + 1))
        else {
            return;
        };
        let Holder { block, byte, what } = self.holders.swap_remove(at);
        let keep = |what| Holder { block, byte, what };
        match what {
            What::Exclusive(buffer) => self.holders.push(keep(What::Shared(buffer.freeze()))),
            What::Shared(buffer) if self.random.below(2) == 0 => {
                self.place(&buffer, block, byte);
                self.holders.push(keep(What::Shared(buffer)));
            }
            What::Shared(buffer) => {
                let is_alone = !self.holders.iter().any(|holder| holder.block == block);
                let kept = match buffer.try_into_mut() {
                    Ok(buffer) if is_alone => What::Exclusive(buffer),
                    Ok(_) => panic!("a block is exclusive that somebody else holds"),
                    Err(buffer) if !is_alone => What::Shared(buffer.slice(buffer.len() / 2..)),
                    Err(_) => panic!("a block is not exclusive that nobody else holds"),
                };
                // The half of a single byte is no bytes, and holds nothing.
                if !matches!(&kept, What::Shared(half) if half.is_empty()) {
                    self.holders.push(keep(kept));
                }
            }
            leased @ What::Leased(..) => self.holders.push(keep(leased)),
        }
    }

    fn drop_one(&mut self) {
        if !self.holders.is_empty() {
            let at = self.random.below(self.holders.len());
            check(&self.holders.swap_remove(at));
        }
    }

    fn unless_full<T>(&self, outcome: Result<T, Error>) -> Option<T> {
        match outcome {
            Ok(value) => Some(value),
            Err(Error::OutOfMemory { .. }) if !self.spills => None,
            Err(other) => panic!("{other:?}"),
        }
    }

    fn end(self) {
        let Model { arena, holders, .. } = self;
        holders.iter().for_each(check);
        drop(holders);
        arena.trim();
        let stats = arena.stats();
        assert_eq!((stats.blocks_live, stats.segments), (0, 0));
        assert_eq!((stats.memory_bytes, stats.file_bytes), (0, 0));
    }
}

fn check(holder: &Holder) {
    let is_whole = |bytes: &[u8]| bytes.iter().all(|&byte| byte == holder.byte);
    let whole = match &holder.what {
        What::Exclusive(buffer) => is_whole(buffer),
        What::Shared(buffer) => is_whole(buffer),
        What::Leased(lease, read) => {
            lease.places().len() == 1 && read.iter().all(|buffer| is_whole(buffer))
        }
    };
    assert!(whole, "the bytes of block {} have changed", holder.block);
}

#[test]
fn random_histories_lose_nothing_and_give_nothing_out_twice() {
    let folder = Folder::new("model");
    let mut failed = BTreeMap::new();
    for seed in 0..24_u64 {
        let folder = Some(&folder).filter(|_| seed % 4 == 0);
        let history = std::panic::AssertUnwindSafe(|| {
            let mut model = Model::new(seed, folder);
            (0..STEPS).for_each(|_| model.step());
            model.end();
        });
        if let Err(why) = std::panic::catch_unwind(history) {
            failed.insert(seed, why.downcast_ref::<String>().cloned());
        }
    }
    assert!(failed.is_empty(), "by seed: {failed:?}");
}
