//! How many items go into one chunk, when nobody said: as many as take long enough to be worth a
//! trip, found from the time they took.
//!
//! Promises: a chunk grows by a factor at a time, so that one fast item decides nothing; a known
//! number of items is spread over the workers.
//! Does not know: a clock; the workers measure.
#![forbid(unsafe_code)]

use std::time::Duration;

/// How long a chunk should take: many times what sending it costs, and little enough to spread.
const WORTH_A_TRIP: Duration = Duration::from_millis(2);
/// How much longer the next chunk may be than the one that was measured.
const GROWTH: usize = 4;
/// Nothing is gained beyond.
const MOST: usize = 1 << 16;

/// The size of the next chunk.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChunkSize {
    next: usize,
}

impl ChunkSize {
    pub(super) fn new() -> Self {
        ChunkSize { next: 1 }
    }

    /// How many items to take, when so many are left at least and there are so many workers.
    pub(super) fn next(self, left: usize, workers: usize) -> usize {
        if left == 0 {
            return self.next;
        }
        // Two rounds at the end, so that a slow chunk there does not keep the others waiting.
        self.next.min(left.div_ceil(workers.saturating_mul(2))).max(1)
    }

    /// Learns from a chunk of `count` items.
    pub(super) fn learn(&mut self, count: usize, elapsed: Duration) {
        let each = elapsed.as_nanos().max(1).div_ceil(count.max(1) as u128);
        let fitting = usize::try_from(WORTH_A_TRIP.as_nanos() / each).unwrap_or(MOST);
        self.next = fitting.clamp(1, count.max(1).saturating_mul(GROWTH)).min(MOST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_of_fast_items_grow_step_by_step() {
        let mut size = ChunkSize::new();
        for expected in [4, 16, 64] {
            size.learn(size.next, Duration::from_nanos(100));
            assert_eq!(size.next(0, 2), expected);
        }
    }

    #[test]
    fn slow_items_go_alone() {
        let mut size = ChunkSize { next: 64 };
        size.learn(64, Duration::from_secs(1));
        assert_eq!(size.next(0, 2), 1);
    }

    #[test]
    fn few_items_are_spread_over_the_workers() {
        assert_eq!(ChunkSize { next: 1_000 }.next(8, 2), 2);
        assert_eq!(ChunkSize { next: 1_000 }.next(1, 2), 1);
    }
}
