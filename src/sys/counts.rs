//! What this process has asked of the kernel for its memory, counted; and its page faults.
//!
//! Promises: each memory object, map and unmap of this library counts once, when it has succeeded.
//! Does not know: what the memory was for, nor what the rest of the program asks for.
#![expect(unsafe_code, reason = "getrusage(2)")]

use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU64, Ordering};

/// One kind of request.
pub(crate) struct Count(AtomicU64);

pub(crate) static MEMORY_OBJECTS: Count = Count(AtomicU64::new(0));
pub(crate) static MAPS: Count = Count(AtomicU64::new(0));
pub(crate) static UNMAPS: Count = Count(AtomicU64::new(0));

impl Count {
    pub(super) fn add_one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn so_far(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Descriptors that are open now, but for the one that lists them.
pub(crate) fn descriptors() -> u64 {
    let listed = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    u64::try_from(listed).unwrap_or(u64::MAX).saturating_sub(1)
}

/// Page faults of all threads of this process so far: those that needed no disk, and those that did.
pub(crate) fn page_faults() -> (u64, u64) {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the kernel writes one `rusage` to this place, which has room for it.
    let asked = unsafe { libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) };
    debug_assert_eq!(asked, 0, "getrusage(2) fails for wrong arguments only");
    // SAFETY: integers, all bytes of which were zeroed above, whether the kernel wrote them or not.
    let usage = unsafe { usage.assume_init() };
    let count = |faults| u64::try_from(faults).unwrap_or(0);
    (count(usage.ru_minflt), count(usage.ru_majflt))
}
