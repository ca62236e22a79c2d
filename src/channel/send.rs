//! The sending half: publishing records, and waiting for room.
//!
//! Promises: a segment's descriptor is sent before the first record that names it; blocks are held
//! for the peer before it hears of them; the lock is held to publish, never to wait.
//! Does not know: values.
#![forbid(unsafe_code)]

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use super::end::End;
use super::lane::{Lane, Records};
use super::pack::{Packed, Shared};
use super::record::Note;
use super::release::PEER;
use super::ring::{Broken, Doorbell, Producer, Pushed};
use super::spin::Spin;
use super::stats::Traffic;
use crate::codec::Copies;
use crate::sys::socket::Wait;
use crate::sys::wait;

/// Bytes in blocks that may wait to be received, unless it is one record alone. What was received
/// is the receiver's to keep.
const UNREAD_MAX: u64 = 64 << 20;

/// So many records with blocks may be unread before it is looked which of them were read meanwhile: a
/// look takes the word away from the CPU that writes it.
const UNREAD_RECORDS: usize = 64;

/// How long one sleeps at a time for room: a peer that died does not wake anybody.
const PATIENCE: Duration = Duration::from_millis(20);

/// What senders share.
#[derive(Debug)]
pub(super) struct Sending {
    producer: Producer<Records>,
    /// Segments that the peer has been sent.
    announced: BTreeSet<u32>,
    /// Segments that the peer is still to unmap.
    retired: Vec<u32>,
    /// Of the records with blocks that may not be received yet: where they end, and the blocks' bytes.
    unread: VecDeque<(u64, u64)>,
    unread_bytes: u64,
    pub(super) spin: Spin,
    pub(super) sent: Traffic,
    pub(super) copies: Copies,
}

/// Why a record was not published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The peer has consumed so far, and must go on.
    NoRoom { consumed: u64 },
    /// The socket takes no descriptor now.
    SocketFull,
    /// Nobody will receive it.
    Closed,
}

impl From<Broken> for Refused {
    fn from(_: Broken) -> Self {
        Refused::Closed
    }
}

impl Sending {
    pub(super) fn new(lane: Arc<Lane>) -> Self {
        Sending {
            producer: Producer::new(Records(lane)),
            announced: BTreeSet::new(),
            retired: Vec::new(),
            unread: VecDeque::new(),
            unread_bytes: 0,
            spin: Spin::new(),
            sent: Traffic::default(),
            copies: Copies::default(),
        }
    }

    pub(super) fn was_used(&self) -> bool {
        self.producer.position() > 0
    }

    /// Whether the record may go: the ring and the limit of unread bytes have room for it.
    fn has_room(&mut self, packed: &Packed) -> Result<(), Refused> {
        let room = self.producer.room(packed.len())?;
        let bytes = packed.bytes();
        let total = self.unread_bytes.saturating_add(bytes);
        let is_little = total <= UNREAD_MAX && self.unread.len() < UNREAD_RECORDS;
        if room == Pushed::Yes && (bytes == 0 || is_little) {
            return Ok(());
        }
        let consumed = self.producer.look()?;
        while let Some(&(_, bytes)) = self.unread.front().filter(|(end, _)| *end <= consumed) {
            self.unread_bytes -= bytes;
            self.unread.pop_front();
        }
        let too_much = self.unread_bytes.saturating_add(bytes) > UNREAD_MAX;
        if room != Pushed::Yes || (too_much && !self.unread.is_empty()) {
            return Err(Refused::NoRoom { consumed });
        }
        Ok(())
    }

    fn push(&mut self, packed: &Packed) -> Result<(), Refused> {
        let pushed = self.producer.push(&[&packed.head, &packed.body])?;
        debug_assert_eq!(pushed, Pushed::Yes, "there was room");
        let Some(shared) = &packed.shared else {
            self.sent.add(packed.len(), 0);
            return Ok(());
        };
        self.unread.push_back((self.producer.position(), shared.bytes));
        self.unread_bytes = self.unread_bytes.saturating_add(shared.bytes);
        self.sent.add(packed.len(), shared.out_of_band);
        self.copies.add(shared.copies);
        Ok(())
    }
}

impl End {
    /// Publishes the record now, or says why not.
    pub(super) fn publish(&self, packed: &Packed) -> Result<(), Refused> {
        if self.inbound.has_said_goodbye() || self.peer_is_gone.load(Ordering::Acquire) {
            return Err(Refused::Closed);
        }
        let mut sending = self.lock_sending();
        if !sending.was_used() {
            // From now on no other descriptor of this end opens it.
            let _first = self.outbound.claim();
        }
        sending.has_room(packed)?;
        if let Some(shared) = packed.shared.as_ref().filter(|shared| !shared.names.is_empty()) {
            self.announce(&mut sending, shared)?;
            self.places.memory.hold(PEER, &shared.names);
        }
        sending.push(packed)?;
        self.unanswered.add(packed.bytes());
        if let Some(shared) = packed.shared.as_ref().filter(|shared| !shared.returned.is_empty()) {
            let position = sending.producer.position();
            self.places.attached.link().has_returned(&shared.returned, position);
        }
        drop(sending);
        self.ring();
        Ok(())
    }

    /// Waits until what stood in the way may be gone.
    pub(super) fn wait_for(&self, refused: Refused) -> Result<(), Refused> {
        match refused {
            Refused::Closed => return Err(refused),
            Refused::SocketFull => {
                let _looked_at_again = wait::writable(&self.socket, PATIENCE);
            }
            Refused::NoRoom { consumed } => {
                let moved = || self.outbound.is_consumed_beyond(consumed);
                // Without the lock. Of several senders that wait one after the other learns.
                let (mut spin, unread) = {
                    let sending = self.lock_sending();
                    (sending.spin, sending.unread_bytes)
                };
                let came = spin.wait(unread, moved);
                self.lock_sending().spin = spin;
                if came {
                    return Ok(());
                }
                // Somebody may wait for blocks on the other side too.
                self.places.attached.link().flush();
                let bell = self.outbound.room_bell();
                Doorbell(bell).going_to_sleep();
                if !moved() && !self.inbound.has_said_goodbye() {
                    self.tally.slept();
                    wait::while_word_is(bell, 1, PATIENCE);
                }
            }
        }
        self.looks_for_peer();
        Ok(())
    }

    /// Whether there is a peer still: one that died says nothing.
    pub(super) fn looks_for_peer(&self) -> bool {
        let is_gone = wait::is_hung_up(&self.socket);
        if is_gone {
            self.peer_is_gone.store(true, Ordering::Release);
        }
        !is_gone
    }

    /// Wakes the peer's senders, if they sleep: there is room.
    pub(super) fn wake_senders(&self) {
        let bell = self.inbound.room_bell();
        if Doorbell(bell).must_ring() {
            self.tally.rung();
            wait::wake_all(bell);
        }
    }

    /// The same after each record, at no cost while nobody sleeps. A sender that goes to sleep at
    /// this moment may be missed: it is seen with the next record, before this end sleeps, or by its
    /// own clock.
    pub(super) fn wake_senders_seen(&self) {
        if self.inbound.room_bell().load(Ordering::Relaxed) != 0 {
            self.wake_senders();
        }
    }

    pub(super) fn lock_sending(&self) -> MutexGuard<'_, Sending> {
        // Nothing panics between two related changes.
        self.sending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends the descriptors of the segments that the record names first, and says which are gone.
    fn announce(&self, sending: &mut Sending, shared: &Shared) -> Result<(), Refused> {
        sending.retired.extend(self.places.memory.take_retired());
        while let Some(&segment) = sending.retired.last() {
            if sending.announced.contains(&segment) {
                self.tell(Note::Detach { segment }, &[])?;
                sending.announced.remove(&segment);
            }
            sending.retired.pop();
        }
        for name in &shared.names {
            let segment = name.segment;
            if sending.announced.contains(&segment) {
                continue;
            }
            let attachment = self.places.memory.attachment(segment);
            let attachment = attachment.expect("a record keeps the segments of its blocks");
            let (len, block_len) = (attachment.len, attachment.block_len);
            self.tell(Note::Attach { segment, len, block_len }, &[attachment.fd.as_fd()])?;
            sending.announced.insert(segment);
        }
        Ok(())
    }

    fn tell(&self, note: Note, fds: &[std::os::fd::BorrowedFd<'_>]) -> Result<(), Refused> {
        match self.socket.send(&[&note.to_bytes()], fds, Wait::No) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(Refused::SocketFull),
            Err(_) => Err(Refused::Closed),
        }
    }
}
