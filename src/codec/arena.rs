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
        let outcome = Arena::place(self, buffer);
        placed(self, outcome)
    }

    fn place_slice(&mut self, bytes: &[u8]) -> Result<Placement, CodecError> {
        if bytes.is_empty() {
            return Ok(Placement::InBand);
        }
        let outcome = self.place_copy(bytes);
        placed(self, outcome)
    }
}

fn placed(arena: &mut Arena, outcome: Result<(), Error>) -> Result<Placement, CodecError> {
    let failed = |error| {
        // The value has failed with it, so what it had placed is nobody's.
        drop(arena.take_lease());
        CodecError::Buffer(Box::new(error))
    };
    outcome.map(|()| Placement::OutOfBand).map_err(failed)
}
