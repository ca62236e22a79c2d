//! Values between two processes: [`pair`] makes a channel, [`Channel`] is one of its ends.
//!
//! ```text
//!                    ┌─ lane: ring of records ──────────▶ ─┐
//!   Channel<S, R>    │        ring of releases             │    Channel<R, S>
//!   own blocks,      ├─ lane, the other way ◀ ─────────────┤    own blocks,
//!   peer's read-only │                                     │    peer's read-only
//!                    └─ socket: descriptors, bells, end ◀─▶┘
//! ```
//!
//! * **One descriptor is a whole end.** The first message that waits in its socket carries the two
//!   lanes, so a descriptor is all that another process needs ([`Channel::hand_to`]).
//! * **A small value is a record in the ring**, its metadata alone. A value with large buffers is a
//!   frame whose buffers lie in blocks of the sender; a frame too long for a record lies in a block.
//! * **A system call is made only to wake a sleeper**, to pass a new segment, or to sleep. A
//!   receiver looks for some microseconds before it sleeps, where that has shown to pay.
//! * **Blocks go back through a ring of their own**, so that they are not kept by values that
//!   nobody has received yet; only while a buffer that was sent back waits to be received, later
//!   ones wait behind it.
//! * **A goodbye is a word in the lane**; the end of the socket without it is a death.
//!
//! Promises: what was published is received once, whole, in order, before the end is told; nothing
//! that the peer writes makes a panic or an allocation beyond what it sent. A received buffer is a
//! view of the peer's memory, which an honest peer leaves alone while it is read: a peer that is
//! not trusted with that needs frames over a socket instead ([`FrameReader`](crate::FrameReader)).
//! Does not know: processes, functions, what a task is.
//!
//! The messages between a pool and its workers are on this floor too, and no part of the interface:
//! two rings a worker, in memory with one writer each, a seqpacket socket for descriptors and bells,
//! and status words that only the worker writes. Nothing in the parent waits for a send; a message is
//! whole or absent; what a dead worker was doing can be read from its words.
#![forbid(unsafe_code)]

mod bell;
mod claim;
mod control;
mod end;
mod error;
mod handle;
mod lane;
mod line;
mod message;
mod pack;
mod place;
mod receive;
mod record;
mod release;
mod ring;
mod send;
mod sink;
mod spin;
mod stats;
pub(crate) mod status;

pub use self::error::{RecvError, SendError, TryRecvError, TrySendError};
pub use self::handle::{Channel, pair};
pub use self::stats::Stats;

pub(crate) use self::control::{
    AnswerEnd, Heard, MessageEnd, ParentEnd, SendState, Watch, worker_ends,
};
pub(crate) use self::line::{CLAIMS, Line, Pulse};
pub(crate) use self::message::{
    Completion, EntryName, FramePlace, INLINE_FRAME_MAX, TaskHead, ToParent, ToWorker, decode,
};
pub(crate) use self::ring::Broken;
#[cfg(feature = "fuzzing")]
pub(crate) use self::ring::{Consumer, Doorbell, LINE, Memory, Producer, Pushed, Word};
pub(crate) use self::sink::{SegmentCheck, StoreSink, located, pool_limits};
pub(crate) use self::spin::{InFlight, Spin};
pub(crate) use self::status::{Phase, Progress, StatusReader, StatusWriter};
