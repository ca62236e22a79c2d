//! [`parse_with`]: frames that name shared segments, with somebody who knows segments.
#![forbid(unsafe_code)]

use crate::frame::{Frame, FrameError, Limits, SegmentFault, Segments};

/// [`Frame::parse`] as a channel does it: `knows` is asked for each range of a segment (segment,
/// offset, length) and its generation, where the limits permit segments at all.
///
/// # Errors
///
/// As [`Frame::parse`], and what `knows` answers.
///
/// # Examples
///
/// ```
/// use pannier::{Limits, fuzzing};
///
/// let frame = pannier::to_vec("names no segment")?;
/// let asked = |_: (u32, u64, u64), _: u32| unreachable!();
/// assert!(fuzzing::parse_with(&frame, &Limits::tiny(), asked).is_ok());
/// # Ok::<(), pannier::CodecError>(())
/// ```
pub fn parse_with<'a>(
    bytes: &'a [u8],
    limits: &Limits,
    knows: impl Fn((u32, u64, u64), u32) -> Result<(), SegmentFault>,
) -> Result<Frame<'a>, FrameError> {
    Frame::parse_with(bytes, limits, &Asked(knows))
}

struct Asked<F>(F);

impl<F: Fn((u32, u64, u64), u32) -> Result<(), SegmentFault>> Segments for Asked<F> {
    fn check(
        &self,
        segment: u32,
        offset: u64,
        len: u64,
        generation: u32,
    ) -> Result<(), SegmentFault> {
        (self.0)((segment, offset, len), generation)
    }
}
