//! [`Error`]: what can go wrong outside of one value and one task, and [`Result`].
//!
//! The one module that every floor may name, and that names them all. A variant of a floor that is
//! not built is absent.
#![forbid(unsafe_code)]

use crate::codec::CodecError;
use crate::frame::FrameError;

/// A result of this library; the error is [`Error`] unless another is named.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Set-up or the system: not the bytes ([`FrameError`](crate::FrameError)), not one value
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
    /// There is no memory, or the pool's memory limit is reached. Both figures are bytes.
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
