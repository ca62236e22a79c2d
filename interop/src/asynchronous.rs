//! [`AsyncChannel`]: a channel's end among the tasks of tokio.
//!
//! ```text
//!   recv:  ┌──▶ try_recv ── a value, or the end ──▶ out
//!          │       │ Empty: from here on the peer rings
//!          │    readable().await   (a thread of nobody waits)
//!          └─── clear_ready        before the next look, never after it
//! ```
//!
//! tokio hears of a descriptor once each time it becomes readable, and not again while it stays so.
//! Hence the order: receive until `Empty`, which arms the descriptor, then wait, then forget the old
//! readiness, then look. Readiness that is forgotten after looking may have been news.
//! Promises: no value is lost when a future is dropped before it is ready; a peer that closed is
//! told from one that died.
//! Does not know: which runtime of tokio; the one of a single thread will do.
#![expect(unsafe_code, reason = "tokio wants a promise about the descriptor that it waits for")]

use std::io;
use std::sync::Arc;

use pannier::channel::{Channel, RecvError, SendError, TryRecvError, TrySendError};
use pannier::{CodecError, Data};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task;

/// One end of a channel whose methods are asynchronous; any number of tasks may use it.
///
/// # Examples
///
/// ```
/// use pannier::channel;
/// use pannier_interop::AsyncChannel;
///
/// let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
/// runtime.block_on(async {
///     let (ours, theirs) = channel::pair::<u64, u64>()?;
///     let (ours, theirs) = (AsyncChannel::new(ours)?, AsyncChannel::new(theirs)?);
///     let squares = tokio::spawn(async move {
///         while let Ok(number) = theirs.recv().await {
///             theirs.send(number * number).await.expect("somebody asked");
///         }
///     });
///     ours.send(7).await?;
///     assert_eq!(ours.recv().await?, 49);
///     drop(ours);
///     squares.await?;
///     Ok::<(), Box<dyn std::error::Error>>(())
/// })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct AsyncChannel<S, R> {
    /// Shared with the thread that waits for room, if one does.
    fd: AsyncFd<Arc<Channel<S, R>>>,
}

impl<S: Data, R: Data> AsyncChannel<S, R> {
    /// Registers an end with the runtime that this is called in.
    ///
    /// # Errors
    ///
    /// No more descriptors can be waited for.
    ///
    /// # Panics
    ///
    /// Outside of a runtime, or in one without I/O.
    pub fn new(channel: Channel<S, R>) -> io::Result<Self> {
        let channel = Arc::new(channel);
        // SAFETY: a channel names the same descriptor as long as it lives (its `AsFd`), and has it
        // open. The count in `fd` keeps it alive, and is not lent mutably or given away.
        let fd = unsafe { AsyncFd::register_with_interest(channel, Interest::READABLE)? };
        Ok(AsyncChannel { fd })
    }

    /// The end itself, for what needs no waiting: `alloc`, `try_send`.
    pub fn channel(&self) -> &Channel<S, R> {
        self.fd.get_ref()
    }

    /// The next value. A future that is dropped has received nothing.
    ///
    /// # Errors
    ///
    /// As [`Channel::recv`]; and [`CodecError::Io`] when the runtime is shutting down.
    pub async fn recv(&self) -> Result<R, RecvError> {
        // Values that never end must leave other tasks their turn.
        task::consume_budget().await;
        loop {
            match self.channel().try_recv() {
                Ok(value) => return Ok(value),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Closed) => return Err(RecvError::Closed),
                Err(TryRecvError::Decode(error)) => return Err(RecvError::Decode(error)),
                Err(_) => return Err(RecvError::Died),
            }
            let ready = self.fd.readable().await;
            ready.map_err(|error| RecvError::Decode(CodecError::Io(error)))?.clear_ready();
        }
    }

    /// Sends a value. While there is no room for it a thread of the runtime's waits, since room is
    /// nothing that a descriptor tells of; a future that is dropped then has sent it all the same.
    ///
    /// # Errors
    ///
    /// As [`Channel::send`].
    ///
    /// # Panics
    ///
    /// When a `Serialize` of the value's does, or the runtime is shutting down.
    pub async fn send(&self, value: S) -> Result<(), SendError<S>> {
        task::consume_budget().await;
        let value = match self.channel().try_send(value) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Full(value)) => value,
            Err(TrySendError::Encode(value, error)) => return Err(SendError::Encode(value, error)),
            Err(other) => return Err(SendError::Closed(other.into_inner())),
        };
        let channel = self.fd.get_ref().clone();
        let sent = task::spawn_blocking(move || channel.send(value)).await;
        sent.expect("sending panics only where a value's `Serialize` does")
    }
}
