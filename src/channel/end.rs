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
        let found = socket.recv(&mut space, Wait::No)?;
        let invalid = || io::Error::from(io::ErrorKind::InvalidData);
        let Received::Message(len, fds) = found else { return Err(invalid()) };
        let note = Note::read(&space[..len]);
        let fds: [OwnedFd; 2] = fds.try_into().map_err(|_| invalid())?;
        if note != Some(Note::Hello { words: words() }) {
            return Err(invalid());
        }
        let end = End::new(socket, Lane::attach(&fds[0])?, Lane::attach(&fds[1])?);
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
    pub(super) fn hear(&self, wait: Wait) -> Result<Heard, Nonsense> {
        let mut space = [0; NOTE_SPACE];
        let (len, fds) = match self.socket.recv(&mut space, wait).map_err(|_| Nonsense)? {
            Received::Message(len, fds) => (len, fds),
            Received::Empty => return Ok(Heard::Nothing),
            Received::Closed => {
                self.peer_is_gone.store(true, Ordering::Release);
                return Ok(Heard::End);
            }
        };
        match Note::read(&space[..len]).ok_or(Nonsense)? {
            Note::Bell => {}
            Note::Hello { .. } => return Ok(Heard::Hello),
            Note::Detach { segment } => self.places.attached.detach(segment),
            Note::Attach { .. } if self.places.attached.segments() >= SEGMENTS_MAX => {
                return Err(Nonsense);
            }
            Note::Attach { segment, len, block_len } => {
                let fd = fds.into_iter().next().ok_or(Nonsense)?;
                let mapped = self.places.attached.attach(segment, (len, block_len), false, fd);
                mapped.map_err(|_| Nonsense)?;
            }
        }
        Ok(Heard::Something)
    }

    /// Wakes the peer's receiver, if it sleeps.
    pub(super) fn ring(&self) {
        let bell = Doorbell(self.outbound.data_bell());
        for _ in 0..RINGS {
            if !bell.must_ring() {
                return;
            }
            match self.socket.send(&[&Note::Bell.to_bytes()], &[], Wait::No) {
                Ok(()) => return,
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
        self.places.memory.close();
    }

    /// The socket alone, for another process; an end that was used is of no use there.
    pub(super) fn into_fd(self) -> OwnedFd {
        if self.was_used() && !self.lock_receiving().hello_is_read {
            // Then nobody mistakes it for a new one.
            let _hello = self.hear(Wait::No);
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
