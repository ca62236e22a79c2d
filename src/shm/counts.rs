//! [`KernelCounts`]: what shared memory has cost this process so far, in calls and page faults.
//!
//! Does not know: which segment or channel it was.
#![forbid(unsafe_code)]

use crate::sys::counts;

/// What this process has asked of the kernel so far, from [`kernel_counts`].
///
/// The calls are those of this library, all its arenas, channels, pools and mapped files together;
/// the faults are of the whole process. Two snapshots tell what happens between them costs.
///
/// # Examples
///
/// See [`kernel_counts`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KernelCounts {
    /// Memory objects that were made (memfd_create(2)).
    pub memory_objects: u64,
    /// Maps of memory objects and files that were made (mmap(2)).
    pub maps: u64,
    /// Maps that were given up (munmap(2)).
    pub unmaps: u64,
    /// Page faults that needed no disk, of all threads (getrusage(2)).
    pub minor_faults: u64,
    /// Page faults that waited for a disk.
    pub major_faults: u64,
    /// Descriptors that the whole process has now; 0 where there is no /proc.
    pub descriptors: u64,
}

/// What this process has asked of the kernel so far.
///
/// # Examples
///
/// A recycled block costs nothing:
///
/// ```
/// use pannier::shm::{Arena, kernel_counts};
///
/// let arena = Arena::create(1 << 20)?;
/// drop(arena.alloc::<u8>(100_000)?);
/// let before = kernel_counts();
/// drop(arena.alloc::<u8>(90_000)?);
/// let after = kernel_counts();
/// assert_eq!(after.memory_objects, before.memory_objects);
/// assert_eq!(after.maps, before.maps);
/// # Ok::<(), pannier::Error>(())
/// ```
#[must_use]
pub fn kernel_counts() -> KernelCounts {
    let (minor_faults, major_faults) = counts::page_faults();
    KernelCounts {
        memory_objects: counts::MEMORY_OBJECTS.so_far(),
        maps: counts::MAPS.so_far(),
        unmaps: counts::UNMAPS.so_far(),
        minor_faults,
        major_faults,
        descriptors: counts::descriptors(),
    }
}
