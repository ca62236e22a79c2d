//! Element types: the kind a descriptor names, and items as numbers for formats that people read.
//!
//! Promises: a primitive type and its kind belong together one to one (`usize` goes as the integer
//! of its size); all other types are opaque bytes.
//! Does not know: buffers, frames.
#![forbid(unsafe_code)]

use std::any::{Any, TypeId};

use bytemuck::Pod;
use serde::de::{Error as _, SeqAccess};
use serde::{Deserialize, Serializer};

use crate::frame::Kind;

/// `$run!` with every primitive number and its kind.
macro_rules! for_primitives {
    ($run:ident) => {
        $run! {
            u8: U8, u16: U16, u32: U32, u64: U64, u128: U128,
            i8: I8, i16: I16, i32: I32, i64: I64, i128: I128,
            f32: F32, f64: F64
        }
        #[cfg(target_pointer_width = "64")]
        $run! { usize: U64, isize: I64 }
        #[cfg(target_pointer_width = "32")]
        $run! { usize: U32, isize: I32 }
    };
}

/// The kind of a primitive type; `None` for what only the application knows.
fn primitive<T: 'static>() -> Option<Kind> {
    macro_rules! compare {
        ($($type:ty: $kind:ident),*) => {
            $(if TypeId::of::<T>() == TypeId::of::<$type>() { return Some(Kind::$kind); })*
        };
    }
    for_primitives!(compare);
    None
}

/// The kind that a writer names: bytes are opaque too.
pub(super) fn kind<T: 'static>() -> Kind {
    primitive::<T>().filter(|&kind| kind != Kind::U8).unwrap_or(Kind::OPAQUE)
}

/// log2 of the alignment that a writer asks for.
pub(super) fn align<T>() -> u8 {
    // An alignment is a power of two below 2^30.
    let log2 = align_of::<T>().trailing_zeros();
    u8::try_from(log2).unwrap_or(u8::MAX).max(CACHE_LINE_LOG2)
}

/// Whether bytes that were written as `written` may be looked at as items of `T`.
pub(super) fn may_view<T: 'static>(written: Kind) -> bool {
    written.is_opaque() || is_bytes::<T>() || written == kind::<T>()
}

pub(super) fn is_primitive<T: 'static>() -> bool {
    primitive::<T>().is_some()
}

/// Writes primitive items as numbers and others as their bytes.
pub(super) fn serialize_items<T: Pod, S: Serializer>(
    items: &[T],
    to: S,
) -> Result<S::Ok, S::Error> {
    macro_rules! numbers {
        ($($type:ty: $kind:ident),*) => {
            $(if TypeId::of::<T>() == TypeId::of::<$type>() {
                return to.collect_seq(bytemuck::cast_slice::<T, $type>(items));
            })*
        };
    }
    for_primitives!(numbers);
    to.serialize_bytes(bytemuck::cast_slice(items))
}

/// Reads what [`serialize_items`] wrote to a format without byte strings.
pub(super) fn deserialize_items<'de, T: Pod, A: SeqAccess<'de>>(
    from: A,
) -> Result<Vec<T>, A::Error> {
    macro_rules! numbers {
        ($($type:ty: $kind:ident),*) => {
            $(if TypeId::of::<T>() == TypeId::of::<$type>() {
                let same_type = same_type::<Vec<$type>, Vec<T>>(collect(from)?);
                return same_type.ok_or_else(|| A::Error::custom("element types differ"));
            })*
        };
    }
    for_primitives!(numbers);
    let bytes = collect::<u8, A>(from)?;
    copy_items(&bytes).map_err(A::Error::custom)
}

/// The bytes as items, in memory that fits them.
pub(super) fn copy_items<T: Pod>(bytes: &[u8]) -> Result<Vec<T>, WrongLength> {
    check_length::<T>(bytes.len())?;
    if let Ok(items) = bytemuck::try_cast_slice::<u8, T>(bytes) {
        return Ok(items.to_vec());
    }
    Ok(bytes.chunks_exact(size_of::<T>()).map(bytemuck::pod_read_unaligned).collect())
}

pub(super) fn check_length<T>(len: usize) -> Result<(), WrongLength> {
    let item = size_of::<T>();
    if len % item == 0 { Ok(()) } else { Err(WrongLength { len, item }) }
}

/// Items in memory are items in a frame only on little-endian machines, but for single bytes.
pub(super) fn is_native<T>() -> bool {
    cfg!(target_endian = "little") || size_of::<T>() == 1
}

#[derive(Debug, thiserror::Error)]
#[error("{len} bytes are no whole number of items of {item} bytes; was another type written?")]
pub(super) struct WrongLength {
    len: usize,
    item: usize,
}

fn is_bytes<T: 'static>() -> bool {
    TypeId::of::<T>() == TypeId::of::<u8>()
}

fn same_type<A: 'static, B: 'static>(value: A) -> Option<B> {
    let mut slot = Some(value);
    let slot: &mut dyn Any = &mut slot;
    slot.downcast_mut::<Option<B>>().and_then(Option::take)
}

fn collect<'de, P: Deserialize<'de>, A: SeqAccess<'de>>(mut from: A) -> Result<Vec<P>, A::Error> {
    // The hint is the input's word: not trusted beyond what is cheap.
    let hint = from.size_hint().unwrap_or(0).min(MAX_RESERVED / size_of::<P>());
    let mut items = Vec::with_capacity(hint);
    while let Some(item) = from.next_element()? {
        items.push(item);
    }
    Ok(items)
}

const CACHE_LINE_LOG2: u8 = 6;
const MAX_RESERVED: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn primitive_types_have_their_kind_and_others_are_opaque() {
        assert_eq!(kind::<u8>(), Kind::OPAQUE);
        assert_eq!(kind::<i8>(), Kind::I8);
        assert_eq!(kind::<f64>(), Kind::F64);
        assert_eq!(kind::<[f32; 2]>(), Kind::OPAQUE);
        assert_eq!(kind::<usize>().element_size(), Some(size_of::<usize>() as u64));
        assert!(is_primitive::<u8>() && !is_primitive::<[u8; 1]>());
    }

    #[test]
    fn alignment_is_that_of_a_cache_line_at_least() {
        #[derive(Clone, Copy)]
        #[repr(C, align(256))]
        struct Wide;
        assert_eq!(align::<f64>(), 6);
        assert_eq!(align::<Wide>(), 8);
    }

    #[test]
    fn items_are_copied_out_of_unaligned_bytes() {
        let bytes = [0_u8, 1, 0, 2, 0, 9];
        assert_eq!(copy_items::<u16>(&bytes[1..5]).unwrap(), [1, 2]);
        assert!(copy_items::<u16>(&bytes[1..4]).is_err());
    }
}
