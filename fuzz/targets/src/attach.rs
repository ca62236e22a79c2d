//! The part of `segments` with real memory: what is attached, and what is read there.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use pannier::fuzzing::{Block, HostileWords, Range, SegmentOffer, WorkerMemory};
use pannier::shm::{ArenaReader, Place, SegmentError};
use pannier::{Buffer, SegmentFault};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use serde::Serialize;

use crate::Gates;
use crate::script::Script;

pub(crate) fn attach_of<G: Gates>(script: &mut Script<'_>) {
    let mut model = Model::new(script);
    for _ in 0..STEPS {
        if script.is_over() {
            break;
        }
        model.step::<G>(script);
    }
    model.finish();
}

const STEPS: usize = 100;

/// A memory object, or what claims to be one.
struct Object {
    fd: Arc<OwnedFd>,
    /// What is in it; `None`: it must not be attached.
    contents: Option<Vec<u8>>,
}

impl Object {
    fn new(number: u8, script: &mut Script<'_>) -> Self {
        let len = 4096 * (1 + script.below(3));
        let contents = match script.below(12) {
            kind @ 0..=6 => {
                return Object { fd: Arc::new(unsound(kind, len as u64)), contents: None };
            }
            _ => stamped(number, len),
        };
        let words = HostileWords::segment(len).expect("memory");
        let stamps = contents[128..].chunks(8).filter_map(|chunk| chunk.first_chunk());
        for (word, stamp) in words.all().iter().zip(stamps) {
            word.store(u64::from_ne_bytes(*stamp), Ordering::Relaxed);
        }
        let fd = words.as_fd().try_clone_to_owned().expect("a descriptor");
        Object { fd: Arc::new(fd), contents: Some(contents) }
    }
}

/// Nowhere the same, so that a byte says where it is; the first two lines are left out.
fn stamped(number: u8, len: usize) -> Vec<u8> {
    let stamp = |at: usize| number ^ at.to_le_bytes()[0] ^ at.to_le_bytes()[1].wrapping_mul(37);
    (0..len).map(|at| if at < 128 { 0 } else { stamp(at) }).collect()
}

fn unsound(kind: usize, len: u64) -> OwnedFd {
    let seals = [
        SealFlags::empty(),
        SealFlags::SHRINK,
        SealFlags::GROW | SealFlags::FUTURE_WRITE,
        SealFlags::SHRINK | SealFlags::GROW,
        SealFlags::SHRINK | SealFlags::GROW | SealFlags::FUTURE_WRITE,
        SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE,
    ];
    let Some(&seals) = seals.get(kind) else {
        return File::open("/dev/null").expect("it is everywhere").into();
    };
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let fd = memfd_create("unsound", flags).expect("memory");
    // Its pages are not there: the last kind is without any length.
    ftruncate(&fd, if kind == 5 { 0 } else { len }).expect("a length");
    fcntl_add_seals(&fd, seals).expect("seals");
    fd
}

/// As a peer says it.
#[derive(Serialize)]
struct Spoken {
    segment: u32,
    offset: u64,
    len: u64,
}

/// A buffer that was made, and what must be in it.
struct Held {
    buffer: Buffer<u8>,
    bytes: Vec<u8>,
    /// Of a worker's.
    block: Option<Block>,
}

/// A segment that is attached: its object, and the length of its blocks.
type Attached = BTreeMap<u32, (usize, u64)>;

struct Model {
    objects: Vec<Object>,
    reader: ArenaReader,
    read: Attached,
    worker: WorkerMemory,
    worked: Attached,
    held: Vec<Held>,
    /// Of each block in use by the worker: its buffers, and whether the parent believes it kept.
    leases: BTreeMap<Block, (usize, bool)>,
    released: Vec<Block>,
}

impl Model {
    fn new(script: &mut Script<'_>) -> Self {
        let count = 1 + script.below(3);
        Model {
            objects: (0..count).map(|n| Object::new(101 * n as u8, script)).collect(),
            reader: ArenaReader::new(),
            read: Attached::new(),
            worker: WorkerMemory::new(),
            worked: Attached::new(),
            held: Vec::new(),
            leases: BTreeMap::new(),
            released: Vec::new(),
        }
    }

    fn step<G: Gates>(&mut self, script: &mut Script<'_>) {
        let number = script.below(4) as u32;
        match script.below(16) {
            0 | 1 => self.attach_reader(number, script),
            2..=4 => self.attach_worker(number, script),
            5 => {
                self.reader.detach(number);
                self.read.remove(&number);
            }
            6 => {
                self.worker.detach(number);
                self.worked.remove(&number);
            }
            7..=9 => self.read::<G>(number, script),
            10..=12 => self.lease::<G>(number, script),
            13 => self.complete(script),
            _ => self.drop_one(script),
        }
        self.released.extend(self.worker.take_released());
        assert!(self.released.is_empty(), "released what is in use: {:?}", self.released);
    }

    #[expect(unsafe_code, reason = "a descriptor that claims to be a segment of an arena")]
    fn attach_reader(&mut self, number: u32, script: &mut Script<'_>) {
        let at = script.below(self.objects.len());
        let object = &self.objects[at];
        let fd = object.fd.try_clone().expect("a descriptor");
        // SAFETY: nobody writes to an object after it was stamped.
        let attached = unsafe { self.reader.attach(number, fd) };
        assert_eq!(attached.is_ok(), object.contents.is_some(), "attached: {attached:?}");
        if attached.is_ok() {
            self.read.insert(number, (at, 0));
        }
    }

    fn attach_worker(&mut self, number: u32, script: &mut Script<'_>) {
        let at = script.below(self.objects.len());
        let object = &self.objects[at];
        let real = object.contents.as_ref().map_or(4096, Vec::len) as u64;
        let len = if script.one_in(8) { script.number() } else { real };
        let block_len = match script.below(6) {
            0 => script.number(),
            1 => len,
            _ => 4096,
        };
        let offer = SegmentOffer { len, block_len, fd: object.fd.clone() };
        let attached = self.worker.attach(number, &offer, false);
        let sound = object.contents.is_some() && len == real && block_len > 0;
        assert_eq!(attached.is_ok(), sound, "attached: {attached:?}, {len}, {block_len}");
        if sound {
            self.worked.insert(number, (at, block_len));
        }
    }

    fn range(&self, number: u32, script: &mut Script<'_>) -> Range {
        let near = |script: &mut Script<'_>| {
            let edge = [0, 64, 4096, 8192, 12_288][script.below(5)];
            if script.one_in(16) { script.number() } else { edge + script.number() % 40 }
        };
        let offset = near(script).saturating_sub(8);
        let end = near(script);
        (
            number,
            offset,
            if script.one_in(16) { script.number() } else { end.saturating_sub(offset) },
        )
    }

    /// What lies there, by the plain meaning of the words.
    fn bytes(&self, attached: &Attached, (segment, offset, len): Range) -> Result<Vec<u8>, bool> {
        let (object, _) = attached.get(&segment).ok_or(true)?;
        let contents = self.objects[*object].contents.as_ref().ok_or(true)?;
        let end = u128::from(offset) + u128::from(len);
        if end > contents.len() as u128 {
            return Err(false);
        }
        Ok(contents[offset as usize..end as usize].to_vec())
    }

    fn read<G: Gates>(&mut self, number: u32, script: &mut Script<'_>) {
        let range @ (segment, offset, len) = self.range(number, script);
        let spoken = pannier::to_vec(&Spoken { segment, offset, len }).expect("it is plain");
        let place: Place = pannier::from_slice(&spoken).expect("it is a place");
        let read = G::buffers(&self.reader, &[place]);
        match (read, self.bytes(&self.read, range)) {
            (Ok(mut buffers), Ok(bytes)) => {
                let buffer = buffers.pop().expect("one for each place");
                self.keep(Held { buffer, bytes, block: None });
            }
            (Err(SegmentError::NotAttached { segment, .. }), Err(true)) => {
                assert_eq!(segment, number)
            }
            (Err(SegmentError::Bounds { offset, len, .. }), Err(false)) => {
                assert_eq!((number, offset, len), range);
            }
            (read, expected) => panic!("the reader says {read:?} of {range:?}: {expected:?}"),
        }
    }

    fn lease<G: Gates>(&mut self, number: u32, script: &mut Script<'_>) {
        let range @ (segment, offset, len) = self.range(number, script);
        let generation = script.below(4) as u32;
        let mut expected = self.bytes(&self.worked, range);
        let block_len = self.worked.get(&segment).map_or(1, |(_, block_len)| *block_len);
        let index = offset / block_len;
        if expected.is_ok() && u128::from(offset % block_len) + u128::from(len) > block_len.into() {
            expected = Err(false);
        }
        let checked = self.worker.check(range);
        match (G::lease(&self.worker, range, generation), expected) {
            (Ok((buffer, block)), Ok(bytes)) => {
                let index = u32::try_from(index).expect("it lies within the object");
                assert_eq!(block, Block { segment, index, generation }, "the name of {range:?}");
                assert_eq!(checked, Ok(()));
                // An empty buffer has no owner: it is let go of at once.
                let is_owned = !bytes.is_empty();
                self.leases.entry(block).or_default().0 += usize::from(is_owned);
                self.keep(Held { buffer, bytes, block: is_owned.then_some(block) });
            }
            (Err(SegmentFault::Unknown), Err(true)) => {
                assert_eq!(checked, Err(SegmentFault::Unknown));
            }
            (Err(SegmentFault::Bounds), Err(false)) => {
                assert_eq!(checked, Err(SegmentFault::Bounds));
            }
            (leased, expected) => panic!("the worker says {leased:?} of {range:?}: {expected:?}"),
        }
    }

    fn keep(&mut self, held: Held) {
        assert!(held.buffer[..] == held.bytes[..], "other bytes than those of the place");
        let is_writable = !held.bytes.is_empty() && held.buffer.clone().try_into_mut().is_ok();
        assert!(!is_writable, "another process's, and writable");
        self.held.push(held);
    }

    /// The end of a task that brought some of the blocks.
    fn complete(&mut self, script: &mut Script<'_>) {
        let first = script.below(4);
        let mentioned: Vec<_> = self.leases.keys().copied().skip(first).step_by(2).collect();
        let kept = self.worker.complete(&mentioned);
        let used = |block: &&Block| self.leases[block].0 > 0;
        let expected: Vec<_> = mentioned.iter().filter(used).copied().collect();
        assert_eq!(kept, expected, "what is still in use");
        self.leases.retain(|block, _| !mentioned.contains(block) || expected.contains(block));
        for block in expected {
            self.leases.entry(block).or_default().1 = true;
        }
    }

    fn drop_one(&mut self, script: &mut Script<'_>) {
        if self.held.is_empty() {
            return;
        }
        let held = self.held.swap_remove(script.below(self.held.len()));
        assert!(held.buffer[..] == held.bytes[..], "the bytes have changed since");
        drop(held.buffer);
        let Some(block) = held.block else { return };
        let lease = self.leases.get_mut(&block).expect("it was leased");
        lease.0 -= 1;
        let is_over = *lease == (0, true);
        let expected: &[Block] = if is_over { &[block] } else { &[] };
        assert_eq!(self.worker.take_released(), expected, "what the parent is told");
        if is_over {
            self.leases.remove(&block);
        }
    }

    /// Buffers outlive what they were read through, or not: all are intact.
    fn finish(mut self) {
        (self.reader, self.worker) = (ArenaReader::new(), WorkerMemory::new());
        assert!(
            self.held.iter().all(|held| held.buffer[..] == held.bytes[..]),
            "the end changed bytes"
        );
    }
}
