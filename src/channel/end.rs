//! One end of a channel: its socket, its two lanes, and the memory of both sides.
//!
//! Promises: a descriptor from outside is used only when its lanes came with it, of the right size
//! and sealed; an end that was used is not handed to another process.
//! Does not know: the types that travel.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use rustix::io::Errno;

use super::lane::{self, Lane};
use super::place::Places;
use super::receive::Receiving;
use super::record::{NOTE_SPACE, Note};
use super::release::{Link, Returns};
use super::ring::Doorbell;
use super::send::Sending;
use super::spin::InFlight;
use super::stats::Tally;
use crate::shm::{Attached, Memory};
use crate::sys::socket::{Received, Socket, Wait};
use crate::sys::{epoch, memory, wait};

/// An end, whatever its types.
pub(super) struct End {
    pub(super) socket: Socket,
    /// What the peer writes.
    pub(super) inbound: Arc<Lane>,
    /// What this end writes.
    pub(super) outbound: Arc<Lane>,
    pub(super) places: Places,
    pub(super) sending: Mutex<Sending>,
    pub(super) receiving: Mutex<Receiving>,
    /// No receiver sleeps any more.
    pub(super) receiver_awake: Condvar,
    /// The socket has said that the peer is gone.
    pub(super) peer_is_gone: AtomicBool,
    pub(super) tally: Tally,
    /// Bytes in blocks that came or went since something was last waited for.
    pub(super) unanswered: InFlight,
    epoch: u64,
}

/// What the socket has said, as far as the ring is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Nothing,
    Something,
    /// The first message of all.
    Hello,
    /// The peer is gone, with or without goodbye.
    End,
}

/// The peer has sent what cannot be.
#[derive(Debug, thiserror::Error)]
#[error("the peer wrote what no sound peer writes; nothing more is received from it")]
pub(super) struct Nonsense;

/// Why nothing was heard.
#[derive(Debug)]
pub(super) enum Unheard {
    Nonsense,
    /// This process is short of something. What was said will be heard the next time.
    Short(io::Error),
}

impl From<io::Error> for Unheard {
    fn from(error: io::Error) -> Self {
        let short = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::AGAIN, Errno::NOBUFS];
        match Errno::from_io_error(&error) {
            Some(errno) if short.contains(&errno) => Unheard::Short(error),
            _ => Unheard::Nonsense,
        }
    }
}

impl End {
    /// Two ends of a new channel. Each finds its lanes in its socket, as another process would.
    pub(super) fn pair() -> io::Result<(End, End)> {
        let (left, right) = Socket::pair()?;
        let fds = [Lane::create()?, Lane::create()?];
        let lanes = [Lane::attach(&fds[0])?, Lane::attach(&fds[1])?];
        let hello = Note::Hello { words: words() }.to_bytes();
        right.send(&[&hello], &[fds[0].as_fd(), fds[1].as_fd()], Wait::No)?;
        left.send(&[&hello], &[fds[1].as_fd(), fds[0].as_fd()], Wait::No)?;
        let [there, back] = lanes;
        let ends = (End::new(left, there.clone(), back.clone()), End::new(right, back, there));
        Ok(ends)
    }

    /// The end that a descriptor stands for; its peer may be in any process.
    pub(super) fn from_fd(fd: OwnedFd) -> io::Result<End> {
        let socket = Socket::from_fd(fd)?;
        let mut space = [0; NOTE_SPACE];
        // What does not belong here stays there for whom it belongs to.
        let found = socket.peek(&mut space, Wait::No)?;
        let invalid = || io::Error::from(io::ErrorKind::InvalidData);
        let Received::Message(len, fds) = found else { return Err(invalid()) };
        let note = Note::read(&space[..len]);
        let fds: [OwnedFd; 2] = fds.try_into().map_err(|_| invalid())?;
        if note != Some(Note::Hello { words: words() }) {
            return Err(invalid());
        }
        let (outbound, inbound) = (Lane::attach(&fds[0])?, Lane::attach(&fds[1])?);
        if !outbound.claim() {
            return Err(used());
        }
        socket.skip();
        let end = End::new(socket, outbound, inbound);
        end.lock_receiving().hello_is_read = true;
        Ok(end)
    }

    fn new(socket: Socket, outbound: Arc<Lane>, inbound: Arc<Lane>) -> End {
        let link = Link::new(outbound.clone());
        let returns = Returns::new(inbound.clone());
        let own = Memory::new(memory::total_memory());
        End {
            sending: Mutex::new(Sending::new(outbound.clone())),
            receiving: Mutex::new(Receiving::new(inbound.clone())),
            receiver_awake: Condvar::new(),
            places: Places::new(own, Attached::new(link), returns),
            peer_is_gone: AtomicBool::new(false),
            tally: Tally::default(),
            unanswered: InFlight::default(),
            epoch: epoch::current(),
            socket,
            inbound,
            outbound,
        }
    }

    /// Whether this is still the process that the end belongs to.
    pub(super) fn is_here(&self) -> bool {
        self.epoch == epoch::current()
    }

    /// Reads one message of the socket. Only for whoever has the receiving half.
    pub(super) fn hear(&self, wait: Wait) -> Result<Heard, Unheard> {
        let mut space = [0; NOTE_SPACE];
        let (len, fds) = match self.socket.peek(&mut space, wait)? {
            Received::Message(len, fds) => (len, fds),
            Received::Empty => return Ok(Heard::Nothing),
            Received::Closed => {
                self.peer_is_gone.store(true, Ordering::Release);
                return Ok(Heard::End);
            }
        };
        let heard = self.take_note(Note::read(&space[..len]).ok_or(Unheard::Nonsense)?, fds)?;
        self.socket.skip();
        Ok(heard)
    }

    fn take_note(&self, note: Note, fds: Vec<OwnedFd>) -> Result<Heard, Unheard> {
        match note {
            Note::Bell => {}
            Note::Hello { .. } => return Ok(Heard::Hello),
            Note::Detach { segment } => self.places.attached.detach(segment),
            Note::Attach { .. } if self.places.attached.segments() >= SEGMENTS_MAX => {
                return Err(Unheard::Nonsense);
            }
            Note::Attach { segment, len, block_len } => {
                let fd = fds.into_iter().next().ok_or(Unheard::Nonsense)?;
                self.places.attached.attach(segment, (len, block_len), false, fd)?;
            }
        }
        Ok(Heard::Something)
    }

    /// Wakes the peer's receiver, if it sleeps.
    pub(super) fn ring(&self) {
        let bell = Doorbell(self.outbound.data_bell());
        for _ in 0..RINGS {
            match bell.sleeper() {
                None => return,
                Some(way) if way == u64::from(ON_THE_WORD) => {
                    self.tally.rung();
                    return wait::wake_all(self.outbound.data_bell());
                }
                Some(_) => {}
            }
            match self.socket.send(&[&Note::Bell.to_bytes()], &[], Wait::No) {
                Ok(()) => return self.tally.rung(),
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                    return self.peer_is_gone.store(true, Ordering::Release);
                }
                // A full socket wakes as well.
                Err(_) if !wait::is_writable(&self.socket) => return,
                // The kernel is short of memory: nobody was woken, so it is to be done again, at the
                // latest by whoever publishes next.
                Err(_) => {
                    bell.going_to_sleep();
                    std::thread::yield_now();
                }
            }
        }
    }

    /// Closes on purpose.
    pub(super) fn say_goodbye(&self) {
        self.places.attached.link().flush();
        self.outbound.say_goodbye();
        self.ring();
        self.wake_senders();
        self.places.memory.abandon();
    }

    /// The socket alone, for another process; an end that was used is of no use there. In a forked
    /// child nothing is looked at: locks may be held for ever there.
    pub(super) fn into_fd(self) -> OwnedFd {
        if self.is_here() && self.was_used() {
            // Then nobody mistakes it for a new one.
            let _first = self.outbound.claim();
        }
        self.socket.into_fd()
    }

    /// Whether something went through this end in this process.
    pub(super) fn was_used(&self) -> bool {
        self.lock_sending().was_used() || self.lock_receiving().was_used()
    }
}

impl AsFd for End {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// How a receiver sleeps on the bell itself. Otherwise it hears the socket.
pub(super) const ON_THE_WORD: u32 = 2;

/// Maps that a peer may have us make: a process has 65 530 of them by default.
const SEGMENTS_MAX: usize = 4096;

/// Attempts to ring while the kernel has no memory for it.
const RINGS: usize = 100;

/// The size that lanes of this version have.
fn words() -> u64 {
    u64::try_from(lane::COUNT).unwrap_or(u64::MAX)
}

/// An error for the operations of a forked child.
pub(super) fn forked() -> io::Error {
    io::Error::other(crate::error::Error::ForkedHandle)
}

/// An end that cannot be handed over any more.
pub(super) fn used() -> io::Error {
    Errno::BUSY.into()
}
