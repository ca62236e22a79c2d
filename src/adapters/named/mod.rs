//! Shared memory with a name, for processes that did not inherit it, in any language.
//!
//! A [`NamedSegment`] is a POSIX shared-memory object (shm_open(3)) and nothing but its bytes: no
//! header, so that every program can attach it, Python's `multiprocessing.shared_memory` among them.
//!
//! ```
//! use pannier::adapters::named::{NamedSegment, sweep};
//!
//! sweep()?; // what owners left behind that were killed
//! let segment = NamedSegment::create(1 << 16)?;
//! segment.write(0, b"east")?;
//!
//! // in any other process of this user, with the name from a pipe, a file, the command line:
//! let attached = NamedSegment::attach(segment.name())?;
//! let mut word = [0; 4];
//! attached.read(0, &mut word)?;
//! assert_eq!(&word, b"east");
//! # Ok::<(), pannier::adapters::named::NamedError>(())
//! ```
//!
//! Where both programs use this library and one starts the other, `channel` and `shm::Segment` are
//! better: their memory has no name that could be left behind, and no size that could be changed.
//!
//! # Who removes the name
//!
//! The [`NamedSegment`] that made it, when it is dropped; what is attached stays readable without its
//! name. A forked child's copy removes nothing, and neither does one that was attached. An owner that
//! is killed leaves its name. Names that [`create`](NamedSegment::create) makes say who owns them
//! (process number and start, boot, namespaces), so that [`sweep`] can remove those of the dead
//! without opening them; call it at start. Names of your own ([`NamedSegment::create_named`]) are
//! never swept.
//!
//! # With Python
//!
//! ```python
//! from multiprocessing import resource_tracker, shared_memory
//!
//! memory = shared_memory.SharedMemory(name)  # the name as `NamedSegment::name` gives it
//! resource_tracker.unregister(memory._name, "shared_memory")
//! ```
//!
//! Before Python 3.13 the second line is needed: there, whoever attaches is taken for an owner, and
//! the resource tracker removes the name when that program ends. From 3.13 on say
//! `SharedMemory(name, track=False)`. What Python made, `NamedSegment::attach(memory.name)` attaches.
//!
//! # What no seal prevents
//!
//! All who may open the name may write at any time, so bytes are copied in and out
//! ([`read`](NamedSegment::read), [`write`](NamedSegment::write)), and slices are `unsafe`. They may
//! truncate the object as well: whoever then touches what is gone is ended by the signal SIGBUS, be it
//! by `read`. Objects are made for this user only (mode 0600). Bytes that a stranger wrote are to be
//! checked like any input.
//!
//! # The crate `shared_memory`
//!
//! It maps and unmaps. Some of its other ways (of version 0.12.4) are not used: it reserves no memory,
//! so that a full `/dev/shm` is a SIGBUS; it removes names in forked children, and names that belong
//! to somebody else by now; and where descriptor 0 is free it closes and removes nothing. So objects
//! are made, filled and removed here.
//!
//! Promises: a segment has all its memory before it is handed out; a living owner's name is never
//! swept.
//! Does not know: what the bytes mean.

mod copy;
mod error;
mod leftovers;
mod memory;
mod name;
mod object;
mod segment;

pub use self::error::{NameFault, NamedError};
pub use self::leftovers::sweep;
pub use self::segment::NamedSegment;
