//! `Buffer` and `BufferMut` as serde data.
//!
//! Promises: inside a frame a `Buffer` is neither copied on writing nor, where the frame's memory
//! can be shared, on reading; in any other format it is ordinary data.
//! Does not know: how it travels. It meets the serializer of this floor by the address of its bytes
//! (see `scope`), through whatever adapters of serde lie between.
#![forbid(unsafe_code)]

use std::any::type_name;
use std::fmt;
use std::marker::PhantomData;

use bytemuck::Pod;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::buffer::{Buffer, BufferMut, alloc};
use crate::codec::scope::{self, Found, Offer};
use crate::codec::{element, ser};

/// To a binary format one byte string; to one that people read a sequence of numbers, or the bytes
/// where `T` is no primitive type.
impl<T: Pod> Serialize for Buffer<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_pod(self, serializer, || self.clone().into_bytes())
    }
}

/// From bytes or from a sequence, whatever the format calls itself.
impl<'de, T: Pod> Deserialize<'de> for Buffer<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_pod(deserializer)
    }
}

/// As a [`Buffer`], but its bytes are copied: it stays exclusive.
impl<T: Pod> Serialize for BufferMut<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_lent(self, serializer)
    }
}

/// To a private copy.
impl<'de, T: Pod> Deserialize<'de> for BufferMut<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_pod(deserializer)
    }
}

/// Items that have an owner, which `owner` names if it is wanted.
pub(super) fn serialize_pod<T: Pod, S: Serializer>(
    items: &[T],
    serializer: S,
    owner: impl FnOnce() -> Buffer<u8>,
) -> Result<S::Ok, S::Error> {
    let bytes: &[u8] = bytemuck::cast_slice(items);
    let offer =
        || Offer { buffer: owner(), kind: element::kind::<T>(), align: element::align::<T>() };
    let _offered_meanwhile = scope::offer(bytes.len(), offer);
    serialize_lent(items, serializer)
}

/// Items that serde lends for the call only.
pub(super) fn serialize_lent<T: Pod, S: Serializer>(
    items: &[T],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    if serializer.is_human_readable() && !ends_in_frame::<S>() {
        return element::serialize_items(items, serializer);
    }
    if !element::is_native::<T>() {
        return Err(S::Error::custom(OTHER_ENDIAN));
    }
    serializer.serialize_bytes(bytemuck::cast_slice(items))
}

pub(super) fn deserialize_pod<'de, T, C, D>(deserializer: D) -> Result<C, D::Error>
where
    T: Pod,
    C: Container<T>,
    D: Deserializer<'de>,
{
    let visitor = PodVisitor(PhantomData);
    // What serde buffers for a tagged or flattened type calls itself readable, yet holds the bytes
    // of a binary format; only `deserialize_any` shows what is there. Formats that people read say
    // of each value what it is, so it suits them as well.
    if deserializer.is_human_readable() {
        deserializer.deserialize_any(visitor)
    } else {
        deserializer.deserialize_bytes(visitor)
    }
}

/// What items are read into.
pub(super) trait Container<T: Pod>: Sized {
    /// The items, of which this has to make its own copy or share the owner.
    fn from_bytes(bytes: &[u8], found: Option<Found>) -> Result<Self, String>;

    fn from_items(items: Vec<T>) -> Result<Self, String>;

    fn from_byte_vec(bytes: Vec<u8>) -> Result<Self, String> {
        Self::from_bytes(&bytes, None)
    }
}

impl<T: Pod> Container<T> for Buffer<T> {
    fn from_bytes(bytes: &[u8], found: Option<Found>) -> Result<Self, String> {
        let Some(found) = found else { return copy(bytes).map(Buffer::from) };
        if let Some(Ok(shared)) = found.buffer.map(Buffer::try_cast) {
            scope::shared(found.index, bytes.len());
            return Ok(shared);
        }
        scope::copied(bytes.len());
        copy(bytes).map(Buffer::from)
    }

    fn from_items(items: Vec<T>) -> Result<Self, String> {
        Ok(items.into())
    }

    fn from_byte_vec(bytes: Vec<u8>) -> Result<Self, String> {
        Buffer::from(bytes).try_cast().or_else(|misfit| copy(&misfit).map(Buffer::from))
    }
}

impl<T: Pod> Container<T> for BufferMut<T> {
    fn from_bytes(bytes: &[u8], found: Option<Found>) -> Result<Self, String> {
        let mut own = alloc::<T>(bytes.len() / size_of::<T>()).map_err(|e| e.to_string())?;
        bytemuck::cast_slice_mut(&mut own).copy_from_slice(bytes);
        if found.is_some() {
            scope::copied(bytes.len());
        }
        Ok(own)
    }

    fn from_items(items: Vec<T>) -> Result<Self, String> {
        let mut own = alloc::<T>(items.len()).map_err(|e| e.to_string())?;
        own.copy_from_slice(&items);
        Ok(own)
    }
}

impl<T: Pod> Container<T> for Vec<T> {
    fn from_bytes(bytes: &[u8], found: Option<Found>) -> Result<Self, String> {
        if found.is_some() {
            scope::copied(bytes.len());
        }
        copy(bytes)
    }

    fn from_items(items: Vec<T>) -> Result<Self, String> {
        Ok(items)
    }
}

struct PodVisitor<T, C>(PhantomData<fn() -> (T, C)>);

impl<'de, T: Pod, C: Container<T>> Visitor<'de> for PodVisitor<T, C> {
    type Value = C;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if element::is_primitive::<T>() {
            write!(f, "a byte string or a sequence of {}", type_name::<T>())
        } else {
            write!(f, "the bytes of items of {}", type_name::<T>())
        }
    }

    /// Borrowed bytes come here as well.
    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<C, E> {
        if bytes.is_empty() {
            return C::from_items(Vec::new()).map_err(E::custom);
        }
        check_items::<T>(bytes.len()).map_err(E::custom)?;
        let found = scope::find(bytes);
        if let Some(Found { kind, .. }) = found.as_ref().filter(|f| !element::may_view::<T>(f.kind))
        {
            let wanted = type_name::<T>();
            return Err(E::custom(format_args!(
                "a buffer of other elements (kind {:#04x}) than {wanted}; read it as it was written",
                kind.to_byte()
            )));
        }
        C::from_bytes(bytes, found).map_err(E::custom)
    }

    fn visit_byte_buf<E: serde::de::Error>(self, bytes: Vec<u8>) -> Result<C, E> {
        check_items::<T>(bytes.len()).map_err(E::custom)?;
        C::from_byte_vec(bytes).map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<C, A::Error> {
        let items = element::deserialize_items(items)?;
        C::from_items(items).map_err(A::Error::custom)
    }
}

/// Whether `S` is this floor's serializer, or an adapter of serde before it, although it calls
/// itself readable: serde writes what it must buffer (a newtype variant of an internally tagged
/// enum that holds another enum) through such a one.
fn ends_in_frame<S: Serializer>() -> bool {
    scope::is_encoding() && type_name::<S::Error>() == type_name::<ser::Error>()
}

fn check_items<T>(len: usize) -> Result<(), String> {
    if !element::is_native::<T>() {
        return Err(OTHER_ENDIAN.to_owned());
    }
    element::check_length::<T>(len).map_err(|error| error.to_string())
}

fn copy<T: Pod>(bytes: &[u8]) -> Result<Vec<T>, String> {
    element::copy_items(bytes).map_err(|error| error.to_string())
}

const OTHER_ENDIAN: &str =
    "a big-endian machine can exchange buffers of single bytes only; convert the items to bytes";
