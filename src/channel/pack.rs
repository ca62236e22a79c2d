//! From a value to a record: written, its buffers placed, nothing published yet.
//!
//! Promises: the blocks that a record names stay as long as it; user code runs here, under no lock.
//! Does not know: rings.
#![forbid(unsafe_code)]

use serde::Serialize;

use super::place::Places;
use super::record::{self, BLOCK, FRAME, HEAD_LEN, INLINE_MAX, RETURNED, Range, VALUE};
use super::sink::{StoreSink, located};
use crate::buffer::Buffer;
use crate::codec::{CodecError, Copies, Options, Placed, Writer};
use crate::error::Error;
use crate::frame::{Descriptor, HeadOptions, Layout, Location, write_head};
use crate::shm::{BlockName, Store};

/// A record to be published.
pub(super) struct Packed {
    pub(super) head: [u8; HEAD_LEN],
    pub(super) body: Vec<u8>,
    /// For a value with buffers, or a long one: mostly there is none, and so there is little to move.
    pub(super) shared: Option<Box<Shared>>,
}

/// What of a record lies in shared memory.
#[derive(Default)]
pub(super) struct Shared {
    /// The blocks of this end that it names, as often as it names them.
    pub(super) names: Vec<BlockName>,
    /// The blocks of the peer that it sends back.
    pub(super) returned: Vec<BlockName>,
    /// Bytes in shared memory that wait with the record.
    pub(super) bytes: u64,
    /// Those of them that are payload, and not the record itself.
    pub(super) out_of_band: u64,
    pub(super) copies: Copies,
    /// Keeps the blocks until the record is out.
    kept: Vec<Buffer<u8>>,
}

/// Writes the value; `memory` is memory to use.
pub(super) fn pack<T: Serialize>(
    places: &Places,
    value: &T,
    memory: Vec<u8>,
) -> Result<Packed, CodecError> {
    let mut sink = StoreSink::new(places);
    let mut writer = Writer::in_memory(&Options::default(), memory);
    writer.push(value, &mut sink)?;
    let (metadata, placed) = writer.into_parts();
    let mut packed = Packed { head: record::head(VALUE), body: metadata, shared: None };
    if placed.is_empty() && packed.body.len() <= INLINE_MAX {
        return Ok(packed);
    }
    let mut shared = Shared { copies: sink.copies(), ..Shared::default() };
    packed.frame(places, placed, &mut shared)?;
    if packed.body.len() > INLINE_MAX {
        packed.move_to_block(places, &mut shared)?;
    }
    packed.shared = Some(Box::new(shared));
    Ok(packed)
}

impl Packed {
    /// Bytes of the record.
    pub(super) fn len(&self) -> usize {
        self.head.len() + self.body.len()
    }

    /// Bytes in shared memory that wait with the record.
    pub(super) fn bytes(&self) -> u64 {
        self.shared.as_ref().map_or(0, |shared| shared.bytes)
    }

    /// Lays a frame around the metadata: its table says where the buffers lie.
    fn frame(
        &mut self,
        places: &Places,
        placed: Vec<Placed>,
        shared: &mut Shared,
    ) -> Result<(), CodecError> {
        let mut descriptors: Vec<Descriptor> = placed.iter().map(|p| p.descriptor).collect();
        let layout = Layout::new(self.body.len(), &mut descriptors)?;
        let len = usize::try_from(layout.frame_len());
        let len = len.map_err(|_| CodecError::Encode("the frame is too long".to_owned()))?;
        let mut frame = Vec::with_capacity(len);
        let options = HeadOptions::default();
        write_head(&mut frame, &layout, &[&self.body], &descriptors, &options);
        frame.resize(len, 0);
        for descriptor in &descriptors {
            debug_assert_eq!(descriptor.location, Location::Segment, "every buffer was placed");
            let at = located(descriptor);
            match places.name_of(&at) {
                Some(name) => shared.names.push(name),
                None => shared.returned.extend(places.returned(&at)),
            }
            shared.bytes = shared.bytes.saturating_add(descriptor.len);
        }
        shared.out_of_band = shared.bytes;
        (self.head, self.body) = (record::head(FRAME), frame);
        shared.kept = placed.into_iter().map(|placed| placed.buffer).collect();
        Ok(())
    }

    fn move_to_block(&mut self, places: &Places, shared: &mut Shared) -> Result<(), CodecError> {
        let failed = |error: Error| CodecError::Buffer(Box::new(error));
        let mut block = places.alloc(self.body.len(), false).map_err(failed)?;
        block.copy_from_slice(&self.body);
        let block = block.freeze();
        let at = places.locate(&block).expect("a store knows what it has just allocated");
        debug_assert_eq!(at.segment & RETURNED, 0, "what is allocated is this end's");
        shared.names.push(places.name_of(&at).expect("an allocated block has a name"));
        let len = u64::try_from(block.len()).unwrap_or(u64::MAX);
        let range =
            Range { segment: at.segment, generation: at.generation, offset: at.offset, len };
        shared.bytes = shared.bytes.saturating_add(len);
        (self.head, self.body) = (record::head(BLOCK), range.to_bytes());
        shared.kept.push(block);
        Ok(())
    }
}
