//! The part of `hostile_peer` with a real channel: [`Liar`] has one of its ends, takes the lanes out of
//! it as any process could, and does as it likes. Where things are in a lane is written down in
//! `src/channel/lane.rs`, and what is said over the socket in `src/channel/record.rs`.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use pannier::Buffer;
use pannier::channel::{self, Channel, TryRecvError};
use pannier::frame::{Descriptor, HeadOptions, Kind, Layout, write_head};
use pannier::fuzzing::{HostileWords, fix_up};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fstat, ftruncate, memfd_create};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

use crate::script::Script;
use crate::{Receiver, Report, Victim};

const PUBLISHED: usize = 0;
const RELEASES_PUBLISHED: usize = 64;
/// Words that decide something: cursors, claim, goodbye, and the first record's length.
const DECISIVE: [usize; 7] = [0, 16, 32, 48, 64, 80, 512];
/// Where the records are, and how many lines.
const RECORDS: (usize, u64) = (512, 2048);
const RELEASES: (usize, u64) = (512 + 2048 * 8, 256);

/// Operations in one input.
const STEPS: usize = 60;
/// Those with a second thread.
const RACES: usize = 2;
/// Memory for one receive: what the ring and the segments hold, several times over.
const MOST: u64 = 4 << 20;

/// An end whose owner does as it likes.
#[derive(Debug)]
pub struct Liar {
    socket: OwnedFd,
    /// What it writes, and what its victim writes.
    lanes: Vec<HostileWords>,
    segments: Vec<HostileWords>,
}

pub(crate) fn lie_to<V: Victim>(script: &mut Script<'_>) {
    if script.one_in(16) {
        return greet(script);
    }
    let (victim, theirs) = channel::pair().expect("descriptors and memory");
    let mut story = Story {
        liar: Liar::new(theirs.into_fd()),
        victim,
        held: Vec::new(),
        sent: Vec::new(),
        races: 0,
    };
    for _ in 0..STEPS {
        if script.is_over() {
            break;
        }
        story.step::<V>(script);
    }
    let Story { liar, victim, held, .. } = story;
    // Buffers outlive both ends.
    drop((victim, liar));
    held.iter().for_each(read);
}

/// A greeting that is forged: its answer is an error, or a channel.
fn greet(script: &mut Script<'_>) {
    let (_ours, theirs) = channel::pair::<Report, Report>().expect("descriptors and memory");
    let (mut hello, mut fds) = receive(&theirs.into_fd());
    for _ in 0..script.below(3) {
        let at = script.below(hello.len());
        hello[at] = script.byte();
    }
    match script.below(6) {
        0 => fds.truncate(1),
        1 => fds.push(odd_object(script)),
        2 => fds[1] = odd_object(script),
        3 => fds.clear(),
        _ => {}
    }
    let kind = (AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC);
    let (ours, theirs) = socketpair(kind.0, kind.1, kind.2, None).expect("a socket");
    send(&ours, &hello, &fds.iter().map(|fd| fd.as_fd()).collect::<Vec<_>>());
    if let Ok(end) = Channel::<Report, Report>::from_fd(theirs) {
        drop(ours);
        assert!(matches!(end.try_recv(), Err(TryRecvError::Died)));
    }
}

struct Story {
    liar: Liar,
    victim: Receiver,
    /// What the victim has received.
    held: Vec<Report>,
    /// What it has sent.
    sent: Vec<Buffer<u8>>,
    races: usize,
}

impl Story {
    fn step<V: Victim>(&mut self, script: &mut Script<'_>) {
        match script.below(16) {
            0 | 1 => self.liar.scribble(script),
            2..=4 => self.liar.publish(&record(script)),
            5 => self.liar.release(script),
            6 => self.liar.announce(script),
            7 => self.liar.say_anything(script),
            8 => self.liar.publish_block(script),
            9 => self.send(script),
            10 if self.races < RACES => self.race::<V>(script),
            11 => {
                if !self.held.is_empty() {
                    read(&self.held.swap_remove(script.below(self.held.len())));
                }
            }
            12 => assert!(format!("{:?}", self.victim).contains("Channel")),
            _ => self.receive::<V>(),
        }
    }

    fn receive<V: Victim>(&mut self) {
        let mut received = None;
        let cost = allocation_counter::measure(|| {
            received = Some(V::try_recv(&self.victim, &self.liar));
        });
        assert!(cost.bytes_max <= MOST, "{} bytes allocated for what was said", cost.bytes_max);
        if let Some(Ok(report)) = received {
            read(&report);
            self.held.push(report);
        }
    }

    fn send(&mut self, script: &mut Script<'_>) {
        let buffers = (0..script.below(3)).map(|_| match script.below(3) {
            0 if !self.held.is_empty() => {
                let report = &self.held[script.below(self.held.len())];
                report.1.first().cloned().unwrap_or_default()
            }
            1 if !self.sent.is_empty() => self.sent[script.below(self.sent.len())].clone(),
            _ => Buffer::from(vec![7; 4096 + script.below(9)]),
        });
        let buffers: Vec<Buffer<u8>> = buffers.collect();
        self.sent.extend(buffers.iter().cloned());
        let _either = self.victim.try_send((1, buffers, None));
    }

    /// Receives while another thread writes.
    fn race<V: Victim>(&mut self, script: &mut Script<'_>) {
        self.races += 1;
        let places = self.liar.places(script);
        // To and fro, so that it is never the same for long.
        let old: Vec<_> = places.iter().map(|(word, _)| word.load(Ordering::Relaxed)).collect();
        let (begun, over) = (AtomicBool::new(false), AtomicBool::new(false));
        let mut reports = Vec::new();
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                begun.store(true, Ordering::Release);
                while !over.load(Ordering::Acquire) {
                    for ((word, new), old) in places.iter().zip(&old) {
                        word.store(*new, Ordering::Relaxed);
                        word.store(*old, Ordering::Relaxed);
                    }
                }
            });
            while !begun.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
            // Stopped in any case: a panic here must not wait for the writer for ever.
            let _over = Raises(&over);
            for _ in 0..3 {
                reports.extend(V::try_recv(&self.victim, &self.liar));
            }
            drop(_over);
            writer.join().expect("it only writes");
        });
        // Not before: what changes under a buffer is the peer's promise not to do.
        reports.iter().for_each(read);
        self.held.extend(reports);
    }
}

struct Raises<'a>(&'a AtomicBool);

impl Drop for Raises<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

impl Liar {
    fn new(socket: OwnedFd) -> Self {
        let (_, fds) = receive(&socket);
        let map = |fd: OwnedFd| {
            let len = usize::try_from(fstat(&fd).expect("it is open").st_size);
            HostileWords::map(fd, len.expect("it is short")).expect("a lane")
        };
        Liar { socket, lanes: fds.into_iter().map(map).collect(), segments: Vec::new() }
    }

    /// The words of its newest segment, behind the first 128 bytes.
    pub fn segment(&self) -> &[AtomicU64] {
        self.segments.last().map_or(&[], HostileWords::all)
    }

    /// The words of a lane: of what it writes (0), or of what its victim writes (1).
    pub fn lane(&self, at: usize) -> &[AtomicU64] {
        self.lanes[at].all()
    }

    fn place(&self, script: &mut Script<'_>) -> &AtomicU64 {
        let at = match script.below(3) {
            0 => DECISIVE[script.below(DECISIVE.len())],
            1 => RECORDS.0 + script.below(64),
            _ => script.short(),
        };
        let words = match script.below(8) {
            0..=3 => self.lane(0),
            4 | 5 => self.lane(1),
            _ if self.segment().is_empty() => self.lane(0),
            _ => self.segment(),
        };
        &words[at % words.len()]
    }

    fn places(&self, script: &mut Script<'_>) -> Vec<(&AtomicU64, u64)> {
        let count = 1 + script.below(8);
        let place = |_| {
            let word = self.place(script);
            (word, near(word, script))
        };
        (0..count).map(place).collect()
    }

    fn scribble(&self, script: &mut Script<'_>) {
        for (word, value) in self.places(script) {
            word.store(value, Ordering::Relaxed);
        }
    }

    fn publish(&self, record: &[u8]) {
        self.push(PUBLISHED, RECORDS, record);
    }

    /// As an honest peer would, from wherever the cursor is.
    fn push(&self, cursor: usize, (start, lines): (usize, u64), record: &[u8]) {
        let words = self.lane(0);
        let line = words[cursor].load(Ordering::Relaxed);
        let len = [(record.len() as u64).to_le_bytes()];
        let chunks = len.iter().map(|len| &len[..]).chain(record.chunks(8));
        for (at, chunk) in (8 * (line % lines)..).zip(chunks) {
            let mut bytes = [0; 8];
            bytes[..chunk.len()].copy_from_slice(chunk);
            let at = start + (at % (8 * lines)) as usize;
            words[at].store(u64::from_le_bytes(bytes), Ordering::Relaxed);
        }
        let end = line.wrapping_add(crate::ring::lines_of(record.len()) as u64);
        words[cursor].store(end, Ordering::Release);
    }

    /// Blocks of the victim that it is told to take back: some of them are in use.
    fn release(&self, script: &mut Script<'_>) {
        let mut record = [0, 0, 0, 1, 40, u64::MAX][script.below(6)].to_le_bytes().to_vec();
        for _ in 0..script.below(6) {
            for _ in 0..3 {
                record.extend((script.byte() as u32 % 4).to_le_bytes());
            }
        }
        record.truncate(record.len() - script.below(8) / 7);
        self.push(RELEASES_PUBLISHED, RELEASES, &record);
    }

    /// A segment: sound, or not, or not as it is said to be.
    fn announce(&mut self, script: &mut Script<'_>) {
        let len = 4096 * (1 + script.below(3));
        let number = script.below(3) as u32;
        let said = if script.one_in(6) { script.number() } else { len as u64 };
        let block_len = if script.one_in(4) { script.number() } else { 4096 };
        let note = [&[3][..], &number.to_le_bytes(), &said.to_le_bytes(), &block_len.to_le_bytes()];
        let note = note.concat();
        if script.one_in(4) {
            let object = odd_object(script);
            return self.say(&note, &[object.as_fd()]);
        }
        let segment = HostileWords::segment(len).expect("memory");
        let twice = [segment.as_fd(), segment.as_fd()];
        self.say(&note, &twice[..[1, 1, 1, 1, 0, 2][script.below(6)]]);
        self.segments.push(segment);
    }

    fn say_anything(&self, script: &mut Script<'_>) {
        let note: Vec<u8> = match script.below(6) {
            0 => vec![1],
            1 => [&[4][..], &(script.below(3) as u32).to_le_bytes()].concat(),
            2 => vec![1; 65 + script.below(100)],
            3 => Vec::new(),
            _ => (0..script.below(30)).map(|_| script.byte()).collect(),
        };
        self.say(&note, &[]);
    }

    fn say(&self, note: &[u8], fds: &[BorrowedFd<'_>]) {
        send(&self.socket, note, fds);
    }

    /// A frame in the newest segment, and a record that says where.
    fn publish_block(&self, script: &mut Script<'_>) {
        let frame = frame(script);
        for (word, chunk) in self.segment().iter().zip(frame.chunks(8)) {
            let mut bytes = [0; 8];
            bytes[..chunk.len()].copy_from_slice(chunk);
            word.store(u64::from_ne_bytes(bytes), Ordering::Relaxed);
        }
        let odd = script.one_in(8);
        let offset = if odd { script.number() } else { 128 };
        let len = if script.one_in(8) { script.number() } else { frame.len() as u64 };
        self.publish(&block(number(script), script.below(3) as u32, offset, len));
    }
}

/// What a word might as well be: near what it is, or anything.
fn near(word: &AtomicU64, script: &mut Script<'_>) -> u64 {
    let now = word.load(Ordering::Relaxed);
    match script.below(4) {
        0 => now.wrapping_add(script.number()),
        1 => now ^ 1 << script.below(64),
        _ => script.number(),
    }
}

/// A segment's number: the liar's, or the victim's own.
fn number(script: &mut Script<'_>) -> u32 {
    [0, 1, 2, 1, 1 << 31 | 1, 1 << 31 | 2, 1 << 31, u32::MAX][script.below(8)]
}

fn block(segment: u32, generation: u32, offset: u64, len: u64) -> Vec<u8> {
    let numbers = [segment.to_le_bytes(), generation.to_le_bytes()].concat();
    [&3_u64.to_le_bytes()[..], &numbers, &offset.to_le_bytes(), &len.to_le_bytes()].concat()
}

fn record(script: &mut Script<'_>) -> Vec<u8> {
    let kind = |kind: u64, rest: &[u8]| [&kind.to_le_bytes(), rest].concat();
    match script.below(8) {
        0 => kind(1, &metadata(0, false, script)),
        1 => kind(1, &(0..script.below(40)).map(|_| script.byte()).collect::<Vec<_>>()),
        2 => block(number(script), script.below(3) as u32, script.number(), script.number()),
        3 => kind(script.number(), &[0; 24]),
        _ => kind(2, &frame(script)),
    }
}

/// Of a [`Report`] with so many buffers.
fn metadata(count: u8, with_words: bool, script: &mut Script<'_>) -> Vec<u8> {
    let references = (0..count).flat_map(|index| [0xd4, 0x70, index]);
    let mut bytes = vec![0x93, script.byte() & 0x7f, 0x90 | count];
    bytes.extend(references);
    bytes.extend(if with_words { vec![0xd4, 0x70, count] } else { vec![0xc0] });
    bytes
}

/// A frame that names segments, sound but for what they are; or changed.
fn frame(script: &mut Script<'_>) -> Vec<u8> {
    let (count, with_words) = (script.below(4) as u8, script.one_in(3));
    let metadata = metadata(count, with_words, script);
    let table = (0..count + u8::from(with_words)).map(|index| {
        let kind = if index == count { Kind::U64 } else { Kind::U8 };
        let offset =
            if script.one_in(8) { script.number() } else { 8 * (script.short() as u64 % 1030) };
        let len =
            if script.one_in(8) { script.number() } else { 8 * (1 + u64::from(script.byte())) };
        let generation = script.below(3) as u32;
        let descriptor = Descriptor::segment(number(script), offset, len, generation, kind, 0);
        descriptor.writable(script.one_in(8))
    });
    let mut table: Vec<_> = table.collect();
    let Ok(layout) = Layout::new(metadata.len(), &mut table) else { return vec![0; 64] };
    let mut bytes = Vec::new();
    write_head(&mut bytes, &layout, &[&metadata], &table, &HeadOptions::default());
    bytes.resize(usize::try_from(layout.frame_len()).expect("only heads"), 0);
    if script.one_in(4) {
        let at = script.short() % bytes.len();
        bytes[at] = script.byte();
        fix_up(&mut bytes);
    }
    bytes
}

/// A memory object that no sound peer would send.
fn odd_object(script: &mut Script<'_>) -> OwnedFd {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let fd = memfd_create("odd", flags).expect("memory");
    ftruncate(&fd, [0, 4096, 8192, 1 << 40][script.below(4)]).expect("a length");
    let seals = SealFlags::from_bits_truncate(u32::from(script.byte()) & 0x1e);
    fcntl_add_seals(&fd, seals).expect("seals");
    fd
}

/// Every byte: one that is not there would be a signal.
fn read(report: &Report) {
    let bytes = report.1.iter().map(|buffer| buffer.iter().map(|&b| u64::from(b)).sum::<u64>());
    let words = report.2.iter().flat_map(|buffer| buffer.iter().copied());
    let sum = bytes.chain(words).fold(0_u64, u64::wrapping_add);
    std::hint::black_box(sum);
}

fn receive(socket: &OwnedFd) -> (Vec<u8>, Vec<OwnedFd>) {
    let mut bytes = [0; 64];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut slices = [IoSliceMut::new(&mut bytes)];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let received = recvmsg(socket, &mut slices, &mut control, flags).expect("a greeting");
    let fds = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    let fds = fds.flatten().collect();
    (bytes[..received.bytes].to_vec(), fds)
}

/// Sends, or not, where there is no room.
fn send(socket: &OwnedFd, note: &[u8], fds: &[BorrowedFd<'_>]) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(fds.is_empty() || control.push(SendAncillaryMessage::ScmRights(fds)), "few");
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    let _full = sendmsg(socket, &[IoSlice::new(note)], &mut control, flags);
}
