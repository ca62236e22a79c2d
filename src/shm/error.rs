//! [`SegmentError`]: why memory that came from elsewhere is not used.
#![forbid(unsafe_code)]

/// Why a descriptor or a place from another process was refused.
///
/// # Examples
///
/// ```
/// use std::fs::File;
///
/// use pannier::Error;
/// use pannier::shm::{SealedSegment, SegmentError};
///
/// let refused = SealedSegment::attach(File::open("/dev/null")?.into());
/// assert!(matches!(refused, Err(Error::Segment(SegmentError::NotMemory))));
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SegmentError {
    /// No segment has a length of zero.
    #[error("a segment has at least one byte")]
    Empty,
    /// The descriptor is that of something else: a file, a pipe, a socket.
    #[error("the descriptor is not that of a memory object")]
    NotMemory,
    /// Whoever made the memory object could still change what must not change.
    #[error("the memory object is not sealed against {missing}")]
    #[non_exhaustive]
    Unsealed {
        /// What it must be sealed against and is not.
        missing: Seal,
    },
    /// Parts of the memory object have no memory yet: reading them could fail with a signal.
    #[error("of {len} bytes of the memory object at most {allocated} have memory")]
    #[non_exhaustive]
    Unallocated {
        /// How long it is.
        len: u64,
        /// How much of it has memory, at most.
        allocated: u64,
    },
    /// The descriptor was opened for reading only, and through such a one the kernel does not say
    /// whether all parts have memory. Send the one that a [`SealedSegment`](super::SealedSegment) has.
    #[error("the memory object's descriptor was opened for reading only")]
    ReadOnly,
    /// A place in a segment that was not attached here.
    #[error("segment {segment} is not attached")]
    #[non_exhaustive]
    NotAttached {
        /// The segment's number.
        segment: u32,
    },
    /// A place that does not lie in its segment.
    #[error("{len} bytes at {offset} do not lie in segment {segment}, which has {segment_len}")]
    #[non_exhaustive]
    Bounds {
        /// The segment's number.
        segment: u32,
        /// Where the place begins.
        offset: u64,
        /// How long the place is.
        len: u64,
        /// How long the segment is.
        segment_len: u64,
    },
}

/// A promise of the kernel about a memory object (fcntl(2)).
///
/// # Examples
///
/// ```
/// assert_eq!(pannier::shm::Seal::Writing.to_string(), "writing");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Seal {
    /// It never gets shorter.
    Shrinking,
    /// It never gets longer.
    Growing,
    /// Nobody writes to it, or, of an arena's, nobody but who has it mapped already.
    Writing,
}

impl std::fmt::Display for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Seal::Shrinking => "shrinking",
            Seal::Growing => "growing",
            Seal::Writing => "writing",
        })
    }
}
