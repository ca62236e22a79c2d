//! Frames laid end to end: to writers, from readers, through a `FrameReader`, however they are cut.

use std::io::{self, BufReader, IoSlice, Read, Write};

use pannier::frame::Frame;
use pannier::{
    Buffer, CodecError, Decoder, Encoder, FrameError, FrameReader, LimitKind, Limits, from_reader,
    to_writer,
};
use proptest::prelude::*;

/// Takes at most `step` bytes a call, remembers where the bytes lay, and is interrupted each time.
struct Wary {
    bytes: Vec<u8>,
    step: usize,
    calls: usize,
    sources: Vec<*const u8>,
    interrupted: bool,
}

impl Wary {
    fn taking(step: usize) -> Self {
        Wary { bytes: Vec::new(), step, calls: 0, sources: Vec::new(), interrupted: true }
    }

    fn interrupt(&mut self) -> io::Result<()> {
        self.interrupted = !self.interrupted;
        if self.interrupted { Ok(()) } else { Err(io::ErrorKind::Interrupted.into()) }
    }
}

impl Write for Wary {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.interrupt()?;
        self.calls += 1;
        let before = self.bytes.len();
        for slice in slices {
            let room = self.step - (self.bytes.len() - before);
            self.sources.push(slice.as_ptr());
            self.bytes.extend(&slice[..slice.len().min(room)]);
        }
        Ok(self.bytes.len() - before)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Gives at most `step` bytes a call.
struct Dripping<'a> {
    rest: &'a [u8],
    step: usize,
    interrupted: bool,
}

impl Read for Dripping<'_> {
    fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        self.interrupted = !self.interrupted;
        if self.interrupted {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let len = space.len().min(self.step);
        self.rest.read(&mut space[..len])
    }
}

fn dripping(rest: &[u8], step: usize) -> Dripping<'_> {
    Dripping { rest, step, interrupted: false }
}

fn two_columns() -> (Buffer<f64>, Buffer<u8>) {
    ((0..1_000).map(f64::from).collect(), (0..=255).cycle().take(5_000).collect())
}

#[test]
fn a_frame_is_one_vectored_write_of_the_buffers_where_they_lie() {
    let columns = two_columns();
    let mut writer = Wary::taking(usize::MAX);
    to_writer(&mut writer, &columns).unwrap();
    assert_eq!(writer.calls, 1);
    assert!(writer.sources.contains(&columns.0.as_ptr().cast()));
    assert!(writer.sources.contains(&columns.1.as_ptr()));
    assert_eq!(writer.bytes, pannier::to_vec(&columns).unwrap());
}

#[test]
fn short_and_interrupted_writes_change_nothing() {
    let columns = two_columns();
    for (step, aligned, checksum) in [(1, false, true), (63, true, false), (4_097, true, true)] {
        let encoder = Encoder::new().page_aligned(aligned).checksum(checksum).tag(9);
        let mut writer = Wary::taking(step);
        encoder.to_writer(&mut writer, &columns).unwrap();
        assert_eq!(writer.bytes, encoder.to_vec(&columns).unwrap(), "{step} bytes a call");
    }
}

#[test]
fn a_writer_that_takes_nothing_is_an_error_and_not_a_loop() {
    let error = to_writer(&mut [0u8; 10][..], "does not fit").unwrap_err();
    assert!(matches!(error, CodecError::Io(error) if error.kind() == io::ErrorKind::WriteZero));
}

#[test]
fn reading_takes_exactly_the_frames_bytes() {
    let mut stream = Vec::new();
    to_writer(&mut stream, &two_columns()).unwrap();
    to_writer(&mut stream, "second").unwrap();
    stream.extend(b"not a frame, and not pannier's to read");
    let mut rest = &stream[..];
    let first: Option<(Buffer<f64>, Buffer<u8>)> = from_reader(&mut rest).unwrap();
    assert_eq!(first.unwrap(), two_columns());
    assert_eq!(from_reader::<_, String>(&mut rest).unwrap().unwrap(), "second");
    assert_eq!(rest, b"not a frame, and not pannier's to read");
    assert!(matches!(
        from_reader::<_, String>(&mut rest),
        Err(CodecError::Frame(FrameError::BadMagic))
    ));
}

#[test]
fn a_type_error_leaves_the_stream_at_the_next_frame() {
    let mut stream = Vec::new();
    to_writer(&mut stream, "text").unwrap();
    to_writer(&mut stream, &7).unwrap();
    let mut rest = BufReader::new(&stream[..]);
    let error = from_reader::<_, u32>(&mut rest).unwrap_err();
    assert!(matches!(error, CodecError::Decode { .. }));
    assert_eq!(from_reader::<_, u32>(&mut rest).unwrap(), Some(7));
}

#[test]
fn the_end_of_input_is_the_end_only_between_frames() {
    let bytes = Encoder::new().checksum(true).to_vec(&two_columns()).unwrap();
    for cut in (0..200).chain((200..bytes.len()).step_by(97)) {
        let read = from_reader::<_, (Buffer<f64>, Buffer<u8>)>(&bytes[..cut]);
        if cut == 0 {
            assert!(matches!(read, Ok(None)));
            continue;
        }
        let whole = Frame::parse(&bytes[..cut], &Limits::default()).unwrap_err();
        assert!(matches!(whole, FrameError::Truncated { .. }), "{whole}");
        assert!(matches!(read, Err(CodecError::Frame(error)) if error == whole), "cut at {cut}");
    }
}

#[test]
fn a_reader_that_gives_little_and_is_interrupted_is_read_on() {
    let columns = two_columns();
    let bytes = pannier::to_vec(&columns).unwrap();
    for step in [1, 31, 64, 5_000] {
        let read: Option<(Buffer<f64>, Buffer<u8>)> = from_reader(dripping(&bytes, step)).unwrap();
        assert_eq!(read.unwrap(), columns);
    }
}

#[test]
fn streams_have_a_lower_limit_unless_somebody_sets_one() {
    // The header announces 2 GiB; nothing of it is ever sent.
    let mut header = pannier::to_vec(&()).unwrap();
    header[16..24].copy_from_slice(&(2u64 << 30).to_le_bytes());
    let limit = |error| match error {
        CodecError::Frame(FrameError::Limit { what: LimitKind::FrameLen, value, limit }) => {
            (value, limit)
        }
        other => panic!("{other}"),
    };
    let read = from_reader::<_, ()>(&header[..]).unwrap_err();
    assert_eq!(limit(read), (2 << 30, 1 << 30));
    // Of one frame in memory the length is wrong, and no policy forbids it.
    let own = Decoder::new().limits(Limits::default());
    let error = own.from_reader::<_, ()>(&header[..]).unwrap_err();
    assert!(matches!(error, CodecError::Frame(FrameError::FrameLen { .. })), "{error}");
}

#[test]
fn buffers_share_the_memory_that_the_frame_was_read_to() {
    let columns = two_columns();
    let mut stream = Vec::new();
    to_writer(&mut stream, &columns).unwrap();
    let mut rest = &stream[..];
    let (a, b): (Buffer<f64>, Buffer<u8>) = from_reader(&mut rest).unwrap().unwrap();
    let distance = b.as_ptr().addr() - a.as_ptr().addr();
    let frame = Frame::parse(&stream, &Limits::default()).unwrap();
    let offsets: Vec<_> = frame.descriptors().map(|descriptor| descriptor.offset).collect();
    assert_eq!(distance as u64, offsets[1] - offsets[0]);
    assert_eq!(a.as_ptr().addr() % 64, 0);
}

/// All frames of a stream, and how it ended, by a reader that is fed pieces of these lengths.
fn fed(stream: &[u8], pieces: &[usize], limits: Limits) -> (Vec<Vec<u8>>, Result<(), FrameError>) {
    let mut reader = FrameReader::new(limits);
    let (mut rest, mut frames) = (stream, Vec::new());
    let mut pieces = pieces.iter().copied().cycle();
    while !rest.is_empty() {
        let space = reader.space();
        assert!(!space.is_empty());
        let count = space.len().min(rest.len()).min(pieces.next().map_or(1, |piece| piece.max(1)));
        space[..count].copy_from_slice(&rest[..count]);
        reader.advance(count);
        rest = &rest[count..];
        loop {
            match reader.next_frame() {
                Ok(Some(frame)) => {
                    assert_eq!(frame.as_ptr().addr() % 64, 0);
                    frames.push(frame.to_vec());
                }
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(reader.finish(), Err(error), "an error stays");
                    assert_eq!(reader.next_frame(), Err(error));
                    return (frames, Err(error));
                }
            }
        }
    }
    (frames, reader.finish())
}

fn stream_of(lens: &[usize]) -> Vec<u8> {
    let mut stream = Vec::new();
    for &len in lens {
        let column: Buffer<u8> = (0..=255).cycle().take(len).collect();
        let written = Encoder::new().checksum(len % 2 == 0).to_writer(&mut stream, &(len, column));
        written.expect("memory takes everything");
    }
    stream
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_chunking_gives_the_same_frames_and_the_same_end(
        lens in prop::collection::vec(prop_oneof![0usize..200, 4_000usize..40_000], 0..6),
        pieces in prop::collection::vec(prop_oneof![1usize..100, 1usize..70_000], 1..8),
        cut in prop::option::of(any::<prop::sample::Index>()),
        hit in prop::option::of((any::<prop::sample::Index>(), 1u8..)),
    ) {
        let mut stream = stream_of(&lens);
        if let Some(cut) = cut {
            stream.truncate(cut.index(stream.len() + 1));
        }
        if let Some((at, bits)) = hit.filter(|_| !stream.is_empty()) {
            let at = at.index(stream.len());
            stream[at] ^= bits;
        }
        let whole = fed(&stream, &[usize::MAX], Limits::default());
        prop_assert_eq!(&fed(&stream, &pieces, Limits::default()), &whole);
        if cut.is_none() && hit.is_none() {
            prop_assert_eq!(whole.0.concat(), stream);
            prop_assert_eq!(whole.1, Ok(()));
        }
    }
}

#[test]
fn byte_by_byte_gives_what_one_read_gives() {
    let stream = stream_of(&[0, 30_000, 10, 5_000]);
    let whole = fed(&stream, &[usize::MAX], Limits::default());
    assert_eq!(whole.0.len(), 4);
    assert_eq!(fed(&stream, &[1], Limits::default()), whole);
}

#[test]
fn a_large_frame_is_read_to_where_it_stays() {
    let bytes = stream_of(&[100_000]);
    let mut reader = FrameReader::new(Limits::default());
    let mut at = 0;
    let (frame, place) = loop {
        let space = reader.space();
        let count = space.len().min(bytes.len() - at).min(20_000);
        space[..count].copy_from_slice(&bytes[at..at + count]);
        let place = space.as_ptr().addr().wrapping_sub(at);
        at += count;
        reader.advance(count);
        if let Some(frame) = reader.next_frame().unwrap() {
            break (frame, place);
        }
    };
    assert_eq!(frame.as_ptr().addr(), place, "the last bytes were not moved");
    assert_eq!(frame, bytes);
}

#[test]
fn frames_that_nobody_takes_are_kept_and_what_follows_an_error_is_not() {
    let stream = stream_of(&[10; 2_000]);
    assert!(stream.len() > 100_000, "more than is read ahead");
    let mut reader = FrameReader::new(Limits::default());
    feed(&mut reader, &stream);
    let mut count = 0;
    while let Some(frame) = reader.next_frame().unwrap() {
        pannier::from_bytes::<(usize, Buffer<u8>)>(frame).unwrap();
        count += 1;
    }
    assert_eq!(count, 2_000);

    feed(&mut reader, &[b'x'; 64]);
    assert_eq!(reader.next_frame(), Err(FrameError::BadMagic));
    feed(&mut reader, &stream);
    assert_eq!(reader.next_frame(), Err(FrameError::BadMagic));
}

fn feed(reader: &mut FrameReader, mut rest: &[u8]) {
    while !rest.is_empty() {
        let space = reader.space();
        let count = space.len().min(rest.len());
        space[..count].copy_from_slice(&rest[..count]);
        reader.advance(count);
        rest = &rest[count..];
    }
}

#[test]
fn a_large_frame_that_came_with_the_next_one_is_not_glued_to_it() {
    // Read until there is nothing more, and only then take: the window has grown over both.
    let stream = stream_of(&[20_000, 10]);
    let mut reader = FrameReader::new(Limits::default());
    feed(&mut reader, &stream);
    let frames = taken(&mut reader);
    assert_eq!((frames.len(), frames.concat()), (2, stream));

    // A burst of small ones before, all taken; then a large one and the beginning of the next.
    feed(&mut reader, &stream_of(&[10; 110]));
    assert_eq!(taken(&mut reader).len(), 110);
    let stream = stream_of(&[17_000, 10]);
    feed(&mut reader, &stream[..stream.len() - 30]);
    let mut frames = taken(&mut reader);
    assert_eq!(frames.len(), 1);
    feed(&mut reader, &stream[stream.len() - 30..]);
    frames.extend(taken(&mut reader));
    assert_eq!((frames.len(), frames.concat()), (2, stream));
    assert_eq!(reader.finish(), Ok(()));
}

fn taken(reader: &mut FrameReader) -> Vec<Vec<u8>> {
    let next = || reader.next_frame().expect("the stream is sound");
    std::iter::from_fn(next)
        .map(|frame| {
            assert_eq!(frame.as_ptr().addr() % 64, 0);
            frame.to_vec()
        })
        .collect()
}

#[test]
fn the_input_may_not_end_while_frames_wait() {
    let stream = stream_of(&[10, 10]);
    let mut reader = FrameReader::new(Limits::default());
    feed(&mut reader, &stream);
    assert_eq!(reader.finish(), Ok(()), "whole frames that nobody took are whole");
    feed(&mut reader, &stream[..40]);
    assert!(matches!(reader.finish(), Err(FrameError::Truncated { have: 40, .. })));
    assert_eq!(taken(&mut reader).len(), 2);
    assert!(matches!(reader.finish(), Err(FrameError::Truncated { have: 40, .. })));
}

#[test]
fn a_whole_frame_that_nobody_took_does_not_swallow_the_next() {
    let (first, second) = (stream_of(&[50_000]), stream_of(&[60_000]));
    let mut reader = FrameReader::new(Limits::default());
    // Until the reader has seen the header the frame is in the window.
    feed(&mut reader, &first[..100]);
    assert_eq!(reader.next_frame(), Ok(None));
    feed(&mut reader, &first[100..]);
    feed(&mut reader, &second);
    assert_eq!(reader.next_frame().unwrap().unwrap(), first);
    assert_eq!(reader.next_frame().unwrap().unwrap(), second);
    assert_eq!(reader.finish(), Ok(()));
}

#[test]
fn a_bad_head_is_refused_before_its_body_comes() {
    let mut bytes = stream_of(&[100_000]);
    bytes[64] ^= 1; // the offset of the first descriptor
    let mut reader = FrameReader::new(Limits::default());
    feed(&mut reader, &bytes[..200]);
    assert!(matches!(reader.next_frame(), Err(FrameError::HeadChecksum { .. })));
    assert!(format!("{reader:?}").len() < 400, "no bytes are printed");
}

#[test]
#[should_panic(expected = "where there was space for")]
fn advancing_beyond_the_space_is_a_bug_of_the_caller() {
    let mut reader = FrameReader::new(Limits::default());
    let space = reader.space().len();
    reader.advance(space + 1);
}

#[test]
#[should_panic(expected = "where there was space for")]
fn it_is_one_after_an_error_too() {
    let mut reader = FrameReader::new(Limits::default());
    feed(&mut reader, &[b'x'; 64]);
    assert_eq!(reader.next_frame(), Err(FrameError::BadMagic));
    reader.advance(usize::MAX);
}

#[test]
fn memory_of_a_backlog_is_given_back_although_the_next_frame_has_begun() {
    let stream = stream_of(&[1_000; 2_000]);
    let next = stream_of(&[10]);
    let mut reader = FrameReader::new(Limits::default());
    feed(&mut reader, &stream);
    feed(&mut reader, &next[..1]);
    assert!(reader.space().len() > 100_000, "it has grown");
    assert_eq!(taken(&mut reader).concat(), stream);
    assert!(reader.space().len() <= 16 << 10);
    feed(&mut reader, &next[1..]);
    assert_eq!(taken(&mut reader), [next]);
}

#[test]
fn a_stream_that_goes_on_behind_an_error_costs_no_memory() {
    let mut reader = FrameReader::new(Limits::default());
    feed(&mut reader, &[b'x'; 64]);
    assert_eq!(reader.next_frame(), Err(FrameError::BadMagic));
    for _ in 0..100 {
        feed(&mut reader, &[b'x'; 10_000]);
        assert!(reader.space().len() <= 16 << 10);
    }
    assert_eq!(reader.finish(), Err(FrameError::BadMagic));
}

#[test]
fn one_flipped_bit_anywhere_in_a_checksummed_frame_is_found() {
    let value = (Buffer::from([1.5f32, 2.5, 3.5]), "text", Buffer::from([7u8; 100]));
    let encoder = Encoder::new().checksum(true).threshold(8);
    let sound = encoder.to_vec(&value).unwrap();
    let verify = |bytes: &[u8]| Frame::parse(bytes, &Limits::default())?.verify();
    assert_eq!(verify(&sound), Ok(()));
    for at in 0..sound.len() {
        for bit in 0..8 {
            let mut damaged = sound.clone();
            damaged[at] ^= 1 << bit;
            assert!(verify(&damaged).is_err(), "bit {bit} of byte {at}");
        }
    }
}

#[test]
fn verifying_names_the_first_fault_of_the_bodies() {
    let value = (Buffer::from([1u8; 100]), Buffer::from([2u8; 100]));
    let sound = Encoder::new().checksum(true).threshold(8).to_vec(&value).unwrap();
    let offsets: Vec<_> = Frame::parse(&sound, &Limits::default())
        .unwrap()
        .descriptors()
        .map(|descriptor| usize::try_from(descriptor.offset).unwrap())
        .collect();
    let with = |changes: &[usize]| {
        let mut bytes = sound.clone();
        changes.iter().for_each(|&at| bytes[at] ^= 0xff);
        let decoder = Decoder::new().verify(true);
        match decoder.from_slice::<(Buffer<u8>, Buffer<u8>)>(&bytes) {
            Err(CodecError::Frame(error)) => Some(error),
            Ok(_) => None,
            Err(other) => panic!("{other}"),
        }
    };
    let gap = offsets[0] + 100;
    assert_eq!(with(&[]), None);
    assert_eq!(with(&[offsets[0], gap]), Some(FrameError::BufferChecksum { index: 0 }));
    assert_eq!(with(&[gap + 1, offsets[1]]), Some(FrameError::Padding { at: gap as u64 + 1 }));
    assert_eq!(with(&[offsets[1] + 99]), Some(FrameError::BufferChecksum { index: 1 }));
    let last = sound.len() - 1;
    assert_eq!(with(&[last]), Some(FrameError::Padding { at: last as u64 }));
}
