//! What is sent: a frame of items with the blocks it refers to, kept until every item is answered.
//!
//! Promises: the blocks live as long as the payload, so that a task can be sent again.
//! Does not know: to whom it goes.
#![forbid(unsafe_code)]

use std::sync::{Arc, Weak};

use bytes::Bytes;
use serde::Serialize;

use super::inner::Inner;
use super::pending::{Fault, Pending};
use crate::buffer::Buffer;
use crate::channel::{EntryName, FramePlace, INLINE_FRAME_MAX, StoreSink};
use crate::codec::{CodecError, Copies, Options, Placed, Writer, array_header};
use crate::frame::{Descriptor, HeadOptions, Layout, write_head};
use crate::shm::{BlockName, Located, Memory, Store};
use crate::sys::epoch::OwnedHere;
use crate::task::catch;

/// A frame on its way to workers, with everything that keeps it valid.
#[derive(Debug)]
pub(super) struct Parcel {
    pub(super) place: FramePlace,
    /// The frame, if it travels in the packet.
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
    memory: Arc<Memory>,
    writer: Writer,
    copies: Copies,
}

impl Packer {
    pub(super) fn new(memory: Arc<Memory>) -> Self {
        // The array that is laid around the items is a level too.
        let writer = Writer::new(&Options { depth: 1, ..Options::default() });
        Packer { memory, writer, copies: Copies::default() }
    }

    /// Adds an item at the end.
    pub(crate) fn push<T: Serialize>(&mut self, item: &T) -> Result<(), Fault> {
        let mut sink = StoreSink::new(&self.memory);
        let written = catch(|| self.writer.push(item, &mut sink));
        self.copies.count += sink.copies().count;
        self.copies.bytes += sink.copies().bytes;
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
        let bytes_in_band = u64::try_from(self.writer.metadata_len()).unwrap_or(u64::MAX);
        let (frame, placed) = frame_of(self.writer).map_err(Fault::Unwritable)?;
        let bytes_out_of_band = placed.iter().map(|placed| placed.descriptor.len).sum();
        let located = placed.iter().map(|placed| located(&placed.descriptor));
        let mut names = self.memory.names_of(located);
        let mut buffers: Vec<_> = placed.into_iter().map(|placed| placed.buffer).collect();
        let (place, frame) = if frame.len() > INLINE_FRAME_MAX {
            let block = in_block(&self.memory, &frame).map_err(Fault::Unwritable)?;
            names.push(block.name);
            let len = u64::try_from(frame.len()).unwrap_or(u64::MAX);
            buffers.push(block.buffer);
            (FramePlace::Block { name: block.name, offset: block.offset, len }, Bytes::new())
        } else {
            (FramePlace::Packet, Bytes::from(frame))
        };
        Ok(Parcel { place, frame, names, bytes_in_band, bytes_out_of_band, _buffers: buffers })
    }
}

/// A frame of the values in a writer, as one array.
pub(super) fn frame_of(writer: Writer) -> Result<(Vec<u8>, Vec<Placed>), CodecError> {
    let (header, header_len) = array_header(writer.values());
    let header = &header[..header_len];
    let (metadata, placed) = writer.into_parts();
    let mut descriptors: Vec<Descriptor> = placed.iter().map(|placed| placed.descriptor).collect();
    let layout = Layout::new(header.len() + metadata.len(), &mut descriptors)?;
    let mut frame = Vec::new();
    let options = HeadOptions::default();
    write_head(&mut frame, &layout, &[header, &metadata], &descriptors, &options);
    let frame_len = usize::try_from(layout.frame_len());
    frame.resize(frame_len.map_err(|_| CodecError::Encode("the frame is too long".into()))?, 0);
    Ok((frame, placed))
}

/// Where a segment descriptor points.
pub(super) fn located(descriptor: &Descriptor) -> Located {
    let Descriptor { segment, offset, generation, .. } = *descriptor;
    Located { segment, offset, generation }
}

struct Block {
    name: BlockName,
    offset: u64,
    buffer: Buffer<u8>,
}

fn in_block(memory: &Arc<Memory>, frame: &[u8]) -> Result<Block, CodecError> {
    let failed = |error: crate::error::Error| CodecError::Buffer(Box::new(error));
    let mut block = memory.alloc(frame.len(), false).map_err(failed)?;
    block.copy_from_slice(frame);
    let buffer = block.freeze();
    let at = memory.locate(&buffer).expect("the memory knows what it has just allocated");
    let name = memory.names_of(std::iter::once(at)).first().copied();
    let name = name.expect("an allocated block has a name");
    Ok(Block { name, offset: at.offset, buffer })
}
