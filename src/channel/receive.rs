//! The receiving half: taking records in, and sleeping until there is one.
//!
//! One receiver at a time sleeps, and only it reads the socket, or whoever has the lock while nobody
//! sleeps, so that no bell is heard by somebody whom it was not for. The others look into the ring
//! and wait for it to come back; whoever leaves without sleeping wakes the next of them ([`Turn`]).
//! A record whose segment the sleeper may just be hearing of stays the next one.
//! Promises: a record that was published is received before the end or death of its sender is told;
//! what a record names is leased before the peer may hear that it was released.
//! Does not know: values. They are decoded by whoever received them, under no lock.
#![forbid(unsafe_code)]

use std::io;
use std::ops::{Deref, DerefMut, Range};
use std::sync::{Arc, Condvar, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::end::{End, Heard, Nonsense, ON_THE_WORD, Unheard};
use super::lane::{Lane, Records};
use super::record::{self, RETURNED, Record};
use super::release::PEER;
use super::ring::{Consumer, Doorbell};
use super::sink::{SegmentCheck, channel_limits, located};
use super::spin::Spin;
use super::stats::Traffic;
use crate::buffer::Buffer;
use crate::codec::{Body, CodecError};
use crate::frame::{Frame, FrameError, Location, SegmentFault};
use crate::shm::Fault;
use crate::sys::socket::Wait;
use crate::sys::wait;

/// What receivers share.
#[derive(Debug)]
pub(super) struct Receiving {
    consumer: Consumer<Records>,
    /// A record that names what could not be received yet.
    pending: Option<Vec<u8>>,
    /// A receiver sleeps, and will take the next record.
    asleep: bool,
    /// Receivers that wait for it to come back.
    others: usize,
    /// The socket is at its end.
    ended: bool,
    /// The peer wrote nonsense: nothing it writes is looked at any more.
    broken: bool,
    pub(super) hello_is_read: bool,
    pub(super) spin: Spin,
    pub(super) received: Traffic,
}

/// A record with what it names.
pub(super) struct Message {
    /// The record, or the frame that lay in a block.
    pub(super) bytes: Vec<u8>,
    pub(super) metadata: Range<usize>,
    pub(super) bodies: Vec<Body<'static>>,
    out_of_band: u64,
}

impl Message {
    fn new(bytes: Vec<u8>, metadata: Range<usize>, bodies: Vec<Body<'static>>) -> Self {
        let len = |body: &Body<'_>| match body {
            Body::Owned { buffer, .. } => u64::try_from(buffer.len()).unwrap_or(u64::MAX),
            Body::Borrowed { .. } => 0,
        };
        let out_of_band = bodies.iter().map(len).sum();
        Message { bytes, metadata, bodies, out_of_band }
    }
}

/// Why there is no message.
#[derive(Debug)]
pub(super) enum Silence {
    Empty,
    Closed,
    Died,
    Unsound(CodecError),
    /// This process is short of something; nothing is lost.
    Short(io::Error),
}

/// Why a record was not opened.
enum Unopened {
    Unsound(CodecError),
    /// Not now.
    Short(io::Error),
    /// What it names is in the hands of the receiver that sleeps.
    Later,
}

impl From<CodecError> for Unopened {
    fn from(error: CodecError) -> Self {
        Unopened::Unsound(error)
    }
}

impl From<FrameError> for Unopened {
    fn from(error: FrameError) -> Self {
        Unopened::Unsound(error.into())
    }
}

/// How long to wait for a message.
#[derive(Clone, Copy, Debug)]
pub(super) enum Until {
    Now,
    Time(Instant),
    Ever,
}

impl Until {
    /// The time that is left; `None`: all time.
    fn left(self) -> Option<Duration> {
        match self {
            Until::Now => Some(Duration::ZERO),
            Until::Time(time) => Some(time.saturating_duration_since(Instant::now())),
            Until::Ever => None,
        }
    }
}

impl Receiving {
    pub(super) fn new(lane: Arc<Lane>) -> Self {
        Receiving {
            consumer: Consumer::new(Records(lane)),
            pending: None,
            asleep: false,
            others: 0,
            ended: false,
            broken: false,
            hello_is_read: false,
            spin: Spin::new(),
            received: Traffic::default(),
        }
    }

    pub(super) fn was_used(&self) -> bool {
        self.hello_is_read || self.consumer.position() > 0
    }

    fn note(&mut self, heard: Heard) {
        match heard {
            Heard::End => self.ended = true,
            Heard::Hello => self.hello_is_read = true,
            Heard::Something | Heard::Nothing => {}
        }
    }
}

/// How long a receiver sleeps on the bell before it listens at the socket. Being woken from there
/// costs a third, but the socket alone says that a peer has died.
const ON_THE_WORD_AT_MOST: Duration = Duration::from_millis(5);

/// Messages of the socket that are read at once: a peer that never stops is no reason not to answer.
const AT_ONCE: usize = 100;

/// More than a socket holds, so that an honest peer's messages are all read.
const AT_MOST: usize = 1024;

/// The lock of the receiving half. Who lets it go while nobody sleeps wakes one of those who wait:
/// otherwise the last one would wait for ever.
struct Turn<'h> {
    /// `None` only while its owner waits.
    half: Option<MutexGuard<'h, Receiving>>,
    awake: &'h Condvar,
}

impl Turn<'_> {
    /// Lets go until somebody comes back from sleeping, or the time is over.
    fn wait(&mut self, left: Duration) {
        let Some(mut half) = self.half.take() else { return };
        half.others += 1;
        let woken = self.awake.wait_timeout(half, left);
        let mut half = woken.unwrap_or_else(PoisonError::into_inner).0;
        half.others -= 1;
        self.half = Some(half);
    }
}

impl Deref for Turn<'_> {
    type Target = Receiving;

    fn deref(&self) -> &Receiving {
        self.half.as_ref().expect("it is let go of only while its owner waits")
    }
}

impl DerefMut for Turn<'_> {
    fn deref_mut(&mut self) -> &mut Receiving {
        self.half.as_mut().expect("it is let go of only while its owner waits")
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if !self.asleep && self.others > 0 {
            self.awake.notify_one();
        }
    }
}

impl End {
    /// The next message; `scratch` is memory to use.
    pub(super) fn next(&self, until: Until, scratch: &mut Vec<u8>) -> Result<Message, Silence> {
        let mut half = self.take_turn();
        for round in 0.. {
            if half.asleep {
                // Not its socket, but the ring.
                if let Some(message) = self.take(&mut half, scratch)? {
                    return Ok(message);
                }
                let left = until.left();
                if left.is_some_and(|left| left.is_zero()) {
                    return Err(Silence::Empty);
                }
                half.wait(left.unwrap_or(Duration::MAX));
                continue;
            }
            // In this order: what was published before the goodbye is seen after it.
            let (goodbye, ended) = (self.inbound.has_said_goodbye(), half.ended);
            if let Some(message) = self.take(&mut half, scratch)? {
                return Ok(message);
            }
            if goodbye {
                return Err(Silence::Closed);
            }
            if ended {
                return Err(Silence::Died);
            }
            match until {
                Until::Now if round >= AT_ONCE => return self.take_or_arm(&mut half, scratch),
                Until::Now => {
                    if self.arm(&mut half)? == Heard::Nothing {
                        return Err(Silence::Empty);
                    }
                }
                Until::Ever | Until::Time(_) => {
                    let is_over = round > 0 && until.left().is_some_and(|left| left.is_zero());
                    if is_over {
                        return Err(Silence::Empty);
                    }
                    half = self.sleep(half, until)?;
                }
            }
        }
        Err(Silence::Empty)
    }

    pub(super) fn lock_receiving(&self) -> MutexGuard<'_, Receiving> {
        // Nothing panics between two related changes.
        self.receiving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_turn(&self) -> Turn<'_> {
        Turn { half: Some(self.lock_receiving()), awake: &self.receiver_awake }
    }

    /// Of a socket that says more and more: the descriptor is armed, the socket not heard.
    fn take_or_arm(&self, half: &mut Receiving, scratch: &mut Vec<u8>) -> Result<Message, Silence> {
        Doorbell(self.inbound.data_bell()).going_to_sleep();
        self.take(half, scratch)?.ok_or(Silence::Empty)
    }

    /// Makes the descriptor readable as soon as something comes, and hears what has come already.
    fn arm(&self, half: &mut Receiving) -> Result<Heard, Silence> {
        Doorbell(self.inbound.data_bell()).going_to_sleep();
        if self.inbound.is_published_beyond(half.consumer.position()) {
            return Ok(Heard::Something);
        }
        self.before_waiting();
        let heard = self.hear(Wait::No).map_err(|why| self.unheard(half, why))?;
        half.note(heard);
        Ok(heard)
    }

    /// Says to the peer what it may be waiting for.
    fn before_waiting(&self) {
        self.wake_senders();
        self.places.attached.link().flush();
    }

    fn unheard(&self, half: &mut Receiving, why: Unheard) -> Silence {
        match why {
            Unheard::Nonsense => self.give_up(half),
            Unheard::Short(error) => Silence::Short(error),
        }
    }

    /// Nothing of this peer's is looked at any more, nor kept mapped but for buffers in use.
    fn give_up(&self, half: &mut Receiving) -> Silence {
        (half.broken, half.ended, half.pending) = (true, true, None);
        self.places.attached.detach_all();
        Silence::Unsound(nonsense())
    }

    /// Spins, then sleeps, without the lock.
    fn sleep<'h>(&'h self, mut half: Turn<'h>, until: Until) -> Result<Turn<'h>, Silence> {
        let position = half.consumer.position();
        let has_come =
            || self.inbound.is_published_beyond(position) || self.inbound.has_said_goodbye();
        // With the lock, which others get no later than they would by sleeping.
        if half.spin.wait(self.unanswered.take(), has_come) {
            return Ok(half);
        }
        half.asleep = true;
        drop(half);
        self.before_waiting();
        self.tally.slept();
        let heard = self.sleep_alone(has_come, until);
        let mut half = self.take_turn();
        half.asleep = false;
        match heard {
            Ok(heard) => half.note(heard),
            Err(why) => return Err(self.unheard(&mut half, why)),
        }
        Ok(half)
    }

    fn sleep_alone(&self, has_come: impl Fn() -> bool, until: Until) -> Result<Heard, Unheard> {
        let word = self.inbound.data_bell();
        let bell = Doorbell(word);
        bell.going_to_sleep_as(ON_THE_WORD.into());
        if !has_come() {
            let left = until.left().unwrap_or(Duration::MAX).min(ON_THE_WORD_AT_MOST);
            wait::while_word_is(word, ON_THE_WORD, left);
        }
        // At the socket the same again: whoever woke us may have done so for somebody else's record.
        bell.going_to_sleep();
        if has_come() {
            bell.awake();
            return Ok(Heard::Nothing);
        }
        let Some(left) = until.left() else {
            let heard = self.hear(Wait::Yes)?;
            if heard == Heard::Nothing {
                // Somebody has made the socket one that does not block.
                wait::readable(&self.socket, Duration::MAX)?;
            }
            return Ok(heard);
        };
        // The bell stays armed when the time is over: the descriptor can be waited for.
        wait::readable(&self.socket, left)?;
        self.hear(Wait::No)
    }

    /// Takes the next record in, if there is one.
    fn take(
        &self,
        half: &mut Receiving,
        scratch: &mut Vec<u8>,
    ) -> Result<Option<Message>, Silence> {
        if !self.next_record(half, scratch)? {
            return Ok(None);
        }
        let opened = self.open(half, scratch);
        if let Err(Unopened::Short(_) | Unopened::Later) = opened {
            half.pending = Some(std::mem::take(scratch));
        }
        let message = match opened {
            Ok(message) => message,
            Err(Unopened::Later) => return Ok(None),
            Err(Unopened::Short(error)) => return Err(Silence::Short(error)),
            Err(Unopened::Unsound(error)) => {
                self.places.have_taken_in(half.consumer.position());
                return Err(Silence::Unsound(error));
            }
        };
        self.places.have_taken_in(half.consumer.position());
        half.received.add(message.bytes.len(), message.out_of_band);
        // The next one may be as large, and take the peer as long.
        self.unanswered.add(message.out_of_band);
        if !message.bodies.is_empty() {
            // A buffer that came back may be this end's alone by now.
            self.places.take_back();
        }
        self.places.attached.link().flush();
        Ok(Some(message))
    }

    /// Copies the next record to `scratch`.
    fn next_record(&self, half: &mut Receiving, scratch: &mut Vec<u8>) -> Result<bool, Silence> {
        if half.broken {
            return Ok(false);
        }
        if let Some(pending) = half.pending.take() {
            *scratch = pending;
            return Ok(true);
        }
        let is_first = half.consumer.position() == 0;
        match half.consumer.pop(scratch) {
            Ok(false) => return Ok(false),
            Ok(true) => {}
            Err(_) => return Err(self.give_up(half)),
        }
        if is_first {
            // From now on no other descriptor of this end opens it.
            let _first = self.outbound.claim();
        }
        self.wake_senders_seen();
        Ok(true)
    }

    /// Finds what the record names. One that is opened is taken out of `record`.
    fn open(&self, half: &mut Receiving, record: &mut Vec<u8>) -> Result<Message, Unopened> {
        match record::read(record).ok_or_else(nonsense)? {
            Record::Value(metadata) => {
                let metadata = record.len() - metadata.len()..record.len();
                Ok(Message::new(std::mem::take(record), metadata, Vec::new()))
            }
            Record::Frame(frame) => {
                let at = record.len() - frame.len();
                let (metadata, bodies) = self.open_frame(half, frame)?;
                let metadata = at + metadata.start..at + metadata.end;
                Ok(Message::new(std::mem::take(record), metadata, bodies))
            }
            Record::Block(at) => {
                let range = (at.segment, at.offset, at.len);
                let mut leased = self.lease(range, at.generation);
                if leased.is_err() {
                    self.hear_all(half)?;
                    leased = self.lease(range, at.generation);
                }
                let block = leased.map_err(|fault| segment_error(0, fault))?;
                // Copied before it is looked at: its writer could still change it.
                let frame = block.to_vec();
                let (metadata, bodies) = self.open_frame(half, &frame)?;
                Ok(Message::new(frame, metadata, bodies))
            }
        }
    }

    fn open_frame(
        &self,
        half: &mut Receiving,
        bytes: &[u8],
    ) -> Result<(Range<usize>, Vec<Body<'static>>), Unopened> {
        let check = SegmentCheck(|range, generation| self.check(range, generation));
        let limits = channel_limits();
        let mut parsed = Frame::parse_head_with(bytes, &limits, &check);
        if matches!(parsed, Err(FrameError::Segment { why: SegmentFault::Unknown, .. })) {
            // Its descriptor was sent before the record, so it is there by now.
            self.hear_all(half)?;
            parsed = Frame::parse_head_with(bytes, &limits, &check);
        }
        let frame = parsed?;
        let mut bodies = Vec::new();
        for (index, descriptor) in (0..).zip(frame.descriptors()) {
            if descriptor.location != Location::Segment {
                return Err(segment_error(index, Fault::Unknown).into());
            }
            let at = located(&descriptor);
            let leased = self.lease((at.segment, at.offset, descriptor.len), at.generation);
            let buffer = leased.map_err(|fault| segment_error(index, fault))?;
            bodies.push(Body::Owned { buffer, kind: descriptor.kind });
        }
        let metadata = frame.metadata().as_ptr().addr() - bytes.as_ptr().addr();
        Ok((metadata..metadata + frame.metadata().len(), bodies))
    }

    /// Hears what the socket has, unless that is for the receiver that sleeps.
    fn hear_all(&self, half: &mut Receiving) -> Result<(), Unopened> {
        if half.asleep {
            return Err(Unopened::Later);
        }
        for _ in 0..AT_MOST {
            let heard = match self.hear(Wait::No) {
                Ok(heard) => heard,
                Err(Unheard::Short(error)) => return Err(Unopened::Short(error)),
                Err(Unheard::Nonsense) => {
                    self.give_up(half);
                    return Err(nonsense().into());
                }
            };
            half.note(heard);
            if matches!(heard, Heard::Nothing | Heard::End) {
                break;
            }
        }
        Ok(())
    }

    /// Whether the peer may speak of this range.
    fn check(&self, (segment, offset, len): (u32, u64, u64), generation: u32) -> Result<(), Fault> {
        if segment & RETURNED == 0 {
            return self.places.attached.check(segment, offset, len);
        }
        let range = (segment & !RETURNED, offset, len);
        self.places.memory.check_held(PEER, range, generation).map(|_| ())
    }

    /// A buffer over a range that the peer speaks of.
    fn lease(
        &self,
        (segment, offset, len): (u32, u64, u64),
        generation: u32,
    ) -> Result<Buffer<u8>, Fault> {
        if segment & RETURNED != 0 {
            let range = (segment & !RETURNED, offset, len);
            return Ok(self.places.memory.adopt(PEER, range, generation)?.0);
        }
        if len == 0 {
            return Err(Fault::Bounds);
        }
        let attached = &self.places.attached;
        let (buffer, name) = attached.lease_kept((segment, offset, len), generation)?;
        attached.link().mention(name);
        Ok(buffer)
    }
}

fn nonsense() -> CodecError {
    CodecError::Io(io::Error::new(io::ErrorKind::InvalidData, Nonsense))
}

fn segment_error(index: u32, fault: Fault) -> FrameError {
    FrameError::Segment { index, why: fault.into() }
}
