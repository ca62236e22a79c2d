//! Frames to writers and from readers, one at a time.
//!
//! Promises: buffers go to the writer from where they lie; memory for a frame grows with the bytes
//! that arrive; not one byte behind the frame is read.
//! Does not know: what the writer or reader is.
#![forbid(unsafe_code)]

use std::io::{self, IoSlice, Read, Write};

use ::bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::writer::Placed;
use crate::codec::{CodecError, Decoder, Encoder};
use crate::frame::{
    Descriptor, FrameError, HeadOptions, Incoming, Layout, Limits, checksum, write_head,
};

/// Writes `value` as one frame, by one vectored write where the writer has that.
///
/// Buffers that the value owns are written from where they lie. The writer is not flushed.
///
/// # Errors
///
/// As [`to_vec`](crate::to_vec), and [`CodecError::Io`] with the writer's error; part of the frame
/// may have been written then.
///
/// # Examples
///
/// ```
/// let mut stream = Vec::new();
/// pannier::to_writer(&mut stream, "east")?;
/// pannier::to_writer(&mut stream, "west")?;
///
/// let mut rest = &stream[..];
/// assert_eq!(pannier::from_reader::<_, String>(&mut rest)?.as_deref(), Some("east"));
/// assert_eq!(pannier::from_reader::<_, String>(&mut rest)?.as_deref(), Some("west"));
/// assert_eq!(pannier::from_reader::<_, String>(&mut rest)?, None);
/// # Ok::<(), pannier::CodecError>(())
/// ```
pub fn to_writer<W: Write, T: Serialize + ?Sized>(writer: W, value: &T) -> Result<(), CodecError> {
    Encoder::new().to_writer(writer, value)
}

/// Reads the next value of a stream of frames; `None` at its end.
///
/// Three reads or more for each frame: put a [`BufReader`](io::BufReader) around a file or socket
/// of small ones. Frames of more than 1 GiB are refused; a [`Decoder`] with limits of its own
/// decides otherwise. For a reader that may block, see [`FrameReader`](crate::FrameReader).
///
/// # Errors
///
/// As [`from_slice`](crate::from_slice); [`FrameError::Truncated`] when the input ends within a
/// frame, and [`CodecError::Io`] with the reader's error. The stream cannot be read on then,
/// except after [`CodecError::Decode`].
///
/// # Examples
///
/// ```
/// let mut stream = pannier::to_vec(&1)?;
/// stream.extend(pannier::to_vec(&2)?);
/// let mut rest = &stream[..];
/// let mut sum = 0;
/// while let Some(number) = pannier::from_reader::<_, u32>(&mut rest)? {
///     sum += number;
/// }
/// assert_eq!(sum, 3);
/// # Ok::<(), pannier::CodecError>(())
/// ```
pub fn from_reader<R: Read, T: DeserializeOwned>(reader: R) -> Result<Option<T>, CodecError> {
    Decoder::new().from_reader(reader)
}

/// The next frame; `None` when the input ends where one would begin.
pub(super) fn read_frame(
    reader: &mut dyn Read,
    limits: &Limits,
) -> Result<Option<Bytes>, CodecError> {
    let mut frame = Incoming::default();
    loop {
        let missing = frame.missing(limits)?;
        if missing == 0 {
            return Ok(Some(frame.into_bytes()));
        }
        frame.reserve(missing).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        let have = frame.len() as u64;
        match reader.read(frame.space(missing)) {
            Ok(0) if have == 0 => return Ok(None),
            Ok(0) => return Err(FrameError::Truncated { need: have + missing, have }.into()),
            Ok(count) => frame.advance(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Writes a frame of what was placed; the bodies are not copied.
pub(super) fn write_frame_to(
    writer: &mut dyn Write,
    metadata: &[u8],
    placed: &[Placed],
    options: &HeadOptions,
) -> Result<(), CodecError> {
    let mut descriptors: Vec<Descriptor> = placed.iter().map(|placed| placed.descriptor).collect();
    if options.checksum {
        for (descriptor, placed) in descriptors.iter_mut().zip(placed) {
            descriptor.crc = checksum(&placed.buffer);
        }
    }
    let layout = Layout::new(metadata.len(), &mut descriptors)?;
    let mut head = Vec::new();
    write_head(&mut head, &layout, &[metadata], &descriptors, options);
    let mut slices = vec![IoSlice::new(&head)];
    let mut end = head.len() as u64;
    for (descriptor, placed) in descriptors.iter().zip(placed) {
        push_zeros(&mut slices, descriptor.offset - end);
        slices.push(IoSlice::new(&placed.buffer));
        end = descriptor.offset + descriptor.len;
    }
    push_zeros(&mut slices, layout.frame_len() - end);
    Ok(write_all(writer, &mut slices)?)
}

fn push_zeros(slices: &mut Vec<IoSlice<'_>>, mut count: u64) {
    while let Some(zeros) = ZEROS.get(..at_most(count)).filter(|zeros| !zeros.is_empty()) {
        slices.push(IoSlice::new(zeros));
        count -= zeros.len() as u64;
    }
}

fn at_most(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX).min(ZEROS.len())
}

fn write_all(writer: &mut dyn Write, mut slices: &mut [IoSlice<'_>]) -> io::Result<()> {
    while !slices.is_empty() {
        match writer.write_vectored(slices) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => IoSlice::advance_slices(&mut slices, count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Padding; a page of it is enough between buffers of every usual alignment.
static ZEROS: [u8; 4096] = [0; 4096];
