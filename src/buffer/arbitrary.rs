//! Random buffers, for fuzzers and property tests.
//!
//! Promises: lengths of every size up to half of what the input has left, so that a value with
//! several buffers has several that are not empty; slices of larger owners as well as buffers that
//! are their owner's whole memory.
#![forbid(unsafe_code)]

use arbitrary::{Arbitrary, Result, Unstructured};
use bytemuck::Pod;

use super::{Buffer, BufferMut, alloc};

/// Half of them are slices of something larger.
impl<'a, T: Pod + Arbitrary<'a>> Arbitrary<'a> for Buffer<T> {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let owner: Buffer<T> = items(u)?.into();
        if owner.is_empty() || u.arbitrary()? {
            return Ok(owner);
        }
        let start = u.int_in_range(0..=owner.len())?;
        let end = u.int_in_range(start..=owner.len())?;
        Ok(owner.slice(start..end))
    }

    fn size_hint(depth: usize) -> (usize, Option<usize>) {
        <Vec<T> as Arbitrary>::size_hint(depth)
    }
}

impl<'a, T: Pod + Arbitrary<'a>> Arbitrary<'a> for BufferMut<T> {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let items: Vec<T> = items(u)?;
        let mut buffer = alloc(items.len()).map_err(|_| arbitrary::Error::IncorrectFormat)?;
        buffer.copy_from_slice(&items);
        Ok(buffer)
    }

    fn size_hint(depth: usize) -> (usize, Option<usize>) {
        <Vec<T> as Arbitrary>::size_hint(depth)
    }
}

/// Their number is read first: a `Vec` asks before each item whether there is one, which makes
/// nearly all of them shorter than a threshold.
fn items<'a, T: Arbitrary<'a>>(u: &mut Unstructured<'a>) -> Result<Vec<T>> {
    let count = u.arbitrary_len::<T>()? / 2;
    (0..count).map(|_| u.arbitrary()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_of_many_lengths_come_and_slices_too() {
        let mut lengths = std::collections::HashSet::new();
        let mut sliced = 0;
        for seed in 0..500u32 {
            let bytes: Vec<u8> = (0..64u32)
                .map(|at| seed.wrapping_mul(2_654_435_761).rotate_left(at * 5).to_le_bytes()[1])
                .collect();
            let whole: Vec<u16> = items(&mut Unstructured::new(&bytes)).unwrap();
            let buffer: Buffer<u16> = Unstructured::new(&bytes).arbitrary().unwrap();
            let exclusive: BufferMut<u16> = Unstructured::new(&bytes).arbitrary().unwrap();
            assert_eq!(*exclusive, *whole);
            sliced += usize::from(buffer.len() < whole.len());
            lengths.insert(buffer.len());
        }
        assert!(lengths.len() > 12 && sliced > 150, "{lengths:?}, {sliced} slices");
    }
}
