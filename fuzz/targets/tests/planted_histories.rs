//! Each target that is a list of operations finds the faults that are planted in what it judges.

use std::hint::black_box;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;

use pannier::channel::{TryRecvError, TrySendError};
use pannier::frame::Frame;
use pannier::fuzzing::{
    Block, PoolMemory, Pop, Push, Range, Ring, RingConsumer, RingProducer, WorkerMemory, parse_with,
};
use pannier::shm::{Arena, ArenaReader, Place, SegmentError};
use pannier::{Buffer, BufferMut, Error, FrameError, Limits, SegmentFault};
use pannier_targets::{
    Ends, Gates, Keeper, Letter, Liar, Post, Receiver, Report, Sides, Victim, arena_of, channel_of,
    hostile_peer_of, mutated, ring_of, segments_of,
};

/// The loop of the target finds a broken promise, and says which: one of these.
#[track_caller]
fn finds(name: &str, target: impl Fn(&[u8]), what: &[&str]) {
    let looped = AssertUnwindSafe(|| mutated(name, 0..20_000, target));
    let panic = catch_unwind(looped).expect_err("the planted fault was not found");
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or(panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    let said = |text: &String| what.iter().any(|what| text.contains(what));
    assert!(text.as_ref().is_some_and(said), "{text:?}");
}

/// Looks up first, and asks then whether it may.
struct Curious;

impl Gates for Curious {
    fn parse<'a>(
        bytes: &'a [u8],
        limits: &Limits,
        knows: impl Fn(Range, u32) -> Result<(), SegmentFault>,
    ) -> Result<Frame<'a>, FrameError> {
        let _looked_up = parse_with(bytes, &limits.segments(true), &knows);
        parse_with(bytes, limits, knows)
    }
}

#[test]
fn segments_finds_a_reader_that_looks_up_what_is_not_permitted() {
    finds("segments", segments_of::<Curious>, &["looked up what is not permitted"]);
}

/// Asks for all of a range but its last byte.
struct AllButOne;

impl Gates for AllButOne {
    fn parse<'a>(
        bytes: &'a [u8],
        limits: &Limits,
        knows: impl Fn(Range, u32) -> Result<(), SegmentFault>,
    ) -> Result<Frame<'a>, FrameError> {
        let knows = |(segment, offset, len): Range, generation| {
            knows((segment, offset, len - 1), generation)
        };
        parse_with(bytes, limits, knows)
    }
}

#[test]
fn segments_finds_a_range_check_that_is_off_by_one() {
    finds("segments", segments_of::<AllButOne>, &["accepted"]);
}

/// Takes writable ranges for readable ones.
struct SeesNoAlias;

impl Gates for SeesNoAlias {
    fn parse<'a>(
        bytes: &'a [u8],
        limits: &Limits,
        knows: impl Fn(Range, u32) -> Result<(), SegmentFault>,
    ) -> Result<Frame<'a>, FrameError> {
        match parse_with(bytes, limits, &knows) {
            Err(FrameError::Segment { why: SegmentFault::AliasedWritable, .. }) => {
                Frame::parse(EMPTY, limits)
            }
            other => other,
        }
    }
}

/// The frame of nil.
const EMPTY: &[u8] = &{
    let mut frame = [0; 64];
    [frame[0], frame[1], frame[2], frame[3], frame[4]] = *b"\xc1PNR\x01";
    (frame[8], frame[16], frame[32]) = (1, 64, 0xc0);
    frame
};

#[test]
fn segments_finds_a_writable_alias_that_is_accepted() {
    finds("segments", segments_of::<SeesNoAlias>, &["AliasedWritable"]);
}

/// Gives what there is where a place leaves its segment.
struct Clamps;

impl Gates for Clamps {
    fn buffers(reader: &ArenaReader, places: &[Place]) -> Result<Vec<Buffer<u8>>, SegmentError> {
        match reader.buffers(places) {
            Err(SegmentError::Bounds { .. }) => Ok(vec![Buffer::default()]),
            other => other,
        }
    }
}

#[test]
fn segments_finds_places_that_are_cut_to_fit() {
    finds("segments", segments_of::<Clamps>, &["the reader says"]);
}

/// Leases whatever is there now.
struct AnyGeneration;

impl Gates for AnyGeneration {
    fn lease(
        worker: &WorkerMemory,
        range: Range,
        _: u32,
    ) -> Result<(Buffer<u8>, Block), SegmentFault> {
        worker.lease(range, 1)
    }
}

#[test]
fn segments_finds_a_lease_of_another_generation() {
    finds("segments", segments_of::<AnyGeneration>, &["the name of"]);
}

/// Rings only where the ring looked empty before.
struct AsksBefore;

impl Sides for AsksBefore {
    fn must_ring(ring: &Ring, looked_empty: bool) -> bool {
        looked_empty && ring.must_ring()
    }
}

#[test]
fn ring_finds_a_test_for_emptiness_before_the_bell() {
    finds("ring", ring_of::<AsksBefore>, &["asleep for ever"]);
}

/// Sleeps without a word.
struct SleepsSilently;

impl Sides for SleepsSilently {
    fn going_to_sleep(_: &Ring) {}
}

#[test]
fn ring_finds_a_sleeper_that_has_not_said_so() {
    finds("ring", ring_of::<SleepsSilently>, &["asleep for ever"]);
}

/// Leaves out the word of which one byte is used.
struct CutsTails;

impl Sides for CutsTails {
    fn pop(consumer: &mut RingConsumer) -> Pop {
        match consumer.pop() {
            Pop::Record(mut record) if record.len() % 8 == 1 => {
                record.pop();
                Pop::Record(record)
            }
            other => other,
        }
    }
}

#[test]
fn ring_finds_a_record_that_is_cut() {
    finds("ring", ring_of::<CutsTails>, &["popped"]);
}

/// Has published, and says that it has not.
struct Denies;

impl Sides for Denies {
    fn push(producer: &mut RingProducer, parts: &[&[u8]]) -> Push {
        match producer.push(parts) {
            Push::Done if parts.concat().len() % 64 == 56 => Push::Full,
            other => other,
        }
    }
}

#[test]
fn ring_finds_a_record_that_is_doubled_because_its_sender_is_told_it_was_not_sent() {
    finds("ring", ring_of::<Denies>, &["were pushed"]);
}

/// Loses every fifth value.
struct Loses;

impl Post for Loses {
    fn try_send(end: &Ends, letter: Letter) -> Result<(), TrySendError<Letter>> {
        if letter.0 % 5 == 3 { Ok(()) } else { end.try_send(letter) }
    }
}

#[test]
fn channel_finds_values_that_are_lost() {
    let lost = ["another value than the next", "in place of", "sent to nobody"];
    finds("channel", channel_of::<Loses>, &lost);
}

/// Never tells the end.
struct Waits;

impl Post for Waits {
    fn try_recv(end: &Ends) -> Result<Letter, TryRecvError> {
        end.try_recv().map_err(|error| match error {
            TryRecvError::Closed => TryRecvError::Empty,
            other => other,
        })
    }
}

#[test]
fn channel_finds_an_end_that_is_not_told() {
    finds("channel", channel_of::<Waits>, &["received Err(Empty)"]);
}

/// Takes a death for an end on purpose.
struct TakesDeathForAnEnd;

impl Post for TakesDeathForAnEnd {
    fn try_recv(end: &Ends) -> Result<Letter, TryRecvError> {
        end.try_recv().map_err(|error| match error {
            TryRecvError::Died => TryRecvError::Closed,
            other => other,
        })
    }
}

#[test]
fn channel_finds_a_death_that_is_taken_for_an_end() {
    finds("channel", channel_of::<TakesDeathForAnEnd>, &["received Err(Closed)"]);
}

/// Gives the buffers of a value in another order.
struct Turns;

impl Post for Turns {
    fn try_recv(end: &Ends) -> Result<Letter, TryRecvError> {
        let mut letter = end.try_recv()?;
        letter.2.reverse();
        Ok(letter)
    }
}

#[test]
fn channel_finds_buffers_in_another_order() {
    finds("channel", channel_of::<Turns>, &["another value than the next"]);
}

/// Takes the kernel's zeros for granted.
struct LeavesDirt;

impl Keeper for LeavesDirt {
    fn alloc(arena: &Arena, len: usize, _: bool) -> Result<BufferMut<u8>, Error> {
        arena.alloc(len)
    }
}

#[test]
fn arena_finds_memory_that_is_not_zeroed_when_it_is_used_again() {
    finds("arena", arena_of::<LeavesDirt>, &["zeroed, and not zero"]);
}

/// Has one generation only.
struct AlwaysFirst;

impl Keeper for AlwaysFirst {
    fn find(memory: &PoolMemory, buffer: &Buffer<u8>) -> Option<(Block, u64)> {
        let (block, offset) = memory.find(buffer)?;
        Some((Block { generation: 1, ..block }, offset))
    }
}

#[test]
fn arena_finds_a_generation_that_does_not_grow() {
    finds("arena", arena_of::<AlwaysFirst>, &["the generation of"]);
}

/// Does not note what a worker was sent.
struct ForgetsHolds;

impl Keeper for ForgetsHolds {
    fn hold(_: &PoolMemory, _: u32, _: &[Block]) {}
}

#[test]
fn arena_finds_blocks_that_are_free_while_a_worker_has_them() {
    let lost = ["live blocks", "is live", "a worker has it", "adopted", "has other bytes"];
    finds("arena", arena_of::<ForgetsHolds>, &lost);
}

/// Goes on counting what a dead worker held.
struct Mourns;

impl Keeper for Mourns {
    fn forget_worker(_: &PoolMemory, _: u32, _: u32) {}
}

#[test]
fn arena_finds_blocks_that_a_dead_worker_keeps() {
    let lost = ["live blocks", "not writable", "adopted", "released"];
    finds("arena", arena_of::<Mourns>, &lost);
}

/// Looks at a record's length, and then reads it again.
struct ReadsTwice;

impl Victim for ReadsTwice {
    fn pop(ring: &Ring, consumer: &mut RingConsumer) -> Pop {
        let line = usize::try_from(consumer.position()).unwrap_or(0);
        let _length = ring.load(8 * line % ring.published());
        consumer.pop()
    }
}

#[test]
fn hostile_peer_finds_a_length_that_is_read_twice() {
    finds("hostile_peer", hostile_peer_of::<ReadsTwice>, &["a word is read twice"]);
}

/// Takes memory for what a record's length announces.
struct Reserves;

impl Victim for Reserves {
    fn try_recv(end: &Receiver, liar: &Liar) -> Result<Report, TryRecvError> {
        let announced = liar.lane(0)[512].load(Ordering::Relaxed).min(16 << 20);
        black_box(Vec::<u8>::with_capacity(announced as usize));
        end.try_recv()
    }
}

#[test]
fn hostile_peer_finds_memory_that_is_taken_for_what_is_announced() {
    finds("hostile_peer", hostile_peer_of::<Reserves>, &["allocated for what was said"]);
}

/// Checks the head of a frame in shared memory, and uses it there.
struct ParsesInPlace;

impl Victim for ParsesInPlace {
    fn try_recv(end: &Receiver, liar: &Liar) -> Result<Report, TryRecvError> {
        let head = || -> Vec<u64> {
            liar.segment().iter().take(64).map(|word| word.load(Ordering::Relaxed)).collect()
        };
        let checked = head();
        std::thread::yield_now();
        let received = end.try_recv();
        assert!(checked == head(), "what was checked is not what is used");
        received
    }
}

#[test]
fn hostile_peer_finds_a_head_that_is_parsed_in_shared_memory() {
    finds("hostile_peer", hostile_peer_of::<ParsesInPlace>, &["is not what is used"]);
}

/// Takes what a peer sends for sound.
struct Trusts;

impl Victim for Trusts {
    fn try_recv(end: &Receiver, _: &Liar) -> Result<Report, TryRecvError> {
        match end.try_recv() {
            Err(TryRecvError::Decode(error)) => panic!("no sound peer does that: {error}"),
            other => other,
        }
    }
}

#[test]
fn hostile_peer_finds_a_panic() {
    finds("hostile_peer", hostile_peer_of::<Trusts>, &["no sound peer does that"]);
}
