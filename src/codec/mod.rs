//! Values to frames and back: serde's data model over rmp-serde, large byte strings out of band.
//!
//! Promises: what is written by any type reads as that type, in band or out of band alike; bytes
//! with an owner are neither copied nor written twice; no input makes it panic, recurse deeply or
//! reserve more than the input's own size.
//! Does not know: where out-of-band bytes go or come from. A [`Sink`] and [`Bodies`] do.

#[cfg(feature = "arbitrary")]
mod arbitrary;
#[cfg(feature = "shm")]
mod arena;
mod bodies;
mod buffer_impls;
pub mod bytes;
#[cfg(feature = "channel")]
mod data;
mod de;
mod decoder;
mod element;
mod encoder;
mod error;
#[cfg(feature = "shm")]
mod file;
mod parts;
pub mod pod;
mod reader;
mod scope;
mod ser;
mod stream;
mod writer;

#[cfg(test)]
mod tests;

#[cfg(feature = "channel")]
pub use self::data::Data;
pub use self::decoder::{Decoder, from_bytes, from_slice};
pub use self::encoder::{Encoder, to_vec};
pub use self::error::CodecError;
#[cfg(feature = "shm")]
pub use self::file::{map_file, read_file, write_file};
pub use self::parts::{BufferSink, BufferSource, Placement};
pub use self::stream::{from_reader, to_writer};

pub(crate) use self::{
    bodies::{Bodies, Body},
    reader::{Copies, Reader},
    writer::{Options, Payload, Placed, Sink, Writer, array_header},
};
