//! `chunks`: a stream gives the same frames and the same error however it is cut: whole, byte by
//! byte, in random pieces, with frames taken at once or left to pile up, through a reader that is
//! interrupted or ends too early. An error stays, and memory grows with what has arrived.

use std::io::{self, ErrorKind, Read};

use bytes::Bytes;
use pannier::frame::{Frame, checksum};
use pannier::fuzzing::Random;
use pannier::{CodecError, Decoder, FrameError, FrameReader, Limits};
use serde::de::IgnoredAny;

use crate::Stream;

/// Any bytes, as a stream; the cuts follow from them.
pub fn chunks(data: &[u8]) {
    chunks_of::<FrameReader>(data);
}

/// The same for another reader.
pub fn chunks_of<R: Stream>(data: &[u8]) {
    let limits = Limits::tiny();
    let mut random = Random::new(checksum(data));
    let expected = split(data, &limits);
    let check = |how, pieces: &[&[u8]], takes: &mut dyn FnMut() -> bool| {
        assert_eq!(measured::<R>(pieces, &limits, takes), expected, "{how}");
    };
    check("whole", &[data], &mut || true);
    if data.len() <= 600 || random.one_in(16) {
        let bytes: Vec<_> = data.chunks(1).collect();
        check("byte by byte", &bytes, &mut || true);
    }
    let pieces = pieces(data, &mut random);
    check("in pieces", &pieces, &mut || true);
    // Never until the end, or now and then.
    let seldom = random.one_in(2);
    check("taken late", &pieces, &mut || seldom && random.one_in(8));
    check_reader(data, &expected, &limits, &mut random);
    let early = &data[..random.below(data.len() + 1)];
    check_reader(early, &split(early, &limits), &limits, &mut random);
}

/// What a stream came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// The frames before the end.
    frames: Vec<Bytes>,
    /// Whether the end is one.
    pub(crate) end: Result<(), FrameError>,
}

/// [`read_stream`], which takes memory for what has arrived: once in the window, once more while
/// that is moved to a larger one, and once in the frames that were taken; and what it takes
/// beforehand.
fn measured<R: Stream>(
    pieces: &[&[u8]],
    limits: &Limits,
    takes: &mut dyn FnMut() -> bool,
) -> Outcome {
    let mut outcome = None;
    let cost = allocation_counter::measure(|| {
        outcome = Some(read_stream::<R>(pieces, limits, takes));
    });
    let len: usize = pieces.iter().map(|piece| piece.len()).sum();
    let bound = 4 * len as u64 + BEFOREHAND;
    assert!(cost.bytes_max <= bound, "{} bytes allocated for {len} of a stream", cost.bytes_max);
    outcome.expect("it was read")
}

/// The frames of a stream that comes in pieces; after each, frames are taken if `takes` says so.
pub(crate) fn read_stream<R: Stream>(
    pieces: &[&[u8]],
    limits: &Limits,
    takes: &mut dyn FnMut() -> bool,
) -> Outcome {
    let mut reader = R::new(*limits);
    let mut frames = Vec::new();
    for mut piece in pieces.iter().copied() {
        while !piece.is_empty() {
            let count = give(&mut reader, piece);
            piece = &piece[count..];
            if takes() {
                if let Err(error) = take_frames(&mut reader, &mut frames) {
                    return Outcome { frames, end: Err(error) };
                }
            }
        }
    }
    let foreseen = reader.finish();
    let end = take_frames(&mut reader, &mut frames).and_then(|()| reader.finish());
    assert_eq!(foreseen, end, "the end, before the last frames are taken");
    Outcome { frames, end }
}

/// As much of `piece` as the reader has space for.
fn give(reader: &mut impl Stream, piece: &[u8]) -> usize {
    let space = reader.space();
    assert!(!space.is_empty(), "there is no space");
    let count = piece.len().min(space.len());
    space[..count].copy_from_slice(&piece[..count]);
    reader.advance(count);
    count
}

/// Takes what is whole. An error stays, whatever comes behind it.
fn take_frames(reader: &mut impl Stream, frames: &mut Vec<Bytes>) -> Result<(), FrameError> {
    loop {
        match reader.next_frame() {
            Ok(Some(frame)) => frames.push(frame),
            Ok(None) => return Ok(()),
            Err(error) => {
                assert_eq!(reader.finish(), Err(error), "the end after an error");
                give(reader, &[0; 64]);
                assert_eq!(reader.next_frame(), Err(error), "after an error");
                return Err(error);
            }
        }
    }
}

/// The stream taken apart by the parser of single frames.
fn split(mut rest: &[u8], limits: &Limits) -> Outcome {
    let mut frames = Vec::new();
    while !rest.is_empty() {
        let len = match Frame::parse_head(rest, limits) {
            Ok(_) => rest.len(),
            Err(FrameError::Trailing { extra }) => {
                rest.len() - usize::try_from(extra).expect("it was counted in memory")
            }
            Err(error) => return Outcome { frames, end: Err(error) },
        };
        frames.push(rest[..len].to_vec().into());
        rest = &rest[len..];
    }
    Outcome { frames, end: Ok(()) }
}

/// Short and long pieces, most cuts near the headers.
fn pieces<'a>(data: &'a [u8], random: &mut Random) -> Vec<&'a [u8]> {
    let (mut pieces, mut rest) = (Vec::new(), data);
    while !rest.is_empty() {
        let most = [1, 31, 33, 64, 200, rest.len()][random.below(6)];
        let (piece, behind) = rest.split_at((1 + random.below(most)).min(rest.len()));
        pieces.push(piece);
        rest = behind;
    }
    pieces
}

/// Values one by one out of a reader come to the same as the frames do.
fn check_reader(data: &[u8], expected: &Outcome, limits: &Limits, random: &mut Random) {
    let decoder = Decoder::new().limits(*limits);
    let mut reader = Flaky { rest: data, random };
    for frame in &expected.frames {
        let read = decoder.from_reader::<_, IgnoredAny>(&mut reader);
        let alone = decoder.from_slice::<IgnoredAny>(frame);
        assert_eq!(verdict(read.map(|value| value.map(drop))), verdict(alone.map(|_| Some(()))));
    }
    let end = decoder.from_reader::<_, IgnoredAny>(&mut reader).map(|value| value.map(drop));
    let expected = expected.end.map(|()| None).map_err(CodecError::from);
    assert_eq!(verdict(end), verdict(expected), "the end");
}

/// Errors of this crate are compared as text: not all of them can be compared as values.
fn verdict(read: Result<Option<()>, CodecError>) -> Result<Option<()>, String> {
    read.map_err(|error| format!("{error:?}"))
}

/// Gives a few bytes at a time, and is interrupted.
struct Flaky<'a> {
    rest: &'a [u8],
    random: &'a mut Random,
}

impl Read for Flaky<'_> {
    fn read(&mut self, place: &mut [u8]) -> io::Result<usize> {
        if self.random.below(8) == 0 {
            return Err(ErrorKind::Interrupted.into());
        }
        let few = 1 + self.random.below(100);
        let most = few.min(place.len());
        self.rest.read(&mut place[..most])
    }
}

/// A window of 16 KiB and the first step of a frame that is larger, which the limits bound by
/// 64 KiB, with room to spare.
const BEFOREHAND: u64 = 256 << 10;
