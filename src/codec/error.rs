//! [`CodecError`]: why a value could not be written or read.
#![forbid(unsafe_code)]

use std::io;

use crate::frame::FrameError;

/// Why a value could not be written to a frame, or read from one.
///
/// # Examples
///
/// ```
/// use pannier::CodecError;
///
/// let frame = pannier::to_vec("not a number")?;
/// match pannier::from_slice::<u32>(&frame) {
///     Err(CodecError::Decode { at, .. }) => assert_eq!(at, 13), // behind the string
///     other => panic!("{other:?}"),
/// }
/// # Ok::<(), CodecError>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The bytes are not a sound frame, or ask for more than the reader's limits.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The value cannot be written: the text says why.
    #[error("value cannot be written: {0}")]
    Encode(String),
    /// A sound frame that holds a value of another type: fix the program, not the peer.
    #[error("value cannot be read, at byte {at} of the metadata: {message}")]
    #[non_exhaustive]
    Decode {
        /// Where in the metadata the reader stood: behind the last thing it had read. An enum that
        /// is neither a string nor a map of one entry is refused in front of it.
        at: u64,
        /// What the type or the reader says.
        message: String,
    },
    /// Reading or writing failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A [`BufferSink`](crate::BufferSink) or [`BufferSource`](crate::BufferSource) failed.
    #[error("a buffer could not be handed over by its sink or source")]
    Buffer(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<CodecError> for io::Error {
    fn from(error: CodecError) -> Self {
        let kind = match &error {
            CodecError::Frame(FrameError::Truncated { .. }) => io::ErrorKind::UnexpectedEof,
            CodecError::Frame(_) | CodecError::Decode { .. } => io::ErrorKind::InvalidData,
            CodecError::Encode(_) => io::ErrorKind::InvalidInput,
            CodecError::Io(_) | CodecError::Buffer(_) => io::ErrorKind::Other,
        };
        match error {
            CodecError::Io(error) => error,
            error => io::Error::new(kind, error),
        }
    }
}
