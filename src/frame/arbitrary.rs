//! Random limits, kinds and header options, for fuzzers and property tests.
//!
//! Every value that the types can hold may come; defaults come often, since a frame that meets five
//! random limits is nearly always refused by the first.

#![forbid(unsafe_code)]

use arbitrary::{Arbitrary, Result, Unstructured};

use super::{HeadOptions, Kind, Limits};

/// Each limit is mostly the default.
impl<'a> Arbitrary<'a> for Limits {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let usual = Limits::default();
        Ok(Limits {
            frame_len: mostly(u, usual.frame_len)?,
            meta_len: mostly(u, usual.meta_len)?,
            buffers: mostly(u, usual.buffers)?,
            depth: mostly(u, usual.depth)?,
            repeat_bytes: mostly(u, usual.repeat_bytes)?,
            segments: u.arbitrary()?,
        })
    }
}

/// A named kind or an advisory one.
impl<'a> Arbitrary<'a> for Kind {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let byte: u8 = u.arbitrary()?;
        // What is no kind becomes one by its class alone: opaque, or advisory.
        Ok(Kind::from_byte(byte).or(Kind::from_byte(byte & 0x80)).unwrap_or(Kind::OPAQUE))
    }
}

impl<'a> Arbitrary<'a> for HeadOptions {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        Ok(HeadOptions { tag: u.arbitrary()?, checksum: u.arbitrary()?, may: u.arbitrary()? })
    }
}

fn mostly<'a, T: Arbitrary<'a>>(u: &mut Unstructured<'a>, usual: T) -> Result<T> {
    if u.ratio(3, 4)? { Ok(usual) } else { u.arbitrary() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_comes_and_nothing_else_can() {
        let mut seen = std::collections::HashSet::new();
        for byte in 0..=u8::MAX {
            seen.insert(Kind::arbitrary(&mut Unstructured::new(&[byte])).unwrap());
        }
        let all: std::collections::HashSet<_> = (0..=u8::MAX).filter_map(Kind::from_byte).collect();
        assert_eq!(seen, all);
    }
}
