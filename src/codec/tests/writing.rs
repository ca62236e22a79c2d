//! The writer: who owns what is placed, what is remembered, what is taken back.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::Serializer;

use super::*;
use crate::codec::{Decoder, Writer, from_bytes, scope, to_vec};

struct Lent<'a>(&'a [u8]);

impl Serialize for Lent<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(self.0)
    }
}

#[test]
fn the_same_memory_range_and_kind_is_placed_once() {
    let buffer: Buffer<u32> = vec![1, 2, 3, 4].into();
    let other_owner = Buffer::<u32>::copy_from_slice(&buffer);
    let same_bytes = buffer.clone().into_bytes();
    let mut sink = Recorder::default();
    let mut writer = Writer::new(&small());
    let value = (&buffer, &buffer.clone(), &buffer.slice(1..), &same_bytes, &other_owner);
    writer.push(&value, &mut sink).unwrap();
    assert_eq!(sink.owned.len(), 4, "the clone is a repeat, all else is something else");
    assert_eq!(sink.owned[0].1, Kind::U32);
    assert_eq!(sink.owned[2].1, Kind::OPAQUE);
    assert_eq!(sink.owned[0].2, 6);
    // A repeat in a later value of the same writer too.
    writer.push(&buffer, &mut sink).unwrap();
    assert_eq!((sink.owned.len(), writer.values()), (4, 2));
    assert_eq!(writer.metadata()[1..7], [0xd4, 0x70, 0, 0xd4, 0x70, 0]);
    writer.clear();
    writer.push(&buffer, &mut sink).unwrap();
    assert_eq!((sink.owned.len(), writer.metadata_len()), (5, 3));
}

#[test]
fn lent_memory_is_never_taken_for_the_same() {
    struct Scratch(RefCell<Vec<u8>>);
    impl Serialize for Scratch {
        fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            self.0.borrow_mut().iter_mut().for_each(|byte| *byte += 1);
            to.serialize_bytes(&self.0.borrow())
        }
    }
    let scratch = Scratch(RefCell::new(vec![0; 8]));
    let mut sink = Recorder::default();
    Writer::new(&small()).push(&(&scratch, &scratch, &scratch), &mut sink).unwrap();
    assert_eq!(sink.lent, [vec![1; 8], vec![2; 8], vec![3; 8]]);
    assert!(sink.owned.is_empty());
}

#[test]
fn memory_that_is_freed_while_writing_is_not_mistaken_for_what_comes_after_it() {
    struct Fresh(u8);
    impl Serialize for Fresh {
        fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            // Made for the call and freed after it: the allocator may hand out the address again.
            Buffer::from(vec![self.0; 4096]).serialize(to)
        }
    }
    let value: Vec<Fresh> = (0..50).map(Fresh).collect();
    let read: Vec<Buffer<u8>> = from_bytes(to_vec(&value).unwrap().into()).unwrap();
    assert!(read.iter().zip(0..).all(|(buffer, n)| **buffer == [n; 4096]));
}

#[test]
fn bytes_are_kept_by_their_owner_and_exclusive_buffers_are_lent() {
    #[derive(Serialize)]
    struct Fields {
        #[serde(with = "crate::codec::bytes")]
        bytes: ::bytes::Bytes,
        #[serde(with = "crate::codec::pod")]
        pod: Vec<u16>,
        exclusive: crate::buffer::BufferMut<u8>,
    }
    let value = Fields {
        bytes: vec![1; 9].into(),
        pod: vec![2; 9],
        exclusive: crate::buffer::alloc_zeroed(9).unwrap(),
    };
    let mut sink = Recorder::default();
    Writer::new(&small()).push(&value, &mut sink).unwrap();
    assert_eq!((sink.owned.len(), sink.lent.len()), (1, 2));
    assert_eq!(sink.owned[0].0.as_ptr(), value.bytes.as_ptr());
}

/// Writes two buffers and then does not come to an end.
struct Fails<'a>(&'a Buffer<u8>, bool);

impl Serialize for Fails<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        use serde::ser::{Error, SerializeSeq};
        let mut seq = to.serialize_seq(Some(3))?;
        seq.serialize_element(self.0)?;
        seq.serialize_element(&Lent(&[1; 100]))?;
        if self.1 {
            panic!("on purpose");
        }
        Err(S::Error::custom("on purpose"))
    }
}

#[test]
fn a_value_that_fails_or_panics_leaves_no_trace() {
    let (first, second) = (Buffer::from([1_u8; 64]), Buffer::from([2_u8; 64]));
    let mut sink = Recorder::default();
    let mut writer = Writer::new(&small());
    writer.push(&first, &mut sink).unwrap();
    for panics in [false, true] {
        let fails = Fails(&second, panics);
        let outcome = catch_unwind(AssertUnwindSafe(|| writer.push(&fails, &mut sink)));
        match outcome {
            Ok(result) => assert!(result.unwrap_err().to_string().contains("on purpose")),
            Err(_) => assert!(panics),
        }
        assert_eq!((writer.metadata_len(), writer.placed().len(), writer.values()), (3, 1, 1));
        assert!(scope::is_clean());
    }
    // What was taken back is placed again, what stands is a repeat.
    let placed = sink.owned.len();
    writer.push(&(&first, &second), &mut sink).unwrap();
    assert_eq!(sink.owned.len(), placed + 1);
    assert_eq!(writer.metadata()[3..], [0x92, 0xd4, 0x70, 0, 0xd4, 0x70, 1]);
}

#[test]
fn repeats_are_found_among_few_and_among_many_and_after_a_value_was_taken_back() {
    let own = |n: u8| -> Buffer<u8> { vec![n; 8].into() };
    let later: Vec<Buffer<u8>> = (100..140).map(own).collect();
    for count in 1..40 {
        let buffers: Vec<Buffer<u8>> = (0..count).map(own).collect();
        let mut sink = Recorder::default();
        let mut writer = Writer::new(&small());
        writer.push(&(Lent(&[0; 8]), &buffers, &buffers), &mut sink).unwrap();
        assert_eq!(writer.placed().len(), buffers.len() + 1);
        writer.push(&(&later, Fails(&later[0], false)), &mut sink).unwrap_err();
        assert_eq!(writer.placed().len(), buffers.len() + 1);
        writer.push(&(&later, &buffers, &later), &mut sink).unwrap();
        assert_eq!(writer.placed().len(), buffers.len() + 1 + later.len());
        let first = writer.metadata_len();
        writer.push(&(&buffers[0], &later[0]), &mut sink).unwrap();
        assert_eq!(writer.metadata()[first..], [0x92, 0xd4, 0x70, 1, 0xd4, 0x70, count + 1]);
    }
}

#[test]
fn a_value_that_encodes_while_it_is_written_sees_its_own_scope() {
    struct Nested(Buffer<u8>);
    impl Serialize for Nested {
        fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            let frame = to_vec(&vec![self.0.clone(); 2]).unwrap();
            assert!(scope::is_encoding(), "the outer one is back");
            to.serialize_bytes(&frame)
        }
    }
    let buffer: Buffer<u8> = vec![3; 10_000].into();
    let mut sink = Recorder::default();
    let value = (&buffer, Nested(buffer.clone()), &buffer);
    Writer::new(&Options::default()).push(&value, &mut sink).unwrap();
    assert_eq!((sink.owned.len(), sink.lent.len()), (1, 1));
    let inner: Vec<Buffer<u8>> = from_bytes(sink.lent[0].clone().into()).unwrap();
    assert_eq!(inner, [buffer.clone(), buffer]);
    assert!(scope::is_clean());
}

#[test]
fn another_format_inside_a_value_takes_no_offer() {
    struct Json(Buffer<u8>);
    impl Serialize for Json {
        fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            let text = serde_json::to_string(&self.0).unwrap();
            let plain = rmp_serde::to_vec(&self.0).unwrap();
            (text, Lent(&plain)).serialize(to)
        }
    }
    let buffer: Buffer<u8> = vec![3; 5_000].into();
    let mut sink = Recorder::default();
    Writer::new(&Options::default()).push(&Json(buffer), &mut sink).unwrap();
    assert_eq!((sink.owned.len(), sink.lent.len()), (0, 1));
    assert!(scope::is_clean());
}

#[test]
fn what_a_sink_fails_with_comes_out_as_it_went_in() {
    struct Full(fn() -> CodecError);
    impl Sink for Full {
        fn place(&mut self, _: Payload<'_>) -> Result<Option<Placed>, CodecError> {
            Err((self.0)())
        }
    }
    let value = vec![Some(Buffer::from([1_u8; 64]))];
    let mut writer = Writer::new(&small());
    let error = writer.push(&value, &mut Full(|| CodecError::Buffer("full".into()))).unwrap_err();
    assert!(matches!(error, CodecError::Buffer(source) if source.to_string() == "full"));
    let error = writer.push(&value, &mut Full(|| FrameError::BadMagic.into())).unwrap_err();
    assert!(matches!(error, CodecError::Frame(FrameError::BadMagic)));
    assert_eq!(writer.metadata_len(), 0);
}

#[test]
fn a_sink_may_refuse_each_buffer_by_itself() {
    struct Odd(Vec<Buffer<u8>>, usize);
    impl crate::codec::BufferSink for Odd {
        fn place(&mut self, buffer: &Buffer<u8>) -> Result<crate::codec::Placement, CodecError> {
            self.1 += 1;
            if self.1 % 2 == 0 {
                return Ok(crate::codec::Placement::InBand);
            }
            self.0.place(buffer)
        }
    }
    let buffers: Vec<Buffer<u8>> = (0..6_u8).map(|n| vec![n; 5000].into()).collect();
    let mut sink = Odd(Vec::new(), 0);
    let metadata = Encoder::new().to_parts(&buffers, &mut sink).unwrap();
    assert_eq!(sink.0.len(), 3);
    let read: Vec<Buffer<u8>> = Decoder::new().from_parts(&metadata, &mut sink.0).unwrap();
    assert_eq!(read, buffers);
    sink.0.pop();
    let missing = Decoder::new().from_parts::<Vec<Buffer<u8>>>(&metadata, &mut sink.0);
    assert!(matches!(missing, Err(CodecError::Buffer(_))));
}

#[test]
fn indices_take_the_shortest_of_one_two_and_four_bytes() {
    let mut writer = Writer::new(&small());
    let mut sink = Recorder::default();
    let memory: Buffer<u8> = vec![0; 65_540 + 4].into();
    for (index, len) in [(255, 3), (256, 4), (65_535, 4), (65_536, 6)] {
        while writer.placed().len() < index {
            let at = writer.placed().len();
            writer.push(&memory.slice(at..at + 4), &mut sink).unwrap();
        }
        let before = writer.metadata_len();
        writer.push(&memory.slice(index..index + 4), &mut sink).unwrap();
        assert_eq!(writer.metadata_len() - before, len, "index {index}");
    }
}
