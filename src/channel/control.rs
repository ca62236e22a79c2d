//! One end of a worker's connection: messages over a seqpacket socket.
//!
//! Promises: [`Outbox`] never waits and keeps the order of what it was given; a message that cannot
//! be read is an error that names nothing but the fact.
//! Does not know: what the messages mean. The rings that will carry the frames take this module's
//! place under the same calls.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::message::{self, INLINE_FRAME_MAX};
use crate::sys::socket::{Received, Socket, Wait};

/// Room for the longest message: a frame in the message, and a head.
const SPACE: usize = INLINE_FRAME_MAX + (128 << 10);

/// One end of a connection.
#[derive(Debug)]
pub(crate) struct Control {
    socket: Socket,
}

/// A message that was received.
#[derive(Debug)]
pub(crate) struct Parcel<M> {
    pub(crate) message: M,
    /// The bytes of a frame that travels in the message.
    pub(crate) frame: Vec<u8>,
    pub(crate) fds: Vec<OwnedFd>,
}

/// What there is to receive.
#[derive(Debug)]
pub(crate) enum Incoming<M> {
    Parcel(Parcel<M>),
    /// Nothing yet.
    Empty,
    /// The other side is gone; everything it sent has been received.
    Closed,
    /// Something that is no message of ours.
    Garbage,
}

impl Control {
    pub(crate) fn new(socket: Socket) -> Self {
        Control { socket }
    }

    /// The socket itself, for what is said before the first message.
    pub(crate) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Room for [`recv`](Self::recv), to be used again and again.
    pub(crate) fn space() -> Vec<u8> {
        vec![0; SPACE]
    }

    /// Sends a message and waits until there is room for it. For the worker's side.
    pub(crate) fn send<M: Serialize>(&self, message: &M, frame: &[u8]) -> io::Result<()> {
        self.socket.send(&[&message::encode_head(message), frame], &[], Wait::Yes)
    }

    pub(crate) fn recv<M: DeserializeOwned>(
        &self,
        space: &mut [u8],
        wait: Wait,
    ) -> io::Result<Incoming<M>> {
        let (len, fds) = match self.socket.recv(space, wait)? {
            Received::Message(len, fds) => (len, fds),
            Received::Empty => return Ok(Incoming::Empty),
            Received::Closed => return Ok(Incoming::Closed),
        };
        let Some((message, frame)) = message::decode(&space[..len]) else {
            return Ok(Incoming::Garbage);
        };
        Ok(Incoming::Parcel(Parcel { message, frame: frame.to_vec(), fds }))
    }
}

impl AsFd for Control {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Whether everything given to an [`Outbox`] is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SendState {
    Done,
    /// The socket is full: call [`Outbox::flush`] when it can be written.
    Waiting,
}

/// What is to be sent by somebody who must not wait.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    waiting: VecDeque<Outgoing>,
}

#[derive(Debug)]
struct Outgoing {
    head: Vec<u8>,
    frame: bytes::Bytes,
    fd: Option<Arc<OwnedFd>>,
}

impl Outbox {
    /// Adds a message at the end, to go when [`flush`](Self::flush) is called.
    pub(crate) fn push<M: Serialize>(
        &mut self,
        message: &M,
        frame: bytes::Bytes,
        fd: Option<Arc<OwnedFd>>,
    ) {
        self.waiting.push_back(Outgoing { head: message::encode_head(message), frame, fd });
    }

    /// Sends as much as the socket takes now.
    pub(crate) fn flush(&mut self, control: &Control) -> io::Result<SendState> {
        while let Some(message) = self.waiting.front() {
            let fds: Vec<BorrowedFd<'_>> = message.fd.iter().map(|fd| fd.as_fd()).collect();
            match control.socket.send(&[&message.head, &message.frame], &fds, Wait::No) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(SendState::Waiting);
                }
                Err(error) => return Err(error),
            }
            self.waiting.pop_front();
        }
        Ok(SendState::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::ToWorker;

    #[test]
    fn a_full_socket_keeps_what_is_to_be_sent() {
        let (ours, theirs) = Socket::pair().unwrap();
        let (ours, theirs) = (Control::new(ours), Control::new(theirs));
        let frame = bytes::Bytes::from(vec![5; INLINE_FRAME_MAX]);
        let mut outbox = Outbox::default();
        for context in 0..40 {
            outbox.push(&ToWorker::Forget { context }, frame.clone(), None);
        }
        assert_eq!(outbox.flush(&ours).unwrap(), SendState::Waiting);
        let mut space = Control::space();
        for context in 0..40 {
            outbox.flush(&ours).unwrap();
            let received = theirs.recv::<ToWorker>(&mut space, Wait::No).unwrap();
            let Incoming::Parcel(parcel) = received else {
                panic!("message {context} has not come");
            };
            assert_eq!(parcel.message, ToWorker::Forget { context });
            assert_eq!(parcel.frame, frame);
        }
        assert_eq!(outbox.flush(&ours).unwrap(), SendState::Done);
    }

    #[test]
    fn bytes_that_are_no_message_are_garbage() {
        let (ours, theirs) = Socket::pair().unwrap();
        let control = Control::new(theirs);
        let mut space = Control::space();
        for message in [&[1_u8][..], &[255; 40], &[9, 0, 0, 0, 1], &[1, 0, 0, 0, 0xc1]] {
            ours.send(&[message], &[], Wait::Yes).unwrap();
            let received = control.recv::<ToWorker>(&mut space, Wait::Yes).unwrap();
            assert!(matches!(received, Incoming::Garbage), "{message:?}");
        }
    }
}
