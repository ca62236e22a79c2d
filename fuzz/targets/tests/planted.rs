//! Each target finds a fault that is planted in what it judges: an invariant that cannot fail holds
//! nothing. (`parse` is `pannier::fuzzing::check`, whose faults are planted beside it.)
//!
//! One is not planted: a writer that changes the bytes of its source. It has them by a shared
//! reference to memory that nobody may write, so that no safe code can do that; the targets'
//! own test shows that `roundtrip` would see a byte that differs.

use std::hint::black_box;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use pannier::frame::Frame;
use pannier::{Buffer, CodecError, FrameError, FrameReader, Limits};
use pannier_targets::{
    Options, Pannier, Stream, Subject, chunks_of, corrupt_of, decode_of, differential_of, mutated,
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

/// Shares other bytes than those of the frame.
struct SharesOthers;

impl Subject for SharesOthers {
    fn decode_shared<T: DeserializeOwned>(bytes: Bytes, limits: &Limits) -> Result<T, CodecError> {
        let mut others = bytes.to_vec();
        if let Ok(frame) = Frame::parse(&bytes, limits) {
            for range in frame.descriptors().filter_map(|d| frame.inline_range(&d)) {
                others[range].iter_mut().for_each(|byte| *byte ^= 0xff);
            }
        }
        Pannier::decode_shared(others.into(), limits)
    }
}

#[test]
fn decode_finds_a_shared_buffer_that_holds_other_bytes() {
    finds("decode", decode_of::<SharesOthers>, "another value");
}

/// Takes a frame although something follows it, for one type only.
struct LenientTo<const TYPE: usize>;

const LENIENT_TO: [&str; 4] = ["Adjacent", "Job", "Flat", "Vec<()>"];

impl<const TYPE: usize> Subject for LenientTo<TYPE> {
    fn decode<'de, T: Deserialize<'de>>(
        bytes: &'de [u8],
        limits: &Limits,
    ) -> Result<T, CodecError> {
        if std::any::type_name::<T>().ends_with(LENIENT_TO[TYPE]) {
            return OverlooksTrailing::decode(bytes, limits);
        }
        Pannier::decode(bytes, limits)
    }
}

#[test]
fn decode_finds_a_reader_that_is_lenient_to_one_type() {
    finds("decode", decode_of::<LenientTo<0>>, "what is no sound frame");
    finds("decode", decode_of::<LenientTo<1>>, "what is no sound frame");
    finds("decode", decode_of::<LenientTo<2>>, "what is no sound frame");
    finds("decode", decode_of::<LenientTo<3>>, "what is no sound frame");
}

/// Allocates again and again for what it has read.
struct Hesitates;

impl Subject for Hesitates {
    fn decode<'de, T: Deserialize<'de>>(
        bytes: &'de [u8],
        limits: &Limits,
    ) -> Result<T, CodecError> {
        bytes.iter().for_each(|byte| drop(black_box(Box::new(*byte))));
        Pannier::decode(bytes, limits)
    }
}

#[test]
fn decode_finds_a_reader_that_allocates_for_each_byte_that_it_passes_over() {
    finds("decode", decode_of::<Hesitates>, "allocations for");
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

/// A [`FrameReader`] that a faulty one is made of.
struct Reader {
    inner: FrameReader,
    /// Frames that were taken.
    frames: Vec<Bytes>,
    /// Pieces that came since the last time somebody asked for a frame.
    pieces: usize,
    failed: bool,
}

/// What goes wrong, where something does.
trait Fault {
    /// How many of the `count` bytes that came are noticed.
    fn noticed(_: &Reader, count: usize) -> usize {
        count
    }

    /// What becomes of the next frame, or of the want of one.
    fn next(_: &Reader, next: Next) -> Next {
        next
    }

    fn end(_: &Reader, end: Result<(), FrameError>) -> Result<(), FrameError> {
        end
    }
}

type Next = Result<Option<Bytes>, FrameError>;

struct Faulty<F>(Reader, PhantomData<F>);

impl<F: Fault> Stream for Faulty<F> {
    fn new(limits: Limits) -> Self {
        let inner = FrameReader::new(limits);
        Faulty(Reader { inner, frames: Vec::new(), pieces: 0, failed: false }, PhantomData)
    }

    fn space(&mut self) -> &mut [u8] {
        self.0.inner.space()
    }

    fn advance(&mut self, count: usize) {
        self.0.pieces += 1;
        self.0.inner.advance(F::noticed(&self.0, count));
    }

    fn next_frame(&mut self) -> Next {
        let next = self.0.inner.next_frame();
        let next = F::next(&self.0, next);
        self.0.pieces = 0;
        self.0.failed |= next.is_err();
        self.0.frames.extend(next.clone().ok().flatten());
        next
    }

    fn finish(&self) -> Result<(), FrameError> {
        F::end(&self.0, self.0.inner.finish())
    }
}

/// Loses a byte when a piece is as long as a header.
struct Forgets;

impl Fault for Forgets {
    fn noticed(_: &Reader, count: usize) -> usize {
        if count == 32 { 31 } else { count }
    }
}

#[test]
fn chunks_finds_a_reader_that_loses_a_byte_at_one_cut() {
    finds("chunks", chunks_of::<Faulty<Forgets>>, "in pieces");
}

/// Takes the end of the input for the end of a stream.
struct EndsWell;

impl Fault for EndsWell {
    fn end(_: &Reader, end: Result<(), FrameError>) -> Result<(), FrameError> {
        end.or_else(|error| match error {
            FrameError::Truncated { have: 33.., .. } => Ok(()),
            other => Err(other),
        })
    }
}

#[test]
fn chunks_finds_a_cut_that_is_taken_for_the_end() {
    finds("chunks", chunks_of::<Faulty<EndsWell>>, "whole");
}

/// Drops everything behind a frame that is larger than what is read ahead.
struct StopsBehindLarge;

impl StopsBehindLarge {
    fn stopped(reader: &Reader) -> bool {
        reader.frames.last().is_some_and(|frame| frame.len() > 16 << 10)
    }
}

impl Fault for StopsBehindLarge {
    fn next(reader: &Reader, next: Next) -> Next {
        if Self::stopped(reader) { Ok(None) } else { next }
    }

    fn end(reader: &Reader, end: Result<(), FrameError>) -> Result<(), FrameError> {
        if Self::stopped(reader) { Ok(()) } else { end }
    }
}

#[test]
fn chunks_finds_a_reader_that_drops_what_follows_a_large_frame() {
    finds("chunks", chunks_of::<Faulty<StopsBehindLarge>>, "whole");
}

/// Has no room for what comes while nobody takes a frame.
struct Overflows;

impl Fault for Overflows {
    fn noticed(reader: &Reader, count: usize) -> usize {
        if reader.pieces > 8 { 0 } else { count }
    }
}

#[test]
fn chunks_finds_a_reader_that_loses_frames_which_pile_up() {
    finds("chunks", chunks_of::<Faulty<Overflows>>, "taken late");
}

/// Says once what is wrong, and is silent then.
struct Forgives;

impl Fault for Forgives {
    fn next(reader: &Reader, next: Next) -> Next {
        if reader.failed { Ok(None) } else { next }
    }
}

#[test]
fn chunks_finds_an_error_that_does_not_stay() {
    finds("chunks", chunks_of::<Faulty<Forgives>>, "after an error");
}

/// Takes memory for all that a stream may hold.
struct Reserves;

impl Fault for Reserves {
    fn noticed(_: &Reader, count: usize) -> usize {
        black_box(Vec::<u8>::with_capacity(1 << 20));
        count
    }
}

#[test]
fn chunks_finds_a_reader_that_takes_memory_for_what_has_not_come() {
    finds("chunks", chunks_of::<Faulty<Reserves>>, "of a stream");
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
