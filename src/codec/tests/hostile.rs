//! Rows 57 to 63 of the format's table of hostile inputs.
#![forbid(unsafe_code)]

use serde_bytes_like::OwnedBytes;

use super::*;
use crate::codec::{Decoder, from_slice, to_vec};
use crate::frame::Limits;

/// A type that asks for bytes and copies them, behind this library's back.
mod serde_bytes_like {
    use serde::de::{Deserialize, Deserializer, Error, Visitor};

    #[derive(Debug)]
    pub(super) struct OwnedBytes(pub(super) Vec<u8>);

    impl<'de> Deserialize<'de> for OwnedBytes {
        fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            struct Copying;
            impl Visitor<'_> for Copying {
                type Value = OwnedBytes;
                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("bytes")
                }
                fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<OwnedBytes, E> {
                    Ok(OwnedBytes(bytes.to_vec()))
                }
            }
            from.deserialize_byte_buf(Copying)
        }
    }
}

type Base = (Buffer<f64>, Buffer<u8>, Buffer<f64>, String);

fn base() -> Base {
    let doubles: Buffer<f64> = vec![0.5; 1024].into();
    (doubles.clone(), vec![1; 5000].into(), doubles, "x".to_owned())
}

#[test]
fn the_base_frame_is_that_of_the_table() {
    let frame = to_vec(&base()).unwrap();
    assert_eq!((frame.len(), frame[8]), (13_376, 12));
    assert_eq!(from_slice::<Base>(&frame).unwrap(), base());
}

#[test]
fn row_57_nested_variants_are_too_deep() {
    let mut metadata = [0x81, 0xa4, b'L', b'i', b'n', b'k'].repeat(100_000);
    metadata.extend([0xa3, b'E', b'n', b'd']);
    let frame = frame_of(&metadata);
    // Six bytes a level here; the row's three-byte levels follow.
    assert_eq!(meta(from_slice::<Chain>(&frame).unwrap_err()), (128 * 6 + 1, MetaFault::Depth));

    #[derive(Deserialize, Debug)]
    enum Short {
        A(Box<Short>),
        E,
    }
    let mut metadata = [0x81, 0xa1, b'A'].repeat(100_000);
    metadata.extend([0xa1, b'E']);
    let frame = frame_of(&metadata);
    assert_eq!(meta(from_slice::<Short>(&frame).unwrap_err()), (385, MetaFault::Depth));
    let shallow = frame_of(&[&[0x81, 0xa1, b'A'].repeat(128)[..], &[0xa1, b'E']].concat());
    let mut at = &from_slice::<Short>(&shallow).unwrap();
    while let Short::A(next) = at {
        at = next;
    }
    assert!(matches!(at, Short::E));
}

#[test]
fn row_58_an_enum_as_a_map_of_two_entries() {
    let frame = frame_of(&[0x82, 0xa3, b'E', b'n', b'd', 0xc0, 0xa4, b'L', b'i', b'n', b'k', 0xc0]);
    assert_eq!(decode_at(from_slice::<Chain>(&frame)), 0);
}

#[test]
fn row_59_repeats_into_owned_vectors_exceed_their_budget() {
    let mebibyte: Buffer<u8> = vec![7; 1 << 20].into();
    let frame = to_vec(&vec![mebibyte; 64]).unwrap();
    let limits = Limits::default().repeat_bytes(1 << 20);
    let decoder = Decoder::new().limits(limits);
    let copied = decoder.from_slice::<Vec<OwnedBytes>>(&frame);
    assert_eq!(meta(copied.unwrap_err()), (9, MetaFault::RepeatBudget));
    // The same into handles that share: refunded.
    let shared: Vec<Buffer<u8>> = decoder.from_bytes(frame.clone().into()).unwrap();
    assert_eq!(shared.len(), 64);
    // Nothing is copied for a type that looks at nothing.
    assert!(decoder.from_slice::<serde::de::IgnoredAny>(&frame).is_ok());
    // The last reference is looked at too.
    let three = to_vec(&vec![Buffer::from(vec![7_u8; 1 << 20]); 3]).unwrap();
    let copied = decoder.from_slice::<Vec<OwnedBytes>>(&three);
    assert_eq!(meta(copied.unwrap_err()), (7, MetaFault::RepeatBudget));
    let frame = to_vec(&vec![Buffer::from(vec![7_u8; 1 << 20]); 1]).unwrap();
    let once = decoder.from_slice::<Vec<OwnedBytes>>(&frame).unwrap();
    assert_eq!(once[0].0.len(), 1 << 20);
}

#[test]
fn row_60_a_view_of_doubles_of_5001_bytes() {
    let (doubles, _, _, x) = base();
    let odd: Buffer<u8> = vec![1; 5001].into();
    let frame = to_vec(&(doubles.clone(), odd, doubles, x)).unwrap();
    type Wrong = (Buffer<f64>, Buffer<f64>, Buffer<f64>, String);
    assert_eq!(decode_at(from_slice::<Wrong>(&frame)), 7);
}

#[test]
fn row_61_four_items_where_a_pair_is_wanted() {
    let frame = to_vec(&base()).unwrap();
    assert_eq!(decode_at(from_slice::<(Buffer<f64>, Buffer<u8>)>(&frame)), 7);
}

#[test]
fn rows_62_and_63_a_number_where_another_type_is_wanted() {
    assert_eq!(decode_at(from_slice::<String>(&to_vec(&5).unwrap())), 1);
    assert_eq!(decode_at(from_slice::<u64>(&to_vec(&-1).unwrap())), 1);
}

#[test]
fn external_buffers_without_a_resolver_are_refused() {
    let external = Descriptor::external(0, 8, Kind::OPAQUE, 6);
    let mut frame = Vec::new();
    let mut buffers = [(external, &[][..])];
    let metadata: [&[u8]; 1] = [&[0xd4, 0x70, 0]];
    crate::frame::write_frame(&mut frame, &metadata, &mut buffers, &Default::default()).unwrap();
    let refused = from_slice::<Buffer<u8>>(&frame).unwrap_err();
    assert!(matches!(refused, CodecError::Frame(FrameError::External { index: 0 })));
}
