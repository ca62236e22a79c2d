//! Each target finds a fault that is planted in what it judges: an invariant that cannot fail holds
//! nothing. (`parse` is `pannier::fuzzing::check`, whose faults are planted beside it.)

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use pannier::frame::Frame;
use pannier::{Buffer, CodecError, FrameError, Limits};
use pannier_targets::{
    Options, Outcome, Pannier, Subject, chunks_of, corrupt_of, decode_of, differential_of, mutated,
    roundtrip_of, truncate_of,
};
use rmpv::Value;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// The loop of the target finds a broken promise, and says which.
#[track_caller]
fn finds(name: &str, target: impl Fn(&[u8]), what: &str) {
    let looped = AssertUnwindSafe(|| mutated(name, 0..50_000, target));
    let panic = catch_unwind(looped).expect_err("the planted fault was not found");
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or(panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    assert!(text.as_ref().is_some_and(|text| text.contains(what)), "{text:?}");
}

/// Takes a frame although something follows it.
struct OverlooksTrailing;

impl Subject for OverlooksTrailing {
    fn decode<'de, T: Deserialize<'de>>(
        bytes: &'de [u8],
        limits: &Limits,
    ) -> Result<T, CodecError> {
        match Frame::parse(bytes, limits) {
            Err(FrameError::Trailing { extra }) => {
                Pannier::decode(&bytes[..bytes.len() - extra as usize], limits)
            }
            _ => Pannier::decode(bytes, limits),
        }
    }
}

#[test]
fn decode_finds_a_reader_that_overlooks_trailing_bytes() {
    finds("decode", decode_of::<OverlooksTrailing>, "what is no sound frame");
}

/// Reserves what the header announces before anything is checked.
struct Believes;

impl Subject for Believes {
    fn decode_shared<T: DeserializeOwned>(bytes: Bytes, limits: &Limits) -> Result<T, CodecError> {
        let announced = bytes.get(12..16).map_or(0, |field| {
            u32::from_le_bytes([field[0], field[1], field[2], field[3]]).min(1 << 20)
        });
        let _table: Vec<[u8; 32]> = Vec::with_capacity(announced as usize);
        Pannier::decode_shared(bytes, limits)
    }
}

#[test]
fn decode_finds_a_reader_that_allocates_what_is_announced() {
    finds("decode", decode_of::<Believes>, "bytes allocated");
}

/// Charges what is shared for the copy that it is not.
struct ChargesShared;

impl Subject for ChargesShared {
    fn decode_shared<T: DeserializeOwned>(bytes: Bytes, limits: &Limits) -> Result<T, CodecError> {
        Pannier::decode_shared(bytes, &limits.repeat_bytes(100))
    }
}

#[test]
fn decode_finds_sharing_that_is_dearer_than_copying() {
    finds("decode", decode_of::<ChargesShared>, "cannot be shared");
}

/// Leaves a buffer of exactly the threshold in band.
struct OffByOne;

impl Subject for OffByOne {
    fn encode<T: Serialize>(value: &T, options: &Options) -> Result<Vec<u8>, CodecError> {
        let threshold = options.threshold.saturating_add(1);
        Pannier::encode(value, &Options { threshold, ..*options })
    }
}

#[test]
fn roundtrip_finds_a_threshold_that_is_off_by_one() {
    finds("roundtrip", roundtrip_of::<OffByOne>, "out of band");
}

/// Gives the first buffer for the second.
struct Merges;

impl Subject for Merges {
    fn decode_parts<T: DeserializeOwned>(
        metadata: &[u8],
        buffers: &mut Vec<Buffer<u8>>,
        limits: &Limits,
    ) -> Result<T, CodecError> {
        if let [first, second, ..] = &mut buffers[..] {
            *second = first.clone();
        }
        Pannier::decode_parts(metadata, buffers, limits)
    }
}

#[test]
fn roundtrip_finds_two_buffers_that_became_one() {
    finds("roundtrip", roundtrip_of::<Merges>, "parts");
}

/// Reads a float of 4 bytes as one of 8.
struct Widens;

impl Subject for Widens {
    fn encode_parts<T: Serialize>(
        value: &T,
        options: &Options,
    ) -> Result<(Vec<u8>, Vec<Buffer<u8>>), CodecError> {
        let (metadata, buffers) = Pannier::encode_parts(value, options)?;
        if metadata.first() != Some(&0xca) || metadata.len() != 5 {
            return Ok((metadata, buffers));
        }
        let float = f32::from_be_bytes([metadata[1], metadata[2], metadata[3], metadata[4]]);
        Pannier::encode_parts(&f64::from(float), options)
    }
}

#[test]
fn differential_finds_floats_of_another_width() {
    finds("differential", differential_of::<Widens>, "rmp-serde writes other bytes");
}

/// Sees the first value and not the second.
struct StopsEarly;

impl Subject for StopsEarly {
    fn decode_parts<T: DeserializeOwned>(
        metadata: &[u8],
        buffers: &mut Vec<Buffer<u8>>,
        limits: &Limits,
    ) -> Result<T, CodecError> {
        let mut rest = metadata;
        let end = rmpv::decode::read_value(&mut rest).map(|_: Value| metadata.len() - rest.len());
        Pannier::decode_parts(&metadata[..end.unwrap_or(metadata.len())], buffers, limits)
    }
}

#[test]
fn differential_finds_a_second_value_that_is_overlooked() {
    finds("differential", differential_of::<StopsEarly>, "behind the value");
}

/// Loses its place when a piece ends with a header.
struct Forgets;

impl Subject for Forgets {
    fn read_stream<'a>(pieces: impl Iterator<Item = &'a [u8]>, limits: &Limits) -> Outcome {
        let shortened = pieces.map(|piece| if piece.len() == 32 { &piece[..31] } else { piece });
        Pannier::read_stream(shortened, limits)
    }
}

#[test]
fn chunks_finds_a_reader_that_loses_a_byte_at_one_cut() {
    finds("chunks", chunks_of::<Forgets>, "in pieces");
}

/// Takes the end of the input for the end of a stream.
struct EndsWell;

impl Subject for EndsWell {
    fn read_stream<'a>(pieces: impl Iterator<Item = &'a [u8]>, limits: &Limits) -> Outcome {
        let outcome = Pannier::read_stream(pieces, limits);
        let cut = matches!(outcome.end, Err(FrameError::Truncated { have: 33.., .. }));
        if cut { Outcome { end: Ok(()), ..outcome } } else { outcome }
    }
}

#[test]
fn chunks_finds_a_cut_that_is_taken_for_the_end() {
    finds("chunks", chunks_of::<EndsWell>, "whole");
}

/// Does not look at the checksums of buffers.
struct Trusts;

impl Subject for Trusts {
    fn verify(bytes: &[u8], limits: &Limits) -> Result<(), FrameError> {
        match Pannier::verify(bytes, limits) {
            Err(FrameError::BufferChecksum { .. }) => Ok(()),
            other => other,
        }
    }
}

#[test]
fn corrupt_finds_buffers_that_are_not_verified() {
    finds("corrupt", corrupt_of::<Trusts>, "a damaged frame stands verify");
}

/// Asks for the header only, whatever is there.
struct AsksForLittle;

impl Subject for AsksForLittle {
    fn parse_head<'a>(bytes: &'a [u8], limits: &Limits) -> Result<Frame<'a>, FrameError> {
        Pannier::parse_head(bytes, limits).map_err(|error| match error {
            FrameError::Truncated { have, .. } => FrameError::Truncated { need: have + 1, have },
            other => other,
        })
    }
}

#[test]
fn truncate_finds_a_need_that_is_never_enough() {
    finds("truncate", truncate_of::<AsksForLittle>, "need");
}
