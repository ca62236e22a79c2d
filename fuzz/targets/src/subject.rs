//! What the targets judge: the operations of pannier that they call, each of which a test may
//! replace by one with a fault.

use bytes::Bytes;
use pannier::frame::Frame;
use pannier::{Buffer, CodecError, Decoder, Encoder, FrameError, FrameReader, Limits};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// The operations, as pannier does them.
pub trait Subject {
    /// The head of a frame.
    fn parse_head<'a>(bytes: &'a [u8], limits: &Limits) -> Result<Frame<'a>, FrameError> {
        Frame::parse_head(bytes, limits)
    }

    /// A frame with all its checks, those of its buffers too.
    fn verify(bytes: &[u8], limits: &Limits) -> Result<(), FrameError> {
        Frame::parse(bytes, limits)?.verify()
    }

    /// A value that may borrow.
    fn decode<'de, T: Deserialize<'de>>(
        bytes: &'de [u8],
        limits: &Limits,
    ) -> Result<T, CodecError> {
        Decoder::new().limits(*limits).from_slice(bytes)
    }

    /// A value that shares the frame's memory.
    fn decode_shared<T: DeserializeOwned>(bytes: Bytes, limits: &Limits) -> Result<T, CodecError> {
        Decoder::new().limits(*limits).from_bytes(bytes)
    }

    /// A value from metadata, and buffers by index.
    fn decode_parts<T: DeserializeOwned>(
        metadata: &[u8],
        buffers: &mut Vec<Buffer<u8>>,
        limits: &Limits,
    ) -> Result<T, CodecError> {
        Decoder::new().limits(*limits).from_parts(metadata, buffers)
    }

    /// A whole frame.
    fn encode<T: Serialize>(value: &T, options: &Options) -> Result<Vec<u8>, CodecError> {
        options.encoder().to_vec(value)
    }

    /// Metadata, and the buffers that are not in it.
    fn encode_parts<T: Serialize>(
        value: &T,
        options: &Options,
    ) -> Result<(Vec<u8>, Vec<Buffer<u8>>), CodecError> {
        let mut buffers = Vec::new();
        let metadata = options.encoder().to_parts(value, &mut buffers)?;
        Ok((metadata, buffers))
    }
}

/// The real one.
#[derive(Debug)]
pub struct Pannier;

impl Subject for Pannier {}

/// A reader of streams, as [`FrameReader`] is one.
pub trait Stream {
    /// One that has read nothing yet.
    fn new(limits: Limits) -> Self;
    /// Where the next bytes belong.
    fn space(&mut self) -> &mut [u8];
    /// So many of them are there.
    fn advance(&mut self, count: usize);
    /// A frame, if one is whole.
    fn next_frame(&mut self) -> Result<Option<Bytes>, FrameError>;
    /// Whether the stream may end here.
    fn finish(&self) -> Result<(), FrameError>;
}

impl Stream for FrameReader {
    fn new(limits: Limits) -> Self {
        FrameReader::new(limits)
    }

    fn space(&mut self) -> &mut [u8] {
        FrameReader::space(self)
    }

    fn advance(&mut self, count: usize) {
        FrameReader::advance(self, count);
    }

    fn next_frame(&mut self) -> Result<Option<Bytes>, FrameError> {
        FrameReader::next_frame(self)
    }

    fn finish(&self) -> Result<(), FrameError> {
        FrameReader::finish(self)
    }
}

/// The settings of an [`Encoder`] that a target must know to judge the result.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Bytes from which on a buffer goes out of band.
    pub threshold: usize,
    /// Structs without the names of their fields.
    pub compact: bool,
    /// With checksums.
    pub checksum: bool,
    /// Each buffer at a page of its own.
    pub page_aligned: bool,
    /// The header's free word.
    pub tag: u32,
}

impl Options {
    /// Everything in band.
    pub const IN_BAND: Options = Options {
        threshold: usize::MAX,
        compact: false,
        checksum: false,
        page_aligned: false,
        tag: 0,
    };

    /// The encoder with these settings.
    pub fn encoder(&self) -> Encoder {
        Encoder::new()
            .threshold(self.threshold)
            .compact(self.compact)
            .checksum(self.checksum)
            .page_aligned(self.page_aligned)
            .tag(self.tag)
    }
}

impl<'a> arbitrary::Arbitrary<'a> for Options {
    fn arbitrary(u: &mut arbitrary::Unstructured<'a>) -> arbitrary::Result<Self> {
        let threshold = match u.int_in_range(0..=7)? {
            0 => usize::MAX,
            1 => u.int_in_range(0..=64)?,
            _ => u.int_in_range(0..=8)?,
        };
        Ok(Options {
            threshold,
            compact: u.arbitrary()?,
            checksum: u.arbitrary()?,
            page_aligned: u.ratio(1, 16)?,
            tag: u.arbitrary()?,
        })
    }
}
