//! Sizes of blocks and of the segments that hold them.
//!
//! Promises: a block is less than twice as long as what is asked for, from a page on; above 1 MiB by
//! at most 64 KiB when it is made, and by a quarter when it is used again.
//! Does not know: which blocks there are.
#![forbid(unsafe_code)]

/// The smallest block: a page, so that blocks never share one.
const SMALLEST: u64 = 4 << 10;
/// Up to here blocks are powers of two, many in a segment; above, one block is one segment.
const LARGEST_SHARED: u64 = 1 << 20;
/// What the length of a large block is a multiple of.
const LARGE_STEP: u64 = 64 << 10;
/// The first segment of a size, and the limit to which each next one doubles.
const FIRST_SEGMENT: u64 = 256 << 10;
const LARGEST_SEGMENT: u64 = 64 << 20;

/// The length of the block for `len` bytes; `None` beyond what can be addressed.
pub(super) fn block_len(len: u64) -> Option<u64> {
    if len <= LARGEST_SHARED {
        return Some(len.max(SMALLEST).next_power_of_two());
    }
    len.checked_next_multiple_of(LARGE_STEP)
}

/// The longest free block that may serve in place of one of `block_len`.
pub(super) fn longest_fit(block_len: u64) -> u64 {
    // Less than the next power of two, so that only large blocks stand in for each other.
    block_len.saturating_add(block_len / 4)
}

/// How many blocks the next segment holds when there are `segments` of this size already.
pub(super) fn blocks_in_segment(block_len: u64, segments: usize) -> u32 {
    if block_len > LARGEST_SHARED {
        return 1;
    }
    let doublings = u32::try_from(segments).unwrap_or(u32::MAX).min(8);
    let grown = (FIRST_SEGMENT << doublings).min(LARGEST_SEGMENT);
    u32::try_from(grown / block_len).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_long_enough_and_not_much_longer() {
        for len in [1, 4096, 4097, 65_536, 1 << 20, (1 << 20) + 1, 100_000_000, 1 << 40] {
            let block = block_len(len).unwrap();
            assert!(block >= len, "{len} bytes in a block of {block}");
            assert!(block <= SMALLEST || block < 2 * len, "{len} bytes in a block of {block}");
        }
        assert_eq!(block_len(u64::MAX), None);
    }

    #[test]
    fn only_large_blocks_stand_in_for_each_other() {
        assert!(longest_fit(4096) < 8192);
        assert!(longest_fit(100 << 20) >= 120 << 20);
    }

    #[test]
    fn segments_of_one_size_grow_to_a_limit() {
        assert_eq!(blocks_in_segment(4096, 0), 64);
        assert_eq!(blocks_in_segment(4096, 1), 128);
        assert_eq!(blocks_in_segment(4096, 1000), 16_384);
        assert_eq!(blocks_in_segment(1 << 20, 0), 1);
        assert_eq!(blocks_in_segment(3 << 20, 7), 1);
    }
}
