//! The two ends of a worker's connection: messages through rings, descriptors and bells through a
//! seqpacket socket.
//!
//! A descriptor is sent before the message that needs it is published, so whoever reads that message
//! finds the descriptor in the socket. A bell is a packet of one byte, sent only to a sleeper.
//! Promises: [`ParentEnd`] never waits and keeps the order of what it was given; a message that cannot
//! be read is an error that names nothing but the fact.
//! Does not know: what the messages mean.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;

use super::bell::{Bell, Sleeper};
use super::line::{Answers, CLAIMS, Line, Messages, Pulse, wide};
use super::message::{self, ToParent, ToWorker};
use super::ring::{Broken, Consumer, Producer, Pushed};
use super::spin::Spin;
use crate::sys::fault::fault;
use crate::sys::socket::{Received, Socket, Wait};
use crate::sys::wait;

/// The parent's end.
#[derive(Debug)]
pub(crate) struct ParentEnd {
    socket: Socket,
    line: Arc<Line>,
    messages: Producer<Messages>,
    answers: Consumer<Answers>,
    /// Of the worker that sleeps.
    bell: Bell,
    /// Of the worker that waits for room.
    room_bell: Bell,
    room_rung: u32,
    /// This side waits for room.
    room: Sleeper,
    /// What could not be sent yet, in order.
    waiting: VecDeque<Outgoing>,
    head: Vec<u8>,
    /// How often something was offered.
    offers: u64,
    /// Of the claims, a bit for each that a message has.
    claimed_places: u64,
    /// How often the worker was woken.
    rung: u64,
}

/// A message, and the descriptor that must go before it.
#[derive(Debug)]
struct Outgoing {
    head: Vec<u8>,
    frame: Bytes,
    fd: Option<Arc<OwnedFd>>,
    /// The number under which it may be claimed.
    claim: Option<u64>,
}

/// Whether everything that was given to an end is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SendState {
    Done,
    /// The ring is full: the worker rings when there is room.
    NoRoom,
    /// The socket is full: call [`ParentEnd::flush`] when it can be written.
    SocketFull,
}

/// What there is in the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// A bell, or nothing.
    Bell,
    /// The other side is gone; what it published can still be read.
    Closed,
}

impl ParentEnd {
    pub(crate) fn new(socket: Socket, line: Arc<Line>) -> Self {
        ParentEnd {
            socket,
            messages: Producer::new(Messages(line.clone())),
            answers: Consumer::new(Answers(line.clone())),
            line,
            bell: Bell::default(),
            room_bell: Bell::default(),
            room_rung: 0,
            room: Sleeper::default(),
            waiting: VecDeque::new(),
            head: Vec::new(),
            offers: 0,
            claimed_places: 0,
            rung: 0,
        }
    }

    /// The socket itself, for what is said before the first message.
    pub(crate) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Sends a message, behind what waits.
    pub(crate) fn send(
        &mut self,
        message: &ToWorker,
        frame: &Bytes,
        fd: Option<Arc<OwnedFd>>,
    ) -> io::Result<SendState> {
        let mut head = std::mem::take(&mut self.head);
        message::encode_head(message, &mut head);
        if self.waiting.is_empty() && fd.is_none() && self.push(&[&head, frame])? {
            self.head = head;
            return Ok(SendState::Done);
        }
        let claim = message.claim();
        self.waiting.push_back(Outgoing { head, frame: frame.clone(), fd, claim });
        self.flush()
    }

    /// Sends as much of what waits as there is room for.
    pub(crate) fn flush(&mut self) -> io::Result<SendState> {
        while let Some(next) = self.waiting.front_mut() {
            if let Some(fd) = &next.fd {
                match self.socket.send(&[&[BELL]], &[fd.as_fd()], Wait::No) {
                    Ok(()) => next.fd = None,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        return self.no_way_for_descriptors();
                    }
                    Err(error) => return Err(error),
                }
            }
            let (head, frame) = (std::mem::take(&mut next.head), next.frame.clone());
            if !self.push_or_ask(&[&head, &frame])? {
                self.waiting[0].head = head;
                return Ok(SendState::NoRoom);
            }
            self.waiting.pop_front();
        }
        self.room.awake(self.line.parent_waits());
        Ok(SendState::Done)
    }

    /// The socket is full, or the system has too many descriptors on their way: nobody tells when it
    /// has not, so the worker is asked to ring back.
    fn no_way_for_descriptors(&mut self) -> io::Result<SendState> {
        if !wait::is_writable(&self.socket) {
            return Ok(SendState::SocketFull);
        }
        self.room.going_to_sleep(self.line.parent_waits());
        ring(&self.socket)?;
        Ok(SendState::NoRoom)
    }

    /// As [`push`](Self::push); if there is no room, the worker will ring when there is.
    fn push_or_ask(&mut self, parts: &[&[u8]]) -> io::Result<bool> {
        if self.push(parts)? {
            return Ok(true);
        }
        self.room.going_to_sleep(self.line.parent_waits());
        self.push(parts)
    }

    fn push(&mut self, parts: &[&[u8]]) -> io::Result<bool> {
        match self.messages.push(parts) {
            Ok(Pushed::Yes) => {}
            Ok(Pushed::Full) => return Ok(false),
            Ok(Pushed::TooLong) | Err(Broken) => return Err(io::ErrorKind::InvalidData.into()),
        }
        fault!("parent.after_publish");
        if self.bell.must_ring(self.line.worker_sleeps()) {
            self.rung += 1;
            ring(&self.socket)?;
        }
        Ok(true)
    }

    /// Messages that there was no room for yet.
    pub(crate) fn backlog(&self) -> usize {
        self.waiting.len()
    }

    /// How often the worker was woken.
    pub(crate) fn rung(&self) -> u64 {
        self.rung
    }

    /// Reads the next message into `record`; false: there is none now.
    pub(crate) fn recv(&mut self, record: &mut Vec<u8>) -> Result<bool, Broken> {
        self.answers.pop(record)
    }

    /// After receiving: wakes a worker that waits for room.
    pub(crate) fn tell_room(&mut self) {
        if self.room_bell.must_ring(self.line.worker_waits()) {
            self.room_rung = self.room_rung.wrapping_add(1);
            self.line.room_bell().store(self.room_rung, Ordering::Relaxed);
            wait::wake_all(self.line.room_bell());
        }
    }

    /// Whether there is something to receive.
    pub(crate) fn has_answers(&self) -> bool {
        self.line.has_answers_beyond(self.answers.position())
    }

    /// Takes a bell out of the socket. Mostly it is the only one; others are reported again.
    pub(crate) fn listen(&self) -> io::Result<Heard> {
        Ok(match self.socket.recv(&mut [0; 8], Wait::No)? {
            Received::Message(..) | Received::Empty => Heard::Bell,
            Received::Closed => Heard::Closed,
        })
    }

    /// The number under which a message may be claimed, until it is revoked or settled.
    ///
    /// # Panics
    ///
    /// If [`CLAIMS`] messages have one already.
    pub(crate) fn offer(&mut self) -> u64 {
        let place = u64::from((!self.claimed_places).trailing_zeros());
        assert!(place < wide(CLAIMS), "a worker is sent no more than can be claimed");
        self.claimed_places |= 1 << place;
        self.offers += 1;
        // A record that was revoked may still be unread when its place is offered anew: then its
        // number is another one.
        let number = self.offers * wide(CLAIMS) + place;
        self.line.claim_of(number).offer(number);
        number
    }

    /// Takes a message back, unless the worker has claimed it.
    pub(crate) fn revoke(&mut self, claim: u64) -> bool {
        let revoked = self.line.claim_of(claim).revoke(claim);
        if revoked {
            self.settle(claim);
            self.waiting.retain(|waiting| waiting.claim != Some(claim));
        }
        revoked
    }

    /// The worker is done with a message that it has claimed.
    pub(crate) fn settle(&mut self, claim: u64) {
        self.claimed_places &= !(1 << (claim % wide(CLAIMS)));
    }
}

impl AsFd for ParentEnd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The byte of a bell; a descriptor rings too.
const BELL: u8 = 1;

fn ring(socket: &Socket) -> io::Result<()> {
    for _ in 0..ATTEMPTS {
        match socket.send(&[&[BELL]], &[], Wait::No) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            rung => return rung,
        }
        if !wait::is_writable(socket) {
            // Full of bells that were not heard yet: this one is not needed.
            return Ok(());
        }
        // The system is short of something just now.
        std::thread::yield_now();
    }
    Err(io::ErrorKind::OutOfMemory.into())
}

/// How often one tries to ring. A sleeper that cannot be woken is better given up.
const ATTEMPTS: u32 = 10_000;

/// The worker's end of what it sends; one of its threads at a time.
#[derive(Debug)]
pub(crate) struct AnswerEnd {
    socket: Arc<Socket>,
    line: Arc<Line>,
    pulse: Arc<Pulse>,
    answers: Producer<Answers>,
    bell: Bell,
    room: Sleeper,
    head: Vec<u8>,
}

impl AnswerEnd {
    /// Sends a message, and waits until there is room for it.
    pub(crate) fn send(&mut self, message: &ToParent, frame: &[u8]) -> io::Result<()> {
        let mut head = std::mem::take(&mut self.head);
        message::encode_head(message, &mut head);
        while !self.push(&[&head, frame])? {
            let rung = self.line.room_bell().load(Ordering::Relaxed);
            self.room.going_to_sleep(self.line.worker_waits());
            if self.push(&[&head, frame])? {
                break;
            }
            wait::while_word_is(self.line.room_bell(), rung, PATIENCE);
        }
        self.room.awake(self.line.worker_waits());
        self.head = head;
        Ok(())
    }

    fn push(&mut self, parts: &[&[u8]]) -> io::Result<bool> {
        match self.answers.push(parts) {
            Ok(Pushed::Yes) => {}
            Ok(Pushed::Full) => return Ok(false),
            Ok(Pushed::TooLong) | Err(Broken) => return Err(io::ErrorKind::InvalidData.into()),
        }
        fault!("worker.after_publish");
        if self.bell.must_ring(self.pulse.word()) {
            ring(&self.socket)?;
            fault!("worker.after_bell");
        }
        Ok(true)
    }
}

/// The worker's end of what it receives; one of its threads at a time.
#[derive(Debug)]
pub(crate) struct MessageEnd {
    socket: Arc<Socket>,
    line: Arc<Line>,
    messages: Consumer<Messages>,
    sleeper: Sleeper,
    /// Of the parent that waits for room.
    room_bell: Bell,
    /// `None`: no CPU is left to spin on.
    spin: Option<Spin>,
    /// Descriptors whose messages have not been read yet.
    fds: VecDeque<OwnedFd>,
}

impl MessageEnd {
    /// Reads the next message into `record`; false: there is none now.
    pub(crate) fn recv(&mut self, record: &mut Vec<u8>) -> Result<bool, Broken> {
        self.messages.pop(record)
    }

    /// The descriptor that the message just read came with.
    pub(crate) fn fd(&mut self) -> io::Result<OwnedFd> {
        loop {
            if let Some(fd) = self.fds.pop_front() {
                return Ok(fd);
            }
            self.listen()?;
        }
    }

    /// Waits for a message; it may come back without. The parent is busy with `bytes` before.
    pub(crate) fn wait(&mut self, bytes: u64) -> io::Result<()> {
        let (line, position) = (&self.line, self.messages.position());
        let has_come = || line.has_messages_beyond(position);
        if self.room_bell.must_ring(self.line.parent_waits()) {
            ring(&self.socket)?;
        }
        if self.spin.as_mut().is_some_and(|spin| spin.wait(bytes, has_come)) {
            return Ok(());
        }
        self.sleeper.going_to_sleep(self.line.worker_sleeps());
        let heard = if has_come() { Ok(()) } else { self.listen() };
        self.sleeper.awake(self.line.worker_sleeps());
        heard
    }

    /// Waits for a bell or a descriptor.
    fn listen(&mut self) -> io::Result<()> {
        match self.socket.recv(&mut [0; 8], Wait::Yes)? {
            Received::Message(_bell, fds) => self.fds.extend(fds),
            Received::Empty => {}
            Received::Closed => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
        Ok(())
    }
}

/// The worker's ends of a connection; `spins`: there are CPUs enough to look for messages.
pub(crate) fn worker_ends(
    socket: Socket,
    line: Arc<Line>,
    pulse: Pulse,
    spins: bool,
) -> (AnswerEnd, MessageEnd) {
    let (socket, pulse) = (Arc::new(socket), Arc::new(pulse));
    let answers = AnswerEnd {
        socket: socket.clone(),
        pulse,
        answers: Producer::new(Answers(line.clone())),
        line: line.clone(),
        bell: Bell::default(),
        room: Sleeper::default(),
        head: Vec::new(),
    };
    let messages = MessageEnd {
        socket,
        messages: Consumer::new(Messages(line.clone())),
        line,
        sleeper: Sleeper::default(),
        room_bell: Bell::default(),
        spin: spins.then(Spin::new),
        fds: VecDeque::new(),
    };
    (answers, messages)
}

/// How long to sleep for room before one looks again; the parent's death ends this process anyway.
const PATIENCE: Duration = Duration::from_secs(60);

/// The parent's word that nobody looks for answers, with what it has to remember.
#[derive(Debug)]
pub(crate) struct Watch {
    pulse: Pulse,
    sleeper: Sleeper,
}

impl Watch {
    pub(crate) fn new(pulse: Pulse) -> Self {
        Watch { pulse, sleeper: Sleeper::default() }
    }

    /// From now on answers come without a bell, until [`rest`](Self::rest).
    pub(crate) fn begin(&mut self) {
        self.sleeper.awake(self.pulse.word());
    }

    /// From now on the next answer rings. Look once more behind this.
    pub(crate) fn rest(&mut self) {
        self.sleeper.going_to_sleep(self.pulse.word());
    }
}

#[cfg(test)]
mod tests;
