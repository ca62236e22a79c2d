//! Descriptors for a program that this one did not start: over a Unix socket (unix(7), SCM_RIGHTS).
//!
//! Promises: what was received is close-on-exec, as many as were asked for, and closed otherwise.
//! Does not know: what they are. A channel's end and a sealed segment are checked by those who make
//! something of them: [`Channel::from_fd`](pannier::channel::Channel::from_fd),
//! [`SealedSegment::attach`](pannier::shm::SealedSegment::attach).

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::io::retry_on_intr;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// Descriptors that go at once, at most.
const MAX: usize = 8;

/// Sends these descriptors, up to 8; the receiver has its own copies of them.
///
/// # Errors
///
/// `InvalidInput` for more than that; what sendmsg(2) says else.
///
/// # Examples
///
/// ```
/// use std::os::{fd::AsFd, unix::net::UnixStream};
///
/// use pannier::shm::{SealedSegment, Segment};
/// use pannier_interop::{receive_descriptors, send_descriptors};
///
/// let (here, there) = UnixStream::pair()?;
/// send_descriptors(&here, &[Segment::create(5)?.seal()?.as_fd()])?;
/// let [fd] = receive_descriptors(&there)?;
/// assert_eq!(SealedSegment::attach(fd)?.len(), 5);
/// # Ok::<(), pannier::Error>(())
/// ```
pub fn send_descriptors(stream: &UnixStream, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if fds.len() > MAX || !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // Descriptors travel with a byte or not at all.
    let byte = [IoSlice::new(&[0])];
    retry_on_intr(|| sendmsg(stream, &byte, &mut control, SendFlags::NOSIGNAL))?;
    Ok(())
}

/// Waits for descriptors, as many as there are names on the left.
///
/// # Errors
///
/// `UnexpectedEof` when the peer has gone, `InvalidData` for another number of them; what recvmsg(2)
/// says else.
///
/// # Examples
///
/// See [`send_descriptors`].
pub fn receive_descriptors<const N: usize>(stream: &UnixStream) -> io::Result<[OwnedFd; N]> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let received = retry_on_intr(|| {
        let mut byte = [IoSliceMut::new(&mut byte)];
        recvmsg(stream, &mut byte, &mut control, RecvFlags::CMSG_CLOEXEC)
    })?;
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            fds.extend(received);
        }
    }
    if received.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let is_cut = received.flags.contains(ReturnFlags::CTRUNC);
    let fds = fds.try_into().ok().filter(|_| !is_cut);
    fds.ok_or_else(|| io::ErrorKind::InvalidData.into())
}
