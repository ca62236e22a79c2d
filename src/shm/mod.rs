//! Shared memory of a pool: blocks of recycled memory, and the ledger of who holds them.
//!
//! Two kinds of arena. *Inbound*: this process maps it writable and seals it, so that workers can
//! only map it read-only, by the kernel. *Outbound*: one for each worker generation, which that
//! worker writes and the parent reads. Blocks are recycled last in, first out, so that they are warm.
//! Promises: a block is given out again only when the parent and all workers have let go of it, and
//! then under a new generation; nothing has a name in any file system.
//! Does not know: frames, sockets, tasks. The ledger is private memory of the parent; nothing that a
//! dying worker could leave half-done lies in shared memory.

mod attached;
mod class;
mod ledger;
mod memory;
mod store;

pub(crate) use self::attached::{Attached, ParentLink};
pub(crate) use self::ledger::{BlockName, Fault};
pub(crate) use self::memory::Memory;
pub(crate) use self::store::{Located, Store};
