//! [`Writer`]: values one behind the other into one stream of metadata.
//!
//! Promises: a value that fails, by an error or a panic, leaves no trace; bytes with an owner that
//! come twice are placed once. Bytes that are only lent are placed each time: memory that is used
//! again for something else has the same address and other contents.
//! Does not know: where bytes go. A [`Sink`] does.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use serde::Serialize;

use crate::buffer::Buffer;
use crate::codec::CodecError;
use crate::codec::scope::{EncodeScope, Offer, take_offer};
use crate::codec::ser::{Error, Level, Ser};
use crate::frame::{Descriptor, Kind};

/// How values are written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// Byte strings from this length on go out of band.
    pub(crate) threshold: usize,
    /// Structs as sequences instead of maps by field name.
    pub(crate) compact: bool,
    /// Sequences that will be laid around the values: they count for the depth.
    pub(crate) depth: u32,
}

impl Default for Options {
    fn default() -> Self {
        Options { threshold: DEFAULT_THRESHOLD, compact: false, depth: 0 }
    }
}

/// Bytes that may go out of band.
pub(crate) enum Payload<'a> {
    /// With their owner, which can be kept.
    Owned { buffer: &'a Buffer<u8>, kind: Kind, align: u8 },
    /// For the duration of the call.
    Lent(&'a [u8]),
}

/// Bytes that went out of band.
pub(crate) struct Placed {
    pub(crate) descriptor: Descriptor,
    /// Keeps the bytes alive until the frame is out.
    pub(crate) buffer: Buffer<u8>,
    /// The payload, if it had an owner: while this lives, nothing else can have the same address.
    source: Option<(Buffer<u8>, Kind)>,
}

impl Placed {
    pub(crate) fn new(descriptor: Descriptor, buffer: Buffer<u8>) -> Self {
        Placed { descriptor, buffer, source: None }
    }

    fn key(&self) -> Option<Key> {
        self.source.as_ref().map(|(buffer, kind)| key(buffer, *kind))
    }
}

/// Where a writer's payloads go: `Some` is out of band, `None` leaves them in the metadata.
pub(crate) trait Sink {
    fn place(&mut self, payload: Payload<'_>) -> Result<Option<Placed>, CodecError>;
}

/// Writes values one behind the other.
///
/// What was placed is numbered across all of them. To make one MessagePack value of several, lay
/// an [`array_header`] before the metadata and say so in [`Options::depth`].
pub(crate) struct Writer {
    options: Options,
    metadata: Vec<u8>,
    placed: Vec<Placed>,
    memo: Memo,
    values: u32,
}

impl Writer {
    pub(crate) fn new(options: &Options) -> Self {
        Self::in_memory(options, Vec::with_capacity(SMALL_MESSAGE))
    }

    /// Writes into memory that was used before; its contents are forgotten.
    pub(crate) fn in_memory(options: &Options, mut metadata: Vec<u8>) -> Self {
        metadata.clear();
        let (placed, memo) = (Vec::new(), Memo::new());
        Writer { options: *options, metadata, placed, memo, values: 0 }
    }

    /// Writes one more value.
    ///
    /// # Errors
    ///
    /// `Encode` for what metadata cannot hold or `value` refuses, and what `sink` fails with; then,
    /// and when `value` panics, the writer is as it was before.
    pub(crate) fn push<T: Serialize + ?Sized>(
        &mut self,
        value: &T,
        sink: &mut dyn Sink,
    ) -> Result<(), CodecError> {
        let _scope = EncodeScope::enter(self.options.threshold);
        let level = Level::at_depth(self.options.depth);
        let mut undo =
            Undo { metadata: self.metadata.len(), placed: self.placed.len(), writer: self };
        let mut encode = Encode::new(undo.writer, sink);
        let written = value.serialize(Ser::new(&mut encode, level));
        encode.outcome(written)?;
        undo.keep();
        Ok(())
    }

    /// How many values were written.
    pub(crate) fn values(&self) -> u32 {
        self.values
    }

    #[cfg(test)]
    pub(crate) fn metadata_len(&self) -> usize {
        self.metadata.len()
    }

    #[cfg(test)]
    pub(crate) fn metadata(&self) -> &[u8] {
        &self.metadata
    }

    #[cfg(test)]
    pub(crate) fn placed(&self) -> &[Placed] {
        &self.placed
    }

    pub(crate) fn into_parts(self) -> (Vec<u8>, Vec<Placed>) {
        (self.metadata, self.placed)
    }

    /// Forgets all values and keeps the memory.
    #[cfg(test)]
    pub(crate) fn clear(&mut self) {
        self.metadata.clear();
        self.placed.clear();
        self.memo.clear();
        self.values = 0;
    }
}

/// The header of a MessagePack array in its shortest form, and its length.
pub(crate) fn array_header(count: u32) -> ([u8; 5], usize) {
    let [a, b, c, d] = count.to_be_bytes();
    match count {
        0..=0xf => ([0x90 | d, 0, 0, 0, 0], 1),
        0x10..=0xffff => ([0xdc, c, d, 0, 0], 3),
        _ => ([0xdd, a, b, c, d], 5),
    }
}

/// Takes back what an unfinished value wrote.
struct Undo<'a> {
    writer: &'a mut Writer,
    metadata: usize,
    placed: usize,
}

impl Undo<'_> {
    fn keep(&mut self) {
        self.writer.values += 1;
        self.metadata = self.writer.metadata.len();
        self.placed = self.writer.placed.len();
    }
}

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        self.writer.metadata.truncate(self.metadata);
        if self.writer.placed.len() > self.placed {
            self.writer.placed.truncate(self.placed);
            let placed = self.placed;
            self.writer.memo.retain(|_, index| index_below(*index, placed));
        }
    }
}

/// Owned bytes that were placed before, once there are so many that looking at each takes longer.
type Memo = BTreeMap<Key, u32>;

/// Address, length and kind.
type Key = (usize, usize, u8);

fn key(buffer: &Buffer<u8>, kind: Kind) -> Key {
    (buffer.as_ptr().addr(), buffer.len(), kind.to_byte())
}

/// One value on its way into a [`Writer`].
pub(super) struct Encode<'w> {
    pub(super) metadata: &'w mut Vec<u8>,
    placed: &'w mut Vec<Placed>,
    memo: &'w mut Memo,
    options: &'w Options,
    sink: &'w mut dyn Sink,
    /// What really went wrong: serde's errors are only text.
    failure: Option<CodecError>,
    /// Half an item is in the metadata.
    spoiled: bool,
}

impl<'w> Encode<'w> {
    fn new(writer: &'w mut Writer, sink: &'w mut dyn Sink) -> Self {
        let Writer { options, metadata, placed, memo, .. } = writer;
        Encode { metadata, placed, memo, options, sink, failure: None, spoiled: false }
    }

    pub(super) fn is_compact(&self) -> bool {
        self.options.compact
    }

    pub(super) fn spoil(&mut self) {
        self.spoiled = true;
    }

    /// The index of the bytes, if they are out of band.
    pub(super) fn place(&mut self, bytes: &[u8]) -> Result<Option<u32>, Error> {
        if bytes.len() < self.options.threshold || bytes.is_empty() {
            return Ok(None);
        }
        let placed = match take_offer(bytes) {
            Some(offer) => self.place_owned(offer),
            None => self.place_lent(bytes),
        };
        placed.map_err(|failure| {
            let text = failure.to_string();
            self.failure = Some(failure);
            Error(text)
        })
    }

    fn place_owned(&mut self, offer: Offer) -> Result<Option<u32>, CodecError> {
        let Offer { buffer, kind, align } = offer;
        if let Some(index) = self.seen(key(&buffer, kind)) {
            return Ok(Some(index));
        }
        let payload = Payload::Owned { buffer: &buffer, kind, align };
        let Some(placed) = self.sink.place(payload)? else { return Ok(None) };
        self.keep(Placed { source: Some((buffer, kind)), ..placed }).map(Some)
    }

    fn place_lent(&mut self, bytes: &[u8]) -> Result<Option<u32>, CodecError> {
        let Some(placed) = self.sink.place(Payload::Lent(bytes))? else { return Ok(None) };
        self.keep(placed).map(Some)
    }

    /// The index of bytes that were placed before.
    fn seen(&self, key: Key) -> Option<u32> {
        if self.placed.len() > FEW {
            return self.memo.get(&key).copied();
        }
        let mut placed = self.placed.iter().zip(0..);
        placed.find(|(placed, _)| placed.key() == Some(key)).map(|(_, index)| index)
    }

    fn keep(&mut self, placed: Placed) -> Result<u32, CodecError> {
        let too_many = |_| CodecError::Encode("more than 2^32 buffers in one frame".to_owned());
        let index = u32::try_from(self.placed.len()).map_err(too_many)?;
        let at = self.placed.len();
        self.placed.push(placed);
        if at >= FEW {
            // With the first that is one too many those before it are indexed as well.
            let (at, index) = if at == FEW { (0, 0) } else { (at, index) };
            let new = self.placed[at..].iter().zip(index..);
            self.memo.extend(new.filter_map(|(placed, index)| Some((placed.key()?, index))));
        }
        Ok(index)
    }

    fn outcome(self, written: Result<(), Error>) -> Result<(), CodecError> {
        match (self.failure, written) {
            (Some(failure), _) => Err(failure),
            (None, Err(Error(message))) => Err(CodecError::Encode(message)),
            (None, Ok(())) if self.spoiled => Err(CodecError::Encode(SWALLOWED.to_owned())),
            (None, Ok(())) => Ok(()),
        }
    }
}

fn index_below(index: u32, count: usize) -> bool {
    usize::try_from(index).is_ok_and(|index| index < count)
}

const DEFAULT_THRESHOLD: usize = 4096;
const SMALL_MESSAGE: usize = 128;
/// So many are looked at one by one.
const FEW: usize = 16;
const SWALLOWED: &str =
    "a part of the value failed and its type went on; its `Serialize` must return the error";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn array_headers_are_in_their_shortest_form() {
        for count in [0, 1, 15, 16, 255, 256, 65_535, 65_536, u32::MAX] {
            let (header, len) = array_header(count);
            let announced = match header[0] {
                0x90..=0x9f => (u64::from(header[0] & 0xf), 1),
                0xdc => (u64::from(u16::from_be_bytes([header[1], header[2]])), 3),
                _ => {
                    (u64::from(u32::from_be_bytes([header[1], header[2], header[3], header[4]])), 5)
                }
            };
            assert_eq!(announced, (u64::from(count), len));
            assert_eq!(
                len,
                if count < 16 {
                    1
                } else if count < 65_536 {
                    3
                } else {
                    5
                }
            );
        }
    }
}
