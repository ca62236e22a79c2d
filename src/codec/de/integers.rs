//! 128-bit integers: sixteen bytes, the most significant first, or an integer.
//!
//! rmp-serde reads both by way of `i128`, where -1 and `u128::MAX` are the same; here the type that
//! asked says what the sixteen bytes are, and an integer keeps its sign.
#![forbid(unsafe_code)]

use std::fmt;

use serde::de::{Error, Unexpected, Visitor};

pub(super) struct I128Visitor<V>(pub(super) V);

pub(super) struct U128Visitor<V>(pub(super) V);

macro_rules! wide {
    ($visitor:ident, $type:ty, $visit:ident) => {
        impl<'de, V: Visitor<'de>> Visitor<'de> for $visitor<V> {
            type Value = V::Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.expecting(f)
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<V::Value, E> {
                self.0.$visit(value.into())
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<V::Value, E> {
                match value.try_into() {
                    Ok(value) => self.0.$visit(value),
                    Err(_) => Err(E::invalid_value(Unexpected::Signed(value), &self)),
                }
            }

            fn visit_borrowed_bytes<E: Error>(self, bytes: &'de [u8]) -> Result<V::Value, E> {
                match bytes.try_into() {
                    Ok(bytes) => self.0.$visit(<$type>::from_be_bytes(bytes)),
                    Err(_) => Err(E::invalid_length(bytes.len(), &"sixteen bytes of an integer")),
                }
            }
        }
    };
}

wide!(I128Visitor, i128, visit_i128);
wide!(U128Visitor, u128, visit_u128);
