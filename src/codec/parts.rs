//! A frame in parts: [`BufferSink`] takes buffers out of band, [`BufferSource`] gives them back.
//!
//! Promises: a sink sees each buffer once and in order of its index; a source is asked in the same
//! order, once for each.
//! Does not know: what a sink does with the bytes.
#![forbid(unsafe_code)]

use crate::buffer::Buffer;
use crate::codec::CodecError;

/// Where out-of-band buffers go while a value is written: the `buffer_callback` of Python's
/// pickle 5.
///
/// # Examples
///
/// A sink that takes only what is large:
///
/// ```
/// use pannier::{Buffer, BufferSink, CodecError, Encoder, Placement};
///
/// struct Large(Vec<Buffer<u8>>);
///
/// impl BufferSink for Large {
///     fn place(&mut self, buffer: &Buffer<u8>) -> Result<Placement, CodecError> {
///         if buffer.len() < 1 << 20 {
///             return Ok(Placement::InBand);
///         }
///         self.0.place(buffer)
///     }
/// }
///
/// let value: (Buffer<f64>, Buffer<f64>) = (vec![0.0; 1 << 10].into(), vec![0.0; 1 << 20].into());
/// let mut large = Large(Vec::new());
/// let metadata = Encoder::new().to_parts(&value, &mut large)?;
/// assert_eq!(large.0.len(), 1);
/// assert!(metadata.len() > 8 << 10);
/// # Ok::<(), CodecError>(())
/// ```
pub trait BufferSink {
    /// Takes the buffer out of band, or leaves it in the metadata.
    ///
    /// # Errors
    ///
    /// An error of the sink's own, as [`CodecError::Buffer`]; writing stops with it.
    fn place(&mut self, buffer: &Buffer<u8>) -> Result<Placement, CodecError>;

    /// The same for bytes that serde only lends (`serialize_bytes`): a sink with memory of its own
    /// copies them there, once.
    ///
    /// # Errors
    ///
    /// As [`place`](Self::place).
    fn place_slice(&mut self, bytes: &[u8]) -> Result<Placement, CodecError> {
        self.place(&Buffer::copy_from_slice(bytes))
    }
}

/// What a [`BufferSink`] did with a buffer.
///
/// # Examples
///
/// ```
/// use pannier::{Buffer, BufferSink, Placement};
///
/// let mut sink = Vec::new();
/// assert_eq!(sink.place(&Buffer::from([1]))?, Placement::OutOfBand);
/// # Ok::<(), pannier::CodecError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// The sink has it; the metadata holds its index.
    OutOfBand,
    /// The metadata holds its bytes.
    InBand,
}

/// Where out-of-band buffers come from again while a value is read.
///
/// # Examples
///
/// ```
/// use pannier::{Buffer, CodecError, Decoder, Encoder};
///
/// let column: Buffer<f64> = vec![0.5; 1 << 20].into();
/// let mut buffers = Vec::new();
/// let metadata = Encoder::new().to_parts(&column, &mut buffers)?;
/// let again: Buffer<f64> = Decoder::new().from_parts(&metadata, &mut buffers)?;
/// assert_eq!(again.as_ptr(), column.as_ptr());
/// # Ok::<(), CodecError>(())
/// ```
pub trait BufferSource {
    /// The buffer that was the sink's `index`-th, counted from zero.
    ///
    /// # Errors
    ///
    /// An error of the source's own, as [`CodecError::Buffer`]; reading stops with it.
    fn fetch(&mut self, index: u32) -> Result<Buffer<u8>, CodecError>;
}

/// Keeps every buffer: pickle 5's `buffer_callback=list.append`.
impl BufferSink for Vec<Buffer<u8>> {
    fn place(&mut self, buffer: &Buffer<u8>) -> Result<Placement, CodecError> {
        self.push(buffer.clone());
        Ok(Placement::OutOfBand)
    }
}

/// Gives out what is in the list: pickle 5's `buffers=list`.
impl BufferSource for Vec<Buffer<u8>> {
    fn fetch(&mut self, index: u32) -> Result<Buffer<u8>, CodecError> {
        let buffer = usize::try_from(index).ok().and_then(|index| self.get(index));
        let missing = || NoSuchBuffer { index, count: self.len() };
        buffer.cloned().ok_or_else(|| CodecError::Buffer(Box::new(missing())))
    }
}

#[derive(Debug, thiserror::Error)]
#[error("buffer {index} is wanted and the list has {count}; are these the buffers of this value?")]
struct NoSuchBuffer {
    index: u32,
    count: usize,
}
