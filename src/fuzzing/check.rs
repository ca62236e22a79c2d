//! [`check`]: what must hold of any bytes, and of a frame that was accepted.
//!
//! Promises: a panic with the broken promise, and nothing else but time. Its own test plants faults
//! in a reader and has them found.
//! Does not know: types; a decode of your own belongs beside it.
#![forbid(unsafe_code)]

use serde::de::IgnoredAny;

use crate::codec::{CodecError, Decoder};
use crate::frame::{
    Descriptor, Frame, FrameError, HeadOptions, Layout, Limits, Location, write_frame, write_head,
};

/// Holds the library to its promises about one input: parsing does not panic; what is accepted is
/// within `limits`, has its parts in place and is the same bytes when it is written again; reading
/// a value agrees with parsing; each cut of it is `Truncated`, with a need that grows and is
/// finally right.
///
/// Linear in the bytes, with about a hundred cuts.
///
/// # Panics
///
/// If one of these does not hold: that is a bug of this library.
///
/// # Examples
///
/// ```
/// use pannier::{Limits, fuzzing};
///
/// for (_, frame) in fuzzing::seeds() {
///     fuzzing::check(frame, &Limits::tiny());
/// }
/// ```
pub fn check(frame: &[u8], limits: &Limits) {
    check_with(&Pannier, frame, limits);
}

/// The reader and writer that are being held to their promises.
trait Subject {
    fn parse<'a>(&self, bytes: &'a [u8], limits: &Limits) -> Result<Frame<'a>, FrameError> {
        Frame::parse(bytes, limits)
    }

    fn parse_head<'a>(&self, bytes: &'a [u8], limits: &Limits) -> Result<Frame<'a>, FrameError> {
        Frame::parse_head(bytes, limits)
    }

    fn inline<'a>(&self, frame: &Frame<'a>, descriptor: &Descriptor) -> Option<&'a [u8]> {
        frame.inline(descriptor)
    }

    fn read(&self, bytes: &[u8], limits: &Limits) -> Result<(), CodecError> {
        Decoder::new().limits(*limits).from_slice::<IgnoredAny>(bytes).map(drop)
    }

    fn write(
        &self,
        metadata: &[u8],
        buffers: &mut [(Descriptor, &[u8])],
        options: &HeadOptions,
    ) -> Vec<u8> {
        let mut out = Vec::new();
        write_frame(&mut out, &[metadata], buffers, options).expect("what was read can be written");
        out
    }
}

struct Pannier;

impl Subject for Pannier {}

fn check_with(subject: &impl Subject, bytes: &[u8], limits: &Limits) {
    let whole = subject.parse(bytes, limits);
    let head = subject.parse_head(bytes, limits);
    check_agreement(subject, bytes, limits, &whole, &head);
    if let Ok(frame) = &whole {
        check_parts(subject, frame, bytes, limits);
        check_rewritten(subject, frame, bytes);
    }
    if head.is_ok() {
        check_cuts(subject, bytes, limits);
    }
}

/// The three ways in come to the same verdict, by the same error.
fn check_agreement(
    subject: &impl Subject,
    bytes: &[u8],
    limits: &Limits,
    whole: &Result<Frame<'_>, FrameError>,
    head: &Result<Frame<'_>, FrameError>,
) {
    let by_head = match head {
        Ok(head) => head.check_metadata(limits).err(),
        Err(error) => Some(*error),
    };
    assert_eq!(by_head, whole.as_ref().err().copied(), "head and whole parse differ");
    let inline = |frame: &Frame<'_>| frame.descriptors().all(|d| d.location == Location::Inline);
    match (subject.read(bytes, limits), whole) {
        (Ok(()), Ok(_)) => {}
        (Err(CodecError::Frame(FrameError::External { .. })), Ok(frame)) if !inline(frame) => {}
        (Err(CodecError::Frame(read)), Err(parsed)) if read == *parsed => {}
        (read, parsed) => panic!("read as {read:?} what was parsed as {parsed:?}"),
    }
}

/// Everything inside the input, in order, aligned, and no more than the limits permit.
fn check_parts(subject: &impl Subject, frame: &Frame<'_>, bytes: &[u8], limits: &Limits) {
    assert!(std::ptr::eq(frame.as_bytes(), bytes), "the frame is not the input");
    assert_eq!(bytes.len() % 64, 0, "length of a frame");
    assert!(as_u64(bytes.len()) <= limits.frame_len, "longer than permitted");
    assert!(as_u64(frame.metadata().len()) <= u64::from(limits.meta_len), "metadata too long");
    assert!(frame.count() <= limits.buffers, "more buffers than permitted");
    assert!(std::ptr::eq(frame.metadata(), &bytes[32..][..frame.metadata().len()]), "metadata");
    let mut end = 32 + frame.metadata().len();
    for (descriptor, index) in frame.descriptors().zip(0..) {
        assert_eq!(frame.descriptor(index), Some(descriptor), "descriptor {index}");
        assert_ne!(descriptor.location, Location::Segment, "nobody knows segments here");
        let Some(range) = frame.inline_range(&descriptor) else {
            assert_eq!(descriptor.location, Location::External, "descriptor {index}");
            continue;
        };
        assert!(end <= range.start && range.start < range.end, "descriptor {index}: {range:?}");
        assert_eq!(range.start % (1 << descriptor.align), 0, "alignment of descriptor {index}");
        let body = subject.inline(frame, &descriptor).expect("an inline buffer has bytes");
        assert!(std::ptr::eq(body, &bytes[range.clone()]), "bytes of descriptor {index}");
        end = range.end;
    }
    assert_eq!(frame.descriptor(frame.count()), None, "a descriptor behind the last");
    assert_eq!(frame.descriptors().count(), frame.count() as usize, "count of descriptors");
}

fn check_rewritten(subject: &impl Subject, frame: &Frame<'_>, bytes: &[u8]) {
    let mut descriptors: Vec<Descriptor> = frame.descriptors().collect();
    let layout = Layout::new(frame.metadata().len(), &mut descriptors).expect("it was accepted");
    let mut head = Vec::new();
    write_head(&mut head, &layout, &[frame.metadata()], &descriptors, &frame.options());
    assert_eq!(head, bytes[..head.len()], "the head written again");
    assert_eq!(layout.frame_len(), as_u64(bytes.len()), "the length written again");
    // Bodies and padding are the same as well where `verify` has nothing against them.
    let mut buffers: Vec<_> =
        descriptors.iter().map(|d| (*d, frame.inline(d).unwrap_or_default())).collect();
    let out = subject.write(frame.metadata(), &mut buffers, &frame.options());
    assert_eq!(out == bytes, frame.verify().is_ok(), "the frame written again");
}

fn check_cuts(subject: &impl Subject, bytes: &[u8], limits: &Limits) {
    let near = bytes.len().min(64);
    let step = (bytes.len() / 32).max(1);
    let (mut last, mut steps) = (0, 0);
    for cut in (0..near).chain((near..bytes.len()).step_by(step)).chain([bytes.len() - 1]) {
        match subject.parse_head(&bytes[..cut], limits) {
            Err(FrameError::Truncated { need, have }) => {
                assert_eq!(have, as_u64(cut), "what is said to be there");
                assert!(
                    need > have && need >= last,
                    "{need} bytes needed at {have}, before {last}"
                );
                steps += usize::from(need > last);
                last = need;
            }
            other => panic!("{other:?} of a sound frame that is cut at {cut}"),
        }
    }
    assert_eq!(last, as_u64(bytes.len()), "the last need");
    // Header, head, frame: a reader that waits for what is needed waits three times at most.
    assert!(steps <= 3, "{steps} different needs");
}

fn as_u64(len: usize) -> u64 {
    len as u64
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::fuzzing::{mutate, seeds};

    /// Whether some mutation of some seed breaks a promise of the subject, and how it says so.
    fn found(subject: &impl Subject) -> Option<String> {
        let all: Vec<_> = seeds().filter(|(_, bytes)| bytes.len() <= 4096).collect();
        let mut data = vec![0; 4096];
        for round in 0..20_000u32 {
            let (_, seed) = all[round as usize % all.len()];
            data[..seed.len()].copy_from_slice(seed);
            let len = mutate(&mut data, seed.len(), 4096, round);
            let limits = [Limits::tiny(), Limits::default(), Limits::default().depth(2).buffers(1)];
            let limits = limits[round as usize % 3];
            let checked = AssertUnwindSafe(|| check_with(subject, &data[..len], &limits));
            if let Err(panic) = catch_unwind(checked) {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or(panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                return Some(text.unwrap_or_default());
            }
        }
        None
    }

    #[track_caller]
    fn assert_found(subject: &impl Subject, what: &str) {
        let found = found(subject).expect("the planted fault was not found");
        assert!(found.contains(what), "{found}");
    }

    #[test]
    fn nothing_is_found_in_the_real_one() {
        assert_eq!(found(&Pannier), None);
    }

    #[test]
    fn a_reader_that_overlooks_trailing_bytes_is_found() {
        struct Lenient;
        impl Subject for Lenient {
            fn parse<'a>(&self, bytes: &'a [u8], limits: &Limits) -> Result<Frame<'a>, FrameError> {
                match Frame::parse(bytes, limits) {
                    Err(FrameError::Trailing { extra }) => {
                        Frame::parse(&bytes[..bytes.len() - extra as usize], limits)
                    }
                    other => other,
                }
            }
        }
        assert_found(&Lenient, "head and whole parse differ");
    }

    #[test]
    fn a_reader_that_forgets_a_limit_is_found() {
        struct Deep;
        impl Subject for Deep {
            fn read(&self, bytes: &[u8], limits: &Limits) -> Result<(), CodecError> {
                Pannier.read(bytes, &limits.depth(128))
            }
        }
        assert_found(&Deep, "what was parsed as");
        struct Many;
        impl Subject for Many {
            fn parse<'a>(&self, bytes: &'a [u8], limits: &Limits) -> Result<Frame<'a>, FrameError> {
                Frame::parse(bytes, &limits.buffers(64))
            }
            fn parse_head<'a>(
                &self,
                bytes: &'a [u8],
                limits: &Limits,
            ) -> Result<Frame<'a>, FrameError> {
                Frame::parse_head(bytes, &limits.buffers(64))
            }
            fn read(&self, bytes: &[u8], limits: &Limits) -> Result<(), CodecError> {
                Pannier.read(bytes, &limits.buffers(64))
            }
        }
        assert_found(&Many, "more buffers than permitted");
    }

    #[test]
    fn a_buffer_that_is_one_byte_short_is_found() {
        struct Short;
        impl Subject for Short {
            fn inline<'a>(&self, frame: &Frame<'a>, d: &Descriptor) -> Option<&'a [u8]> {
                frame.inline(d).map(|body| &body[..body.len() - 1])
            }
        }
        assert_found(&Short, "bytes of descriptor");
    }

    #[test]
    fn a_writer_that_drops_unknown_flags_is_found() {
        struct Strict;
        impl Subject for Strict {
            fn write(
                &self,
                metadata: &[u8],
                buffers: &mut [(Descriptor, &[u8])],
                options: &HeadOptions,
            ) -> Vec<u8> {
                Pannier.write(metadata, buffers, &HeadOptions { may: 0, ..*options })
            }
        }
        assert_found(&Strict, "the frame written again");
    }

    #[test]
    fn a_need_that_is_never_enough_is_found() {
        struct Short;
        impl Subject for Short {
            fn parse_head<'a>(
                &self,
                bytes: &'a [u8],
                limits: &Limits,
            ) -> Result<Frame<'a>, FrameError> {
                Frame::parse_head(bytes, limits).map_err(|error| match error {
                    FrameError::Truncated { need, have } if have >= 32 => {
                        FrameError::Truncated { need: need.min(have + 64), have }
                    }
                    other => other,
                })
            }
            fn parse<'a>(&self, bytes: &'a [u8], limits: &Limits) -> Result<Frame<'a>, FrameError> {
                let head = self.parse_head(bytes, limits)?;
                head.check_metadata(limits).map(|()| head)
            }
            fn read(&self, bytes: &[u8], limits: &Limits) -> Result<(), CodecError> {
                Ok(self.parse(bytes, limits).map(drop)?)
            }
        }
        // External buffers are refused by the real reader only; that is not what is planted here.
        let found = found(&Short).expect("the planted fault was not found");
        assert!(found.contains("different needs"), "{found}");
    }
}
