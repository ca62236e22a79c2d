//! `chunks`: a stream gives the same frames and the same error however it is cut: whole, byte by
//! byte, in random pieces, through a reader that is interrupted or ends too early.

use std::io::{self, ErrorKind, Read};

use pannier::frame::{Frame, checksum};
use pannier::{CodecError, Decoder, FrameError, Limits};
use serde::de::IgnoredAny;

use crate::{Outcome, Pannier, Random, Subject};

/// Any bytes, as a stream; the cuts follow from them.
pub fn chunks(data: &[u8]) {
    chunks_of::<Pannier>(data);
}

/// The same for another reader.
pub fn chunks_of<S: Subject>(data: &[u8]) {
    let limits = Limits::tiny();
    let mut random = Random::new(checksum(data));
    let expected = split(data, &limits);
    assert_eq!(S::read_stream([data].into_iter(), &limits), expected, "whole");
    if data.len() <= 600 || random.below(16) == 0 {
        assert_eq!(S::read_stream(data.chunks(1), &limits), expected, "byte by byte");
    }
    let pieces = pieces(data, &mut random);
    assert_eq!(S::read_stream(pieces.into_iter(), &limits), expected, "in pieces");
    check_reader(data, &expected, &limits, &mut random);
    let early = &data[..random.below(data.len() + 1)];
    check_reader(early, &split(early, &limits), &limits, &mut random);
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
