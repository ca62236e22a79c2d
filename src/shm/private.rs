//! Copies of what a worker could still change, for those who do not trust it.
//!
//! Promises: what comes back is written by nobody but its holder here; the copy is made in one pass
//! over memory that may change meanwhile.
//! Does not know: who is to be trusted.
#![expect(unsafe_code, reason = "reads memory that another process may be writing")]

use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use super::grow::Terms;
use super::memory::Memory;
use crate::buffer::{self, Buffer};
use crate::error::Result;

impl Memory {
    /// The same bytes where no worker can write: copied if they lie in a worker's arena, else as they
    /// are. The copy lies in shared memory if there is room, so that another task can be given it.
    pub(crate) fn private(self: &Arc<Self>, shared: Buffer<u8>) -> Result<(Buffer<u8>, bool)> {
        if !self.is_of_worker(&shared) {
            return Ok((shared, false));
        }
        let len = shared.len();
        let mut copy = match self.alloc_inbound(len, false, Terms::IN_MEMORY) {
            Ok(block) => block,
            Err(_) => buffer::alloc(len)?,
        };
        let from = NonNull::from(&*shared).cast::<u8>();
        // SAFETY: `from` is the start of `shared`, which lives until the end of this function and is
        // as long as `copy`.
        unsafe { copy_while_it_changes(from, &mut copy) };
        Ok((copy.freeze(), true))
    }
}

const WORD: usize = size_of::<u64>();

/// Copies by relaxed loads, so that a writer on the other side is no data race.
///
/// # Safety
///
/// From `from` on as many bytes as `to` has are mapped, and stay so. Nobody in this process writes them.
unsafe fn copy_while_it_changes(from: NonNull<u8>, to: &mut [u8]) {
    let head = from.align_offset(WORD).min(to.len());
    let (first, rest) = to.split_at_mut(head);
    let (words, last) = rest.split_at_mut(rest.len() / WORD * WORD);
    let last_at = head + words.len();
    // SAFETY: the range begins where the caller's does, and is no longer.
    unsafe { copy_bytes(from, first) };
    for (number, word) in words.chunks_exact_mut(WORD).enumerate() {
        // SAFETY: within the caller's range, since `word` lies within `to`.
        let at = unsafe { from.add(head + number * WORD) }.cast::<u64>();
        // SAFETY: aligned (`head`), mapped (by the caller), and in this process only loaded, as here.
        let loaded = unsafe { AtomicU64::from_ptr(at.as_ptr()) }.load(Ordering::Relaxed);
        word.copy_from_slice(bytemuck::bytes_of(&loaded));
    }
    // SAFETY: within the caller's range, at its end.
    let rest = unsafe { from.add(last_at) };
    // SAFETY: what is left of the caller's range is as long as `last`.
    unsafe { copy_bytes(rest, last) };
}

/// # Safety
///
/// As [`copy_while_it_changes`].
unsafe fn copy_bytes(from: NonNull<u8>, to: &mut [u8]) {
    for (at, byte) in to.iter_mut().enumerate() {
        // SAFETY: within the caller's range.
        let at = unsafe { from.add(at) };
        // SAFETY: mapped (by the caller), and in this process only loaded.
        *byte = unsafe { AtomicU8::from_ptr(at.as_ptr()) }.load(Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_at_any_place_and_of_any_length_are_copied_whole() {
        let source: Vec<u8> = (0..200u8).map(|byte| byte.wrapping_mul(3)).collect();
        for start in 0..20 {
            for len in [0, 1, 5, 7, 8, 9, 15, 16, 64, 100, 180] {
                let part = &source[start..start + len];
                let mut copy = vec![0; len];
                // SAFETY: `part` is as long as `copy`, and lives longer.
                unsafe { copy_while_it_changes(NonNull::from(part).cast(), &mut copy) };
                assert_eq!(copy, part, "{len} bytes from {start}");
            }
        }
    }

    #[test]
    fn a_workers_block_is_copied_and_an_own_one_is_not() {
        let memory = Memory::new(1 << 20);
        let own = memory.alloc_inbound(5000, true, Terms::ALL).unwrap().freeze();
        let (same, copied) = memory.private(own.clone()).unwrap();
        assert_eq!((same.as_ptr(), copied), (own.as_ptr(), false));

        let name = memory.grant(4, 1, 100).unwrap();
        let (result, _) = memory.adopt(4, (name.segment, 0, 100), name.generation).unwrap();
        let (copy, copied) = memory.private(result.clone()).unwrap();
        assert_eq!((&*copy, copied), (&*result, true));
        assert_ne!(copy.as_ptr(), result.as_ptr());
        assert!(copy.is_shared());
    }

    #[test]
    fn without_shared_memory_the_copy_lies_on_the_heap() {
        let memory = Memory::new(64 << 10);
        let name = memory.grant(0, 1, 64 << 10).unwrap();
        let (result, _) = memory.adopt(0, (name.segment, 0, 64 << 10), name.generation).unwrap();
        let (copy, copied) = memory.private(result).unwrap();
        assert!(copied && !copy.is_shared() && copy.len() == 64 << 10);
    }
}
