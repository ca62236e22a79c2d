//! What rmp-serde lets through and this floor does not.
#![forbid(unsafe_code)]

use serde::de::IgnoredAny;
use serde::ser::{SerializeMap, SerializeSeq, SerializeStruct, SerializeTuple, Serializer};

use super::*;
use crate::codec::{Bodies, Reader, from_slice, to_vec};
use crate::frame::Limits;

fn refused<T: Serialize>(value: &T) -> String {
    match to_vec(value) {
        Err(CodecError::Encode(message)) => message,
        other => panic!("{other:?}"),
    }
}

fn chain(links: usize) -> Chain {
    (0..links).fold(Chain::End, |chain, _| Chain::Link(Box::new(chain)))
}

#[test]
fn depth_is_counted_on_both_sides_and_alike() {
    let deepest = chain(128);
    assert_eq!(from_slice::<Chain>(&to_vec(&deepest).unwrap()).unwrap(), deepest);
    assert!(refused(&chain(129)).contains("128"));

    #[derive(Serialize, Deserialize)]
    enum Wide {
        End,
        Tuple(Box<Wide>, u8),
        Struct { next: Box<Wide> },
    }
    let tuples = |n: usize| (0..n).fold(Wide::End, |next, _| Wide::Tuple(Box::new(next), 0));
    let structs =
        |n: usize| (0..n).fold(Wide::End, |next, _| Wide::Struct { next: Box::new(next) });
    for make in [&tuples as &dyn Fn(usize) -> Wide, &structs] {
        // Two levels each: the variant and its fields.
        assert!(from_slice::<Wide>(&to_vec(&make(64)).unwrap()).is_ok());
        refused(&make(65));
    }
}

#[test]
fn sequences_maps_and_options_are_counted_too() {
    #[derive(Serialize, Deserialize)]
    struct Nest(Vec<Nest>);
    #[derive(Serialize, Deserialize)]
    struct Node {
        next: Option<Box<Node>>,
    }
    let nest = |n| (1..n).fold(Nest(vec![]), |nest, _| Nest(vec![nest]));
    let node = |n| (1..n).fold(Node { next: None }, |node, _| Node { next: Some(Box::new(node)) });
    assert!(from_slice::<Nest>(&to_vec(&nest(128)).unwrap()).is_ok());
    assert!(from_slice::<Node>(&to_vec(&node(128)).unwrap()).is_ok());
    refused(&nest(129));
    refused(&node(129));
}

#[test]
fn wrappers_that_write_nothing_cannot_overflow_the_stack() {
    #[derive(Serialize, Deserialize, Debug)]
    struct Endless(Option<Box<Endless>>);
    // rmp-serde recurses for ever here, as no byte is read on the way.
    let endless = from_slice::<Endless>(&frame_of(&[0x01])).unwrap_err();
    assert_eq!(meta(endless), (0, MetaFault::Depth));
    let deep = (0..1_000).fold(Endless(None), |inner, _| Endless(Some(Box::new(inner))));
    refused(&deep);
}

#[test]
fn depth_ends_in_an_error_also_when_the_check_is_skipped() {
    let bodies = Bodies::new([]);
    for level in [&[0x81, 0xa4, b'L', b'i', b'n', b'k'][..], &[0x91], &[0x81, 0xc0]] {
        let metadata = [&level.repeat(100_000)[..], &[0xc0]].concat();
        let reader = || Reader::new(&metadata, &bodies, &Limits::default());
        let depth = |error| assert_eq!(meta(error).1, MetaFault::Depth);
        depth(reader().next::<IgnoredAny>().unwrap_err());
        if level.len() > 2 {
            depth(reader().next::<Chain>().unwrap_err());
        }
        if level == [0x91] {
            depth(reader().next::<(IgnoredAny,)>().unwrap_err());
        }
    }
}

#[test]
fn deep_fields_that_nobody_wants_are_refused_as_well() {
    #[derive(Deserialize, Debug)]
    struct Empty {}
    let bodies = Bodies::new([]);
    let metadata = [&[0x81, 0xa1, b'x'][..], &[0x91].repeat(100_000), &[0xc0]].concat();
    let read = Reader::new(&metadata, &bodies, &Limits::default()).next::<Empty>();
    assert_eq!(meta(read.unwrap_err()).1, MetaFault::Depth);
}

/// Announces one length and writes another.
struct Liar {
    announced: usize,
    written: usize,
    as_map: bool,
}

impl Serialize for Liar {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if self.as_map {
            let mut map = to.serialize_map(Some(self.announced))?;
            for n in 0..self.written {
                map.serialize_entry(&n, &n)?;
            }
            return map.end();
        }
        let mut seq = to.serialize_seq(Some(self.announced))?;
        for n in 0..self.written {
            seq.serialize_element(&n)?;
        }
        seq.end()
    }
}

#[test]
fn a_wrong_announced_length_is_an_error() {
    for as_map in [false, true] {
        for (announced, written) in [(0, 1), (1, 0), (3, 2), (2, 3)] {
            let liar = Liar { announced, written, as_map };
            assert!(refused(&liar).contains("announced"), "{announced} {written}");
            assert!(refused(&vec![liar]).contains("announced"));
        }
        let honest = Liar { announced: 3, written: 3, as_map };
        assert!(to_vec(&honest).is_ok());
    }
    struct Short(bool);
    impl Serialize for Short {
        fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            if self.0 {
                let mut tuple = to.serialize_tuple(2)?;
                tuple.serialize_element(&1)?;
                return tuple.end();
            }
            let mut fields = to.serialize_struct("Short", 2)?;
            fields.serialize_field("a", &1)?;
            fields.end()
        }
    }
    refused(&Short(true));
    refused(&Short(false));
}

#[test]
fn a_key_without_a_value_is_an_error() {
    struct Keys(Option<usize>);
    impl Serialize for Keys {
        fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            let mut map = to.serialize_map(self.0)?;
            map.serialize_key(&1)?;
            map.serialize_key(&2)?;
            map.end()
        }
    }
    for len in [None, Some(1), Some(2)] {
        assert!(refused(&Keys(len)).contains("keys and values"));
    }
}

#[test]
fn lengths_above_32_bits_are_an_error_and_not_cut() {
    for as_map in [false, true] {
        let liar = Liar { announced: (1 << 32) + 1, written: 1, as_map };
        assert!(refused(&liar).contains("4294967295"));
    }
}

#[test]
fn skipped_fields_are_an_error_in_the_compact_profile_only() {
    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Skips {
        #[serde(skip_serializing_if = "Option::is_none", default)]
        a: Option<u8>,
        b: u8,
    }
    let value = Skips { a: None, b: 2 };
    assert_eq!(from_slice::<Skips>(&to_vec(&value).unwrap()).unwrap(), value);
    let compact = Encoder::new().compact(true);
    let error = compact.to_vec(&value).unwrap_err();
    assert!(error.to_string().contains("`a`"), "{error}");
    assert!(compact.to_vec(&Skips { a: Some(1), b: 2 }).is_ok());
    #[derive(Serialize)]
    enum Variant {
        V {
            #[serde(skip_serializing_if = "Option::is_none")]
            a: Option<u8>,
        },
    }
    assert!(compact.to_vec(&Variant::V { a: None }).is_err());
}

#[test]
fn errors_that_a_type_swallows_do_not_make_a_broken_frame() {
    struct Swallows;
    impl Serialize for Swallows {
        fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            let mut seq = to.serialize_seq(Some(1))?;
            let _ = seq.serialize_element(&Liar { announced: 5, written: 1, as_map: false });
            seq.end()
        }
    }
    assert!(refused(&Swallows).contains("went on"));
}

#[test]
fn extension_values_of_others_are_refused() {
    let ext = rmpv::Value::Ext(0x70, vec![0]);
    assert!(refused(&ext).contains("extension"));
}

#[test]
fn unknown_lengths_are_written_as_known_ones_with_references_in_order() {
    struct Unknown(usize, Buffer<u8>);
    impl Serialize for Unknown {
        fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            let mut map = to.serialize_map(None)?;
            for n in 0..self.0 {
                map.serialize_entry(&n, &self.1.slice(n..n + 4))?;
            }
            map.end()
        }
    }
    for count in [0, 1, 15, 16, 300] {
        let buffer: Buffer<u8> = (0..400).map(|n| n as u8).collect();
        let value = vec![Unknown(count, buffer.clone()), Unknown(1, buffer.slice(390..))];
        let frame = Encoder::new().threshold(4).to_vec(&value).unwrap();
        type Read = Vec<std::collections::BTreeMap<usize, Buffer<u8>>>;
        let read: Read = from_slice(&frame).unwrap();
        assert_eq!(read[0].len(), count);
        assert!(read[0].iter().all(|(&n, part)| **part == buffer[n..n + 4]));
        assert_eq!(*read[1][&0], buffer[390..394]);
        let known: Vec<Vec<u8>> = vec![vec![1; 3]; count];
        assert_eq!(in_band(&known).unwrap(), rmp_serde::to_vec(&known).unwrap());
    }
}

#[test]
fn size_hints_never_exceed_what_the_input_can_hold() {
    struct Hint(usize);
    impl<'de> Deserialize<'de> for Hint {
        fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            struct Visitor;
            impl<'de> serde::de::Visitor<'de> for Visitor {
                type Value = Hint;
                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("a sequence")
                }
                fn visit_seq<A: serde::de::SeqAccess<'de>>(self, seq: A) -> Result<Hint, A::Error> {
                    Err(serde::de::Error::custom(seq.size_hint().unwrap()))
                }
                fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Hint, A::Error> {
                    Err(serde::de::Error::custom(map.size_hint().unwrap()))
                }
            }
            from.deserialize_any(Visitor)
        }
    }
    let bodies = Bodies::new([]);
    for (marker, most) in [(0xdd, 5), (0xdf, 2)] {
        let metadata = [marker, 0xff, 0xff, 0xff, 0xff, 0xc0];
        let mut reader = Reader::new(&metadata, &bodies, &Limits::default());
        let Err(CodecError::Decode { message, .. }) = reader.last::<Hint>().map(|hint| hint.0)
        else {
            panic!("the visitor always fails");
        };
        assert_eq!(message.parse::<usize>().unwrap(), most);
    }
}
