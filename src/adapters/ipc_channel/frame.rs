//! [`IpcFrame`]: a value as a message.
//!
//! Promises: a frame is checked before anything is decoded; its buffers share the received memory.
//! Does not know: how it travels.
#![forbid(unsafe_code)]

use std::fmt;
use std::marker::PhantomData;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::plan::{Gather, THRESHOLD, lay_out};
use super::region::Region;
use crate::buffer::Buffer;
use crate::codec::{Bodies, Body, CodecError, Copies, Encoder, Reader};
use crate::frame::{
    Descriptor, Frame, FrameError, Layout, Limits, Location, SegmentFault, Segments, write_head,
};

/// A value of type `T` as a message of `ipc-channel`, or as a field of one.
///
/// As data it is the head of a frame (a byte string) and a list of `IpcSharedMemory`, so it can go
/// over the channels of `ipc-channel` and nowhere else.
///
/// # Examples
///
/// In a message of the program's own, beside a channel for the answer:
///
/// ```
/// use ipc_channel::ipc::{self, IpcSender};
/// use pannier::Buffer;
/// use pannier::adapters::ipc_channel::IpcFrame;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// enum Request {
///     Sum { columns: IpcFrame<Vec<Buffer<u64>>>, answer: IpcSender<u64> },
///     Stop,
/// }
///
/// let (sender, receiver) = ipc::channel()?;
/// let (answer, sum) = ipc::channel()?;
/// let columns = vec![Buffer::from(vec![1; 10_000]), Buffer::from(vec![2; 10_000])];
/// sender.send(Request::Sum { columns: IpcFrame::encode(&columns)?, answer })?;
///
/// match receiver.recv()? {
///     Request::Sum { columns, answer } => {
///         answer.send(columns.decode()?.iter().flatten().sum())?;
///     }
///     Request::Stop => {}
/// }
/// assert_eq!(sum.recv()?, 30_000);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct IpcFrame<T: ?Sized> {
    wire: Wire,
    copies: Copies,
    value: PhantomData<fn(&T) -> Box<T>>,
}

/// What travels.
#[derive(Clone, Serialize, Deserialize)]
struct Wire {
    /// Header, metadata, table: a frame whose buffers are elsewhere.
    head: Buffer<u8>,
    regions: Vec<Region>,
}

impl<T: Serialize + ?Sized> IpcFrame<T> {
    /// Writes `value`; buffers of [`THRESHOLD`] bytes and more go into shared memory.
    ///
    /// # Errors
    ///
    /// [`CodecError::Encode`] and [`CodecError::Frame`] as [`to_vec`](crate::to_vec);
    /// [`CodecError::Buffer`] when there is no shared memory to be had, be it for want of
    /// descriptors (after a message of the panic hook: `ipc-channel` panics then).
    ///
    /// # Examples
    ///
    /// ```
    /// use pannier::adapters::ipc_channel::IpcFrame;
    ///
    /// let frame = IpcFrame::encode(&("small".to_owned(), 7))?;
    /// assert_eq!(frame.copies(), 0);
    /// assert_eq!(frame.decode()?, ("small".to_owned(), 7));
    /// # Ok::<(), pannier::CodecError>(())
    /// ```
    pub fn encode(value: &T) -> Result<Self, CodecError> {
        Self::encode_with(&Encoder::new().threshold(THRESHOLD), value)
    }

    /// Writes `value` as this encoder does; its threshold (4 KiB, unless it was set) says what goes
    /// into shared memory.
    ///
    /// # Errors
    ///
    /// As [`encode`](Self::encode).
    ///
    /// # Examples
    ///
    /// ```
    /// use pannier::adapters::ipc_channel::IpcFrame;
    /// use pannier::{Buffer, Encoder};
    ///
    /// let column: Buffer<f64> = vec![0.5; 2_000].into();
    /// assert_eq!(IpcFrame::encode(&column)?.copies(), 0);
    /// let shared = IpcFrame::encode_with(&Encoder::new().threshold(1 << 10), &column)?;
    /// assert_eq!(shared.copies(), 1);
    /// # Ok::<(), pannier::CodecError>(())
    /// ```
    pub fn encode_with(encoder: &Encoder, value: &T) -> Result<Self, CodecError> {
        let mut sink = Gather::default();
        let (metadata, placed) = encoder.placed_by(&mut sink, value)?;
        let mut copies = sink.copies();
        let (regions, mut descriptors) = lay_out(&placed, &mut copies)?;
        let layout = Layout::new(metadata.len(), &mut descriptors)?;
        let len = usize::try_from(layout.frame_len());
        let len = len.map_err(|_| CodecError::Encode("the frame is too long".to_owned()))?;
        let mut head = Vec::with_capacity(len);
        write_head(&mut head, &layout, &[&metadata], &descriptors, &encoder.head());
        head.resize(len, 0);
        let wire = Wire { head: head.into(), regions };
        Ok(IpcFrame { wire, copies, value: PhantomData })
    }
}

impl<T: DeserializeOwned> IpcFrame<T> {
    /// Reads the value; its buffers share the received memory and keep it.
    ///
    /// # Errors
    ///
    /// [`CodecError::Frame`] for what is not one sound frame within the default [`Limits`], or names
    /// memory that did not come with it; [`CodecError::Decode`] for a value of another type.
    ///
    /// # Examples
    ///
    /// See [`IpcFrame`].
    pub fn decode(self) -> Result<T, CodecError> {
        self.decode_within(&Limits::default())
    }

    /// Reads the value, if it keeps these limits.
    ///
    /// # Errors
    ///
    /// As [`decode`](Self::decode).
    ///
    /// # Examples
    ///
    /// ```
    /// use pannier::adapters::ipc_channel::IpcFrame;
    /// use pannier::{CodecError, FrameError, Limits};
    ///
    /// let frame = IpcFrame::encode(&"a long text".repeat(100))?;
    /// let refused = frame.decode_within(&Limits::default().meta_len(64));
    /// assert!(matches!(refused, Err(CodecError::Frame(FrameError::Limit { .. }))));
    /// # Ok::<(), CodecError>(())
    /// ```
    pub fn decode_within(self, limits: &Limits) -> Result<T, CodecError> {
        let limits = limits.segments(true);
        let Wire { head, regions } = self.wire;
        let regions: Vec<Buffer<u8>> = regions.iter().map(Region::buffer).collect();
        let frame = Frame::parse_with(&head, &limits, &Known(&regions))?;
        let body = |(descriptor, index): (Descriptor, u32)| {
            let missing = FrameError::External { index };
            let buffer = match descriptor.location {
                Location::Segment => part(&regions, &descriptor),
                Location::Inline => frame.inline_range(&descriptor).map(|range| head.slice(range)),
                Location::External => None,
            };
            Ok(Body::Owned { buffer: buffer.ok_or(missing)?, kind: descriptor.kind })
        };
        let bodies = frame.descriptors().zip(0..).map(body);
        let bodies = bodies.collect::<Result<Bodies<'_>, FrameError>>()?;
        Reader::new(frame.metadata(), &bodies, &limits).last()
    }
}

impl<T: ?Sized> IpcFrame<T> {
    /// How many copies of buffers were made to encode this frame; of a received one it is zero.
    ///
    /// # Examples
    ///
    /// ```
    /// use pannier::{Buffer, adapters::ipc_channel::IpcFrame};
    ///
    /// let columns: [Buffer<f64>; 2] = [vec![0.5; 10_000].into(), vec![1.5; 10_000].into()];
    /// assert_eq!(IpcFrame::encode(&columns)?.copies(), 2);
    /// # Ok::<(), pannier::CodecError>(())
    /// ```
    #[must_use]
    pub fn copies(&self) -> u64 {
        self.copies.count
    }

    /// The bytes of these copies.
    ///
    /// # Examples
    ///
    /// ```
    /// use pannier::{Buffer, adapters::ipc_channel::IpcFrame};
    ///
    /// let column: Buffer<f64> = vec![0.5; 10_000].into();
    /// assert_eq!(IpcFrame::encode(&column)?.copied_bytes(), 80_000);
    /// # Ok::<(), pannier::CodecError>(())
    /// ```
    #[must_use]
    pub fn copied_bytes(&self) -> u64 {
        self.copies.bytes
    }
}

impl<T: ?Sized> Clone for IpcFrame<T> {
    fn clone(&self) -> Self {
        IpcFrame { wire: self.wire.clone(), copies: self.copies, value: PhantomData }
    }
}

impl<T: ?Sized> fmt::Debug for IpcFrame<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IpcFrame")
            .field("head_len", &self.wire.head.len())
            .field("regions", &self.wire.regions.len())
            .finish_non_exhaustive()
    }
}

impl<T: ?Sized> Serialize for IpcFrame<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.wire.serialize(serializer)
    }
}

impl<'de, T: ?Sized> Deserialize<'de> for IpcFrame<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wire = Wire::deserialize(deserializer)?;
        Ok(IpcFrame { wire, copies: Copies::default(), value: PhantomData })
    }
}

/// The regions that came with a frame.
struct Known<'a>(&'a [Buffer<u8>]);

impl Segments for Known<'_> {
    fn check(
        &self,
        segment: u32,
        offset: u64,
        len: u64,
        generation: u32,
    ) -> Result<(), SegmentFault> {
        let region = usize::try_from(segment).ok().and_then(|at| self.0.get(at));
        let region = u64::try_from(region.ok_or(SegmentFault::Unknown)?.len());
        if generation != 0 {
            return Err(SegmentFault::Stale);
        }
        let end = offset.checked_add(len).ok_or(SegmentFault::Bounds)?;
        if region.is_ok_and(|region| end <= region) { Ok(()) } else { Err(SegmentFault::Bounds) }
    }
}

/// The range of a descriptor; `Known` has seen that it is there.
fn part(regions: &[Buffer<u8>], descriptor: &Descriptor) -> Option<Buffer<u8>> {
    let region = regions.get(usize::try_from(descriptor.segment).ok()?)?;
    let start = usize::try_from(descriptor.offset).ok()?;
    let end = start.checked_add(usize::try_from(descriptor.len).ok()?)?;
    (end <= region.len()).then(|| region.slice(start..end))
}
