//! [`Decoder`]: one value from one frame, or from metadata and buffers apart.
//!
//! Promises: a frame is checked before anything is decoded; what can share the frame's memory does.
//! Does not know: MessagePack, nor the layout of a frame.
#![forbid(unsafe_code)]

use std::io::Read;

use ::bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::buffer::Buffer;
use crate::codec::CodecError;
use crate::codec::bodies::{Bodies, Body};
use crate::codec::parts::BufferSource;
use crate::codec::reader::Reader;
use crate::codec::stream::read_frame;
use crate::frame::{Descriptor, Frame, FrameError, Kind, Limits, count_references};

/// Reads a value from one frame; it borrows where the type borrows and copies elsewhere.
///
/// # Errors
///
/// [`CodecError::Frame`] when the bytes are not one sound frame within the default [`Limits`],
/// [`CodecError::Decode`] when they hold a value of another type.
///
/// # Examples
///
/// ```
/// let frame = pannier::to_vec("borrowed")?;
/// let text: &str = pannier::from_slice(&frame)?;
/// assert!(frame.as_ptr_range().contains(&text.as_ptr()));
/// # Ok::<(), pannier::CodecError>(())
/// ```
pub fn from_slice<'de, T: Deserialize<'de>>(frame: &'de [u8]) -> Result<T, CodecError> {
    Decoder::new().from_slice(frame)
}

/// Reads a value from one frame, whose memory the buffers in the value share.
///
/// The memory stays allocated for as long as any of them lives. A buffer of a type that is aligned
/// more strictly than the frame's memory is copied.
///
/// # Errors
///
/// As [`from_slice`].
///
/// # Examples
///
/// ```
/// use bytes::Bytes;
/// use pannier::Buffer;
///
/// let frame = Bytes::from(pannier::to_vec(&Buffer::from([7; 10_000]))?);
/// let bytes: Buffer<u8> = pannier::from_bytes(frame.clone())?;
/// assert!(frame.as_ptr_range().contains(&bytes.as_ptr()));
/// # Ok::<(), pannier::CodecError>(())
/// ```
pub fn from_bytes<T: DeserializeOwned>(frame: Bytes) -> Result<T, CodecError> {
    Decoder::new().from_bytes(frame)
}

/// How values are read: within which limits, and how thoroughly.
///
/// # Examples
///
/// ```
/// use pannier::{CodecError, Decoder, FrameError, Limits};
///
/// let frame = pannier::to_vec(&"a long text".repeat(100))?;
/// let decoder = Decoder::new().limits(Limits::default().meta_len(64));
/// let refused = decoder.from_slice::<String>(&frame);
/// assert!(matches!(refused, Err(CodecError::Frame(FrameError::Limit { .. }))));
/// # Ok::<(), CodecError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Decoder {
    /// `None` leaves it to where the frame comes from: streams have a lower one.
    limits: Option<Limits>,
    verify: bool,
}

impl Decoder {
    /// The defaults: [`Limits::default`], with 1 GiB for a frame of a stream; no verifying.
    ///
    /// # Examples
    ///
    /// ```
    /// let frame = pannier::to_vec(&7)?;
    /// assert_eq!(pannier::Decoder::new().from_slice::<u8>(&frame)?, 7);
    /// # Ok::<(), pannier::CodecError>(())
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What this decoder accepts.
    ///
    /// # Examples
    ///
    /// ```
    /// use pannier::{Decoder, Limits};
    ///
    /// let strict = Decoder::new().limits(Limits::default().frame_len(64));
    /// assert!(strict.from_slice::<String>(&pannier::to_vec(&"long".repeat(99))?).is_err());
    /// # Ok::<(), pannier::CodecError>(())
    /// ```
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = Some(limits);
        self
    }

    /// Checks the padding between buffers and, where the frame has them, the checksums of buffers
    /// too: it reads the frame through.
    ///
    /// # Examples
    ///
    /// ```
    /// use pannier::{Buffer, CodecError, Decoder, Encoder, FrameError};
    ///
    /// let mut frame = Encoder::new().checksum(true).to_vec(&Buffer::from([7u8; 5_000]))?;
    /// frame[1_000] = 8;
    /// assert!(Decoder::new().from_slice::<Buffer<u8>>(&frame).is_ok());
    /// let damaged = Decoder::new().verify(true).from_slice::<Buffer<u8>>(&frame);
    /// assert!(matches!(damaged, Err(CodecError::Frame(FrameError::BufferChecksum { index: 0 }))));
    /// # Ok::<(), CodecError>(())
    /// ```
    #[must_use]
    pub fn verify(mut self, on: bool) -> Self {
        self.verify = on;
        self
    }

    /// Reads a value from one frame; it borrows where the type borrows and copies elsewhere.
    ///
    /// # Errors
    ///
    /// As the free [`from_slice`].
    ///
    /// # Examples
    ///
    /// ```
    /// let frame = pannier::to_vec(&[1, 2, 3])?;
    /// let items: Vec<u8> = pannier::Decoder::new().from_slice(&frame)?;
    /// assert_eq!(items, [1, 2, 3]);
    /// # Ok::<(), pannier::CodecError>(())
    /// ```
    pub fn from_slice<'de, T: Deserialize<'de>>(&self, frame: &'de [u8]) -> Result<T, CodecError> {
        let limits = self.limits.unwrap_or_default();
        let frame = self.parse(frame, &limits)?;
        let lent = |descriptor: &Descriptor| {
            let bytes = frame.inline(descriptor)?;
            Some(Body::Borrowed { bytes, kind: descriptor.kind })
        };
        let bodies = bodies(&frame, lent)?;
        Reader::lent(frame.metadata(), bodies, &limits).last()
    }

    /// Reads a value from one frame, whose memory the buffers in the value share.
    ///
    /// # Errors
    ///
    /// As the free [`from_slice`].
    ///
    /// # Examples
    ///
    /// ```
    /// let frame = bytes::Bytes::from(pannier::to_vec("east")?);
    /// assert_eq!(pannier::Decoder::new().from_bytes::<String>(frame)?, "east");
    /// # Ok::<(), pannier::CodecError>(())
    /// ```
    pub fn from_bytes<T: DeserializeOwned>(&self, frame: Bytes) -> Result<T, CodecError> {
        let owner = Buffer::from(frame);
        let limits = self.limits.unwrap_or_default();
        let frame = self.parse(&owner, &limits)?;
        let shared = |descriptor: &Descriptor| {
            let buffer = owner.slice(frame.inline_range(descriptor)?);
            Some(Body::Owned { buffer, kind: descriptor.kind })
        };
        let bodies = bodies(&frame, shared)?;
        Reader::new(frame.metadata(), &bodies, &limits).last()
    }

    /// Reads the next value of a stream of frames; `None` at its end.
    ///
    /// # Errors
    ///
    /// As the free [`from_reader`](crate::from_reader).
    ///
    /// # Examples
    ///
    /// ```
    /// let frame = pannier::to_vec("east")?;
    /// let decoder = pannier::Decoder::new().verify(true);
    /// assert_eq!(decoder.from_reader::<_, String>(&frame[..])?.as_deref(), Some("east"));
    /// # Ok::<(), pannier::CodecError>(())
    /// ```
    pub fn from_reader<R: Read, T: DeserializeOwned>(
        &self,
        mut reader: R,
    ) -> Result<Option<T>, CodecError> {
        let limits = self.stream_limits();
        let frame = read_frame(&mut reader, &limits)?;
        frame.map(|frame| self.clone().limits(limits).from_bytes(frame)).transpose()
    }

    /// Reads the next frame of a stream as it is, for a reader that wants to see its tag before it
    /// knows the type; `None` at the end. The head is checked, and nothing else until a value is
    /// read with [`from_bytes`](Self::from_bytes).
    ///
    /// # Errors
    ///
    /// As the free [`from_reader`](crate::from_reader), without those of metadata and types.
    ///
    /// # Panics
    ///
    /// If the reader says that it has read more than there was room for.
    ///
    /// # Examples
    ///
    /// ```
    /// use pannier::{Decoder, Encoder, Limits, frame::Frame};
    ///
    /// let stream = Encoder::new().tag(7).to_vec("east")?;
    /// let decoder = Decoder::new().limits(Limits::stream());
    /// let frame = decoder.read_frame(&stream[..])?.expect("one frame");
    /// match Frame::parse_head(&frame, &Limits::stream())?.tag() {
    ///     7 => assert_eq!(decoder.from_bytes::<String>(frame)?, "east"),
    ///     other => panic!("no message has tag {other}"),
    /// }
    /// # Ok::<(), pannier::CodecError>(())
    /// ```
    pub fn read_frame<R: Read>(&self, mut reader: R) -> Result<Option<Bytes>, CodecError> {
        read_frame(&mut reader, &self.stream_limits())
    }

    /// Reads a value from metadata whose buffers are elsewhere: each is fetched once, in order.
    ///
    /// # Errors
    ///
    /// As [`from_slice`], and what the source fails with.
    ///
    /// # Examples
    ///
    /// ```
    /// use pannier::{Buffer, Decoder, Encoder};
    ///
    /// let column: Buffer<f64> = vec![0.5; 1_000].into();
    /// let mut buffers = Vec::new();
    /// let metadata = Encoder::new().to_parts(&column, &mut buffers)?;
    /// let again: Buffer<f64> = Decoder::new().from_parts(&metadata, &mut buffers)?;
    /// assert_eq!(again.as_ptr(), column.as_ptr());
    /// # Ok::<(), pannier::CodecError>(())
    /// ```
    pub fn from_parts<T: DeserializeOwned>(
        &self,
        metadata: &[u8],
        source: &mut (impl BufferSource + ?Sized),
    ) -> Result<T, CodecError> {
        let limits = self.limits.unwrap_or_default();
        let count = count_references(metadata, &limits)?;
        let body = |buffer| Body::Owned { buffer, kind: Kind::OPAQUE };
        let bodies = (0..count).map(|index| source.fetch(index).map(body));
        let bodies = bodies.collect::<Result<Bodies<'_>, _>>()?;
        Reader::new(metadata, &bodies, &limits).last()
    }

    fn stream_limits(&self) -> Limits {
        self.limits.unwrap_or_else(Limits::stream)
    }

    #[cfg(feature = "shm")]
    pub(super) fn file_limits(&self) -> Limits {
        self.limits.unwrap_or_default()
    }

    fn parse<'a>(&self, bytes: &'a [u8], limits: &Limits) -> Result<Frame<'a>, FrameError> {
        let frame = Frame::parse(bytes, limits)?;
        if self.verify {
            frame.verify()?;
        }
        Ok(frame)
    }
}

/// The bodies of a frame that has all of them.
fn bodies<'de>(
    frame: &Frame<'_>,
    body: impl Fn(&Descriptor) -> Option<Body<'de>>,
) -> Result<Bodies<'de>, FrameError> {
    let bodies = frame
        .descriptors()
        .zip(0..)
        .map(|(descriptor, index)| body(&descriptor).ok_or(FrameError::External { index }));
    bodies.collect()
}
