//! [`Ser`]: rmp-serde's serializer, with byte strings out of band and its holes closed.
//!
//! Every byte of MessagePack is rmp-serde's. That serializer keeps nothing from one value to the
//! next, so one is made for each over the same bytes, and what has to be known across values is
//! kept here: depth, announced lengths, where byte strings go.
//!
//! Promises: what was written is well formed, no deeper than the format permits, and as long as
//! announced, or there is an error.
//! Does not know: what becomes of out-of-band bytes; [`Encode`] does.
#![forbid(unsafe_code)]

use std::fmt;

use rmp_serde::MSGPACK_EXT_STRUCT_NAME;
use serde::{Serialize, Serializer, ser};

use crate::codec::writer::Encode;

/// Sequences, maps and enum variants with data inside each other, at most.
pub(super) const DEPTH: u32 = 128;
/// Extension type of a reference to a buffer.
pub(super) const REFERENCE: i8 = 0x70;

/// Why a value cannot be written. Also the mark by which a `Buffer` knows, behind serde's adapters,
/// that its bytes go to a frame.
#[derive(Debug)]
pub(super) struct Error(pub(super) String);

/// How deep a value lies.
#[derive(Clone, Copy)]
pub(super) struct Level {
    /// Sequences, maps and variants around it.
    depth: u32,
    /// `Some` and newtypes around it since the innermost of those. They leave no byte, but each
    /// takes its part of the stack.
    wraps: u32,
}

impl Level {
    pub(super) fn at_depth(depth: u32) -> Self {
        Level { depth, wraps: 0 }
    }

    pub(super) fn within(self, levels: u32) -> Self {
        Level::at_depth(self.depth.saturating_add(levels))
    }

    pub(super) fn wrapped(self) -> Self {
        Level { wraps: self.wraps.saturating_add(1), ..self }
    }

    pub(super) fn exceeds(self, depth: u32) -> bool {
        self.depth > depth || self.wraps > DEPTH
    }
}

/// Writes one value.
pub(super) struct Ser<'a, 'w> {
    out: &'a mut Encode<'w>,
    level: Level,
}

/// What a compound is in the metadata.
#[derive(Clone, Copy)]
enum Shape {
    Seq,
    Map,
}

impl<'a, 'w> Ser<'a, 'w> {
    pub(super) fn new(out: &'a mut Encode<'w>, level: Level) -> Self {
        Ser { out, level }
    }

    fn at(self, level: Level) -> Result<Self, Error> {
        if level.exceeds(DEPTH) {
            return Err(ser::Error::custom(format_args!(
                "nested deeper than {DEPTH} sequences, maps and enum variants; \
                 flatten the type, or keep its nodes in a vector"
            )));
        }
        Ok(Ser { out: self.out, level })
    }

    fn open(self, shape: Shape, len: Option<usize>) -> Result<Compound<'a, 'w>, Error> {
        let level = self.level.within(1);
        let Ser { out, .. } = self.at(level)?;
        let start = out.metadata.len();
        if let Some(len) = len {
            header(out, shape, len)?;
        }
        Ok(Compound { out, level, shape, start, announced: len, written: 0, values: 0 })
    }

    /// With the names of its fields, or without in the compact profile.
    fn open_struct(self, len: usize) -> Result<Compound<'a, 'w>, Error> {
        let shape = if self.out.is_compact() { Shape::Seq } else { Shape::Map };
        self.open(shape, Some(len))
    }

    /// A map of one entry, up to its value.
    fn variant(self, name: &str) -> Result<Self, Error> {
        let level = self.level.within(1);
        let ser = self.at(level)?;
        header(ser.out, Shape::Map, 1)?;
        mp(ser.out).serialize_str(name)?;
        Ok(ser)
    }

    fn reference(self, index: u32) -> Result<(), Error> {
        let bytes = index.to_le_bytes();
        let len = match index {
            0..=0xff => 1,
            0x100..=0xffff => 2,
            _ => 4,
        };
        let extension = (REFERENCE, Payload(&bytes[..len]));
        Ok(mp(self.out).serialize_newtype_struct(MSGPACK_EXT_STRUCT_NAME, &extension)?)
    }
}

/// The methods whose values cannot go wrong: rmp-serde's own.
macro_rules! forward {
    ($($method:ident($($value:ident: $type:ty),*);)*) => {
        $(#[inline]
        fn $method(self, $($value: $type),*) -> Result<(), Error> {
            Ok(mp(self.out).$method($($value),*)?)
        })*
    };
}

impl<'a, 'w> Serializer for Ser<'a, 'w> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Compound<'a, 'w>;
    type SerializeTuple = Compound<'a, 'w>;
    type SerializeTupleStruct = Compound<'a, 'w>;
    type SerializeTupleVariant = Compound<'a, 'w>;
    type SerializeMap = Compound<'a, 'w>;
    type SerializeStruct = Compound<'a, 'w>;
    type SerializeStructVariant = Compound<'a, 'w>;

    forward! {
        serialize_bool(v: bool);
        serialize_i8(v: i8);
        serialize_i16(v: i16);
        serialize_i32(v: i32);
        serialize_i64(v: i64);
        // 128-bit integers are byte strings to rmp-serde, but values and never out of band.
        serialize_i128(v: i128);
        serialize_u8(v: u8);
        serialize_u16(v: u16);
        serialize_u32(v: u32);
        serialize_u64(v: u64);
        serialize_u128(v: u128);
        serialize_f32(v: f32);
        serialize_f64(v: f64);
        serialize_char(v: char);
        serialize_none();
        serialize_unit();
        serialize_unit_struct(name: &'static str);
        serialize_unit_variant(name: &'static str, index: u32, variant: &'static str);
    }

    #[inline]
    fn serialize_str(self, v: &str) -> Result<(), Error> {
        check_length(v.len())?;
        Ok(mp(self.out).serialize_str(v)?)
    }

    fn serialize_bytes(self, v: &[u8]) -> Result<(), Error> {
        if let Some(index) = self.out.place(v)? {
            return self.reference(index);
        }
        check_length(v.len())?;
        Ok(mp(self.out).serialize_bytes(v)?)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        let level = self.level.wrapped();
        value.serialize(self.at(level)?)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        if name == MSGPACK_EXT_STRUCT_NAME {
            return Err(ser::Error::custom(
                "a MessagePack extension value, which frames use for buffers only; \
                 write its tag and bytes as a pair",
            ));
        }
        let level = self.level.wrapped();
        value.serialize(self.at(level)?)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        value.serialize(self.variant(variant)?)
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Compound<'a, 'w>, Error> {
        self.open(Shape::Seq, len)
    }

    fn serialize_tuple(self, len: usize) -> Result<Compound<'a, 'w>, Error> {
        self.open(Shape::Seq, Some(len))
    }

    fn serialize_tuple_struct(
        self,
        _name: &'static str,
        len: usize,
    ) -> Result<Compound<'a, 'w>, Error> {
        self.open(Shape::Seq, Some(len))
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Compound<'a, 'w>, Error> {
        self.variant(variant)?.open(Shape::Seq, Some(len))
    }

    fn serialize_map(self, len: Option<usize>) -> Result<Compound<'a, 'w>, Error> {
        self.open(Shape::Map, len)
    }

    fn serialize_struct(self, _name: &'static str, len: usize) -> Result<Compound<'a, 'w>, Error> {
        self.open_struct(len)
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Compound<'a, 'w>, Error> {
        self.variant(variant)?.open_struct(len)
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// A sequence, map or struct that is being written.
pub(super) struct Compound<'a, 'w> {
    out: &'a mut Encode<'w>,
    level: Level,
    shape: Shape,
    /// Where the items begin, for a header whose length is known only behind them.
    start: usize,
    announced: Option<usize>,
    /// Items, entries or fields; of a map its keys.
    written: usize,
    /// Of a map, its values.
    values: usize,
}

impl Compound<'_, '_> {
    fn item<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        let written = value.serialize(Ser { out: &mut *self.out, level: self.level });
        if written.is_err() {
            // A type may go on behind an error; half an item is in the metadata all the same.
            self.out.spoil();
        }
        written
    }

    fn counted<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.written += 1;
        self.item(value)
    }

    fn field<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) -> Result<(), Error> {
        if matches!(self.shape, Shape::Map) {
            mp(self.out).serialize_str(key)?;
        }
        self.counted(value)
    }

    fn skip(&mut self, key: &str) -> Result<(), Error> {
        if matches!(self.shape, Shape::Map) {
            return Ok(());
        }
        self.out.spoil();
        Err(ser::Error::custom(format_args!(
            "field `{key}` was skipped in the compact profile, where fields have no names and the \
             next would be read in its place; remove `skip_serializing_if` or `compact`"
        )))
    }

    fn finish(self) -> Result<(), Error> {
        let Some(announced) = self.announced else {
            // The header is written behind the items and then turned to their front.
            let end = self.out.metadata.len();
            header(self.out, self.shape, self.written)?;
            let header_len = self.out.metadata.len() - end;
            if let Some(compound) = self.out.metadata.get_mut(self.start..) {
                compound.rotate_right(header_len);
            }
            return Ok(());
        };
        if announced != self.written {
            self.out.spoil();
            return Err(ser::Error::custom(format_args!(
                "{announced} items were announced and {} written; \
                 the type's `Serialize` must announce what it writes",
                self.written
            )));
        }
        Ok(())
    }
}

/// Each compound of serde, by the method that writes an item.
macro_rules! compound {
    ($($trait:ident: $method:ident;)*) => {
        $(impl ser::$trait for Compound<'_, '_> {
            type Ok = ();
            type Error = Error;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
                self.counted(value)
            }

            fn end(self) -> Result<(), Error> {
                self.finish()
            }
        })*
    };
}

compound! {
    SerializeSeq: serialize_element;
    SerializeTuple: serialize_element;
    SerializeTupleStruct: serialize_field;
    SerializeTupleVariant: serialize_field;
}

macro_rules! struct_compound {
    ($($trait:ident)*) => {
        $(impl ser::$trait for Compound<'_, '_> {
            type Ok = ();
            type Error = Error;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                key: &'static str,
                value: &T,
            ) -> Result<(), Error> {
                self.field(key, value)
            }

            fn skip_field(&mut self, key: &'static str) -> Result<(), Error> {
                self.skip(key)
            }

            fn end(self) -> Result<(), Error> {
                self.finish()
            }
        })*
    };
}

struct_compound! { SerializeStruct SerializeStructVariant }

impl ser::SerializeMap for Compound<'_, '_> {
    type Ok = ();
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        self.counted(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.values += 1;
        if self.values != self.written {
            self.out.spoil();
            return Err(ser::Error::custom(KEYS_AND_VALUES));
        }
        self.item(value)
    }

    fn end(self) -> Result<(), Error> {
        if self.values != self.written {
            self.out.spoil();
            return Err(ser::Error::custom(KEYS_AND_VALUES));
        }
        self.finish()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

impl ser::Error for Error {
    #[cold]
    fn custom<T: fmt::Display>(message: T) -> Self {
        Error(message.to_string())
    }
}

impl From<rmp_serde::encode::Error> for Error {
    #[cold]
    fn from(error: rmp_serde::encode::Error) -> Self {
        ser::Error::custom(error)
    }
}

/// The payload of an extension value, which rmp-serde wants as a byte string.
struct Payload<'a>(&'a [u8]);

impl Serialize for Payload<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

/// A serializer for one value.
#[inline]
fn mp<'a>(out: &'a mut Encode<'_>) -> rmp_serde::Serializer<&'a mut Vec<u8>> {
    rmp_serde::Serializer::new(&mut *out.metadata)
}

/// rmp-serde writes it at once and closes nothing, so its compound need not live on.
fn header(out: &mut Encode<'_>, shape: Shape, len: usize) -> Result<(), Error> {
    check_length(len)?;
    match shape {
        Shape::Seq => mp(out).serialize_seq(Some(len)).map(drop)?,
        Shape::Map => mp(out).serialize_map(Some(len)).map(drop)?,
    }
    Ok(())
}

/// MessagePack has 32 bits for a length; rmp-serde would cut off the rest.
fn check_length(len: usize) -> Result<(), Error> {
    match u32::try_from(len) {
        Ok(_) => Ok(()),
        Err(_) => Err(ser::Error::custom(format_args!(
            "a string, byte string, sequence or map of {len} items; the metadata can hold \
             4294967295: keep large data in a `Buffer`"
        ))),
    }
}

const KEYS_AND_VALUES: &str =
    "keys and values of a map do not alternate; its `Serialize` must write a value behind each key";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_that_metadata_cannot_hold_are_refused() {
        assert!(check_length(u32::MAX as usize).is_ok());
        assert!(check_length(u32::MAX as usize + 1).is_err());
        assert!(check_length(usize::MAX).is_err());
    }
}
