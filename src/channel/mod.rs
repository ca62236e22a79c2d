//! What the two sides of a worker's connection say to each other, and how.
//!
//! One seqpacket socket a worker, and a status page that only the worker writes.
//! Promises: nothing in the parent waits for a send; a frame too long for a message travels in a
//! block; a message is whole or absent; what a dead worker was doing can be read from its page.
//! Does not know: processes, functions, what a task is.

mod control;
mod message;
#[cfg(test)]
mod ring;
mod sink;
mod status;

pub use self::status::Phase;

pub(crate) use self::control::{Control, Incoming, Outbox, Parcel, SendState};
pub(crate) use self::message::{
    Completion, EntryName, FramePlace, INLINE_FRAME_MAX, TaskHead, ToParent, ToWorker,
};
pub(crate) use self::sink::{SegmentCheck, StoreSink, pool_limits};
pub(crate) use self::status::{Progress, StatusReader, StatusWriter, create_page};
