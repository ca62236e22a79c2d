//! An arena takes buffers out of band: where a peer that attached it reads them in place.
//!
//! Does not know: how the peer hears of them; [`Arena::take_lease`] says where they are.
#![forbid(unsafe_code)]

use crate::buffer::Buffer;
use crate::codec::CodecError;
use crate::codec::parts::{BufferSink, Placement};
use crate::error::Error;
use crate::shm::Arena;

/// Takes every buffer that is not empty; one that lies elsewhere is copied into the arena.
impl BufferSink for Arena {
    fn place(&mut self, buffer: &Buffer<u8>) -> Result<Placement, CodecError> {
        if buffer.is_empty() {
            return Ok(Placement::InBand);
        }
        placed(Arena::place(self, buffer))
    }

    fn place_slice(&mut self, bytes: &[u8]) -> Result<Placement, CodecError> {
        if bytes.is_empty() {
            return Ok(Placement::InBand);
        }
        placed(self.place_copy(bytes))
    }
}

fn placed(outcome: Result<(), Error>) -> Result<Placement, CodecError> {
    let failed = |error| CodecError::Buffer(Box::new(error));
    outcome.map(|()| Placement::OutOfBand).map_err(failed)
}
