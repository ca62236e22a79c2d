//! Values through frames, by the public interface: every shape of serde, in band and out of band.
#![expect(clippy::unwrap_used, reason = "helpers of tests are outside of tests")]

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;

use bytes::Bytes;
use pannier::{Buffer, BufferMut, CodecError, Decoder, Encoder};
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Encoders that must all give a frame of the same value.
fn encoders() -> [Encoder; 5] {
    let plain = Encoder::new();
    [
        plain.clone(),
        plain.clone().compact(true),
        plain.clone().threshold(1),
        plain.clone().threshold(1).compact(true).checksum(true),
        plain.threshold(usize::MAX).tag(9),
    ]
}

#[track_caller]
fn round_trips<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: T) {
    for encoder in encoders() {
        let frame = encoder.to_vec(&value).unwrap();
        assert_eq!(pannier::from_slice::<T>(&frame).unwrap(), value, "{encoder:?}");
        assert_eq!(pannier::from_bytes::<T>(frame.into()).unwrap(), value, "{encoder:?}");
        let mut parts = Vec::new();
        let metadata = encoder.to_parts(&value, &mut parts).unwrap();
        assert_eq!(Decoder::new().from_parts::<T>(&metadata, &mut parts).unwrap(), value);
    }
}

/// Where nothing is out of band the metadata is what rmp-serde writes, and rmpv reads it.
#[track_caller]
fn is_plain_messagepack<T: Serialize>(value: &T) {
    let plain = rmp_serde::to_vec_named(value).unwrap();
    let ours = Encoder::new().threshold(usize::MAX).to_parts(value, &mut Vec::new()).unwrap();
    assert_eq!(ours, plain);
    let compact = Encoder::new().threshold(usize::MAX).compact(true);
    assert_eq!(
        compact.to_parts(value, &mut Vec::new()).unwrap(),
        rmp_serde::to_vec(value).unwrap()
    );
    let read: rmpv::Value = rmpv::decode::read_value(&mut &ours[..]).unwrap();
    let mut again = Vec::new();
    rmpv::encode::write_value(&mut again, &read).unwrap();
    assert_eq!(again, ours);
}

#[derive(Serialize, Deserialize, PartialEq, Debug, Clone)]
struct Unit;

#[derive(Serialize, Deserialize, PartialEq, Debug, Clone)]
struct Newtype(Vec<u32>);

#[derive(Serialize, Deserialize, PartialEq, Debug, Clone)]
struct Tuple(u8, String, Option<Unit>);

#[derive(Serialize, Deserialize, PartialEq, Debug, Clone)]
enum Shape {
    Unit,
    Newtype(Box<Shape>),
    Tuple(i64, Buffer<u16>),
    Struct { name: String, inner: Option<Box<Shape>> },
    Empty {},
}

#[derive(Serialize, Deserialize, PartialEq, Debug, Clone)]
struct Everything {
    bools: (bool, bool),
    signed: (i8, i16, i32, i64, i128),
    unsigned: (u8, u16, u32, u64, u128),
    floats: (f32, f64),
    text: (char, String),
    options: (Option<u8>, Option<Vec<u8>>),
    unit: ((), Unit),
    newtype: Newtype,
    tuple: Tuple,
    map: BTreeMap<(i32, bool), Vec<String>>,
    shapes: Vec<Shape>,
    doubles: Buffer<f64>,
    pairs: Buffer<[f32; 2]>,
    #[serde(with = "pannier::pod")]
    pod: Vec<i16>,
    #[serde(with = "pannier::bytes")]
    bytes: Bytes,
}

fn everything() -> Everything {
    let shape = Shape::Newtype(Box::new(Shape::Struct {
        name: "inner".into(),
        inner: Some(Box::new(Shape::Tuple(-1, vec![1, 2, 3].into()))),
    }));
    Everything {
        bools: (true, false),
        signed: (i8::MIN, i16::MIN, i32::MIN, i64::MIN, i128::MIN),
        unsigned: (u8::MAX, u16::MAX, u32::MAX, u64::MAX, u128::MAX),
        floats: (f32::MIN_POSITIVE, f64::NEG_INFINITY),
        text: ('ß', "pannier".repeat(50)),
        options: (None, Some(vec![1, 2])),
        unit: ((), Unit),
        newtype: Newtype(vec![0, 1 << 31]),
        tuple: Tuple(7, String::new(), Some(Unit)),
        map: [((-1, true), vec!["a".into()]), ((5, false), vec![])].into(),
        shapes: vec![Shape::Unit, shape, Shape::Empty {}, Shape::Tuple(0, Buffer::default())],
        doubles: vec![0.5; 1000].into(),
        pairs: vec![[1.0, 2.0]; 600].into(),
        pod: (0..3000).collect(),
        bytes: vec![9; 5000].into(),
    }
}

#[test]
fn every_shape_of_serde_round_trips() {
    round_trips(everything());
    round_trips(());
    round_trips(Unit);
    round_trips(Some(3_u8));
    round_trips(vec![Some(Shape::Unit), None]);
    round_trips::<BTreeMap<Vec<u8>, u8>>([(vec![1], 1), (vec![], 2)].into());
    round_trips::<HashMap<i64, f32>>((0..100).map(|n| (n, n as f32)).collect());
    round_trips(vec![vec![vec![1_u64; 20]; 20]; 20]);
    round_trips((1_u8, -1_i8, "x".to_owned(), [0_u16; 17]));
}

#[test]
fn without_out_of_band_bytes_it_is_what_rmp_serde_writes() {
    is_plain_messagepack(&everything());
    is_plain_messagepack(&Shape::Unit);
    is_plain_messagepack(&vec![0_u64, 127, 128, 255, 256, 65_535, 65_536, u64::MAX]);
    is_plain_messagepack(&vec![-1_i64, -32, -33, -128, -129, i64::MIN]);
    is_plain_messagepack(&vec![(); 70_000]);
    is_plain_messagepack(&"x".repeat(70_000));
    is_plain_messagepack(&(0..40).map(|n| (n, n)).collect::<BTreeMap<u8, u8>>());
}

#[test]
fn wide_integers_keep_their_value_and_sign() {
    for value in [0, 1, -1, i128::MIN, i128::MAX, i128::from(u64::MAX), -129] {
        round_trips(value);
    }
    for value in [0, 1, u128::MAX, u128::from(u64::MAX), 1 << 127] {
        round_trips(value);
    }
    // rmp-serde gives 2^128-1 for this.
    let frame = pannier::to_vec(&-1_i8).unwrap();
    assert_eq!(pannier::from_slice::<i128>(&frame).unwrap(), -1);
    assert!(pannier::from_slice::<u128>(&frame).is_err());
    let frame = pannier::to_vec(&200_u8).unwrap();
    assert_eq!(pannier::from_slice::<u128>(&frame).unwrap(), 200);
}

#[test]
fn wide_integers_are_never_out_of_band() {
    let mut sink = Vec::new();
    Encoder::new().threshold(1).to_parts(&(1_i128, 2_u128), &mut sink).unwrap();
    assert!(sink.is_empty());
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Inner {
    data: Buffer<u8>,
    more: u32,
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Flat {
    name: String,
    #[serde(flatten)]
    inner: Inner,
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
#[serde(untagged)]
enum Untagged {
    Number(u32),
    Inner(Inner),
    Data(Buffer<u8>),
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
#[serde(tag = "type")]
enum Internal {
    Struct { data: Buffer<u8> },
    Newtype(Inner),
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
#[serde(tag = "t", content = "c")]
enum Adjacent {
    Data(Buffer<u8>),
    Struct { data: Buffer<u8> },
    Pair(Buffer<u8>, u8),
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Optional {
    data: Option<Vec<Option<Buffer<u8>>>>,
}

fn data() -> Buffer<u8> {
    (0..10_000_u32).map(|n| n as u8).collect()
}

/// Writing takes the buffer itself, and reading gives the frame's own memory.
#[track_caller]
fn keeps_the_address<T>(value: &T, buffer: &Buffer<u8>, of: fn(&T) -> &Buffer<u8>)
where
    T: Serialize + DeserializeOwned + PartialEq + Debug,
{
    keeps_the_address_with(&Encoder::new(), value, buffer, of);
    keeps_the_address_with(&Encoder::new().compact(true), value, buffer, of);
}

#[track_caller]
fn keeps_the_address_with<T>(
    encoder: &Encoder,
    value: &T,
    buffer: &Buffer<u8>,
    of: fn(&T) -> &Buffer<u8>,
) where
    T: Serialize + DeserializeOwned + PartialEq + Debug,
{
    let mut sink = Vec::new();
    let metadata = encoder.to_parts(value, &mut sink).unwrap();
    assert_eq!(sink.len(), 1);
    assert_eq!(sink[0].as_ptr(), buffer.as_ptr(), "written without a copy");
    let again: T = Decoder::new().from_parts(&metadata, &mut sink).unwrap();
    assert_eq!(of(&again).as_ptr(), buffer.as_ptr(), "read without a copy");

    let frame = Bytes::from(encoder.to_vec(value).unwrap());
    let again: T = pannier::from_bytes(frame.clone()).unwrap();
    assert!(frame.as_ptr_range().contains(&of(&again).as_ptr()));
    assert_eq!(&again, value);
    assert_eq!(&pannier::from_slice::<T>(&frame).unwrap(), value);
}

#[test]
fn buffers_keep_their_address_through_serdes_adapters() {
    let buffer = data();
    let inner = || Inner { data: buffer.clone(), more: 3 };
    keeps_the_address(&buffer, &buffer, |v| v);
    keeps_the_address(&inner(), &buffer, |v| &v.data);
    keeps_the_address(&Flat { name: "n".into(), inner: inner() }, &buffer, |v| &v.inner.data);
    keeps_the_address(&Untagged::Inner(inner()), &buffer, |v| match v {
        Untagged::Inner(inner) => &inner.data,
        other => panic!("{other:?}"),
    });
    keeps_the_address(&Untagged::Data(buffer.clone()), &buffer, |v| match v {
        Untagged::Data(data) => data,
        other => panic!("{other:?}"),
    });
    keeps_the_address(&Internal::Struct { data: buffer.clone() }, &buffer, |v| match v {
        Internal::Struct { data } => data,
        other => panic!("{other:?}"),
    });
    keeps_the_address(&Internal::Newtype(inner()), &buffer, |v| match v {
        Internal::Newtype(inner) => &inner.data,
        other => panic!("{other:?}"),
    });
    for value in [
        Adjacent::Data(buffer.clone()),
        Adjacent::Struct { data: buffer.clone() },
        Adjacent::Pair(buffer.clone(), 1),
    ] {
        // In the compact profile serde cannot read back a struct variant of such an enum.
        keeps_the_address_with(&Encoder::new(), &value, &buffer, |v| match v {
            Adjacent::Data(data) | Adjacent::Struct { data } | Adjacent::Pair(data, _) => data,
        });
    }
    let nested = Optional { data: Some(vec![None, Some(buffer.clone())]) };
    keeps_the_address(&nested, &buffer, |v| v.data.as_ref().unwrap()[1].as_ref().unwrap());
}

#[test]
fn the_one_corner_that_serde_buffers_is_copied_once_and_stays_bytes() {
    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    #[serde(tag = "type")]
    enum Outer {
        Shape(Choice),
    }
    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    enum Choice {
        Pair(Buffer<f64>, u8),
    }
    let buffer: Buffer<f64> = vec![0.5; 1000].into();
    let value = Outer::Shape(Choice::Pair(buffer.clone(), 1));
    let mut sink = Vec::new();
    let metadata = Encoder::new().to_parts(&value, &mut sink).unwrap();
    assert_eq!(sink.len(), 1, "out of band, not a sequence of numbers");
    assert_ne!(sink[0].as_ptr(), buffer.as_ptr().cast());
    let Outer::Shape(Choice::Pair(read, _)) =
        Decoder::new().from_parts(&metadata, &mut sink).unwrap();
    assert_eq!(read, buffer);
    assert_eq!(read.as_ptr().cast(), sink[0].as_ptr(), "reading shares here too");
}

#[test]
fn borrowed_fields_borrow_in_the_frame() {
    #[derive(Serialize, Deserialize)]
    struct Borrowed<'a> {
        text: &'a str,
        #[serde(borrow, with = "raw")]
        bytes: &'a [u8],
        #[serde(borrow)]
        cow: Cow<'a, str>,
    }
    mod raw {
        pub(super) fn serialize<S: serde::Serializer>(
            bytes: &[u8],
            to: S,
        ) -> Result<S::Ok, S::Error> {
            to.serialize_bytes(bytes)
        }
        pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(
            from: D,
        ) -> Result<&'de [u8], D::Error> {
            serde::Deserialize::deserialize(from)
        }
    }
    let bytes = data();
    let value = Borrowed { text: "text", bytes: &bytes, cow: "cow".into() };
    let frame = pannier::to_vec(&value).unwrap();
    let read: Borrowed<'_> = pannier::from_slice(&frame).unwrap();
    let range = frame.as_ptr_range();
    assert!(range.contains(&read.text.as_ptr()) && range.contains(&read.bytes.as_ptr()));
    assert!(matches!(read.cow, Cow::Borrowed("cow")));
    assert_eq!(read.bytes, &*bytes);
}

#[test]
fn a_byte_string_is_read_as_a_sequence_of_numbers_wherever_it_is() {
    let buffer = data();
    for encoder in encoders() {
        let frame = encoder.to_vec(&buffer).unwrap();
        assert_eq!(pannier::from_slice::<Vec<u8>>(&frame).unwrap(), *buffer);
        let frame = encoder.to_vec(&Buffer::from([1_u8, 2])).unwrap();
        assert_eq!(pannier::from_slice::<(u8, u8)>(&frame).unwrap(), (1, 2));
    }
}

#[test]
fn json_of_the_same_types_is_ordinary() {
    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Doc {
        doubles: Buffer<f64>,
        pairs: Buffer<[f32; 2]>,
        #[serde(with = "pannier::pod")]
        pod: Vec<i16>,
        #[serde(with = "pannier::bytes")]
        bytes: Bytes,
    }
    let doc = Doc {
        doubles: vec![0.5, -1.0].into(),
        pairs: vec![[1.0, 2.0]].into(),
        pod: vec![-3, 4],
        bytes: Bytes::from_static(b"ab"),
    };
    let json = serde_json::to_string(&doc).unwrap();
    let expected =
        r#"{"doubles":[0.5,-1.0],"pairs":[0,0,128,63,0,0,0,64],"pod":[-3,4],"bytes":[97,98]}"#;
    assert_eq!(json, expected);
    assert_eq!(serde_json::from_str::<Doc>(&json).unwrap(), doc);
    let value = serde_json::to_value(&doc).unwrap();
    assert_eq!(serde_json::from_value::<Doc>(value).unwrap(), doc);
    assert!(serde_json::from_str::<Buffer<u8>>("[1,2,300]").is_err());
    assert!(serde_json::from_str::<Buffer<[u16; 2]>>("[1,2,3]").is_err());
    let flat: Flat = serde_json::from_str(r#"{"name":"n","data":[1,2],"more":3}"#).unwrap();
    assert_eq!(*flat.inner.data, [1, 2]);
    let mut own: BufferMut<u32> = serde_json::from_str("[1,2]").unwrap();
    own[0] = 5;
    assert_eq!(serde_json::to_string(&own).unwrap(), "[5,2]");
}

#[test]
fn exclusive_buffers_are_copied_on_both_sides() {
    let mut own = pannier::alloc::<u32>(2000).unwrap();
    own.fill(7);
    let frame = Bytes::from(pannier::to_vec(&own).unwrap());
    let mut read: BufferMut<u32> = pannier::from_bytes(frame.clone()).unwrap();
    assert!(!frame.as_ptr_range().contains(&read.as_ptr().cast()));
    read[0] = 1;
    assert_eq!(own[0], 7);
}

#[test]
fn a_buffer_of_other_elements_is_refused_but_bytes_accept_all() {
    let doubles: Buffer<f64> = vec![0.5; 1000].into();
    for frame in [
        pannier::to_vec(&doubles).unwrap(),
        Encoder::new().threshold(1).to_vec(&doubles.slice(..1)).unwrap(),
    ] {
        let frame = Bytes::from(frame);
        assert!(pannier::from_bytes::<Buffer<f64>>(frame.clone()).is_ok());
        assert!(pannier::from_bytes::<Buffer<u8>>(frame.clone()).is_ok());
        for refused in [
            pannier::from_bytes::<Buffer<u64>>(frame.clone()).err(),
            pannier::from_slice::<Buffer<f32>>(&frame).err(),
            pannier::from_slice::<BufferMut<i64>>(&frame).err(),
        ] {
            assert!(matches!(refused, Some(CodecError::Decode { .. })), "{refused:?}");
        }
    }
    let opaque = pannier::to_vec(&Buffer::from(vec![0_u8; 8000])).unwrap();
    assert!(pannier::from_slice::<Buffer<f64>>(&opaque).is_ok());
    assert!(pannier::from_slice::<Buffer<[u8; 3]>>(&opaque).is_err(), "8000 is no multiple of 3");
}

#[test]
fn a_misaligned_frame_is_copied_for_typed_views_and_shared_for_bytes() {
    let frame = pannier::to_vec(&Buffer::from(vec![0.5_f64; 1000])).unwrap();
    let mut shifted = vec![0_u8; 1];
    shifted.extend(&frame);
    for start in 0..8 {
        let mut padded = vec![0_u8; start];
        padded.extend(&frame);
        let bytes = Bytes::from(padded).slice(start..);
        let read: Buffer<f64> = pannier::from_bytes(bytes.clone()).unwrap();
        assert_eq!(*read, [0.5; 1000]);
        let raw: Buffer<u8> = pannier::from_bytes(bytes.clone()).unwrap();
        assert!(bytes.as_ptr_range().contains(&raw.as_ptr()));
    }
}

#[derive(Serialize, Deserialize, PartialEq, Debug, Clone)]
enum Tree {
    Null,
    Int(i64),
    Wide(i128),
    Text(String),
    Bytes(Buffer<u8>),
    Words(Buffer<u32>),
    List(Vec<Tree>),
    Map(BTreeMap<String, Tree>),
    Some(Option<Box<Tree>>),
    Struct { left: Box<Tree>, right: Box<Tree> },
}

fn trees() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        Just(Tree::Null),
        any::<i64>().prop_map(Tree::Int),
        any::<i128>().prop_map(Tree::Wide),
        ".{0,40}".prop_map(Tree::Text),
        prop::collection::vec(any::<u8>(), 0..100).prop_map(|v| Tree::Bytes(v.into())),
        prop::collection::vec(any::<u32>(), 0..40).prop_map(|v| Tree::Words(v.into())),
    ];
    leaf.prop_recursive(6, 60, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Tree::List),
            prop::collection::btree_map("[a-z]{0,3}", inner.clone(), 0..8).prop_map(Tree::Map),
            prop::option::of(inner.clone()).prop_map(|tree| Tree::Some(tree.map(Box::new))),
            (inner.clone(), inner)
                .prop_map(|(left, right)| Tree::Struct { left: left.into(), right: right.into() }),
        ]
    })
}

proptest! {
    #[test]
    fn in_band_and_out_of_band_are_the_same_value(tree in trees(), threshold in 1_usize..80) {
        for compact in [false, true] {
            let encoder = Encoder::new().threshold(threshold).compact(compact);
            let frame = encoder.to_vec(&tree).unwrap();
            prop_assert_eq!(&pannier::from_slice::<Tree>(&frame).unwrap(), &tree);
            prop_assert_eq!(&pannier::from_bytes::<Tree>(frame.into()).unwrap(), &tree);
            let in_band = encoder.threshold(usize::MAX).to_vec(&tree).unwrap();
            prop_assert_eq!(&pannier::from_slice::<Tree>(&in_band).unwrap(), &tree);
        }
    }

    #[test]
    fn metadata_in_band_is_what_rmp_serde_writes(tree in trees()) {
        let encoder = Encoder::new().threshold(usize::MAX);
        let ours = encoder.to_parts(&tree, &mut Vec::new()).unwrap();
        prop_assert_eq!(ours, rmp_serde::to_vec_named(&tree).unwrap());
    }
}

/// A deterministic stream of numbers.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % bound
    }
}

#[test]
fn cut_flipped_and_forged_frames_never_panic() {
    let shape = Shape::Struct { name: "n".into(), inner: Some(Box::new(Shape::Unit)) };
    let seeds = [
        Encoder::new().threshold(8).to_vec(&everything()).unwrap(),
        Encoder::new().threshold(2).to_vec(&vec![shape.clone(), shape]).unwrap(),
        Encoder::new()
            .threshold(4)
            .to_vec(&Flat { name: "n".into(), inner: Inner { data: vec![1; 9].into(), more: 1 } })
            .unwrap(),
        pannier::to_vec(&Untagged::Number(4)).unwrap(),
    ];
    let mut random = Random(7);
    for round in 0..60_000 {
        let mut frame = seeds[random.below(seeds.len())].clone();
        let meta_len = u32::from_le_bytes([frame[8], frame[9], frame[10], frame[11]]) as usize;
        for _ in 0..=random.below(3) {
            // Mostly in the metadata, where the types are.
            let range = if random.below(4) == 0 { frame.len() } else { 32 + meta_len };
            let at = random.below(range.min(frame.len()));
            match random.below(3) {
                0 => frame[at] ^= 1 << random.below(8),
                1 => frame[at] = [0x81, 0x91, 0xc0, 0xd4, 0x70, 0xdf, 0xc6, 0xff][random.below(8)],
                _ => frame[at] = random.below(256) as u8,
            }
        }
        if round % 10 == 0 {
            frame.truncate(random.below(frame.len()));
        }
        let _ = pannier::from_slice::<Everything>(&frame);
        let _ = pannier::from_slice::<Vec<Shape>>(&frame);
        let _ = pannier::from_slice::<serde::de::IgnoredAny>(&frame);
        let _ = pannier::from_slice::<Untagged>(&frame);
        let frame = Bytes::from(frame);
        let _ = pannier::from_bytes::<Everything>(frame.clone());
        let _ = pannier::from_bytes::<Flat>(frame.clone());
        let _ = pannier::from_bytes::<Internal>(frame);
    }
}

#[test]
fn the_worked_example_of_the_format_is_reproduced_byte_for_byte() {
    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Job {
        id: u32,
        x: Buffer<f32>,
        y: Buffer<f32>,
    }
    let x: Buffer<f32> = vec![1.0, 2.0, 3.0].into();
    let job = Job { id: 300, x: x.clone(), y: x };
    let frame = Encoder::new().threshold(8).checksum(true).tag(7).to_vec(&job).unwrap();
    let mut expected = vec![0_u8; 192];
    let parts: [(usize, &str); 4] = [
        (0x00, "c1504e520101000011000000 01000000c00000000000000007000000 1412f34c"),
        (0x20, "83a26964cd012ca178d47000a179d47000"),
        (0x40, "80000000000000000c000000000000000000000000000000 83e74d3800003206"),
        (0x80, "0000803f0000004000004040"),
    ];
    for (at, hex) in parts {
        let hex: Vec<u8> = hex.bytes().filter(|byte| *byte != b' ').collect();
        for (n, pair) in hex.chunks(2).enumerate() {
            let pair = std::str::from_utf8(pair).unwrap();
            expected[at + n] = u8::from_str_radix(pair, 16).unwrap();
        }
    }
    assert_eq!(frame, expected);
    assert_eq!(pannier::from_slice::<Job>(&frame).unwrap(), job);
}

#[test]
fn errors_travel_as_input_output_errors_too() {
    let decode = pannier::from_slice::<String>(&pannier::to_vec(&1).unwrap()).unwrap_err();
    let error = std::io::Error::from(decode);
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
    let cut = std::io::Error::from(pannier::from_slice::<()>(&[]).unwrap_err());
    assert_eq!(cut.kind(), std::io::ErrorKind::UnexpectedEof);
    let through = CodecError::from(std::io::Error::other("disk"));
    assert_eq!(std::io::Error::from(through).to_string(), "disk");
}
