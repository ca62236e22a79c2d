//! Enums: a string, or a map of one entry from the variant's name to its data.
//!
//! rmp-serde's own reading of them does not count how deep they lie. Here the map counts, as every
//! other one.
#![forbid(unsafe_code)]

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::BorrowedStrDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, VariantAccess, Visitor,
};

use super::wrap::{Context, Seed};

pub(super) struct EnumVisitor<'a, 'de, V> {
    pub(super) visitor: V,
    pub(super) ctx: Context<'a, 'de>,
}

impl<'de, V: Visitor<'de>> Visitor<'de> for EnumVisitor<'_, 'de, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(f)
    }

    fn visit_borrowed_str<E: Error>(self, name: &'de str) -> Result<V::Value, E> {
        self.ctx.decode.passed();
        self.visitor.visit_enum(BorrowedStrDeserializer::new(name))
    }

    fn visit_map<A: MapAccess<'de>>(self, entry: A) -> Result<V::Value, A::Error> {
        if let Some(len) = entry.size_hint().filter(|&len| len != 1) {
            return Err(A::Error::custom(format_args!(
                "a map of {len} entries where an enum is wanted, which has one: \
                 was another type written?"
            )));
        }
        self.ctx.decode.passed();
        let ctx = self.ctx.within()?;
        self.visitor.visit_enum(Entry { entry, ctx })
    }
}

/// The one entry: its key is the variant's name, its value the variant's data.
struct Entry<'a, 'de, A> {
    entry: A,
    ctx: Context<'a, 'de>,
}

impl<'de, A: MapAccess<'de>> EnumAccess<'de> for Entry<'_, 'de, A> {
    type Error = A::Error;
    type Variant = Self;

    fn variant_seed<T: DeserializeSeed<'de>>(
        mut self,
        seed: T,
    ) -> Result<(T::Value, Self), A::Error> {
        let name = self.entry.next_key_seed(Seed { seed, ctx: self.ctx })?;
        let name = name.ok_or_else(|| A::Error::custom("a map without an entry for an enum"))?;
        Ok((name, self))
    }
}

impl<'de, A: MapAccess<'de>> VariantAccess<'de> for Entry<'_, 'de, A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.newtype_variant_seed(PhantomData)
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(
        mut self,
        seed: T,
    ) -> Result<T::Value, A::Error> {
        self.entry.next_value_seed(Seed { seed, ctx: self.ctx })
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, A::Error> {
        self.newtype_variant_seed(Fields { len, visitor })
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        self.newtype_variant_seed(Fields { len: fields.len(), visitor })
    }
}

/// The data of a tuple or struct variant: a sequence, or a map by field name.
struct Fields<V> {
    len: usize,
    visitor: V,
}

impl<'de, V: Visitor<'de>> DeserializeSeed<'de> for Fields<V> {
    type Value = V::Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<V::Value, D::Error> {
        from.deserialize_tuple(self.len, self.visitor)
    }
}
