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
    /// Puts the same bytes in place of those that lie in a worker's arena, where no worker can write.
    /// What overlaps is copied once: how much that is does not follow from what a worker says, but
    /// from what it has. The copies, and their bytes.
    ///
    /// They lie in shared memory if there is room, so that another task can be given them.
    pub(crate) fn make_private(
        self: &Arc<Self>,
        mut parts: Vec<&mut Buffer<u8>>,
    ) -> Result<(u64, u64)> {
        parts.retain(|part| self.is_of_worker(part));
        parts.sort_by_key(|part| start_of(part));
        let (mut rest, mut copies) = (&mut parts[..], (0, 0));
        while !rest.is_empty() {
            let (start, mut end) = (start_of(rest[0]), start_of(rest[0]));
            let mut overlaps = |part: &&mut Buffer<u8>| {
                let at = start_of(part);
                let overlaps = at < end || at == start;
                end = end.max(at + part.len());
                overlaps
            };
            let count = rest.iter().position(|part| !overlaps(part)).unwrap_or(rest.len());
            let (together, others) = rest.split_at_mut(count);
            let bytes = self.copy_together(together)?;
            copies = (copies.0 + 1, copies.1 + u64::try_from(bytes).unwrap_or(u64::MAX));
            rest = others;
        }
        Ok(copies)
    }

    /// Copies parts of one range, of which each byte lies in a part; they are sorted by their start.
    fn copy_together(self: &Arc<Self>, parts: &mut [&mut Buffer<u8>]) -> Result<usize> {
        let start = parts.iter().map(|part| start_of(part)).min().unwrap_or(0);
        let end = parts.iter().map(|part| start_of(part) + part.len()).max().unwrap_or(start);
        // Whatever lies well in memory does so in the copy.
        let lead = start % ALIGN;
        let mut copy = match self.alloc_inbound(lead + end - start, false, Terms::IN_MEMORY) {
            Ok(block) => block,
            Err(_) => buffer::alloc(lead + end - start)?,
        };
        let mut done = start;
        for part in parts.iter() {
            let at = start_of(part);
            let fresh = &part[done.saturating_sub(at).min(part.len())..];
            let to = lead + (at + part.len() - fresh.len() - start);
            let from = NonNull::from(fresh).cast::<u8>();
            // SAFETY: `from` is the start of `fresh`, whose buffer lives until the end of this
            // function, and which is as long as that part of `copy`.
            unsafe { copy_while_it_changes(from, &mut copy[to..to + fresh.len()]) };
            done = done.max(at + part.len());
        }
        let copy = copy.freeze();
        for part in parts {
            let at = lead + (start_of(part) - start);
            **part = copy.slice(at..at + part.len());
        }
        Ok(end - start)
    }

    /// A copy of bytes that a worker may be writing, for this process alone.
    pub(crate) fn read_while_it_changes(shared: &Buffer<u8>) -> Vec<u8> {
        let mut copy = vec![0; shared.len()];
        let from = NonNull::from(&**shared).cast::<u8>();
        // SAFETY: `from` is the start of `shared`, which the caller has, and as long as `copy`.
        unsafe { copy_while_it_changes(from, &mut copy) };
        copy
    }
}

fn start_of(part: &Buffer<u8>) -> usize {
    part.as_ptr().addr()
}

/// What bodies may rely on of their place.
const ALIGN: usize = 64;
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

    /// One buffer, and how much was copied for it.
    fn private(memory: &Arc<Memory>, mut buffer: Buffer<u8>) -> (Buffer<u8>, (u64, u64)) {
        let copies = memory.make_private(vec![&mut buffer]).unwrap();
        (buffer, copies)
    }

    #[test]
    fn a_workers_block_is_copied_and_an_own_one_is_not() {
        let memory = Memory::new(1 << 20);
        let own = memory.alloc_inbound(5000, true, Terms::ALL).unwrap().freeze();
        let (same, copies) = private(&memory, own.clone());
        assert_eq!((same.as_ptr(), copies), (own.as_ptr(), (0, 0)));

        let name = memory.grant(4, 1, 100).unwrap();
        let (result, _) = memory.adopt(4, (name.segment, 0, 100), name.generation).unwrap();
        let (copy, copies) = private(&memory, result.clone());
        assert_eq!((&*copy, copies), (&*result, (1, 100)));
        assert_ne!(copy.as_ptr(), result.as_ptr());
        assert!(copy.is_shared());
    }

    #[test]
    fn without_shared_memory_the_copy_lies_on_the_heap() {
        let memory = Memory::new(64 << 10);
        let name = memory.grant(0, 1, 64 << 10).unwrap();
        let (result, _) = memory.adopt(0, (name.segment, 0, 64 << 10), name.generation).unwrap();
        let (copy, copies) = private(&memory, result);
        assert!(copies.0 == 1 && !copy.is_shared() && copy.len() == 64 << 10);
    }

    /// Ranges of a worker's block, in any order: whatever overlaps is copied once, to where it was.
    #[test]
    fn parts_that_overlap_are_copied_once_and_stay_what_they_were() {
        let memory = Memory::new(1 << 20);
        let name = memory.grant(0, 1, 4096).unwrap();
        let (_, fd) = memory.segments().pop().unwrap();
        let bytes: Vec<u8> = (0..=250_u8).cycle().take(4096).collect();
        rustix::io::pwrite(&*fd, &bytes, 0).unwrap();
        let ranges =
            [(200, 50), (8, 100), (100, 8), (8, 0), (107, 30), (1000, 0), (240, 100), (8, 100)];
        let part = |&(at, len): &(usize, usize)| {
            let range = (name.segment, at.try_into().unwrap(), len.try_into().unwrap());
            memory.adopt(0, range, name.generation).unwrap().0
        };
        let mut parts: Vec<_> = ranges.iter().map(part).collect();
        let copies = memory.make_private(parts.iter_mut().collect()).unwrap();
        // Of nothing there is nothing to copy.
        assert_eq!(copies, (2, 129 + 140));
        for (part, (at, len)) in parts.iter().zip(ranges) {
            assert_eq!(part[..], bytes[at..at + len], "{len} bytes from {at}");
            assert!(len == 0 || part.as_ptr().addr() % ALIGN == at % ALIGN);
        }
    }
}
