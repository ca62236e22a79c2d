//! Random encoders and decoders, for fuzzers and property tests.
//!
//! Does not know: files. Nothing here waits for a disk.
#![forbid(unsafe_code)]

use arbitrary::{Arbitrary, Result, Unstructured};

use crate::codec::{Decoder, Encoder};

/// Thresholds are mostly so small that buffers of a few bytes go both ways.
impl<'a> Arbitrary<'a> for Encoder {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let threshold = match u.int_in_range(0..=7)? {
            0 => usize::MAX,
            1 => u.int_in_range(0..=64)?,
            _ => u.int_in_range(0..=8)?,
        };
        let encoder = Encoder::new()
            .threshold(threshold)
            .compact(u.arbitrary()?)
            .tag(u.arbitrary()?)
            // A page for each buffer: seldom, since it makes every frame large.
            .page_aligned(u.ratio(1, 16)?);
        let checksum: Option<bool> = u.arbitrary()?;
        Ok(checksum.into_iter().fold(encoder, Encoder::checksum))
    }
}

impl<'a> Arbitrary<'a> for Decoder {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let decoder = Decoder::new().verify(u.arbitrary()?);
        Ok(if u.arbitrary()? { decoder.limits(u.arbitrary()?) } else { decoder })
    }
}
