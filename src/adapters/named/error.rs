//! [`NamedError`]: what can go wrong with memory that has a name.
#![forbid(unsafe_code)]

use std::io;

/// Why a named segment cannot be made, attached or used.
///
/// # Examples
///
/// ```
/// use pannier::adapters::named::{NamedError, NamedSegment};
///
/// let segment = NamedSegment::create(100)?;
/// let beyond = segment.write(98, b"east");
/// assert!(matches!(beyond, Err(NamedError::OutOfRange { offset: 98, count: 4, len: 100, .. })));
/// # Ok::<(), NamedError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NamedError {
    /// No object can have this name, or none of the caller's choice.
    #[error("no segment can be named {name:?}: {why}")]
    #[non_exhaustive]
    Name {
        /// What was asked for.
        name: String,
        /// What is wrong with it.
        why: NameFault,
    },
    /// A segment has at least one byte.
    #[error("a segment of no bytes")]
    Empty,
    /// The name is taken.
    #[error("there is a segment named {name:?} already")]
    #[non_exhaustive]
    Exists {
        /// The name.
        name: String,
    },
    /// Nothing has this name, or not any more.
    #[error("there is no segment named {name:?}; has its owner ended?")]
    #[non_exhaustive]
    NotFound {
        /// The name.
        name: String,
    },
    /// It belongs to another user, who does not share it.
    #[error("the segment named {name:?} may not be read and written by this user")]
    #[non_exhaustive]
    Denied {
        /// The name.
        name: String,
    },
    /// What has this name is no memory: a link, a folder, a pipe.
    #[error("what is named {name:?} is not shared memory")]
    #[non_exhaustive]
    NotMemory {
        /// The name.
        name: String,
    },
    /// The machine, a control group or `/dev/shm` has not so much left.
    #[error(
        "no memory for {wanted} bytes, {left} are left; `/dev/shm` may be small in a container"
    )]
    #[non_exhaustive]
    OutOfMemory {
        /// Bytes that are needed.
        wanted: u64,
        /// Bytes that could be had.
        left: u64,
    },
    /// The bytes are not all within the segment.
    #[error("{count} bytes at {offset} are not within a segment of {len}")]
    #[non_exhaustive]
    OutOfRange {
        /// Where they begin.
        offset: usize,
        /// How many.
        count: usize,
        /// Bytes of the segment.
        len: usize,
    },
    /// Somebody resized or replaced it while it was attached.
    #[error("the segment had {expected} bytes and then {found}; who resizes it?")]
    #[non_exhaustive]
    Resized {
        /// Bytes at the first look.
        expected: u64,
        /// Bytes at the second.
        found: u64,
    },
    /// `/proc` is not there or shows other processes, so that nobody can tell who is alive.
    #[error("/proc does not show this process, so an owner cannot be named")]
    NoProc,
    /// The operating system refused something else.
    #[error("{call}: {}", io::Error::from_raw_os_error(*errno))]
    #[non_exhaustive]
    System {
        /// What it was asked for.
        call: &'static str,
        /// Its answer.
        errno: i32,
    },
}

/// What is wrong with a name.
///
/// # Examples
///
/// ```
/// use pannier::adapters::named::{NameFault, NamedError, NamedSegment};
///
/// let refused = NamedSegment::create_named("a/b", 100);
/// let Err(NamedError::Name { why, .. }) = refused else { panic!("{refused:?}") };
/// assert!(matches!(why, NameFault::Character { at: 1, .. }));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameFault {
    /// There is nothing of it.
    #[error("it is empty")]
    Empty,
    /// A slash, other than one at the very beginning, or a zero byte.
    #[error("byte {at} is a slash or zero")]
    #[non_exhaustive]
    Character {
        /// Which byte, counted behind a slash at the beginning.
        at: usize,
    },
    /// Longer than a file name may be.
    #[error("it has {len} bytes, 255 are permitted")]
    #[non_exhaustive]
    TooLong {
        /// Its bytes.
        len: usize,
    },
    /// `.` or `..`, or it begins as the names that this library makes.
    #[error("it is kept for other uses")]
    Reserved,
}

impl NamedError {
    /// What the system says of the object with this name.
    pub(super) fn of_object(call: &'static str, name: &str, error: &io::Error) -> Self {
        let name = name.to_owned();
        match error.kind() {
            io::ErrorKind::AlreadyExists => NamedError::Exists { name },
            io::ErrorKind::NotFound => NamedError::NotFound { name },
            io::ErrorKind::PermissionDenied => NamedError::Denied { name },
            _ => match error.raw_os_error() {
                // A link; a folder; a socket, or a pipe's other end.
                Some(libc::ELOOP | libc::EISDIR | libc::ENXIO) => NamedError::NotMemory { name },
                _ => NamedError::system(call, error),
            },
        }
    }

    pub(super) fn system(call: &'static str, error: &io::Error) -> Self {
        NamedError::System { call, errno: error.raw_os_error().unwrap_or(libc::EIO) }
    }
}
