//! [`Error`]: what can go wrong outside of one value and one task, and [`Result`].
//!
//! The one module that every floor may name, and that names them all. A variant of a floor that is
//! not built is absent.
#![forbid(unsafe_code)]

use crate::codec::CodecError;
use crate::frame::FrameError;
#[cfg(feature = "pool")]
use crate::pool::{RemoteError, StartFailed, TaskError};
#[cfg(feature = "shm")]
use crate::shm::SegmentError;

/// A result of this library; the error is [`Error`] unless another is named.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Set-up or the system: not the bytes ([`FrameError`]), not one value
/// ([`CodecError`]), not one task.
///
/// # Examples
///
/// ```
/// use pannier::Error;
///
/// let refused = pannier::alloc::<u64>(usize::MAX);
/// assert!(matches!(refused, Err(Error::OutOfMemory { .. })));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Neither `init` nor `premain!` has run, so a worker would run this program's `main`.
    #[cfg(feature = "pool")]
    #[error(
        "a worker of this process would not find its way: call `pannier::init()` first thing in \
         `main`, or say `pannier::premain!()` where `main` is not yours"
    )]
    NotInitialised,
    /// This process was forked from the one that made the pool, channel, arena or segment.
    #[cfg(feature = "shm")]
    #[error(
        "the pool, channel or memory belongs to the parent of this forked process; make another here"
    )]
    ForkedHandle,
    /// Pools are nested in each other's workers too deeply.
    #[cfg(feature = "pool")]
    #[error(
        "a pool inside {depth} pools' workers is beyond the limit of {limit}; does the program \
         build one before it calls `pannier::init()`?"
    )]
    #[non_exhaustive]
    TooDeep {
        /// How many pools this process is inside of.
        depth: u32,
        /// How many there may be.
        limit: u32,
    },
    /// The workers do not start.
    #[cfg(feature = "pool")]
    #[error(transparent)]
    StartFailed(StartFailed),
    /// A setting that makes no sense.
    #[cfg(feature = "pool")]
    #[error("the setting `{name}` cannot be {value}")]
    #[non_exhaustive]
    Setting {
        /// Which setting.
        name: &'static str,
        /// What it was set to.
        value: u64,
    },
    /// A hardened pool that is to spill: a worker could truncate the file under its reader.
    #[cfg(feature = "pool")]
    #[error(
        "a hardened pool cannot put arguments into files, which its workers could truncate: leave \
         one of `hardened` and `spill` out"
    )]
    SpillHardened,
    /// Workers that did not end although they were killed: the kernel holds them.
    #[cfg(feature = "pool")]
    #[error("the worker processes {pids:?} were killed and have not ended; the kernel holds them")]
    #[non_exhaustive]
    WorkersRemain {
        /// Their process numbers.
        pids: Vec<u32>,
    },
    /// A task has no result.
    #[cfg(feature = "pool")]
    #[error(transparent)]
    Task(#[from] TaskError),
    /// A function's own error, as text.
    #[cfg(feature = "pool")]
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// A descriptor, or a place in a segment, that another process named and that is not used.
    #[cfg(feature = "shm")]
    #[error(transparent)]
    Segment(#[from] SegmentError),
    /// The folder for what is over an arena's budget lies in memory, so nothing would be gained.
    #[cfg(feature = "shm")]
    #[error("{} is memory (tmpfs or ramfs): name a folder on a disk", folder.display())]
    #[non_exhaustive]
    SpillInMemory {
        /// What was named.
        folder: std::path::PathBuf,
    },
    /// There is no memory, or the limit of the pool or arena is reached. Both figures are bytes.
    #[error(
        "no memory for {wanted} bytes within the limit of {limit}; free buffers, or raise the limit"
    )]
    #[non_exhaustive]
    OutOfMemory {
        /// What was asked for.
        wanted: u64,
        /// What may be had in all.
        limit: u64,
    },
    /// A value could not be written or read.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The operating system refused something.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl From<FrameError> for Error {
    fn from(error: FrameError) -> Self {
        Error::Codec(error.into())
    }
}
