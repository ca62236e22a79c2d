//! [`Channel`]: values to and from one peer.
//!
//! Promises: values are encoded and decoded on the caller's thread, under no lock.
//! Does not know: where the peer is.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::process::Command;
use std::time::{Duration, Instant};

use bytemuck::Pod;

use super::end::{End, forked, used};
use super::error::{RecvError, SendError, TryRecvError, TrySendError};
use super::pack::pack;
use super::receive::{Message, Silence, Until};
use super::send::Refused;
use super::sink::channel_limits;
use super::stats::Stats;
use crate::buffer::{BufferMut, alloc, element_bytes};
use crate::codec::{Bodies, CodecError, Copies, Data, Reader};
use crate::error::{Error, Result};
use crate::frame::check_metadata;
use crate::shm::Store;
use crate::sys::inherit;

/// A new channel: what one end sends, the other receives.
///
/// Both are in this process; [`hand_to`](Channel::hand_to) gives one to another.
///
/// # Errors
///
/// [`Error::Io`]: no descriptors or no memory.
///
/// # Examples
///
/// ```
/// use pannier::{Buffer, channel};
///
/// let (ours, theirs) = channel::pair::<Buffer<f64>, f64>()?;
/// std::thread::spawn(move || {
///     while let Ok(column) = theirs.recv() {
///         theirs.send(column.iter().sum()).expect("somebody asked");
///     }
/// });
/// ours.send(vec![0.5; 100_000].into()).unwrap();
/// assert_eq!(ours.recv().unwrap(), 50_000.0);
/// # Ok::<(), pannier::Error>(())
/// ```
pub fn pair<S: Data, R: Data>() -> Result<(Channel<S, R>, Channel<R, S>)> {
    let (left, right) = End::pair()?;
    Ok((Channel::new(left), Channel::new(right)))
}

/// One end of a channel; `Send + Sync` whatever `S` and `R` are.
///
/// Large buffers travel in shared memory. A received [`Buffer`](crate::Buffer) is a view of the
/// sender's memory, which gets it back when the last handle is dropped, on any thread, also after
/// the channel. Sent back, it is not copied.
///
/// Dropping an end closes it. Several threads may send and receive; each value is received once.
///
/// In a forked child every operation is refused, and nothing is touched.
///
/// # Examples
///
/// ```
/// use pannier::channel::{self, TryRecvError};
///
/// let (ours, theirs) = channel::pair::<String, u32>()?;
/// ours.send("east".to_owned()).unwrap();
/// assert_eq!(theirs.recv().unwrap(), "east");
/// assert!(matches!(theirs.try_recv(), Err(TryRecvError::Empty)));
/// # Ok::<(), pannier::Error>(())
/// ```
pub struct Channel<S, R> {
    /// Taken only when the channel goes.
    end: Option<End>,
    types: PhantomData<fn(S) -> R>,
}

impl<S, R> Channel<S, R> {
    fn new(end: End) -> Self {
        Channel { end: Some(end), types: PhantomData }
    }

    fn end(&self) -> &End {
        self.end.as_ref().expect("an end is taken only when the channel goes")
    }
}

impl<S: Data, R: Data> Channel<S, R> {
    /// Sends a value, and waits while there is no room for it.
    ///
    /// Returns when the value is published, not when it is received.
    ///
    /// # Errors
    ///
    /// [`Closed`](SendError::Closed) when nobody will receive it, [`Encode`](SendError::Encode) when
    /// it cannot be written; the value comes back.
    ///
    /// # Examples
    ///
    /// ```
    /// let (ours, theirs) = pannier::channel::pair::<u32, ()>()?;
    /// ours.send(7).unwrap();
    /// assert_eq!(theirs.recv().unwrap(), 7);
    /// # Ok::<(), pannier::Error>(())
    /// ```
    pub fn send(&self, value: S) -> std::result::Result<(), SendError<S>> {
        let end = self.end();
        if !end.is_here() {
            return Err(SendError::Encode(value, CodecError::Io(forked())));
        }
        let packed = match pack(&end.places, &value, memory()) {
            Ok(packed) => packed,
            Err(error) => return Err(SendError::Encode(value, error)),
        };
        while let Err(refused) = end.publish(&packed) {
            if end.wait_for(refused).is_err() {
                return Err(SendError::Closed(value));
            }
        }
        keep(packed.body);
        Ok(())
    }

    /// Sends a value if there is room for it now.
    ///
    /// # Errors
    ///
    /// [`Full`](TrySendError::Full) when there is not; else as [`send`](Self::send).
    ///
    /// # Examples
    ///
    /// ```
    /// let (ours, _theirs) = pannier::channel::pair::<u32, ()>()?;
    /// assert!(ours.try_send(7).is_ok());
    /// # Ok::<(), pannier::Error>(())
    /// ```
    pub fn try_send(&self, value: S) -> std::result::Result<(), TrySendError<S>> {
        let end = self.end();
        if !end.is_here() {
            return Err(TrySendError::Encode(value, CodecError::Io(forked())));
        }
        let packed = match pack(&end.places, &value, memory()) {
            Ok(packed) => packed,
            Err(error) => return Err(TrySendError::Encode(value, error)),
        };
        match end.publish(&packed) {
            Ok(()) => {
                keep(packed.body);
                Ok(())
            }
            Err(Refused::NoRoom { .. } | Refused::SocketFull) if end.looks_for_peer() => {
                Err(TrySendError::Full(value))
            }
            Err(_) => Err(TrySendError::Closed(value)),
        }
    }

    /// Receives the next value, and waits while there is none.
    ///
    /// # Errors
    ///
    /// [`Closed`](RecvError::Closed) or [`Died`](RecvError::Died) when everything that the peer sent
    /// has been received and nothing will follow; [`Decode`](RecvError::Decode) for something that
    /// is no value of this type; [`Io`](RecvError::Io) when this process has no descriptor or memory
    /// for it, and then it can be received later.
    ///
    /// # Examples
    ///
    /// ```
    /// let (ours, theirs) = pannier::channel::pair::<u32, ()>()?;
    /// let sender = std::thread::spawn(move || ours.send(7).unwrap());
    /// assert_eq!(theirs.recv().unwrap(), 7);
    /// # sender.join().unwrap();
    /// # Ok::<(), pannier::Error>(())
    /// ```
    pub fn recv(&self) -> std::result::Result<R, RecvError> {
        loop {
            match self.receive(Until::Ever) {
                Ok(value) => return Ok(value),
                Err(Silence::Empty) => {}
                Err(Silence::Closed) => return Err(RecvError::Closed),
                Err(Silence::Died) => return Err(RecvError::Died),
                Err(Silence::Unsound(error)) => return Err(RecvError::Decode(error)),
                Err(Silence::Short(error)) => return Err(RecvError::Io(error)),
            }
        }
    }

    /// Receives the next value if there is one.
    ///
    /// # Errors
    ///
    /// [`Empty`](TryRecvError::Empty) when there is none; from then on the descriptor
    /// ([`AsFd`]) is readable as soon as there is something to receive or the peer has gone, unless
    /// another thread sleeps in [`recv`](Self::recv): then that one is woken. Else as
    /// [`recv`](Self::recv).
    ///
    /// # Examples
    ///
    /// ```
    /// use pannier::channel::TryRecvError;
    ///
    /// let (ours, theirs) = pannier::channel::pair::<u32, ()>()?;
    /// assert!(matches!(theirs.try_recv(), Err(TryRecvError::Empty)));
    /// ours.send(7).unwrap();
    /// assert_eq!(theirs.try_recv().unwrap(), 7);
    /// # Ok::<(), pannier::Error>(())
    /// ```
    pub fn try_recv(&self) -> std::result::Result<R, TryRecvError> {
        self.receive(Until::Now).map_err(TryRecvError::from)
    }

    /// Receives the next value, and waits at most `d` for it.
    ///
    /// # Errors
    ///
    /// [`Empty`](TryRecvError::Empty) when none came in time; else as [`recv`](Self::recv).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let (_ours, theirs) = pannier::channel::pair::<u32, ()>()?;
    /// assert!(theirs.recv_timeout(Duration::from_millis(1)).is_err());
    /// # Ok::<(), pannier::Error>(())
    /// ```
    pub fn recv_timeout(&self, d: Duration) -> std::result::Result<R, TryRecvError> {
        // A time beyond all clocks never comes.
        let until = Instant::now().checked_add(d).map_or(Until::Ever, Until::Time);
        self.receive(until).map_err(TryRecvError::from)
    }

    /// A writable buffer of `len` items in this end's memory, with whatever the block held before.
    ///
    /// What is built there is sent without a copy. The block is used again once this end and the
    /// peer have dropped it. Blocks begin at multiples of 4096 bytes; items cannot be aligned to more.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`] when `len` items are more than the machine and the control groups of
    /// this process have left; [`Error::Io`] when there are no descriptors left;
    /// [`Error::ForkedHandle`] in a forked child.
    ///
    /// # Examples
    ///
    /// ```
    /// use pannier::{Buffer, channel};
    ///
    /// let (ours, theirs) = channel::pair::<Buffer<f64>, ()>()?;
    /// let mut column = ours.alloc::<f64>(100_000)?;
    /// column.fill(0.5);
    /// ours.send(column.freeze()).unwrap();
    /// assert_eq!(theirs.recv().unwrap().iter().sum::<f64>(), 50_000.0);
    /// assert_eq!(ours.stats().payload_copies, 0);
    /// # Ok::<(), pannier::Error>(())
    /// ```
    pub fn alloc<T: Pod>(&self, len: usize) -> Result<BufferMut<T>> {
        self.allocate(len, false)
    }

    /// As [`alloc`](Self::alloc), with every byte zero.
    ///
    /// # Errors
    ///
    /// As [`alloc`](Self::alloc).
    ///
    /// # Examples
    ///
    /// ```
    /// let (ours, _theirs) = pannier::channel::pair::<pannier::Buffer<u32>, ()>()?;
    /// assert_eq!(*ours.alloc_zeroed::<u32>(3)?, [0, 0, 0]);
    /// # Ok::<(), pannier::Error>(())
    /// ```
    pub fn alloc_zeroed<T: Pod>(&self, len: usize) -> Result<BufferMut<T>> {
        self.allocate(len, true)
    }

    fn allocate<T: Pod>(&self, len: usize, zeroed: bool) -> Result<BufferMut<T>> {
        const { assert!(align_of::<T>() <= 4096, "blocks begin at multiples of 4096 bytes") };
        let end = self.end();
        if !end.is_here() {
            return Err(Error::ForkedHandle);
        }
        match element_bytes::<T>(len)? {
            // Nothing to keep: no block for it.
            0 => alloc(0),
            bytes => end.places.alloc(bytes, zeroed)?.cast_aligned(),
        }
    }

    /// What this end has done so far.
    ///
    /// In a forked child all is zero.
    ///
    /// # Examples
    ///
    /// ```
    /// use pannier::{Buffer, channel};
    ///
    /// let (ours, _theirs) = channel::pair::<Buffer<u8>, ()>()?;
    /// ours.send(vec![7; 100_000].into()).unwrap();
    /// let stats = ours.stats();
    /// assert_eq!((stats.sent, stats.sent_out_of_band), (1, 100_000));
    /// assert_eq!((stats.payload_copies, stats.blocks_live), (1, 1));
    /// # Ok::<(), pannier::Error>(())
    /// ```
    #[must_use]
    pub fn stats(&self) -> Stats {
        let end = self.end();
        if end.is_here() { end.stats() } else { Stats::default() }
    }

    /// Gives this end to the program that `command` starts, which finds it by
    /// [`from_env`](Self::from_env) under the same name.
    ///
    /// Drop the command once the program runs: until then it keeps the descriptor open here, and
    /// this process does not notice when the program dies.
    ///
    /// # Errors
    ///
    /// [`Error::Io`]: a name that is empty or contains `=` or a zero byte, a name
    /// that this command has already, or an end that was used.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use pannier::channel;
    ///
    /// let (ours, theirs) = channel::pair::<String, u32>()?;
    /// let mut command = std::process::Command::new("counter");
    /// theirs.hand_to(&mut command, "words")?;
    /// let mut child = command.spawn()?;
    /// drop(command);
    /// ours.send("how many words are these".to_owned()).unwrap();
    /// println!("{}", ours.recv().unwrap());
    /// # child.wait()?;
    /// # Ok::<(), pannier::Error>(())
    /// ```
    ///
    /// # Platform
    ///
    /// The command starts by fork and exec, without the shortcut that [`Command`] otherwise takes:
    /// a process with a large memory pays for it.
    pub fn hand_to(mut self, command: &mut Command, name: &str) -> Result<()> {
        let variable = variable(name)?;
        if !self.end().is_here() {
            return Err(Error::ForkedHandle);
        }
        if self.end().was_used() {
            return Err(used().into());
        }
        if command.get_envs().any(|(name, value)| name == &*variable && value.is_some()) {
            return Err(std::io::Error::from(std::io::ErrorKind::AlreadyExists).into());
        }
        let end = self.end.take().expect("an end is taken only when the channel goes");
        Ok(inherit::give(command, &variable, end.into_fd())?)
    }

    /// The end that the parent gave this program under that name.
    ///
    /// # Errors
    ///
    /// [`Error::Io`]: `NotFound` when there is none, `AlreadyExists` when it was
    /// found before; else as [`from_fd`](Self::from_fd).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// let channel = pannier::channel::Channel::<u32, String>::from_env("words")?;
    /// while let Ok(text) = channel.recv() {
    ///     let count = text.split_whitespace().count();
    ///     channel.send(u32::try_from(count).unwrap_or(u32::MAX)).unwrap();
    /// }
    /// # Ok::<(), pannier::Error>(())
    /// ```
    pub fn from_env(name: &str) -> Result<Self> {
        Self::from_fd(inherit::take(&variable(name)?)?)
    }

    /// The end that a descriptor stands for, as [`into_fd`](Self::into_fd) gave it, here or in
    /// another process.
    ///
    /// The types must be those of the pair; others make [`Decode`](RecvError::Decode) errors.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when it is no socket of a channel, when its memory is not
    /// sealed or of another size or version, when the end was used before, or when another user made it.
    ///
    /// # Examples
    ///
    /// ```
    /// use pannier::channel::{self, Channel};
    ///
    /// let (ours, theirs) = channel::pair::<u32, ()>()?;
    /// let theirs = Channel::<(), u32>::from_fd(theirs.into_fd())?;
    /// ours.send(7).unwrap();
    /// assert_eq!(theirs.recv().unwrap(), 7);
    /// # Ok::<(), pannier::Error>(())
    /// ```
    pub fn from_fd(fd: OwnedFd) -> Result<Self> {
        Ok(Channel::new(End::from_fd(fd)?))
    }

    /// The descriptor that is this end, for another process.
    ///
    /// Only an end that has neither sent nor received here can go on elsewhere; of another one the
    /// descriptor is good for nothing but to keep the peer waiting.
    ///
    /// # Examples
    ///
    /// See [`from_fd`](Self::from_fd).
    pub fn into_fd(mut self) -> OwnedFd {
        self.end.take().expect("an end is taken only when the channel goes").into_fd()
    }

    fn receive(&self, until: Until) -> std::result::Result<R, Silence> {
        let end = self.end();
        if !end.is_here() {
            return Err(Silence::Unsound(CodecError::Io(forked())));
        }
        let mut scratch = memory();
        let message = end.next(until, &mut scratch);
        if scratch.capacity() > 0 {
            keep(scratch);
        }
        let (value, copies) = decode(message?);
        end.tally.copied(copies);
        value.map_err(Silence::Unsound)
    }
}

thread_local! {
    /// Memory of the last record that this thread has written or read, to be used again.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Longer ones are given back: one large message is no reason to keep its memory for ever.
const SCRATCH_MAX: usize = 32 << 10;

fn memory() -> Vec<u8> {
    SCRATCH.try_with(Cell::take).unwrap_or_default()
}

fn keep(scratch: Vec<u8>) {
    if scratch.capacity() <= SCRATCH_MAX {
        let _thread_is_ending = SCRATCH.try_with(|place| place.set(scratch));
    }
}

fn decode<R: Data>(message: Message) -> (std::result::Result<R, CodecError>, Copies) {
    let Message { bytes, metadata, bodies, .. } = message;
    let limits = channel_limits();
    let count = u32::try_from(bodies.len()).unwrap_or(u32::MAX);
    let metadata = bytes.get(metadata).unwrap_or_default();
    if let Err(error) = check_metadata(metadata, count, &limits) {
        return (Err(error.into()), Copies::default());
    }
    let bodies = if bodies.is_empty() { Bodies::NONE } else { Bodies::new(bodies) };
    let mut reader = Reader::new(metadata, &bodies, &limits);
    let value = reader.last();
    let copies = reader.copies();
    drop(reader);
    drop(bodies);
    keep(bytes);
    (value, copies)
}

/// The environment variable for a name.
fn variable(name: &str) -> io::Result<String> {
    if name.is_empty() || name.contains(['=', '\0']) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    Ok(format!("PANNIER_CHANNEL_{name}"))
}

impl<S, R> Drop for Channel<S, R> {
    fn drop(&mut self) {
        // A forked child must not close what is its parent's.
        if let Some(end) = self.end.as_ref().filter(|end| end.is_here()) {
            end.say_goodbye();
        }
    }
}

/// For event loops: readable as soon as there is something to receive or the peer has gone, once
/// [`try_recv`](Channel::try_recv) has said [`Empty`](TryRecvError::Empty). Only to be waited for.
/// It is the same one, and open, until the channel is dropped.
impl<S, R> AsFd for Channel<S, R> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.end().as_fd()
    }
}

/// As [`AsFd`].
impl<S, R> AsRawFd for Channel<S, R> {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

/// Prints the descriptor, and what went through; copies are of bytes that travel out of band.
impl<S, R> fmt::Debug for Channel<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Channel");
        out.field("fd", &self.as_raw_fd());
        if self.end().is_here() {
            let stats = self.end().stats();
            out.field("sent", &stats.sent).field("received", &stats.received);
            out.field("copies", &stats.payload_copies);
            out.field("copied_bytes", &stats.payload_copied_bytes);
        }
        out.finish()
    }
}
