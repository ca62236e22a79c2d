//! Why nothing was sent, or nothing received.
//!
//! Promises: what was not sent comes back with the error.
#![forbid(unsafe_code)]

use std::{fmt, io};

use super::receive::Silence;
use crate::codec::CodecError;

/// Why [`send`](super::Channel::send) has not sent; the value comes back.
///
/// # Examples
///
/// ```
/// use pannier::channel::{self, SendError};
///
/// let (ours, theirs) = channel::pair::<String, ()>()?;
/// drop(theirs);
/// let Err(SendError::Closed(value)) = ours.send("unheard".to_owned()) else { panic!() };
/// assert_eq!(value, "unheard");
/// # Ok::<(), pannier::Error>(())
/// ```
#[non_exhaustive]
pub enum SendError<S> {
    /// Nobody will receive it: the peer has closed its end, or is gone.
    Closed(S),
    /// The value cannot be written, or there is no memory for its buffers.
    Encode(S, CodecError),
}

/// Why [`try_send`](super::Channel::try_send) has not sent; the value comes back.
///
/// # Examples
///
/// ```
/// use pannier::channel::{self, TrySendError};
///
/// let (ours, _theirs) = channel::pair::<u32, ()>()?;
/// let refused = (0..).find_map(|n| ours.try_send(n).err());
/// assert!(matches!(refused, Some(TrySendError::Full(n)) if n > 0));
/// # Ok::<(), pannier::Error>(())
/// ```
#[non_exhaustive]
pub enum TrySendError<S> {
    /// There is no room until the peer has received something.
    Full(S),
    /// Nobody will receive it: the peer has closed its end, or is gone.
    Closed(S),
    /// The value cannot be written, or there is no memory for its buffers.
    Encode(S, CodecError),
}

impl<S> SendError<S> {
    /// The value that was not sent.
    ///
    /// # Examples
    ///
    /// ```
    /// let (ours, theirs) = pannier::channel::pair::<u32, ()>()?;
    /// drop(theirs);
    /// assert_eq!(ours.send(7).unwrap_err().into_inner(), 7);
    /// # Ok::<(), pannier::Error>(())
    /// ```
    #[must_use]
    pub fn into_inner(self) -> S {
        let (SendError::Closed(value) | SendError::Encode(value, _)) = self;
        value
    }
}

impl<S> TrySendError<S> {
    /// The value that was not sent.
    ///
    /// # Examples
    ///
    /// ```
    /// let (ours, theirs) = pannier::channel::pair::<u32, ()>()?;
    /// drop(theirs);
    /// assert_eq!(ours.try_send(7).unwrap_err().into_inner(), 7);
    /// # Ok::<(), pannier::Error>(())
    /// ```
    #[must_use]
    pub fn into_inner(self) -> S {
        use TrySendError::{Closed, Encode, Full};
        let (Full(value) | Closed(value) | Encode(value, _)) = self;
        value
    }
}

/// Why [`recv`](super::Channel::recv) has nothing.
///
/// # Examples
///
/// ```
/// use pannier::channel::{self, RecvError};
///
/// let (ours, theirs) = channel::pair::<(), u32>()?;
/// theirs.send(7).unwrap();
/// drop(theirs);
/// assert_eq!(ours.recv().unwrap(), 7);
/// assert!(matches!(ours.recv(), Err(RecvError::Closed)));
/// # Ok::<(), pannier::Error>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum RecvError {
    /// The peer closed its end on purpose; everything it sent has been received.
    Closed,
    /// The peer went without a word; everything it sent has been received.
    Died,
    /// What came is unsound, or a value of another type; it is gone, and the next may be better.
    Decode(CodecError),
    /// This process cannot take it now, for want of descriptors or memory. Nothing is lost: once
    /// there is some again it is received.
    Io(io::Error),
}

/// Why [`try_recv`](super::Channel::try_recv) or
/// [`recv_timeout`](super::Channel::recv_timeout) has nothing.
///
/// # Examples
///
/// ```
/// use pannier::channel::{self, TryRecvError};
///
/// let (ours, _theirs) = channel::pair::<(), u32>()?;
/// assert!(matches!(ours.try_recv(), Err(TryRecvError::Empty)));
/// # Ok::<(), pannier::Error>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum TryRecvError {
    /// Nothing yet.
    Empty,
    /// The peer closed its end on purpose; everything it sent has been received.
    Closed,
    /// The peer went without a word; everything it sent has been received.
    Died,
    /// What came is unsound, or a value of another type; it is gone, and the next may be better.
    Decode(CodecError),
    /// This process cannot take it now, for want of descriptors or memory. Nothing is lost: once
    /// there is some again it is received.
    Io(io::Error),
}

/// Prints the reason, never the value: it need not be printable.
impl<S> fmt::Debug for SendError<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SendError::Closed(_) => f.write_str("Closed(..)"),
            SendError::Encode(_, error) => debug_encode(f, error),
        }
    }
}

/// Prints the reason, never the value: it need not be printable.
impl<S> fmt::Debug for TrySendError<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TrySendError::Full(_) => f.write_str("Full(..)"),
            TrySendError::Closed(_) => f.write_str("Closed(..)"),
            TrySendError::Encode(_, error) => debug_encode(f, error),
        }
    }
}

fn debug_encode(f: &mut fmt::Formatter<'_>, error: &CodecError) -> fmt::Result {
    f.debug_tuple("Encode").field(&format_args!("..")).field(error).finish()
}

impl<S> fmt::Display for SendError<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SendError::Closed(_) => NOBODY,
            SendError::Encode(..) => UNWRITABLE,
        })
    }
}

impl<S> fmt::Display for TrySendError<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TrySendError::Full(_) => "the channel is full; the peer has to receive first",
            TrySendError::Closed(_) => NOBODY,
            TrySendError::Encode(..) => UNWRITABLE,
        })
    }
}

impl fmt::Display for RecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RecvError::Closed => CLOSED,
            RecvError::Died => DIED,
            RecvError::Decode(_) => UNREADABLE,
            RecvError::Io(_) => SHORT,
        })
    }
}

impl fmt::Display for TryRecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TryRecvError::Empty => "nothing has come yet",
            TryRecvError::Closed => CLOSED,
            TryRecvError::Died => DIED,
            TryRecvError::Decode(_) => UNREADABLE,
            TryRecvError::Io(_) => SHORT,
        })
    }
}

impl<S> std::error::Error for SendError<S> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            SendError::Encode(_, error) => Some(error),
            SendError::Closed(_) => None,
        }
    }
}

impl<S> std::error::Error for TrySendError<S> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            TrySendError::Encode(_, error) => Some(error),
            TrySendError::Full(_) | TrySendError::Closed(_) => None,
        }
    }
}

impl std::error::Error for RecvError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            RecvError::Decode(error) => Some(error),
            RecvError::Io(error) => Some(error),
            RecvError::Closed | RecvError::Died => None,
        }
    }
}

impl std::error::Error for TryRecvError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            TryRecvError::Decode(error) => Some(error),
            TryRecvError::Io(error) => Some(error),
            TryRecvError::Empty | TryRecvError::Closed | TryRecvError::Died => None,
        }
    }
}

impl From<Silence> for TryRecvError {
    fn from(silence: Silence) -> Self {
        match silence {
            Silence::Empty => TryRecvError::Empty,
            Silence::Closed => TryRecvError::Closed,
            Silence::Died => TryRecvError::Died,
            Silence::Unsound(error) => TryRecvError::Decode(error),
            Silence::Short(error) => TryRecvError::Io(error),
        }
    }
}

const NOBODY: &str = "nobody will receive it: the peer has closed its end or is gone";
const UNWRITABLE: &str = "the value cannot be sent";
const CLOSED: &str = "the peer has closed its end";
const DIED: &str = "the peer is gone without closing its end; was its process killed?";
const UNREADABLE: &str = "what was received cannot be read";
const SHORT: &str = "this process has no descriptors or no memory left to receive it; it waits";
