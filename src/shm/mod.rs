//! Shared memory by itself: create, seal, attach, release.
//!
//! Nothing here has a name in any file system: what a process makes is gone when the last process
//! that has it is gone, however they end. All memory is taken before it is handed out, so running
//! out of it is an error and never a signal. Descriptors go from process to process by whatever the
//! program has: `SCM_RIGHTS` over a Unix socket, inheritance.
//!
//! # For one use: a segment
//!
//! A [`Segment`] is written by its maker and then sealed, by the kernel and for everybody. Whoever
//! attaches the [`SealedSegment`] need not trust its maker.
//!
//! ```
//! use std::os::fd::AsFd;
//!
//! use pannier::shm::{SealedSegment, Segment};
//!
//! let mut segment = Segment::create(1 << 20)?;
//! segment[..4].copy_from_slice(b"east");
//! let sealed = segment.seal()?;
//! let fd = sealed.as_fd().try_clone_to_owned()?; // goes to the other process
//!
//! let attached = SealedSegment::attach(fd)?; // there
//! let buffer: pannier::Buffer<u8> = attached.into_buffer(); // not copied
//! assert_eq!(&buffer[..4], b"east");
//! # Ok::<(), pannier::Error>(())
//! ```
//!
//! # For many uses: an arena
//!
//! Fresh memory costs more than a copy. An [`Arena`] keeps its memory mapped on both sides and
//! recycles it, so that in the steady state a message costs neither a page fault nor a system call
//! for memory. Its owner writes, peers can only read, and one promise remains to both: the owner
//! keeps the [`Lease`] of a message until the peer has said that it is done.
//!
//! ```
//! use std::os::fd::AsFd;
//!
//! use pannier::shm::{Arena, ArenaReader, Place};
//! use pannier::{Buffer, Decoder, Encoder};
//!
//! // The owner builds a column in place, and encodes a value that has it.
//! let mut arena = Arena::create(64 << 20)?;
//! let mut column = arena.alloc::<f64>(1_000)?;
//! column.fill(0.5);
//! let metadata = Encoder::new().to_parts(&("x", column.freeze()), &mut arena)?;
//! let lease = arena.take_lease();
//! assert_eq!(lease.copied_bytes(), 0);
//! // What it sends: metadata, places, and descriptors of segments that the peer has not got yet.
//! let places: Vec<Place> = lease.places().to_vec();
//! let segments = arena.segments();
//!
//! // The peer attaches, and decodes in place.
//! let mut reader = ArenaReader::new();
//! for segment in &segments {
//!     let fd = segment.as_fd().try_clone_to_owned()?;
//!     // SAFETY: the owner (above) keeps its lease until the column here is dropped (below).
//!     unsafe { reader.attach(segment.number(), fd)? };
//! }
//! let mut buffers = reader.buffers(&places)?;
//! let (name, column): (String, Buffer<f64>) = Decoder::new().from_parts(&metadata, &mut buffers)?;
//! assert_eq!((name.as_str(), column.iter().sum::<f64>()), ("x", 500.0));
//! drop((column, buffers)); // and then it says so,
//!
//! drop(lease); // and the owner uses the block again.
//! # Ok::<(), pannier::Error>(())
//! ```
//!
//! # What it does not do
//!
//! It sends nothing and hears nothing. A process that forks without exec must not touch its parent's
//! segments and arenas in the child: reading them is a fault there.
//!
//! # Platform
//!
//! Linux 5.4 or later.

// Inside it is more: the memory of a pool. Two kinds of arena: *inbound*, which this process maps
// writable and seals, so that others can only map it read-only, by the kernel; and *outbound*, one
// for each worker generation, which that worker writes and the parent reads. The public arena is an
// inbound one without a pool. A block is given out again only when this process and all workers have
// let go of it, and then under a new generation. The ledger of that is private memory: nothing that
// a dying process could leave half-done is shared.

mod arena;
mod attached;
mod class;
mod counts;
mod error;
mod grow;
mod ledger;
mod memory;
mod private;
mod reader;
mod segment;
mod store;

pub use self::arena::{Arena, ArenaSegment, ArenaStats, Lease, Place};
pub use self::counts::{KernelCounts, kernel_counts};
pub use self::error::{Seal, SegmentError};
pub use self::reader::ArenaReader;
pub use self::segment::{SealedSegment, Segment};

pub(crate) use self::attached::{Attached, ParentLink};
pub(crate) use self::grow::Terms;
#[cfg(feature = "fault-points")]
pub(crate) use self::ledger::Holder;
pub(crate) use self::ledger::{BlockName, Fault};
pub(crate) use self::memory::{IDLE, Memory};
pub(crate) use self::store::{Copied, Located, Store};
