//! From values that were written to a frame that can be sent: in a message, or in a block.
//!
//! Promises: the blocks that the frame names or lies in stay as long as the [`Packed`].
//! Does not know: which side it is on.
#![forbid(unsafe_code)]

use crate::buffer::Buffer;
use crate::channel::{FramePlace, INLINE_FRAME_MAX, located};
use crate::codec::{CodecError, Writer, array_header};
use crate::frame::{Descriptor, HeadOptions, Layout, write_head};
use crate::shm::{BlockName, Store};

/// A frame, and where it is.
pub(super) struct Packed {
    pub(super) place: FramePlace,
    /// The frame, if it travels in the message.
    pub(super) frame: Vec<u8>,
    /// The blocks that the frame refers to or lies in, each once.
    pub(super) names: Vec<BlockName>,
    /// What keeps those blocks.
    pub(super) buffers: Vec<Buffer<u8>>,
    pub(super) bytes_in_band: u64,
    pub(super) bytes_out_of_band: u64,
}

/// A frame of the values in a writer, as one array.
pub(super) fn pack<S: Store>(store: &S, writer: Writer) -> Result<Packed, CodecError> {
    let (header, header_len) = array_header(writer.values());
    let header = &header[..header_len];
    let (metadata, placed) = writer.into_parts();
    let mut descriptors: Vec<Descriptor> = placed.iter().map(|placed| placed.descriptor).collect();
    let layout = Layout::new(header.len() + metadata.len(), &mut descriptors)?;
    let mut frame = Vec::new();
    write_head(&mut frame, &layout, &[header, &metadata], &descriptors, &HeadOptions::default());
    let frame_len = usize::try_from(layout.frame_len());
    frame.resize(frame_len.map_err(|_| CodecError::Encode("the frame is too long".into()))?, 0);

    let mut names: Vec<BlockName> =
        descriptors.iter().filter_map(|descriptor| store.name_of(&located(descriptor))).collect();
    let mut packed = Packed {
        place: FramePlace::Message,
        frame,
        names: Vec::new(),
        buffers: placed.into_iter().map(|placed| placed.buffer).collect(),
        bytes_in_band: u64::try_from(metadata.len()).unwrap_or(u64::MAX),
        bytes_out_of_band: descriptors.iter().map(|descriptor| descriptor.len).sum(),
    };
    if packed.frame.len() > INLINE_FRAME_MAX {
        names.push(packed.move_to_block(store)?);
    }
    names.sort_unstable();
    names.dedup();
    packed.names = names;
    Ok(packed)
}

impl Packed {
    fn move_to_block<S: Store>(&mut self, store: &S) -> Result<BlockName, CodecError> {
        let failed = |error: crate::error::Error| CodecError::Buffer(Box::new(error));
        let mut block = store.alloc(self.frame.len(), false).map_err(failed)?;
        block.copy_from_slice(&self.frame);
        let block = block.freeze();
        let at = store.locate(&block).expect("a store knows what it has just allocated");
        let name = store.name_of(&at).expect("an allocated block has a name");
        let len = u64::try_from(block.len()).unwrap_or(u64::MAX);
        self.place = FramePlace::Block { name, offset: at.offset, len };
        self.frame = Vec::new();
        self.buffers.push(block);
        Ok(name)
    }
}
