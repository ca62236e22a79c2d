//! Moves values and large buffers between processes, and runs work in worker processes that may crash.
//!
//! A worker is the same program, started again. Arrays lie in shared memory and are not copied on
//! their way; when a worker dies, the item that it was running is tried again or fails alone, and
//! everything else goes on.
//!
#![cfg_attr(feature = "pool", doc = "```")]
#![cfg_attr(not(feature = "pool"), doc = "```text")]
//! use pannier::{Buffer, Pool};
//!
//! fn main() -> pannier::Result<()> {
//!     pannier::init(); // the first line of main: in a worker it never returns
//!     let pool = Pool::builder().workers(2).build()?;
//!
//!     let mut column = pool.alloc::<f64>(1 << 16)?; // in shared memory, filled in place
//!     column.fill(0.5);
//!     let sum = pool.submit(|column: Buffer<f64>| column.iter().sum::<f64>(), column.freeze());
//!     assert_eq!(sum.join()?, 32_768.0);
//!
//!     let squares = pool.map(|x: u64| x * x, 0..4); // lazy, ordered, one result an item
//!     assert_eq!(squares.collect::<Result<Vec<_>, _>>()?, [0, 1, 4, 9]);
//!     Ok(())
//! }
//! ```
//!
//! # Where to look
//!
//! | to | see |
//! | --- | --- |
//! | run functions in workers | `Pool`, `JoinHandle`, `Map`; [`alloc`] inside a task |
//! | start up, also in tests | `init`, `premain!` |
//! | know why there is no result | `TaskError`; [`Error`] for everything around tasks |
//! | hold large data | [`Buffer`], [`BufferMut`], and [`pod`] and [`bytes`] for fields of other types |
//! | write and read frames without a pool | [`to_vec`], [`from_slice`], [`from_bytes`], [`Encoder`], [`Decoder`] |
//! | carry the buffers of a value yourself | [`BufferSink`], [`BufferSource`] |
//! | talk to one other process | module `channel` |
//! | share memory without a pool | `shm::Segment`, `shm::Arena` |
//! | use `ipc-channel`, or memory with a name | module `adapters` |
//! | read what a stranger wrote | [`Limits`], [`FrameError`] |
//!
//! # Layers
//!
//! Each feature is a layer that contains the ones before it; none changes the behaviour or the bytes
//! of another. The modules are stacked on eight floors, and one names only those below it.
//!
//! | feature | floors | what it brings |
//! | --- | --- | --- |
//! | none | buffer, frame, codec | values in frames, in memory; no system call |
//! | `shm` | sys, shm | shared memory: segments and arenas; files in place |
//! | `channel` | channel | values between two processes |
//! | `pool` (default) | process, task, pool, parallel | workers and maps |
//!
//! Two more features are bridges, in module `adapters`: `ipc-channel` sends frames over the senders of
//! the crate of that name (and needs Rust 1.86), `named` has shared memory with a name, for programs in
//! other languages too.
//!
//! And three are for tests: `testing` has workers die by chance (`Chaos`), `arbitrary` makes random values of this
//! library's types, and
//! `fuzzing` brings what a fuzzer of frames and of your own messages needs, outside of the semver
//! promises: module `fuzzing`.
//!
//! # Platform
//!
//! The lowest layer is portable; the others need Linux 5.4 or later. A program that has a pool needs
//! a build-id, by which a worker proves to be the same program.

#![cfg_attr(
    not(feature = "pool"),
    expect(dead_code, unused_imports, reason = "parts of a floor that only the floors above call")
)]

#[cfg(any(feature = "ipc-channel", feature = "named"))]
pub mod adapters;
mod buffer;
#[cfg(feature = "channel")]
pub mod channel;
mod codec;
mod error;
pub mod frame;
#[cfg(feature = "arbitrary")]
pub mod fuzzing;
#[cfg(feature = "pool")]
mod parallel;
#[cfg(feature = "pool")]
mod pool;
#[cfg(feature = "pool")]
mod process;
#[cfg(feature = "shm")]
pub mod shm;
#[cfg(feature = "shm")]
mod sys;
#[cfg(feature = "pool")]
mod task;

pub use bytemuck::{self, Pod};

pub use crate::buffer::{Buffer, BufferMut, alloc, alloc_zeroed};
#[cfg(feature = "channel")]
pub use crate::channel::status::Phase;
#[cfg(feature = "channel")]
pub use crate::codec::Data;
pub use crate::codec::{
    BufferSink, BufferSource, CodecError, Decoder, Encoder, Placement, bytes, from_bytes,
    from_reader, from_slice, pod, to_vec, to_writer,
};
#[cfg(feature = "shm")]
pub use crate::codec::{map_file, read_file, write_file};
pub use crate::error::{Error, Result};
pub use crate::frame::{
    DescriptorFault, FrameError, FrameReader, LimitKind, Limits, MetaFault, SegmentFault,
};
#[cfg(feature = "pool")]
pub use crate::parallel::Map;
#[cfg(feature = "pool")]
pub use crate::pool::{
    __premain, AbortHandle, Hardening, JoinHandle, Panicked, Pool, PoolBuilder, RemoteError,
    Shutdown, StartFailed, StartFailure, StartMethod, Stats, TaskBuilder, TaskError, TaskInfo,
    TrySubmitError, ValueError, Worker, WorkerDied, init, worker,
};
#[cfg(feature = "testing")]
pub use crate::process::Chaos;
#[cfg(feature = "pool")]
pub use crate::sys::child::ExitStatus;
#[cfg(feature = "pool")]
pub use crate::task::Function;

/// The examples of the README, as tests.
#[cfg(all(doctest, feature = "pool"))]
#[doc = include_str!("../README.md")]
struct Readme;
