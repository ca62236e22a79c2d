//! [`Encoder`]: one value to one frame, or to metadata and buffers apart.
//!
//! Promises: the same sequence of serde calls gives the same bytes.
//! Does not know: MessagePack, nor the layout of a frame.
#![forbid(unsafe_code)]

use serde::Serialize;

use crate::buffer::Buffer;
use crate::codec::CodecError;
use crate::codec::parts::{BufferSink, Placement};
use crate::codec::writer::{Options, Payload, Placed, Sink, Writer};
use crate::frame::{Descriptor, HeadOptions, Kind, write_frame};

/// Writes `value` as one self-contained frame, its buffers inline.
///
/// # Errors
///
/// [`CodecError::Encode`] when the value nests too deep, announces lengths that it does not keep,
/// or has an error of its own; [`CodecError::Frame`] when the metadata exceeds 4 GiB.
///
/// # Examples
///
/// ```
/// let frame = pannier::to_vec(&("east", 7))?;
/// let (direction, steps): (&str, u32) = pannier::from_slice(&frame)?;
/// assert_eq!((direction, steps), ("east", 7));
/// # Ok::<(), pannier::CodecError>(())
/// ```
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, CodecError> {
    Encoder::new().to_vec(value)
}

/// How values are written: when bytes go out of band, and what stands in the header.
///
/// # Examples
///
/// ```
/// let encoder = pannier::Encoder::new().compact(true).checksum(true);
/// let frame = encoder.to_vec(&[1, 2, 3])?;
/// assert_eq!(pannier::from_slice::<[u8; 3]>(&frame)?, [1, 2, 3]);
/// # Ok::<(), pannier::CodecError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Encoder {
    options: Options,
    head: HeadOptions,
}

impl Encoder {
    /// The defaults: threshold 4 KiB, structs with field names, no checksum, tag 0.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(pannier::Encoder::new().to_vec(&1)?, pannier::to_vec(&1)?);
    /// # Ok::<(), pannier::CodecError>(())
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Byte strings of at least so many bytes go out of band; empty ones never do.
    ///
    /// # Examples
    ///
    /// ```
    /// let bytes = pannier::Buffer::from([7; 16]);
    /// let (mut none, mut one) = (Vec::new(), Vec::new());
    /// pannier::Encoder::new().to_parts(&bytes, &mut none)?;
    /// pannier::Encoder::new().threshold(16).to_parts(&bytes, &mut one)?;
    /// assert_eq!((none.len(), one.len()), (0, 1));
    /// # Ok::<(), pannier::CodecError>(())
    /// ```
    #[must_use]
    pub fn threshold(mut self, bytes: usize) -> Self {
        self.options.threshold = bytes;
        self
    }

    /// Writes structs as sequences of their fields instead of maps by field name.
    ///
    /// Shorter, but fields can then be neither skipped (an error), added, nor reordered. Readers
    /// need no setting.
    ///
    /// # Examples
    ///
    /// ```
    /// #[derive(serde::Serialize)]
    /// struct Point { x: u8, y: u8 }
    ///
    /// let point = Point { x: 1, y: 2 };
    /// let compact = pannier::Encoder::new().compact(true).to_parts(&point, &mut Vec::new())?;
    /// assert_eq!(compact, [0x92, 1, 2]);
    /// # Ok::<(), pannier::CodecError>(())
    /// ```
    #[must_use]
    pub fn compact(mut self, on: bool) -> Self {
        self.options.compact = on;
        self
    }

    /// Writes checksums of the head, which readers verify, and of each buffer.
    ///
    /// # Examples
    ///
    /// ```
    /// use pannier::{CodecError, Encoder, FrameError};
    ///
    /// let mut frame = Encoder::new().checksum(true).to_vec("east")?;
    /// frame[33] = b'w';
    /// let damaged = pannier::from_slice::<String>(&frame);
    /// assert!(matches!(damaged, Err(CodecError::Frame(FrameError::HeadChecksum { .. }))));
    /// # Ok::<(), CodecError>(())
    /// ```
    #[must_use]
    pub fn checksum(mut self, on: bool) -> Self {
        self.head.checksum = on;
        self
    }

    /// Sets the header's free word: a message kind, a route.
    ///
    /// # Examples
    ///
    /// ```
    /// let frame = pannier::Encoder::new().tag(7).to_vec(&())?;
    /// assert_eq!(frame[24..28], [7, 0, 0, 0]);
    /// # Ok::<(), pannier::CodecError>(())
    /// ```
    #[must_use]
    pub fn tag(mut self, tag: u32) -> Self {
        self.head.tag = tag;
        self
    }

    /// Writes `value` as one self-contained frame, its buffers inline.
    ///
    /// # Errors
    ///
    /// As [`to_vec`].
    ///
    /// # Examples
    ///
    /// ```
    /// let frame = pannier::Encoder::new().to_vec(&Some(1.5))?;
    /// assert_eq!(frame.len() % 64, 0);
    /// # Ok::<(), pannier::CodecError>(())
    /// ```
    pub fn to_vec<T: Serialize + ?Sized>(&self, value: &T) -> Result<Vec<u8>, CodecError> {
        let mut writer = Writer::new(&self.options);
        writer.push(value, &mut Inline)?;
        let (metadata, placed) = writer.into_parts();
        let mut buffers: Vec<(Descriptor, &[u8])> =
            placed.iter().map(|placed| (placed.descriptor, &*placed.buffer)).collect();
        let mut frame = Vec::new();
        write_frame(&mut frame, &[&metadata], &mut buffers, &self.head)?;
        Ok(frame)
    }

    /// Writes the metadata only; each buffer is handed to the sink, in the order of its index.
    ///
    /// A buffer that occurs twice is handed over once. Checksum and tag belong to frames and are
    /// not used.
    ///
    /// # Errors
    ///
    /// As [`to_vec`], and what the sink fails with.
    ///
    /// # Examples
    ///
    /// ```
    /// let column: pannier::Buffer<f64> = vec![0.5; 1_000].into();
    /// let mut buffers = Vec::new();
    /// let metadata = pannier::Encoder::new().to_parts(&("x", &column), &mut buffers)?;
    /// assert_eq!(buffers[0].as_ptr(), column.as_ptr().cast());
    /// assert_eq!(metadata.len(), 6);
    /// # Ok::<(), pannier::CodecError>(())
    /// ```
    pub fn to_parts<T: Serialize + ?Sized>(
        &self,
        value: &T,
        sink: &mut (impl BufferSink + ?Sized),
    ) -> Result<Vec<u8>, CodecError> {
        let mut writer = Writer::new(&self.options);
        writer.push(value, &mut Parts(sink))?;
        Ok(writer.into_parts().0)
    }
}

/// Everything goes into the frame that is being made.
struct Inline;

impl Sink for Inline {
    fn place(&mut self, payload: Payload<'_>) -> Result<Option<Placed>, CodecError> {
        Ok(Some(match payload {
            Payload::Owned { buffer, kind, align } => placed(buffer.clone(), kind, align),
            Payload::Lent(bytes) => placed(Buffer::copy_from_slice(bytes), Kind::OPAQUE, 0),
        }))
    }
}

/// Everything is somebody else's.
struct Parts<'a, S: ?Sized>(&'a mut S);

impl<S: BufferSink + ?Sized> Sink for Parts<'_, S> {
    fn place(&mut self, payload: Payload<'_>) -> Result<Option<Placed>, CodecError> {
        let placement = match payload {
            Payload::Owned { buffer, .. } => self.0.place(buffer)?,
            Payload::Lent(bytes) => self.0.place_slice(bytes)?,
        };
        // There will be no table of them.
        let elsewhere = || placed(Buffer::default(), Kind::OPAQUE, 0);
        Ok((placement == Placement::OutOfBand).then(elsewhere))
    }
}

fn placed(buffer: Buffer<u8>, kind: Kind, align: u8) -> Placed {
    Placed::new(Descriptor::inline(buffer.len() as u64, kind, align), buffer)
}
