//! The reader: several values in one stream, copies, owners, scopes.
#![forbid(unsafe_code)]

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::Deserializer;

use super::*;
use crate::buffer::BufferMut;
use crate::codec::{Bodies, Body, Copies, Reader, Writer, array_header, from_bytes, scope, to_vec};
use crate::frame::{Limits, check_metadata};

/// Several values, and the bodies of what is out of band.
fn stream(push: impl FnOnce(&mut Writer, &mut Recorder)) -> (Vec<u8>, Bodies<'static>) {
    let (mut writer, mut sink) =
        (Writer::new(&Options { depth: 1, ..small() }), Recorder::default());
    push(&mut writer, &mut sink);
    let (header, len) = array_header(writer.values());
    let (metadata, placed) = writer.into_parts();
    let metadata = [&header[..len], &metadata].concat();
    check_metadata(&metadata, placed.len() as u32, &Limits::default()).unwrap();
    let body = |placed: Placed| Body::Owned { buffer: placed.buffer, kind: Kind::OPAQUE };
    (metadata, Bodies::new(placed.into_iter().map(body)))
}

#[derive(Debug)]
struct Panics;

impl<'de> Deserialize<'de> for Panics {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let _first = <(Buffer<u8>, serde::de::IgnoredAny)>::deserialize(from);
        panic!("on purpose");
    }
}

#[test]
fn each_value_is_read_from_its_own_start_whatever_became_of_the_one_before() {
    let parts: Vec<Buffer<u8>> = (0..6_u8).map(|n| vec![n; 100].into()).collect();
    let (metadata, bodies) = stream(|writer, sink| {
        writer.push(&(&parts[0], &parts[1]), sink).unwrap();
        writer.push(&(&parts[2], &parts[3]), sink).unwrap();
        writer.push(&(&parts[4], "skipped"), sink).unwrap();
        writer.push(&(&parts[5], &parts[0]), sink).unwrap();
    });
    let mut reader = Reader::new(&metadata, &bodies, &Limits::default());
    assert_eq!(reader.array().unwrap(), 4);
    // A wrong type: neither reference was seen by the type that stopped at the first.
    reader.next::<(u8, u8)>().unwrap_err();
    let panicked = catch_unwind(AssertUnwindSafe(|| reader.next::<Panics>()));
    assert!(panicked.is_err());
    assert!(scope::is_clean());
    reader.skip(1).unwrap();
    let (last, first): (Buffer<u8>, Buffer<u8>) = reader.next().unwrap();
    assert_eq!((&last, &first), (&parts[5], &parts[0]));
    assert_eq!(first.as_ptr(), parts[0].as_ptr());
    assert_eq!(reader.copies(), Copies::default());
    assert!(matches!(meta(reader.next::<u8>().unwrap_err()), (_, MetaFault::Eof)));
}

#[test]
fn positions_are_those_in_the_whole_metadata() {
    let (metadata, bodies) = stream(|writer, sink| {
        writer.push("first", sink).unwrap();
        writer.push(&(1, "x"), sink).unwrap();
    });
    let mut reader = Reader::new(&metadata, &bodies, &Limits::default());
    reader.array().unwrap();
    reader.skip(1).unwrap();
    // Behind: header 1, "first" 6, header of the pair 1, one 1, "x" 2.
    assert_eq!(decode_at(reader.next::<(u8, u8)>()), 11);
}

#[test]
fn a_sequence_around_the_values_counts_for_the_depth() {
    #[derive(Serialize, Deserialize)]
    struct Nest(Vec<Nest>);
    let nest = |n| (1..n).fold(Nest(vec![]), |nest, _| Nest(vec![nest]));
    let (metadata, bodies) = stream(|writer, sink| {
        writer.push(&nest(127), sink).unwrap();
        writer.push(&nest(128), sink).unwrap_err();
    });
    let mut reader = Reader::new(&metadata, &bodies, &Limits::default());
    assert_eq!(reader.array().unwrap(), 1);
    assert!(reader.next::<Nest>().is_ok());
}

#[test]
fn a_reader_of_anything_returns() {
    let mut state = 1_u64;
    let mut byte = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    let bodies = || Bodies::new([Body::Borrowed { bytes: &[1; 64], kind: Kind::OPAQUE }]);
    for _ in 0..20_000 {
        let mut metadata: Vec<u8> = (0..12).map(|_| byte()).collect();
        metadata[usize::from(byte()) % 12] = [0x91, 0xd4, 0x82, 0xdd][usize::from(byte()) % 4];
        let bodies = bodies();
        let reader = || Reader::new(&metadata, &bodies, &Limits::default());
        let _ = reader().last::<Vec<Chain>>();
        let _ = reader().last::<serde::de::IgnoredAny>();
        let _ = reader().last::<serde_json::Value>();
        let mut several = reader();
        let _ = several.array();
        let _ = several.next::<Buffer<u16>>();
        let _ = several.skip(2);
        let _ = several.next::<(i128, Option<Buffer<u8>>)>();
    }
}

/// One buffer of 64 bytes in each of the ways it can be there.
fn read_as<T: serde::de::DeserializeOwned>(body: Body<'_>) -> (Result<T, CodecError>, Copies) {
    let metadata = [0xd4, 0x70, 0];
    let bodies = Bodies::new([body]);
    let mut reader = Reader::new(&metadata, &bodies, &Limits::default());
    let read = reader.next();
    (read, reader.copies())
}

#[test]
fn copies_of_out_of_band_bytes_are_counted() {
    #[derive(Deserialize)]
    struct Pod(#[serde(with = "crate::codec::pod")] Vec<u32>);
    let one = Copies { count: 1, bytes: 64 };
    let words: Buffer<u8> = Buffer::from(vec![7_u32; 17]).into_bytes();
    let aligned = || Body::Owned { buffer: words.slice(..64), kind: Kind::U32 };
    let misaligned = || Body::Owned { buffer: words.slice(1..65), kind: Kind::OPAQUE };
    let lent = || Body::Borrowed { bytes: &words[..64], kind: Kind::U32 };
    assert_eq!(read_as::<Buffer<u32>>(aligned()).1, Copies::default());
    assert_eq!(read_as::<Buffer<u8>>(misaligned()).1, Copies::default());
    assert_eq!(read_as::<Buffer<u32>>(misaligned()).1, one);
    assert_eq!(read_as::<Buffer<u32>>(lent()).1, one);
    assert_eq!(read_as::<BufferMut<u32>>(aligned()).1, one);
    let (pod, copies) = read_as::<Pod>(aligned());
    assert_eq!((pod.unwrap().0, copies), (vec![7; 16], one));
}

#[test]
fn a_value_that_decodes_while_it_is_read_sees_its_own_scope() {
    #[derive(Debug)]
    struct Nested(Buffer<u8>);
    impl<'de> Deserialize<'de> for Nested {
        fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            let frame = Buffer::<u8>::deserialize(from)?;
            let inner: Buffer<u8> = from_bytes(frame.clone().into()).unwrap();
            assert!(frame.as_ptr_range().contains(&inner.as_ptr()));
            from_bytes::<u8>(frame.into()).unwrap_err();
            Ok(Nested(inner))
        }
    }
    let outer: Buffer<u8> = vec![1; 10_000].into();
    let inner: Buffer<u8> = vec![2; 10_000].into();
    let frame = to_vec(&(&outer, Buffer::from(to_vec(&inner).unwrap()), &outer)).unwrap();
    let frame = ::bytes::Bytes::from(frame);
    let read: (Buffer<u8>, Nested, Buffer<u8>) = from_bytes(frame.clone()).unwrap();
    assert_eq!(read.1.0, inner);
    assert!(frame.as_ptr_range().contains(&read.2.as_ptr()), "the outer scope is back");
    assert!(scope::is_clean());
}

#[test]
fn scopes_are_clean_after_success_error_and_panic() {
    let frame = ::bytes::Bytes::from(to_vec(&(Buffer::from(vec![1_u8; 9_000]), 1)).unwrap());
    assert!(from_bytes::<(Buffer<u8>, u8)>(frame.clone()).is_ok());
    assert!(scope::is_clean());
    assert!(from_bytes::<(Buffer<u8>, String)>(frame.clone()).is_err());
    assert!(scope::is_clean());
    assert!(catch_unwind(|| from_bytes::<Panics>(frame)).is_err());
    assert!(scope::is_clean());
}

#[test]
fn repeats_that_are_shared_are_refunded_also_behind_serdes_buffers() {
    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Untagged {
        Data(Buffer<u8>),
    }
    let large: Buffer<u8> = vec![5; 100_000].into();
    let values: Vec<Untagged> = (0..50).map(|_| Untagged::Data(large.clone())).collect();
    let frame = to_vec(&values).unwrap();
    let decoder = crate::codec::Decoder::new().limits(Limits::default().repeat_bytes(10));
    let shared: Vec<Untagged> = decoder.from_bytes(frame.clone().into()).unwrap();
    assert_eq!(shared.len(), 50);
    let copied = decoder.from_slice::<Vec<Untagged>>(&frame);
    assert_eq!(meta(copied.err().unwrap()).1, MetaFault::RepeatBudget);
}

#[test]
fn a_first_use_that_is_shared_pays_for_no_repeat() {
    #[derive(Deserialize)]
    struct Pod {
        #[serde(with = "crate::codec::pod")]
        data: Vec<u8>,
    }
    #[derive(Serialize)]
    struct Shared {
        data: Buffer<u8>,
    }
    let large: Buffer<u8> = vec![5; 100_000].into();
    let frame = to_vec(&(&large, Shared { data: large.clone() })).unwrap();
    let decoder =
        |bytes| crate::codec::Decoder::new().limits(Limits::default().repeat_bytes(bytes));
    let (_, pod): (Buffer<u8>, Pod) = decoder(100_000).from_bytes(frame.clone().into()).unwrap();
    assert_eq!(pod.data.len(), 100_000);
    let read = decoder(99_999).from_bytes::<(Buffer<u8>, Pod)>(frame.into());
    assert_eq!(meta(read.err().unwrap()).1, MetaFault::RepeatBudget);
}
