//! What is sent: a frame of items with the blocks it refers to, kept until every item is answered.
//!
//! Promises: the blocks live as long as the payload, so that a task can be sent again.
//! Does not know: to whom it goes.
#![forbid(unsafe_code)]

use std::sync::{Arc, Weak};

use bytes::Bytes;
use serde::Serialize;

use super::inner::Inner;
use super::memory::Arguments;
use super::pack::pack;
use super::pending::{Fault, Pending};
use crate::buffer::Buffer;
use crate::channel::{EntryName, FramePlace, StoreSink};
use crate::codec::{Copies, Options, Writer};
use crate::shm::BlockName;
use crate::sys::epoch::OwnedHere;
use crate::task::catch;

/// A frame on its way to workers, with everything that keeps it valid.
#[derive(Debug)]
pub(super) struct Parcel {
    pub(super) place: FramePlace,
    /// The frame, if it travels in the message.
    pub(super) frame: Bytes,
    /// The blocks that the frame refers to or lies in, each once.
    pub(super) names: Vec<BlockName>,
    pub(super) bytes_in_band: u64,
    pub(super) bytes_out_of_band: u64,
    /// Keeps those blocks.
    _buffers: Vec<Buffer<u8>>,
}

/// The items of one submission.
#[derive(Debug)]
pub(super) struct Payload {
    pub(super) parcel: Parcel,
    pub(super) entry: EntryName,
    pub(super) context: Option<Arc<Context>>,
    pub(super) pending: Arc<Pending>,
}

/// What the items of a map share.
#[derive(Debug)]
pub(crate) struct Context {
    pub(super) id: u64,
    pub(super) parcel: Parcel,
    /// To be told when nobody needs it any more.
    pool: OwnedHere<Weak<Inner>>,
}

impl Context {
    pub(super) fn new(id: u64, parcel: Parcel, pool: Weak<Inner>) -> Self {
        Context { id, parcel, pool: OwnedHere::new(pool) }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // A forked child must not touch the pool's locks.
        if let Some(pool) = Some(&self.pool).filter(|pool| pool.is_here()).and_then(|p| p.upgrade())
        {
            pool.forget_context(self.id);
        }
    }
}

/// Writes items one behind the other; one that cannot be written leaves no trace.
pub(crate) struct Packer {
    memory: Arguments,
    writer: Writer,
    copies: Copies,
}

impl Packer {
    pub(super) fn new(pool: Arc<Inner>) -> Self {
        // The array that is laid around the items is a level too.
        let writer = Writer::new(&Options { depth: 1, ..Options::default() });
        Packer { memory: Arguments { pool, waits: true }, writer, copies: Copies::default() }
    }

    /// Adds an item at the end; `waits` if it may wait for memory that tasks give back.
    pub(crate) fn push<T: Serialize>(&mut self, item: &T, waits: bool) -> Result<(), Fault> {
        self.memory.waits = waits;
        let mut sink = StoreSink::new(&self.memory);
        let written = catch(|| self.writer.push(item, &mut sink));
        self.copies.add(sink.copies());
        match written {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Fault::Unwritable(error)),
            Err(panic) => Err(Fault::Panicked(panic)),
        }
    }

    /// How many items there are.
    pub(crate) fn count(&self) -> u32 {
        self.writer.values()
    }

    pub(super) fn copies(&self) -> Copies {
        self.copies
    }

    /// The frame of all items.
    pub(super) fn finish(self) -> Result<Parcel, Fault> {
        let packed = pack(&self.memory, self.writer).map_err(Fault::Unwritable)?;
        Ok(Parcel {
            place: packed.place,
            frame: packed.frame.into(),
            names: packed.names,
            bytes_in_band: packed.bytes_in_band,
            bytes_out_of_band: packed.bytes_out_of_band,
            _buffers: packed.buffers,
        })
    }
}
