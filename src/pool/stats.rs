//! The pool's counters.
//!
//! Promises: each is exact; together they are not one instant's picture.
//! Does not know: what to do with them.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering};

use crate::codec::Copies;

/// What a pool has done, from [`Pool::stats`](crate::Pool::stats). Counts of tasks count the items
/// of maps one by one.
///
/// # Examples
///
/// ```
/// # pannier::premain!();
/// let pool = pannier::Pool::builder().workers(1).build()?;
/// let mut column = pool.alloc::<f64>(1 << 20)?;
/// column.fill(1.0);
/// let sum = pool.submit(|column: pannier::Buffer<f64>| column.iter().sum::<f64>(), column.freeze());
/// assert_eq!(sum.join()?, (1 << 20) as f64);
/// assert_eq!(pool.stats().payload_copies, 0);
/// assert_eq!(pool.stats().bytes_out_of_band, 8 << 20);
/// # Ok::<(), pannier::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Tasks that were submitted.
    pub tasks_submitted: u64,
    /// Tasks that a worker ran to their end, by a result or a panic.
    pub tasks_completed: u64,
    /// Tasks that ended otherwise: cancelled, killed, lost with their worker.
    pub tasks_failed: u64,
    /// How often tasks were sent to another worker after one had died under them.
    pub tasks_retried: u64,
    /// Workers that are ready now.
    pub workers_alive: u64,
    /// Worker processes that were started.
    pub workers_started: u64,
    /// Worker processes that ended, other than by shutting the pool down.
    pub workers_died: u64,
    /// Workers in quarantine now: ten seconds after they were killed the kernel still kept them from
    /// dying. Others have their places, and they count as died; the shared memory that they hold is
    /// theirs until they are dead.
    pub workers_quarantined: u64,
    /// Copies of out-of-band bytes made by the library, on both sides.
    ///
    /// What serde copies when it makes a plain `Vec<u8>` is not seen.
    pub payload_copies: u64,
    /// Their bytes.
    pub payload_copied_bytes: u64,
    /// Bytes of metadata, both ways.
    pub bytes_in_band: u64,
    /// Bytes of buffers that the metadata refers to, both ways. A buffer counts each time it is sent.
    pub bytes_out_of_band: u64,
    /// Blocks of shared memory that are in use.
    pub blocks_live: u64,
    /// The most there were at a time.
    pub blocks_peak: u64,
    /// Segments of shared memory.
    pub segments_live: u64,
    /// Bytes of those in memory, used or not.
    pub segment_bytes: u64,
    /// Bytes of those in files, used or not; see [`PoolBuilder::spill`](crate::PoolBuilder::spill).
    pub file_bytes: u64,
    /// How often a thread or a worker found no memory and waited for some; see
    /// [`PoolBuilder::wait_for_memory`](crate::PoolBuilder::wait_for_memory). When it looked again in
    /// vain, that counts again.
    pub memory_waits: u64,
    /// How often a worker was woken, with a system call.
    pub bells_rung: u64,
    /// How often a thread that joins slept until workers rang.
    pub sleeps: u64,
    /// How often what was joined came while its thread looked for it.
    pub spins_paid: u64,
    /// How often it did not.
    pub spins_in_vain: u64,
}

/// A counter that many threads add to.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        // Relaxed: a sum that nothing else depends on.
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What is counted as it happens.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) tasks_submitted: Counter,
    pub(crate) tasks_completed: Counter,
    pub(crate) tasks_failed: Counter,
    pub(crate) tasks_retried: Counter,
    pub(crate) workers_started: Counter,
    pub(crate) workers_died: Counter,
    pub(crate) bytes_in_band: Counter,
    pub(crate) bytes_out_of_band: Counter,
    /// Those of workers that are gone.
    pub(crate) bells_rung: Counter,
    pub(crate) sleeps: Counter,
    pub(crate) memory_waits: Counter,
    copies: Counter,
    copied_bytes: Counter,
}

impl Counters {
    pub(crate) fn add_copies(&self, copies: Copies) {
        self.copies.add(copies.count);
        self.copied_bytes.add(copies.bytes);
    }

    /// The counters, without what is not counted but looked up.
    pub(crate) fn snapshot(&self) -> Stats {
        Stats {
            tasks_submitted: self.tasks_submitted.get(),
            tasks_completed: self.tasks_completed.get(),
            tasks_failed: self.tasks_failed.get(),
            tasks_retried: self.tasks_retried.get(),
            workers_started: self.workers_started.get(),
            workers_died: self.workers_died.get(),
            payload_copies: self.copies.get(),
            payload_copied_bytes: self.copied_bytes.get(),
            bytes_in_band: self.bytes_in_band.get(),
            bytes_out_of_band: self.bytes_out_of_band.get(),
            sleeps: self.sleeps.get(),
            memory_waits: self.memory_waits.get(),
            ..Stats::default()
        }
    }
}
