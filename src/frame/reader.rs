//! [`FrameReader`]: frames out of any chunking.
//!
//! Small frames are read ahead into a window and copied out of it, so a burst of messages costs
//! one read; a frame that is larger than the window is read to where it stays. Promises: the same
//! frames and the same error however the bytes were cut; memory that grows with what has arrived,
//! at most to twice that and a step, if the allocator grows large blocks in place.
//! Does not know: sockets, files, what a frame holds.

#![forbid(unsafe_code)]

use std::fmt;

use bytes::Bytes;

use super::error::FrameError;
use super::incoming::Incoming;
use super::limits::Limits;
use super::parse::Progress;
use super::segments::NoSegments;
use super::wire::wide;

/// Frames out of any chunking, without I/O: for event loops and async sockets.
///
/// Use it in turns: read into [`space`](Self::space), tell how much came by
/// [`advance`](Self::advance), take frames by [`next_frame`](Self::next_frame) until there is none,
/// and when the input ends ask [`finish`](Self::finish) whether it ended between two frames. A head
/// is checked as soon as it is there; metadata is checked when a value is read. After an error
/// the stream cannot be found into again, and the error stays.
///
/// Between [`space`](Self::space) and [`advance`](Self::advance) there should be nothing else: what
/// lies in the space is not kept by any other call.
///
/// It holds 16 KiB. A frame that is longer takes memory as its bytes arrive, by 1 MiB or by as much
/// as is there, so a length that is only announced costs nothing; but where the machine has no
/// more, this aborts as `Vec` does. Bound frames by [`Limits::stream`] and less.
///
/// # Examples
///
/// ```
/// use pannier::{FrameReader, Limits};
///
/// let stream = [pannier::to_vec("east")?, pannier::to_vec("west")?].concat();
/// let mut reader = FrameReader::new(Limits::default().frame_len(1 << 20));
/// let mut words = Vec::new();
/// for piece in stream.chunks(50) {
///     let mut rest = piece;
///     while !rest.is_empty() {
///         let space = reader.space();
///         let count = rest.len().min(space.len());
///         space[..count].copy_from_slice(&rest[..count]); // what a socket's read does
///         reader.advance(count);
///         rest = &rest[count..];
///         while let Some(frame) = reader.next_frame()? {
///             words.push(pannier::from_bytes::<String>(frame)?);
///         }
///     }
/// }
/// reader.finish()?;
/// assert_eq!(words, ["east", "west"]);
/// # Ok::<(), pannier::CodecError>(())
/// ```
pub struct FrameReader {
    limits: Limits,
    window: Window,
    state: State,
}

enum State {
    /// The next frame begins in the window.
    Window(Progress),
    /// A frame that is larger than the window, in memory of its own.
    Apart(Incoming),
    Failed(FrameError),
}

impl FrameReader {
    /// A reader that accepts what `limits` permit, for frames that name no shared segments.
    ///
    /// ```
    /// let reader = pannier::FrameReader::new(pannier::Limits::stream());
    /// reader.finish()?;
    /// # Ok::<(), pannier::FrameError>(())
    /// ```
    pub fn new(limits: Limits) -> Self {
        let window = Window { bytes: vec![0; WINDOW], begin: 0, end: 0 };
        FrameReader { limits, window, state: State::Window(Progress::default()) }
    }

    /// Where the next bytes belong; never empty. Read into it, then [`advance`](Self::advance).
    ///
    /// ```
    /// let mut reader = pannier::FrameReader::new(pannier::Limits::stream());
    /// assert!(!reader.space().is_empty());
    /// ```
    pub fn space(&mut self) -> &mut [u8] {
        let missing = self.missing_apart();
        match &mut self.state {
            State::Apart(frame) if missing > 0 => {
                // Where this fails, the growth below fails as every allocation does.
                let _later = frame.reserve(missing);
                frame.space(missing)
            }
            _ => self.window.space(),
        }
    }

    /// Takes the first `count` bytes of [`space`](Self::space) as read.
    ///
    /// # Panics
    ///
    /// If that is more than there was space for.
    ///
    /// ```
    /// let mut reader = pannier::FrameReader::new(pannier::Limits::stream());
    /// reader.space()[0] = 0xc1;
    /// reader.advance(1);
    /// assert!(reader.finish().is_err());
    /// ```
    pub fn advance(&mut self, count: usize) {
        let missing = self.missing_apart();
        match &mut self.state {
            State::Apart(frame) if missing > 0 => frame.advance(count),
            State::Apart(_) | State::Window(_) => self.window.advance(count),
            // Nothing that comes after an error is looked at.
            State::Failed(_) => {
                self.window.advance(count);
                self.window.take(self.window.ahead().len());
            }
        }
    }

    /// A whole frame, for [`from_bytes`](crate::from_bytes); `None` when more bytes are needed.
    ///
    /// # Errors
    ///
    /// The first fault of the frame's head, as [`Frame::parse_head`](crate::frame::Frame) finds it.
    ///
    /// ```
    /// use pannier::{FrameError, FrameReader, Limits};
    ///
    /// let mut reader = FrameReader::new(Limits::stream());
    /// assert_eq!(reader.next_frame(), Ok(None));
    /// reader.space()[..32].fill(b'x');
    /// reader.advance(32);
    /// assert_eq!(reader.next_frame(), Err(FrameError::BadMagic));
    /// ```
    pub fn next_frame(&mut self) -> Result<Option<Bytes>, FrameError> {
        let next = match &mut self.state {
            State::Failed(error) => Err(*error),
            State::Window(_) => self.next_in_window(),
            State::Apart(_) => self.next_apart(),
        };
        if let Err(error) = next {
            self.state = State::Failed(error);
        }
        next
    }

    /// Whether the input may end here: frames that nobody has taken yet are whole.
    ///
    /// # Errors
    ///
    /// `Truncated` within a frame, and the error that [`next_frame`](Self::next_frame) gave.
    ///
    /// ```
    /// use pannier::{FrameError, FrameReader, Limits};
    ///
    /// let mut reader = FrameReader::new(Limits::stream());
    /// assert_eq!(reader.finish(), Ok(()));
    /// reader.advance(20);
    /// assert_eq!(reader.finish(), Err(FrameError::Truncated { need: 32, have: 20 }));
    /// ```
    pub fn finish(&self) -> Result<(), FrameError> {
        let (progress, bytes) = match &self.state {
            State::Failed(error) => return Err(*error),
            State::Window(progress) => (progress, self.window.ahead()),
            State::Apart(frame) => frame.so_far(),
        };
        self.check_whole(progress, bytes)?;
        match self.state {
            State::Apart(_) => self.check_whole(&Progress::default(), self.window.ahead()),
            State::Window(_) | State::Failed(_) => Ok(()),
        }
    }

    /// Whether these bytes are whole frames and nothing else.
    fn check_whole(&self, progress: &Progress, bytes: &[u8]) -> Result<(), FrameError> {
        let (mut progress, mut rest) = (progress.clone(), bytes);
        while !rest.is_empty() {
            let need = progress.check(rest, &self.limits, &NoSegments)?;
            let truncated = FrameError::Truncated { need, have: wide(rest.len()) };
            let need = usize::try_from(need).map_err(|_| truncated)?;
            rest = rest.get(need..).ok_or(truncated)?;
            progress = Progress::default();
        }
        Ok(())
    }

    /// What a frame apart still needs: 0 while it is whole and nobody has taken it, and where there
    /// is none. A bad head is found here once and stays.
    fn missing_apart(&mut self) -> u64 {
        let State::Apart(frame) = &mut self.state else { return 0 };
        frame.missing(&self.limits).unwrap_or_else(|error| {
            self.state = State::Failed(error);
            0
        })
    }

    fn next_in_window(&mut self) -> Result<Option<Bytes>, FrameError> {
        let State::Window(progress) = &mut self.state else { return Ok(None) };
        let ahead = self.window.ahead();
        let need = progress.check(ahead, &self.limits, &NoSegments)?;
        let need = usize::try_from(need).unwrap_or(usize::MAX);
        let whole = ahead.len() >= need;
        let large = progress.frame_len().is_some_and(|len| len > wide(WINDOW));
        if !whole && !large {
            return Ok(None);
        }
        // Of a frame that goes apart all that is there, and nothing of the one behind it: before
        // its head is whole, `need` is less than the frame, but so is what is there.
        let taken = ahead.get(..need).unwrap_or(ahead);
        let frame = Incoming::beginning_with(taken, std::mem::take(progress));
        let count = taken.len();
        self.window.take(count);
        if whole {
            return Ok(Some(frame.into_bytes()));
        }
        self.state = State::Apart(frame);
        self.next_apart()
    }

    fn next_apart(&mut self) -> Result<Option<Bytes>, FrameError> {
        let State::Apart(frame) = &mut self.state else { return Ok(None) };
        if frame.missing(&self.limits)? > 0 {
            return Ok(None);
        }
        let frame = std::mem::take(frame);
        self.state = State::Window(Progress::default());
        Ok(Some(frame.into_bytes()))
    }
}

/// What was read and not yet taken: `begin..end` of the memory.
struct Window {
    bytes: Vec<u8>,
    begin: usize,
    end: usize,
}

impl Window {
    fn ahead(&self) -> &[u8] {
        self.bytes.get(self.begin..self.end).unwrap_or_default()
    }

    fn space(&mut self) -> &mut [u8] {
        if self.end == self.bytes.len() {
            if self.begin >= self.end / 2 {
                // At most as much is moved as was taken since the last time.
                self.bytes.copy_within(self.begin..self.end, 0);
                (self.begin, self.end) = (0, self.end - self.begin);
            } else {
                // Frames were read and not taken.
                self.bytes.resize(2 * self.end, 0);
            }
        }
        self.bytes.get_mut(self.end..).unwrap_or_default()
    }

    fn advance(&mut self, count: usize) {
        let space = self.bytes.len() - self.end;
        assert!(count <= space, "advanced by {count} bytes where there was space for {space}");
        self.end += count;
    }

    fn take(&mut self, count: usize) {
        self.begin += count;
        let rest = self.end - self.begin;
        let grown = self.bytes.len() > WINDOW;
        // What a backlog has grown it to is given back with it, also when the next frame has begun.
        if rest == 0 || grown && rest <= WINDOW / 2 {
            self.bytes.copy_within(self.begin..self.end, 0);
            (self.begin, self.end) = (0, rest);
            self.bytes.truncate(WINDOW);
            self.bytes.shrink_to_fit();
        }
    }
}

/// Prints how much is there, never the bytes.
impl fmt::Debug for FrameReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("FrameReader");
        debug.field("limits", &self.limits).field("ahead", &self.window.ahead().len());
        match &self.state {
            State::Window(_) => {}
            State::Apart(frame) => {
                debug.field("apart", &frame.len());
            }
            State::Failed(error) => {
                debug.field("failed", error);
            }
        }
        debug.finish()
    }
}

/// Bytes that are read ahead; a frame up to this size is copied once more.
const WINDOW: usize = 16 << 10;
