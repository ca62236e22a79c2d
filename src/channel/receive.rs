//! The receiving half: taking records in, and sleeping until there is one.
//!
//! One receiver at a time sleeps, and only it or whoever has the lock reads the socket, so that no
//! bell is heard by somebody whom it was not for. The others wait for it to come back; whoever
//! leaves without sleeping wakes the next of them ([`Turn`]).
//! Promises: a record that was published is received before the end or death of its sender is told;
//! what a record names is leased before the peer may hear that it was released.
//! Does not know: values. They are decoded by whoever received them, under no lock.
#![forbid(unsafe_code)]

use std::io;
use std::ops::{Deref, DerefMut, Range};
use std::sync::{Arc, Condvar, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::end::{End, Heard, Nonsense};
use super::lane::{Lane, Records};
use super::record::{self, RETURNED, Record};
use super::release::PEER;
use super::ring::{Consumer, Doorbell};
use super::sink::{SegmentCheck, located, pool_limits};
use super::spin::Spin;
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
    /// A receiver sleeps, and will take the next record.
    asleep: bool,
    /// Receivers that wait for it to come back.
    others: usize,
    /// The socket is at its end.
    ended: bool,
    /// The peer wrote nonsense: nothing it writes is looked at any more.
    broken: bool,
    pub(super) hello_is_read: bool,
    spin: Spin,
    pub(super) received: u64,
}

/// A record with what it names.
pub(super) struct Message {
    /// The record, or the frame that lay in a block.
    pub(super) bytes: Vec<u8>,
    pub(super) metadata: Range<usize>,
    pub(super) bodies: Vec<Body<'static>>,
}

/// Why there is no message.
#[derive(Debug)]
pub(super) enum Silence {
    Empty,
    Closed,
    Died,
    Unsound(CodecError),
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
            asleep: false,
            others: 0,
            ended: false,
            broken: false,
            hello_is_read: false,
            spin: Spin::new(),
            received: 0,
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

    fn give_up(&mut self) -> Silence {
        (self.broken, self.ended) = (true, true);
        Silence::Unsound(nonsense())
    }
}

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
        let heard = self.hear(Wait::No).map_err(|Nonsense| half.give_up())?;
        half.note(heard);
        Ok(heard)
    }

    /// Spins, then sleeps, without the lock.
    fn sleep<'h>(&'h self, mut half: Turn<'h>, until: Until) -> Result<Turn<'h>, Silence> {
        half.asleep = true;
        let (position, mut spin) = (half.consumer.position(), half.spin);
        drop(half);
        let heard = self.sleep_alone(position, until, &mut spin);
        let mut half = self.take_turn();
        (half.asleep, half.spin) = (false, spin);
        match heard {
            Ok(heard) => half.note(heard),
            Err(Nonsense) => return Err(half.give_up()),
        }
        Ok(half)
    }

    fn sleep_alone(&self, position: u64, until: Until, spin: &mut Spin) -> Result<Heard, Nonsense> {
        let has_come =
            || self.inbound.is_published_beyond(position) || self.inbound.has_said_goodbye();
        if spin.wait(has_come) {
            return Ok(Heard::Nothing);
        }
        let bell = Doorbell(self.inbound.data_bell());
        bell.going_to_sleep();
        if has_come() {
            bell.awake();
            return Ok(Heard::Nothing);
        }
        let Some(left) = until.left() else {
            let heard = self.hear(Wait::Yes)?;
            if heard == Heard::Nothing {
                // Somebody has made the socket one that does not block.
                wait::readable(&self.socket, Duration::MAX).map_err(|_| Nonsense)?;
            }
            return Ok(heard);
        };
        // The bell stays armed when the time is over: the descriptor can be waited for.
        wait::readable(&self.socket, left).map_err(|_| Nonsense)?;
        self.hear(Wait::No)
    }

    /// Takes the next record in, if there is one.
    fn take(
        &self,
        half: &mut Receiving,
        scratch: &mut Vec<u8>,
    ) -> Result<Option<Message>, Silence> {
        if half.broken {
            return Ok(None);
        }
        match half.consumer.pop(scratch) {
            Ok(false) => return Ok(None),
            Ok(true) => {}
            Err(_) => return Err(half.give_up()),
        }
        half.received += 1;
        let opened = self.open(half, std::mem::take(scratch));
        self.places.have_taken_in(half.consumer.position());
        self.wake_senders();
        if opened.as_ref().is_ok_and(|message| !message.bodies.is_empty()) {
            // A buffer that came back may be this end's alone by now.
            self.places.take_back();
        }
        opened.map(Some).map_err(Silence::Unsound)
    }

    /// Finds what the record names.
    fn open(&self, half: &mut Receiving, bytes: Vec<u8>) -> Result<Message, CodecError> {
        match record::read(&bytes).ok_or_else(nonsense)? {
            Record::Value(metadata) => {
                let metadata = bytes.len() - metadata.len()..bytes.len();
                Ok(Message { bytes, metadata, bodies: Vec::new() })
            }
            Record::Frame(frame) => {
                let frame = frame.to_vec();
                self.open_frame(half, frame)
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
                self.open_frame(half, block.to_vec())
            }
        }
    }

    fn open_frame(&self, half: &mut Receiving, bytes: Vec<u8>) -> Result<Message, CodecError> {
        let check = SegmentCheck(|range, generation| self.check(range, generation));
        let limits = pool_limits();
        let mut parsed = Frame::parse_head_with(&bytes, &limits, &check);
        if matches!(parsed, Err(FrameError::Segment { why: SegmentFault::Unknown, .. })) {
            // Its descriptor was sent before the record, so it is there by now.
            self.hear_all(half)?;
            parsed = Frame::parse_head_with(&bytes, &limits, &check);
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
        let metadata = metadata..metadata + frame.metadata().len();
        Ok(Message { bytes, metadata, bodies })
    }

    fn hear_all(&self, half: &mut Receiving) -> Result<(), CodecError> {
        for _ in 0..AT_MOST {
            let Ok(heard) = self.hear(Wait::No) else {
                half.give_up();
                return Err(nonsense());
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
        let (buffer, name) = attached.lease((segment, offset, len), generation)?;
        // It is in use from now on, until the link is told otherwise.
        attached.complete(&[name], |_| {});
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
