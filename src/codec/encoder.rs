//! [`Encoder`]: one value to one frame, or to metadata and buffers apart.
//!
//! Promises: the same sequence of serde calls gives the same bytes.
//! Does not know: MessagePack, nor the layout of a frame.
#![forbid(unsafe_code)]

use std::io::Write;

use serde::Serialize;

use crate::buffer::Buffer;
use crate::codec::CodecError;
use crate::codec::parts::{BufferSink, Placement};
use crate::codec::stream::write_frame_to;
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
    tag: u32,
    /// `None` leaves it to where the frame goes: to a file with checksums, elsewhere without.
    checksum: Option<bool>,
    page_aligned: bool,
    #[cfg(feature = "shm")]
    sync: bool,
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
    /// Without this setting files have them and other frames do not.
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
        self.checksum = Some(on);
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
        self.tag = tag;
        self
    }

    /// Begins each buffer at a multiple of 4,096 bytes instead of 64: for files whose arrays are
    /// mapped one by one.
    ///
    /// # Examples
    ///
    /// ```
    /// use pannier::Limits;
    /// use pannier::frame::Frame;
    ///
    /// let column: pannier::Buffer<f64> = vec![0.5; 1_000].into();
    /// let bytes = pannier::Encoder::new().page_aligned(true).to_vec(&column)?;
    /// let frame = Frame::parse(&bytes, &Limits::default())?;
    /// assert_eq!(frame.descriptor(0).unwrap().offset, 4096);
    /// # Ok::<(), pannier::CodecError>(())
    /// ```
    #[must_use]
    pub fn page_aligned(mut self, on: bool) -> Self {
        self.page_aligned = on;
        self
    }

    /// Makes [`write_file`](Self::write_file) wait until the file and its name are on the disk.
    ///
    /// # Examples
    ///
    /// See [`write_file`](Self::write_file).
    ///
    /// # Platform
    ///
    /// With feature `shm`.
    #[cfg(feature = "shm")]
    #[must_use]
    pub fn sync(mut self, on: bool) -> Self {
        self.sync = on;
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
        let (metadata, placed) = self.inline(value)?;
        let mut buffers: Vec<(Descriptor, &[u8])> =
            placed.iter().map(|placed| (placed.descriptor, &*placed.buffer)).collect();
        let mut frame = Vec::new();
        write_frame(&mut frame, &[&metadata], &mut buffers, &self.head())?;
        Ok(frame)
    }

    /// Writes `value` as one frame, by one vectored write where the writer has that.
    ///
    /// # Errors
    ///
    /// As the free [`to_writer`](crate::to_writer).
    ///
    /// # Examples
    ///
    /// ```
    /// let mut stream = Vec::new();
    /// pannier::Encoder::new().tag(7).to_writer(&mut stream, "east")?;
    /// assert_eq!(pannier::from_slice::<&str>(&stream)?, "east");
    /// # Ok::<(), pannier::CodecError>(())
    /// ```
    pub fn to_writer<W: Write, T: Serialize + ?Sized>(
        &self,
        mut writer: W,
        value: &T,
    ) -> Result<(), CodecError> {
        let (metadata, placed) = self.inline(value)?;
        write_frame_to(&mut writer, &metadata, &placed, &self.head())
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
        Ok(self.placed_by(&mut Parts(sink), value)?.0)
    }

    /// This encoder, with checksums as said here if nobody has said otherwise.
    #[cfg(feature = "shm")]
    pub(super) fn checksum_unless_set(mut self, on: bool) -> Self {
        self.checksum = self.checksum.or(Some(on));
        self
    }

    #[cfg(feature = "shm")]
    pub(super) fn is_synced(&self) -> bool {
        self.sync
    }

    /// What stands in the header of this encoder's frames.
    pub(crate) fn head(&self) -> HeadOptions {
        HeadOptions { tag: self.tag, checksum: self.checksum.unwrap_or(false), may: 0 }
    }

    /// Metadata and buffers of a frame that has all of them in it.
    fn inline<T: Serialize + ?Sized>(
        &self,
        value: &T,
    ) -> Result<(Vec<u8>, Vec<Placed>), CodecError> {
        self.placed_by(&mut Inline { least_align: if self.page_aligned { 12 } else { 0 } }, value)
    }

    /// Metadata and buffers, which go where the sink says.
    pub(crate) fn placed_by<T: Serialize + ?Sized>(
        &self,
        sink: &mut dyn Sink,
        value: &T,
    ) -> Result<(Vec<u8>, Vec<Placed>), CodecError> {
        let mut writer = Writer::new(&self.options);
        writer.push(value, sink)?;
        Ok(writer.into_parts())
    }
}

/// Everything goes into the frame that is being made.
struct Inline {
    /// log2
    least_align: u8,
}

impl Sink for Inline {
    fn place(&mut self, payload: Payload<'_>) -> Result<Option<Placed>, CodecError> {
        Ok(Some(match payload {
            Payload::Owned { buffer, kind, align } => {
                placed(buffer.clone(), kind, align.max(self.least_align))
            }
            Payload::Lent(bytes) => {
                placed(Buffer::copy_from_slice(bytes), Kind::OPAQUE, self.least_align)
            }
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
