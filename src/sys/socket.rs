//! A connected pair of seqpacket sockets that carry bytes and descriptors (unix(7), SOCK_SEQPACKET).
//!
//! Promises: a message arrives whole or not at all; sending to the dead is an error, not SIGPIPE;
//! received descriptors are close-on-exec, and a message that lost some is an error.
//! Does not know: what the messages mean.
#![forbid(unsafe_code)]

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg,
    sendmsg, socketpair, sockopt,
};

/// Descriptors in one message, at most.
pub(crate) const MAX_FDS: usize = 8;

/// One end of a pair.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
}

/// Whether a call may wait for the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    Yes,
    No,
}

/// What [`Socket::recv`] found.
#[derive(Debug)]
pub(crate) enum Received {
    /// A message of so many bytes at the start of the space, and its descriptors.
    Message(usize, Vec<OwnedFd>),
    /// Nothing yet.
    Empty,
    /// The other end is closed, and everything it sent has been received.
    Closed,
}

impl Socket {
    pub(crate) fn pair() -> io::Result<(Socket, Socket)> {
        let (a, b) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Socket { fd: a }, Socket { fd: b }))
    }

    /// Whether a descriptor from outside is a seqpacket socket.
    pub(crate) fn is_behind(fd: BorrowedFd<'_>) -> bool {
        sockopt::socket_type(fd) == Ok(SocketType::SEQPACKET)
    }

    /// Takes a descriptor from outside, if it is a seqpacket socket whose other end was made by this user.
    pub(crate) fn from_fd(fd: OwnedFd) -> io::Result<Socket> {
        let kind = sockopt::socket_type(&fd)?;
        let peer = sockopt::socket_peercred(&fd)?;
        let ours = kind == SocketType::SEQPACKET && peer.uid == rustix::process::geteuid();
        ours.then_some(Socket { fd }).ok_or_else(|| Errno::PERM.into())
    }

    pub(crate) fn into_fd(self) -> OwnedFd {
        self.fd
    }

    /// Sends the parts as one message. `WouldBlock`: not now, nothing was sent.
    pub(crate) fn send(
        &self,
        parts: &[&[u8]],
        fds: &[BorrowedFd<'_>],
        wait: Wait,
    ) -> io::Result<()> {
        let slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(Errno::TOOMANYREFS.into());
        }
        let flags = SendFlags::NOSIGNAL
            | if wait == Wait::No { SendFlags::DONTWAIT } else { SendFlags::empty() };
        match retry_on_intr(|| sendmsg(&self.fd, &slices, &mut control, flags)) {
            Ok(_) => Ok(()),
            // The system is short of something just now; the connection is as good as it was.
            Err(Errno::NOBUFS | Errno::NOMEM | Errno::TOOMANYREFS) => Err(Errno::AGAIN.into()),
            Err(error) => Err(error.into()),
        }
    }

    /// Receives the next message into `space`, which must have room for the largest.
    ///
    /// # Errors
    ///
    /// `EMFILE` when this process could not be given all its descriptors: then they are lost.
    pub(crate) fn recv(&self, space: &mut [u8], wait: Wait) -> io::Result<Received> {
        self.look(space, wait, RecvFlags::empty())
    }

    /// As [`recv`](Self::recv), but the message stays the next one until it is [skipped](Self::skip),
    /// and so nothing is lost.
    #[cfg(feature = "channel")]
    pub(crate) fn peek(&self, space: &mut [u8], wait: Wait) -> io::Result<Received> {
        self.look(space, wait, RecvFlags::PEEK)
    }

    /// Forgets the next message, if there is one.
    #[cfg(feature = "channel")]
    pub(crate) fn skip(&self) {
        let mut none = RecvAncillaryBuffer::default();
        // What it was is known, and its descriptors are here already.
        let _known = retry_on_intr(|| {
            recvmsg(&self.fd, &mut [IoSliceMut::new(&mut [0])], &mut none, RecvFlags::DONTWAIT)
        });
    }

    fn look(&self, space: &mut [u8], wait: Wait, flags: RecvFlags) -> io::Result<Received> {
        let wait = if wait == Wait::No { RecvFlags::DONTWAIT } else { RecvFlags::empty() };
        let flags = RecvFlags::CMSG_CLOEXEC | wait | flags;
        let mut fd_space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut control = RecvAncillaryBuffer::new(&mut fd_space);
        let received = loop {
            match recvmsg(&self.fd, &mut [IoSliceMut::new(space)], &mut control, flags) {
                // The peer died with unread messages: its own come after this one error.
                Err(Errno::INTR | Errno::CONNRESET) => {}
                Err(Errno::AGAIN) => return Ok(Received::Empty),
                received => break received?,
            }
        };
        let fds: Vec<OwnedFd> = control
            .drain()
            .filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(fds) => Some(fds),
                _ => None,
            })
            .flatten()
            .collect();
        let lacks_descriptors = received.flags.contains(ReturnFlags::CTRUNC);
        if received.flags.contains(ReturnFlags::TRUNC)
            || (lacks_descriptors && fds.len() >= MAX_FDS)
        {
            return Err(Errno::MSGSIZE.into());
        }
        if lacks_descriptors {
            return Err(Errno::MFILE.into());
        }
        if received.bytes == 0 {
            return Ok(Received::Closed);
        }
        Ok(Received::Message(received.bytes, fds))
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
