//! What only the inside shows: scopes, the memo, rollback, the reader, the format's exact errors.
#![forbid(unsafe_code)]

mod holes;
mod hostile;
mod reading;
mod writing;

use serde::{Deserialize, Serialize};

use super::{CodecError, Encoder, Options, Payload, Placed, Sink};
use crate::buffer::Buffer;
use crate::frame::{Descriptor, FrameError, Kind, MetaFault};

/// Takes everything and remembers what it was given.
#[derive(Default)]
struct Recorder {
    owned: Vec<(Buffer<u8>, Kind, u8)>,
    lent: Vec<Vec<u8>>,
}

impl Sink for Recorder {
    fn place(&mut self, payload: Payload<'_>) -> Result<Option<Placed>, CodecError> {
        let buffer = match payload {
            Payload::Owned { buffer, kind, align } => {
                self.owned.push((buffer.clone(), kind, align));
                buffer.clone()
            }
            Payload::Lent(bytes) => {
                self.lent.push(bytes.to_vec());
                Buffer::copy_from_slice(bytes)
            }
        };
        let descriptor = Descriptor::inline(buffer.len() as u64, Kind::OPAQUE, 0);
        Ok(Some(Placed::new(descriptor, buffer)))
    }
}

fn small() -> Options {
    Options { threshold: 4, ..Options::default() }
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
enum Chain {
    End,
    Link(Box<Chain>),
}

fn meta(error: CodecError) -> (u64, MetaFault) {
    match error {
        CodecError::Frame(FrameError::Meta { at, why }) => (at, why),
        other => panic!("{other:?}"),
    }
}

fn decode_at<T: std::fmt::Debug>(read: Result<T, CodecError>) -> u64 {
    match read {
        Err(CodecError::Decode { at, .. }) => at,
        other => panic!("{other:?}"),
    }
}

/// A frame of metadata alone, not checked by the writer.
fn frame_of(metadata: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    crate::frame::write_frame(&mut frame, &[metadata], &mut [], &Default::default()).unwrap();
    frame
}

/// Metadata of a value, everything in band.
fn in_band<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, CodecError> {
    Encoder::new().threshold(usize::MAX).to_parts(value, &mut Vec::new())
}
