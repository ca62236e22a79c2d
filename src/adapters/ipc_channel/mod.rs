//! Frames over the channels of the crate `ipc-channel`: large buffers travel as `IpcSharedMemory`.
//!
//! An [`IpcFrame<T>`](IpcFrame) is a message, or a field of one, for the `IpcSender`s that a program
//! has already:
//!
//! ```
//! use ipc_channel::ipc;
//! use pannier::Buffer;
//! use pannier::adapters::ipc_channel::IpcFrame;
//!
//! let (sender, receiver) = ipc::channel::<IpcFrame<(String, Buffer<f64>)>>()?;
//!
//! let column: Buffer<f64> = vec![0.5; 1 << 16].into();
//! sender.send(IpcFrame::encode(&("half".to_owned(), column))?)?;
//!
//! let (name, column) = receiver.recv()?.decode()?;
//! assert_eq!((name.as_str(), column.len(), column[7]), ("half", 1 << 16, 0.5));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is copied
//!
//! | buffer | copies |
//! | --- | --- |
//! | below [`THRESHOLD`] (64 KiB) | it is part of the message's bytes |
//! | on the heap | one, into an `IpcSharedMemory` |
//! | received in an `IpcFrame`, or made by [`from_shared_memory`] | none |
//! | on arrival | none: it is a view of the `IpcSharedMemory` |
//! | the smallest of a frame with more than [`REGIONS_MAX`] regions | two: together into one of them |
//!
//! [`IpcFrame::copies`] counts them. A frame can be cloned and sent to several receivers at one
//! copy's price. `ipc-channel` maps each region once more for every `send`.
//!
//! # Limits, and trust
//!
//! `ipc-channel` sends at most 64 descriptors in a message and panics above. A frame takes one for
//! each of its regions, at most [`REGIONS_MAX`]; each sender or receiver beside it takes one, and so
//! does a message of more than about 200 KB. A received region is a descriptor and a map of this
//! process for as long as one of its buffers lives.
//!
//! What stands in a frame is copied out of the channel before it is checked, and whatever is wrong
//! with it is a [`CodecError`](crate::CodecError). But the *bytes of buffers* lie in memory that the
//! sender has mapped writable too, which no seal holds: a sender that writes there later changes
//! them under the receiver's `&[T]`, and one that truncates it ends the receiver by SIGBUS. And
//! `ipc-channel` (0.23.1) itself panics on some messages that its own code would not send, lends a null
//! slice for a memory object of no bytes, and panics when it runs out of descriptors while it sends. So
//! this is for programs that trust each other not to be hostile; where they do not, send the frame's
//! bytes ([`to_vec`](crate::to_vec)) over a channel of bytes, or use `pannier::shm::SealedSegment`.
//!
//! Promises: what was encoded here decodes there; no metadata makes it panic.
//! Does not know: the channel. Sending, receiving and their errors are `ipc-channel`'s.
#![forbid(unsafe_code)]

mod frame;
mod plan;
mod region;

pub use self::frame::IpcFrame;
pub use self::plan::{REGIONS_MAX, THRESHOLD};
pub use self::region::from_shared_memory;
