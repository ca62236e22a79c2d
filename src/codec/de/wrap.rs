//! [`De`]: rmp-serde's deserializer, with references resolved and its holes closed.
//!
//! It stands between rmp-serde and the type on every way: deserializer, visitor, seed and access
//! are wrapped, so that each value passes here. Since it answers `deserialize_newtype_struct`
//! itself, a newtype that rmp-serde reports is an extension value, and that is a reference.
//! Nearly everything is read by `deserialize_any`: the metadata says what a value is.
//!
//! Promises: nothing deeper than the limit, also in what is ignored; no size hint beyond what the
//! input can hold; a reference gives the body's own bytes, through whatever serde buffers.
//! Does not know: who owns the bytes; see `scope`.
#![forbid(unsafe_code)]

use std::fmt;

use serde::de::value::SeqDeserializer;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::decode::Decode;
use super::enums::EnumVisitor;
use super::integers::{I128Visitor, U128Visitor};
use crate::codec::ser::{Level, REFERENCE};

/// Reads one value from `D`, which is rmp-serde's.
pub(in crate::codec) struct De<'a, 'de, D> {
    from: D,
    ctx: Context<'a, 'de>,
}

/// What goes along from value to value.
#[derive(Clone, Copy)]
pub(super) struct Context<'a, 'de> {
    pub(super) decode: &'a Decode<'a, 'de>,
    pub(super) level: Level,
}

impl<'a, 'de> Context<'a, 'de> {
    fn wrapped<E: serde::de::Error>(self) -> Result<Self, E> {
        self.checked(self.level.wrapped())
    }

    /// That of the items of a sequence or map whose header was read.
    pub(super) fn within<E: serde::de::Error>(self) -> Result<Self, E> {
        self.checked(self.level.within(1))
    }

    fn checked<E: serde::de::Error>(self, level: Level) -> Result<Self, E> {
        self.decode.check_depth(level)?;
        Ok(Context { level, ..self })
    }
}

impl<'a, 'de, D> De<'a, 'de, D> {
    pub(in crate::codec) fn new(from: D, decode: &'a Decode<'a, 'de>, level: Level) -> Self {
        De { from, ctx: Context { decode, level } }
    }

    fn wrap<V>(&self, visitor: V, reading: Reading) -> Wrap<'a, 'de, V> {
        Wrap { visitor, ctx: self.ctx, reading }
    }
}

/// What the type asked for, as far as it matters.
#[derive(Clone, Copy, PartialEq)]
enum Reading {
    Any,
    /// A sequence: a byte string is given as one of numbers, as rmp-serde does.
    Items,
    /// Nothing: it looks at no bytes.
    Ignored,
}

macro_rules! by_any {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            self.deserialize_any(visitor)
        })*
    };
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for De<'_, 'de, D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let visitor = self.wrap(visitor, Reading::Any);
        self.from.deserialize_any(visitor)
    }

    by_any! {
        deserialize_bool deserialize_char deserialize_str deserialize_string
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_f32 deserialize_f64 deserialize_bytes deserialize_byte_buf
        deserialize_unit deserialize_map deserialize_identifier
    }

    fn deserialize_i128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.deserialize_any(I128Visitor(visitor))
    }

    fn deserialize_u128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.deserialize_any(U128Visitor(visitor))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let visitor = self.wrap(visitor, Reading::Ignored);
        self.from.deserialize_any(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let visitor = self.wrap(visitor, Reading::Any);
        self.from.deserialize_option(visitor)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let visitor = self.wrap(visitor, Reading::Any);
        self.from.deserialize_unit_struct(name, visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let ctx = self.ctx.wrapped()?;
        visitor.visit_newtype_struct(De { from: self.from, ctx })
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let visitor = self.wrap(visitor, Reading::Items);
        self.from.deserialize_any(visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let visitor = EnumVisitor { visitor, ctx: self.ctx };
        self.from.deserialize_any(visitor)
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// A type's visitor, given what rmp-serde found.
struct Wrap<'a, 'de, V> {
    visitor: V,
    ctx: Context<'a, 'de>,
    reading: Reading,
}

impl<'de, V: Visitor<'de>> Wrap<'_, 'de, V> {
    fn bytes<E: serde::de::Error>(self, bytes: &'de [u8]) -> Result<V::Value, E> {
        if self.reading == Reading::Items {
            let items = bytes.iter().copied();
            return self.visitor.visit_seq(SeqDeserializer::<_, E>::new(items));
        }
        self.visitor.visit_borrowed_bytes(bytes)
    }
}

macro_rules! scalars {
    ($($method:ident: $type:ty;)*) => {
        $(fn $method<E: serde::de::Error>(self, value: $type) -> Result<V::Value, E> {
            self.ctx.decode.passed();
            self.visitor.$method(value)
        })*
    };
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Wrap<'_, 'de, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(f)
    }

    scalars! {
        visit_bool: bool;
        visit_u8: u8;
        visit_u16: u16;
        visit_u32: u32;
        visit_u64: u64;
        visit_i8: i8;
        visit_i16: i16;
        visit_i32: i32;
        visit_i64: i64;
        visit_f32: f32;
        visit_f64: f64;
        visit_borrowed_str: &'de str;
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<V::Value, E> {
        self.ctx.decode.passed();
        self.visitor.visit_unit()
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<V::Value, E> {
        self.ctx.decode.passed();
        self.visitor.visit_none()
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<V::Value, D::Error> {
        let ctx = self.ctx.wrapped()?;
        self.visitor.visit_some(De { from, ctx })
    }

    fn visit_borrowed_bytes<E: serde::de::Error>(self, bytes: &'de [u8]) -> Result<V::Value, E> {
        self.ctx.decode.passed();
        self.bytes(bytes)
    }

    /// Only an extension value comes here: a reference.
    fn visit_newtype_struct<D: Deserializer<'de>>(self, from: D) -> Result<V::Value, D::Error> {
        self.ctx.decode.passed();
        let index = from.deserialize_any(ReferenceVisitor)?;
        let bytes = self.ctx.decode.resolve(index, self.reading != Reading::Ignored)?;
        self.bytes(bytes)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, from: A) -> Result<V::Value, A::Error> {
        self.ctx.decode.passed();
        let mut items = Items { from, ctx: self.ctx.within()?, taken: 0 };
        let value = self.visitor.visit_seq(&mut items)?;
        let left = items.from.size_hint();
        items.check_left(left)?;
        Ok(value)
    }

    fn visit_map<A: MapAccess<'de>>(self, from: A) -> Result<V::Value, A::Error> {
        self.ctx.decode.passed();
        let mut items = Items { from, ctx: self.ctx.within()?, taken: 0 };
        let value = self.visitor.visit_map(&mut items)?;
        let left = items.from.size_hint();
        items.check_left(left)?;
        Ok(value)
    }
}

/// The items of a sequence, or the keys and values of a map.
struct Items<'a, 'de, A> {
    from: A,
    ctx: Context<'a, 'de>,
    /// Items or entries that the type took.
    taken: usize,
}

impl<A> Items<'_, '_, A> {
    fn check_left<E: serde::de::Error>(&self, left: Option<usize>) -> Result<(), E> {
        let taken = self.taken;
        match left {
            None | Some(0) => Ok(()),
            Some(left) => Err(E::custom(format_args!(
                "{} items where {taken} are wanted; was another type written?",
                taken.saturating_add(left)
            ))),
        }
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Items<'_, 'de, A> {
    type Error = A::Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, A::Error> {
        let item = self.from.next_element_seed(Seed { seed, ctx: self.ctx })?;
        self.taken += usize::from(item.is_some());
        Ok(item)
    }

    fn size_hint(&self) -> Option<usize> {
        self.from.size_hint().map(|hint| hint.min(self.ctx.decode.values_left()))
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Items<'_, 'de, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        let key = self.from.next_key_seed(Seed { seed, ctx: self.ctx })?;
        self.taken += usize::from(key.is_some());
        Ok(key)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, A::Error> {
        self.from.next_value_seed(Seed { seed, ctx: self.ctx })
    }

    fn size_hint(&self) -> Option<usize> {
        self.from.size_hint().map(|hint| hint.min(self.ctx.decode.values_left() / 2))
    }
}

/// A type's seed, given the wrapped deserializer.
pub(super) struct Seed<'a, 'de, T> {
    pub(super) seed: T,
    pub(super) ctx: Context<'a, 'de>,
}

impl<'de, T: DeserializeSeed<'de>> DeserializeSeed<'de> for Seed<'_, 'de, T> {
    type Value = T::Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<T::Value, D::Error> {
        self.seed.deserialize(De { from, ctx: self.ctx })
    }
}

/// Reads the index out of an extension value: its type, then its bytes.
struct ReferenceVisitor;

impl<'de> Visitor<'de> for ReferenceVisitor {
    type Value = u32;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a reference to a buffer")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<u32, A::Error> {
        let kind: Option<i8> = parts.next_element()?;
        let index: Option<&[u8]> = parts.next_element()?;
        match (kind, index) {
            (Some(REFERENCE), Some(&[a])) => Ok(a.into()),
            (Some(REFERENCE), Some(&[a, b])) => Ok(u16::from_le_bytes([a, b]).into()),
            (Some(REFERENCE), Some(&[a, b, c, d])) => Ok(u32::from_le_bytes([a, b, c, d])),
            _ => Err(A::Error::custom("an extension value that is no reference to a buffer")),
        }
    }
}
