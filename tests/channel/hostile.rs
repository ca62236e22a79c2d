//! Peers that lie: an error for each, no panic, no end of memory.
//!
//! The test is the peer: it has the descriptor of one end, takes the lanes out of it as any process
//! could, and writes what it likes. The layout is that of `src/channel/lane.rs`.
#![expect(unsafe_code, reason = "writes into a channel's memory without the library")]

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pannier::channel::{self, Channel, RecvError, SendError, TryRecvError};
use pannier::{Buffer, CodecError};
use rustix::fs::{
    FallocateFlags, MemfdFlags, SealFlags, fallocate, fcntl_add_seals, fstat, ftruncate,
    memfd_create,
};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

use crate::Test;
use crate::exchange::Random;
use crate::proc::shared_maps;

pub(crate) const TESTS: &[Test] = &[
    ("a_greeting_with_wrong_lanes_is_refused", wrong_lanes),
    ("cursors_that_cannot_be_end_the_channel", wrong_cursors),
    ("records_that_mean_nothing_are_errors_and_the_next_one_counts", wrong_records),
    ("notes_that_mean_nothing_end_the_channel", wrong_notes),
    ("noise_in_a_lane_never_panics", noise),
    ("nonsense_leaves_no_map_of_the_peer_behind", no_map_left),
    ("a_peer_that_truncates_or_punches_its_memory_harms_nobody", truncated_or_punched),
    ("a_peer_that_goes_in_the_middle_of_a_record_has_sent_none", half_a_record),
];

const PUBLISHED: usize = 16;
const CONSUMED: usize = 16 + 16;
const RELEASES_PUBLISHED: usize = 16 + 64;
const RECORDS_AT: usize = 16 + 512;

/// An end whose owner does as it likes.
struct Liar {
    socket: OwnedFd,
    /// What it writes, and what its peer writes.
    lanes: [Words; 2],
}

struct Words {
    base: NonNull<AtomicU64>,
    len: usize,
}

impl Words {
    fn map(fd: &OwnedFd) -> Self {
        let len = usize::try_from(fstat(fd).unwrap().st_size).unwrap();
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new map at an address of the kernel's choice touches no other memory.
        let map = unsafe { mmap(std::ptr::null_mut(), len, prot, MapFlags::SHARED, fd, 0) };
        Words { base: NonNull::new(map.unwrap().cast()).unwrap(), len }
    }

    fn all(&self) -> &[AtomicU64] {
        // SAFETY: so many words are mapped, aligned to a page, until `self` is dropped; everybody
        // accesses them as atomics.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr(), self.len / 8) }
    }

    fn set(&self, at: usize, value: u64) {
        self.all()[at].store(value, Ordering::Release);
    }

    /// Publishes a record as the library would.
    fn publish(&self, record: &[u8]) {
        let mut line = self.all()[PUBLISHED].load(Ordering::Acquire);
        let mut at = RECORDS_AT + usize::try_from(line % 2048).unwrap() * 8;
        self.set(at, record.len() as u64);
        for word in record.chunks(8) {
            at += 1;
            let mut bytes = [0; 8];
            bytes[..word.len()].copy_from_slice(word);
            self.set(at, u64::from_le_bytes(bytes));
        }
        line += (record.len().div_ceil(8) as u64 + 1).div_ceil(8);
        self.set(PUBLISHED, line);
    }
}

impl Drop for Words {
    fn drop(&mut self) {
        // SAFETY: mapped by `map` with this length; nothing borrowed from it is left.
        unsafe { munmap(self.base.as_ptr().cast(), self.len) }.unwrap();
    }
}

impl Liar {
    /// A liar and its victim.
    fn new() -> (Liar, Channel<u64, Buffer<u64>>) {
        let (victim, theirs) = channel::pair::<u64, Buffer<u64>>().unwrap();
        let socket = theirs.into_fd();
        let (_, fds) = receive(&socket);
        (Liar { socket, lanes: [Words::map(&fds[0]), Words::map(&fds[1])] }, victim)
    }

    fn say(&self, note: &[u8], fds: &[OwnedFd]) {
        send(&self.socket, note, fds);
    }
}

fn receive(socket: &OwnedFd) -> (Vec<u8>, Vec<OwnedFd>) {
    let mut bytes = [0; 64];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut slices = [IoSliceMut::new(&mut bytes)];
    let received = recvmsg(socket, &mut slices, &mut control, RecvFlags::empty()).unwrap();
    let fds = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    let fds = fds.flatten().collect();
    (bytes[..received.bytes].to_vec(), fds)
}

fn send(socket: &OwnedFd, note: &[u8], fds: &[OwnedFd]) {
    let fds: Vec<_> = fds.iter().map(|fd| fd.as_fd()).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(fds.is_empty() || control.push(SendAncillaryMessage::ScmRights(&fds)));
    sendmsg(socket, &[IoSlice::new(note)], &mut control, SendFlags::NOSIGNAL).unwrap();
}

fn memory(len: u64, seals: SealFlags) -> OwnedFd {
    let fd = memfd_create("lie", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    ftruncate(&fd, len).unwrap();
    fcntl_add_seals(&fd, seals).unwrap();
    fd
}

/// As an honest peer's: it has memory, and nobody else can begin to write.
fn segment(len: u64) -> OwnedFd {
    let fd = memory(len, SealFlags::empty());
    fallocate(&fd, FallocateFlags::empty(), 0, len).unwrap();
    fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::FUTURE_WRITE).unwrap();
    fd
}

fn wrong_lanes() {
    let size = SealFlags::SHRINK | SealFlags::GROW;
    let (_ours, theirs) = channel::pair::<(), ()>().unwrap();
    let socket = theirs.into_fd();
    let (hello, fds) = receive(&socket);
    let len = u64::try_from(fstat(&fds[0]).unwrap().st_size).unwrap();
    let good = || memory(len, size);
    let lies: [(&str, Vec<u8>, Vec<OwnedFd>); 8] = [
        ("unsealed", hello.clone(), vec![good(), memory(len, SealFlags::empty())]),
        ("half sealed", hello.clone(), vec![memory(len, SealFlags::GROW), good()]),
        ("short", hello.clone(), vec![good(), memory(len - 4096, size)]),
        ("long", hello.clone(), vec![memory(len * 2, size), good()]),
        ("one lane", hello.clone(), vec![good()]),
        ("three lanes", hello.clone(), vec![good(), good(), good()]),
        ("magic", [&[2, b'P'], &hello[2..]].concat(), vec![good(), good()]),
        ("version", [&hello[..9], &[9], &hello[10..]].concat(), vec![good(), good()]),
    ];
    let kind = (AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC);
    for (what, note, fds) in lies {
        let (ours, theirs) = socketpair(kind.0, kind.1, kind.2, None).unwrap();
        send(&ours, &note, &fds);
        assert!(Channel::<(), ()>::from_fd(theirs).is_err(), "{what}");
    }
    let (ours, theirs) = socketpair(kind.0, kind.1, kind.2, None).unwrap();
    send(&ours, &hello, &[good(), good()]);
    assert!(Channel::<(), ()>::from_fd(theirs).is_ok());
}

fn wrong_cursors() {
    for lie in [u64::MAX, 2049, 1 << 40] {
        let (liar, victim) = Liar::new();
        liar.lanes[0].set(PUBLISHED, lie);
        assert!(matches!(victim.recv(), Err(RecvError::Decode(CodecError::Io(_)))));
        assert!(matches!(victim.recv(), Err(RecvError::Died)));
        let (liar, victim) = Liar::new();
        liar.lanes[1].set(CONSUMED, lie);
        let refused = (0..10_000).find_map(|n| victim.send(n).err());
        assert!(matches!(refused, Some(SendError::Closed(_))));
        // Releases of nothing, of too much, and no releases at all.
        let (liar, victim) = Liar::new();
        liar.lanes[0].set(RELEASES_PUBLISHED, lie);
        victim.send(1).unwrap();
    }
    let (liar, victim) = Liar::new();
    liar.lanes[0].set(RECORDS_AT, u64::MAX);
    liar.lanes[0].set(PUBLISHED, 1);
    assert!(matches!(victim.try_recv(), Err(TryRecvError::Decode(_))));
    assert!(matches!(victim.try_recv(), Err(TryRecvError::Died)));
}

fn record(kind: u64, rest: &[u8]) -> Vec<u8> {
    [&kind.to_le_bytes(), rest].concat()
}

fn block(segment: u32, offset: u64, len: u64) -> Vec<u8> {
    let head = [segment.to_le_bytes(), 1_u32.to_le_bytes()].concat();
    record(3, &[head, offset.to_le_bytes().to_vec(), len.to_le_bytes().to_vec()].concat())
}

/// A record with a frame whose one buffer lies at the beginning of that segment.
fn frame(segment: u32, len: u64) -> Vec<u8> {
    use pannier::frame::{Descriptor, HeadOptions, Kind, Layout, write_head};
    let mut table = [Descriptor::segment(segment, 0, len, 1, Kind::U64, 3)];
    let layout = Layout::new(3, &mut table).unwrap();
    let mut bytes = Vec::new();
    let options = HeadOptions::default();
    write_head(&mut bytes, &layout, &[&[0xd4, 0x70, 0]], &table, &options);
    bytes.resize(usize::try_from(layout.frame_len()).unwrap(), 0);
    [&2_u64.to_le_bytes()[..], &bytes].concat()
}

fn wrong_records() {
    let (liar, victim) = Liar::new();
    // A frame that names a segment: of the victim, of the liar, of nobody.
    let cut = frame(1, 64)[..40].to_vec();
    let lies = [
        record(0, &[]),
        record(9, b"what"),
        record(u64::MAX, b"what"),
        record(1, &[]),
        record(1, &[0xc1]),
        record(1, &[0xdd, 0xff, 0xff, 0xff, 0xff]),
        record(1, &[0xd4, 0x70, 0]),
        record(2, b"no frame"),
        cut,
        frame(1, 64),
        frame(1 << 31 | 1, 64),
        frame(1 << 31, 64),
        frame(u32::MAX, 64),
        frame(1, u64::MAX - 7),
        block(1, 0, 64),
        block(1 << 31 | 1, 0, 64),
        block(1, u64::MAX, u64::MAX),
        record(3, &[0; 7]),
    ];
    for (n, lie) in lies.iter().enumerate() {
        liar.lanes[0].publish(lie);
        let answer = victim.try_recv();
        assert!(matches!(answer, Err(TryRecvError::Decode(_))), "lie {n}: {answer:?}");
    }
    // A segment that is there: within it the peer may say what it likes.
    let note = [&[3][..], &1_u32.to_le_bytes(), &8192_u64.to_le_bytes(), &4096_u64.to_le_bytes()];
    liar.say(&note.concat(), &[segment(8192)]);
    for (lie, is_sound) in [(frame(1, 64), true), (frame(1, 4096), true), (frame(1, 4104), false)] {
        liar.lanes[0].publish(&lie);
        assert_eq!(victim.try_recv().is_ok(), is_sound);
    }
    liar.lanes[0].publish(&block(1, 0, 4096));
    assert!(matches!(victim.try_recv(), Err(TryRecvError::Decode(CodecError::Frame(_)))));
    liar.lanes[0].publish(&frame(1, 64));
    assert_eq!(victim.recv().unwrap(), vec![0; 8].into());
}

fn wrong_notes() {
    let size = SealFlags::SHRINK | SealFlags::GROW;
    let attach = |len: u64, block_len: u64| {
        [&[3][..], &1_u32.to_le_bytes(), &len.to_le_bytes(), &block_len.to_le_bytes()].concat()
    };
    let future = size | SealFlags::FUTURE_WRITE;
    let lies: [(Vec<u8>, Vec<OwnedFd>); 9] = [
        (vec![0], vec![]),
        (vec![77; 60], vec![]),
        (vec![3, 1], vec![]),
        (attach(4096, 4096), vec![]),
        (attach(4096, 4096), vec![memory(4096, SealFlags::empty())]),
        (attach(8192, 4096), vec![segment(4096)]),
        (attach(4096, 0), vec![segment(4096)]),
        // It could be written to while it is read; it has no memory, but claims a terabyte.
        (attach(4096, 4096), vec![memory(4096, size)]),
        (attach(1 << 40, 1 << 40), vec![memory(1 << 40, future)]),
    ];
    for (n, (note, fds)) in lies.iter().enumerate() {
        let (liar, victim) = Liar::new();
        liar.say(note, fds);
        let answer = victim.recv_timeout(Duration::MAX);
        assert!(matches!(answer, Err(TryRecvError::Decode(_))), "lie {n}: {answer:?}");
        assert!(matches!(victim.recv(), Err(RecvError::Died)));
    }
    // Too long for any note.
    let (liar, victim) = Liar::new();
    liar.say(&[1; 200], &[]);
    assert!(matches!(victim.recv(), Err(RecvError::Decode(_))));
    // More bells than anybody asked for.
    let (liar, victim) = Liar::new();
    (0..150).for_each(|_| liar.say(&[1], &[]));
    assert!(matches!(victim.try_recv(), Err(TryRecvError::Empty)));
    drop(liar);
    assert!(matches!(victim.recv(), Err(RecvError::Died)));
}

fn noise() {
    for seed in 0..300 {
        let (liar, victim) = Liar::new();
        let mut random = Random::new(seed);
        for lane in &liar.lanes {
            let limit = [1 << 4, 1 << 12, u64::MAX][usize::try_from(random.below(3)).unwrap()];
            for at in 0..lane.all().len() {
                lane.set(at, random.below(limit));
            }
        }
        for n in 0..20 {
            let _whatever = (victim.try_recv(), victim.try_send(n));
        }
        let _whatever = format!("{victim:?}");
    }
}

/// Announces a segment of the liar's, and a frame that lies in it.
fn one_buffer(liar: &Liar) -> OwnedFd {
    let note = [&[3][..], &1_u32.to_le_bytes(), &8192_u64.to_le_bytes(), &4096_u64.to_le_bytes()];
    let memory = segment(8192);
    liar.say(&note.concat(), &[memory.try_clone().unwrap()]);
    liar.lanes[0].publish(&frame(1, 64));
    memory
}

fn no_map_left() {
    let (liar, victim) = Liar::new();
    let before = shared_maps().len();
    drop(one_buffer(&liar));
    let kept = victim.recv().unwrap();
    assert_eq!(shared_maps().len(), before + 1);
    liar.lanes[0].set(PUBLISHED, u64::MAX);
    assert!(matches!(victim.try_recv(), Err(TryRecvError::Decode(_))));
    assert_eq!(shared_maps().len(), before + 1, "what is in use stays");
    drop(kept);
    assert_eq!(shared_maps().len(), before);
}

fn truncated_or_punched() {
    let (liar, victim) = Liar::new();
    let memory = one_buffer(&liar);
    let buffer = victim.recv().unwrap();
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    assert!(ftruncate(&memory, 0).is_err() && fallocate(&memory, punch, 0, 4096).is_err());
    assert_eq!(buffer, vec![0; 8].into());

    // The lanes it may write, and so it may empty them.
    let (victim, theirs) = channel::pair::<u64, Buffer<u64>>().unwrap();
    let socket = theirs.into_fd();
    let (_, fds) = receive(&socket);
    victim.send(1).unwrap();
    for fd in &fds {
        let len = u64::try_from(fstat(fd).unwrap().st_size).unwrap();
        assert!(ftruncate(fd, 0).is_err());
        fallocate(fd, punch, 0, len).unwrap();
    }
    assert!(matches!(victim.try_recv(), Err(TryRecvError::Empty)));
    let _whatever = victim.try_send(2);
    drop(socket);
    assert!(matches!(victim.recv(), Err(RecvError::Died)));
}

fn half_a_record() {
    let (liar, victim) = Liar::new();
    liar.lanes[0].publish(&[&1_u64.to_le_bytes()[..], &[0x90]].concat());
    // The next one is written, but for its last words, and never published.
    let at = RECORDS_AT + 8;
    liar.lanes[0].set(at, 5_000);
    (1..300).for_each(|n| liar.lanes[0].set(at + n, u64::MAX));
    drop(liar);
    assert!(victim.recv().unwrap().is_empty(), "the first is whole");
    assert!(matches!(victim.recv(), Err(RecvError::Died)));
    assert!(matches!(victim.recv(), Err(RecvError::Died)));
}
