//! [`Reader`]: values one behind the other out of one stream of metadata.
//!
//! Promises: whatever becomes of a value, the reader stands at its end afterwards; no metadata makes
//! it panic, though only metadata that was checked gives the format's own errors.
//! Does not know: where bodies come from; [`Bodies`] do.
#![forbid(unsafe_code)]

use serde::Deserialize;

use crate::codec::CodecError;
use crate::codec::bodies::{Bodies, Held};
use crate::codec::de::Decode;
use crate::codec::scope::DecodeScope;
use crate::frame::{FrameError, Limits, MetaFault, skip_token, skip_value};

/// Copies of out-of-band bytes that were made while reading.
///
/// Those of this library's own types are counted (`pod`, `BufferMut`, a `Buffer` that is misaligned
/// or has no owner to share). What a type does with bytes that it is lent (`Vec<u8>`, `ByteBuf`) is
/// between it and serde.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Copies {
    pub(crate) count: u64,
    pub(crate) bytes: u64,
}

impl Copies {
    pub(crate) fn add(&mut self, more: Copies) {
        self.count = self.count.saturating_add(more.count);
        self.bytes = self.bytes.saturating_add(more.bytes);
    }
}

/// Reads values one behind the other.
pub(crate) struct Reader<'de> {
    metadata: &'de [u8],
    at: usize,
    bodies: Held<'de>,
    limits: Limits,
    /// Sequences that were entered: they count for the depth.
    depth: u32,
    /// Bodies that were referenced so far: those below this index.
    used: u32,
    /// A value whose references were not all seen, since reading it failed.
    unseen: Option<(usize, usize)>,
    charged: u64,
    copies: Copies,
}

impl<'de> Reader<'de> {
    pub(crate) fn new(metadata: &'de [u8], bodies: &'de Bodies<'de>, limits: &Limits) -> Self {
        Self::over(metadata, Held::For(bodies), limits)
    }

    /// The same with bodies that do not outlive the reader, none of which is owned.
    pub(super) fn lent(metadata: &'de [u8], bodies: Bodies<'de>, limits: &Limits) -> Self {
        Self::over(metadata, Held::Here(bodies), limits)
    }

    fn over(metadata: &'de [u8], bodies: Held<'de>, limits: &Limits) -> Self {
        Reader {
            metadata,
            at: 0,
            bodies,
            limits: *limits,
            depth: 0,
            used: 0,
            unseen: None,
            charged: 0,
            copies: Copies::default(),
        }
    }

    /// Enters a sequence: how many values follow. All that is read from here on lies one level
    /// deeper.
    ///
    /// # Errors
    ///
    /// `Decode` if there is something else; the reader has not moved then.
    pub(crate) fn array(&mut self) -> Result<u32, CodecError> {
        let rest = self.metadata.get(self.at..).unwrap_or_default();
        let (count, len) = match *rest {
            [marker @ 0x90..=0x9f, ..] => (u32::from(marker & 0x0f), 1),
            [0xdc, a, b, ..] => (u32::from(u16::from_be_bytes([a, b])), 3),
            [0xdd, a, b, c, d, ..] => (u32::from_be_bytes([a, b, c, d]), 5),
            _ => {
                let message = "no sequence where several values are wanted".to_owned();
                return Err(CodecError::Decode { at: self.at as u64, message });
            }
        };
        self.at += len;
        self.depth += 1;
        Ok(count)
    }

    /// Reads the next value. Afterwards the reader stands at its end, also when reading it failed
    /// or panicked.
    ///
    /// # Errors
    ///
    /// `Decode` for a value of another type, `Frame` for metadata that is malformed after all, or
    /// beyond the limits; at the end of the metadata too.
    pub(crate) fn next<T: Deserialize<'de>>(&mut self) -> Result<T, CodecError> {
        let end = self.value_end()?;
        self.read(end)
    }

    /// Reads what is left as one value.
    pub(crate) fn last<T: Deserialize<'de>>(&mut self) -> Result<T, CodecError> {
        self.read(self.metadata.len())
    }

    /// Passes over `count` values; what they refer to counts as referred to.
    ///
    /// # Errors
    ///
    /// As [`next`](Self::next), except for types.
    pub(crate) fn skip(&mut self, count: u32) -> Result<(), CodecError> {
        for _ in 0..count {
            let end = self.value_end()?;
            self.see_references(self.at, end);
            self.at = end;
        }
        Ok(())
    }

    /// Copies of out-of-band bytes that were made so far.
    pub(crate) fn copies(&self) -> Copies {
        self.copies
    }

    fn read<T: Deserialize<'de>>(&mut self, end: usize) -> Result<T, CodecError> {
        if let Some((from, to)) = self.unseen.take() {
            self.see_references(from, to);
        }
        let (start, used) = (self.at, self.used);
        self.at = end;
        self.unseen = Some((start, end));
        let scope = DecodeScope::enter(self.bodies.table(), self.charged);
        let value = self.metadata.get(start..end).unwrap_or_default();
        let decode = Decode::new(value, start, &self.bodies, &self.limits, &scope, used);
        let read = decode.run(self.depth);
        if read.is_ok() {
            self.used = decode.used();
            self.unseen = None;
        }
        let (charged, copies) = scope.spent();
        self.charged = charged;
        self.copies.add(copies);
        read
    }

    fn value_end(&self) -> Result<usize, CodecError> {
        let end = skip_value(self.metadata, self.at);
        let cut = || FrameError::Meta { at: self.metadata.len() as u64, why: MetaFault::Eof };
        end.ok_or_else(|| cut().into())
    }

    fn see_references(&mut self, mut at: usize, end: usize) {
        while at < end {
            let Some((next, reference)) = skip_token(self.metadata, at) else { return };
            self.used = self.used.max(reference.map_or(0, |index| index.saturating_add(1)));
            at = next;
        }
    }
}
