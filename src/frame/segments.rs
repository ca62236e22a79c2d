//! Shared segments, as far as a frame knows them: by number, through a question.
//!
//! Whether a range exists is the answer of whoever keeps the segments. That a writable range is
//! nobody else's in its frame needs no such knowledge and is found here.

#![forbid(unsafe_code)]

use super::descriptor::{Descriptor, Location};
use super::error::{FrameError, SegmentFault};

/// What a reader knows of shared segments; asked only where the limits permit segments.
pub(crate) trait Segments {
    /// Whether the range lies within one live block of the segment, of that generation.
    fn check(
        &self,
        segment: u32,
        offset: u64,
        len: u64,
        generation: u32,
    ) -> Result<(), SegmentFault>;
}

/// Knows none: every segment is `Unknown`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NoSegments;

impl Segments for NoSegments {
    fn check(&self, _: u32, _: u64, _: u64, _: u32) -> Result<(), SegmentFault> {
        Err(SegmentFault::Unknown)
    }
}

/// Refuses a writable range that meets another range of its segment, naming the first descriptor
/// that completes such a pair.
pub(super) fn check_aliasing(
    descriptors: impl Iterator<Item = Descriptor>,
) -> Result<(), FrameError> {
    let ranges: Vec<SegmentRange> =
        descriptors.zip(0u32..).filter_map(|(d, index)| SegmentRange::new(&d, index)).collect();
    if !any_aliased(&ranges) {
        return Ok(());
    }
    // Sorting has lost which pair came first in the table. A longer beginning of the table has no
    // fewer pairs, so halving finds the shortest that has one, and stays far from quadratic.
    let (mut sound, mut broken) = (0, ranges.len());
    while broken - sound > 1 {
        let middle = sound + (broken - sound) / 2;
        if any_aliased(ranges.get(..middle).unwrap_or_default()) {
            broken = middle;
        } else {
            sound = middle;
        }
    }
    let index = ranges.get(sound).map_or(0, |range| range.index);
    Err(FrameError::Segment { index, why: SegmentFault::AliasedWritable })
}

#[derive(Clone, Copy)]
struct SegmentRange {
    segment: u32,
    start: u64,
    end: u64,
    writable: bool,
    index: u32,
}

impl SegmentRange {
    fn new(descriptor: &Descriptor, index: u32) -> Option<SegmentRange> {
        let Descriptor { segment, offset: start, writable, .. } = *descriptor;
        let end = start.checked_add(descriptor.len)?;
        let range = SegmentRange { segment, start, end, writable, index };
        (descriptor.location == Location::Segment).then_some(range)
    }
}

fn any_aliased(ranges: &[SegmentRange]) -> bool {
    let mut sorted = ranges.to_vec();
    sorted.sort_unstable_by_key(|range| (range.segment, range.start));
    let (mut segment, mut end, mut writable_end) = (0, 0, 0);
    for range in sorted {
        if range.segment != segment {
            (segment, end, writable_end) = (range.segment, 0, 0);
        }
        let others_end = if range.writable { end } else { writable_end };
        if range.start < others_end {
            return true;
        }
        end = end.max(range.end);
        if range.writable {
            writable_end = writable_end.max(range.end);
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Kind;

    fn range(segment: u32, offset: u64, len: u64, writable: bool) -> Descriptor {
        let descriptor = Descriptor::segment(segment, offset, len, 1, Kind::OPAQUE, 0);
        Descriptor { writable, ..descriptor }
    }

    fn aliased(ranges: &[Descriptor]) -> Option<u32> {
        match check_aliasing(ranges.iter().copied()) {
            Ok(()) => None,
            Err(FrameError::Segment { index, why: SegmentFault::AliasedWritable }) => Some(index),
            Err(other) => panic!("{other}"),
        }
    }

    /// By the words of the format: the first descriptor that meets one before it.
    fn aliased_by_definition(ranges: &[Descriptor]) -> Option<u32> {
        let meets = |a: &Descriptor, b: &Descriptor| {
            a.segment == b.segment
                && (a.writable || b.writable)
                && a.offset < b.offset + b.len
                && b.offset < a.offset + a.len
        };
        let first = (0..ranges.len()).find(|&j| (0..j).any(|i| meets(&ranges[i], &ranges[j])));
        first.map(|index| u32::try_from(index).unwrap())
    }

    #[test]
    fn read_only_ranges_may_overlap_and_writable_ones_may_not() {
        assert_eq!(aliased(&[range(1, 0, 64, false), range(1, 0, 64, false)]), None);
        assert_eq!(aliased(&[range(1, 0, 64, true), range(1, 64, 64, true)]), None);
        assert_eq!(aliased(&[range(1, 0, 64, true), range(2, 0, 64, true)]), None);
        assert_eq!(aliased(&[range(1, 0, 64, true), range(1, 63, 64, false)]), Some(1));
        assert_eq!(aliased(&[range(1, 63, 64, false), range(1, 0, 64, true)]), Some(1));
    }

    #[test]
    fn the_sweep_agrees_with_the_definition() {
        let mut random = crate::frame::tests::Random::new(0x5eed);
        for _ in 0..5_000 {
            let count = random.below(12);
            let ranges: Vec<_> = (0..count)
                .map(|_| {
                    let segment = u32::try_from(random.below(2)).unwrap();
                    let writable = random.below(3) == 0;
                    range(segment, random.below(40), 1 + random.below(6), writable)
                })
                .collect();
            assert_eq!(aliased(&ranges), aliased_by_definition(&ranges), "{ranges:?}");
        }
    }
}
