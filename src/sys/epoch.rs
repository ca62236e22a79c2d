//! Which process this is: a number that changes in a forked child.
//!
//! It lies in a private page that the kernel empties in every child (`MADV_WIPEONFORK`, madvise(2)),
//! so it notices raw `clone` too, and asking costs a load.
//! Promises: [`OwnedHere`] does nothing at all when a copy of it is dropped in a forked child.
//! Does not know: who owns what.
#![expect(unsafe_code, reason = "a page that the kernel empties in forked children")]

use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use once_cell::race::OnceBox;
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};

/// The number of the present process; never zero.
pub(crate) fn current() -> u64 {
    match page() {
        Some(epoch) => match epoch.load(Ordering::Relaxed) {
            0 => begin(epoch),
            known => known,
        },
        None => own_pid(),
    }
}

/// A value of the process that made it. In a child forked from that process it is never dropped.
#[derive(Debug)]
pub(crate) struct OwnedHere<T> {
    value: ManuallyDrop<T>,
    epoch: u64,
}

impl<T> OwnedHere<T> {
    pub(crate) fn new(value: T) -> Self {
        OwnedHere { value: ManuallyDrop::new(value), epoch: current() }
    }

    /// The same value for another holder, who is of the same process as this one.
    pub(crate) fn share(&self) -> Self
    where
        T: Clone,
    {
        OwnedHere { value: self.value.clone(), epoch: self.epoch }
    }

    /// Whether this is still the process that made the value.
    pub(crate) fn is_here(&self) -> bool {
        self.epoch == current()
    }
}

impl<T> Deref for OwnedHere<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> Drop for OwnedHere<T> {
    fn drop(&mut self) {
        if self.is_here() {
            // SAFETY: the value is dropped here only, and `self` is not used again.
            unsafe { ManuallyDrop::drop(&mut self.value) }
        }
    }
}

/// A number for a process that has none yet: the first here, or a forked child.
#[cold]
fn begin(epoch: &AtomicU64) -> u64 {
    let mut bytes = [0_u8; 8];
    // Without random numbers (early boot) the process id tells parent and child apart as well.
    let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::NONBLOCK);
    let random = if filled == Ok(bytes.len()) { u64::from_le_bytes(bytes) } else { 0 };
    let fresh = (random << 32 | own_pid()).max(1);
    match epoch.compare_exchange(0, fresh, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => fresh,
        Err(another_thread_was_first) => another_thread_was_first,
    }
}

fn own_pid() -> u64 {
    u64::from(rustix::process::getpid().as_raw_nonzero().get().unsigned_abs())
}

/// `None` where the kernel cannot give such a page: then asking costs a system call. Threads that ask at
/// the same time for the first time each make one, of which one counts: none waits for another, since in
/// a child that is forked meanwhile there is no other.
fn page() -> Option<&'static AtomicU64> {
    static PAGE: OnceBox<Option<&'static AtomicU64>> = OnceBox::new();
    *PAGE.get_or_init(|| Box::new(wiped_page()))
}

fn wiped_page() -> Option<&'static AtomicU64> {
    let (len, prot) = (rustix::param::page_size(), ProtFlags::READ | ProtFlags::WRITE);
    // SAFETY: a new private mapping at an address of the kernel's choice touches no other memory.
    let map = unsafe { mmap_anonymous(std::ptr::null_mut(), len, prot, MapFlags::PRIVATE) }.ok()?;
    // SAFETY: the range is the mapping made in the line above.
    let wiped = unsafe { libc::madvise(map, len, libc::MADV_WIPEONFORK) } == 0;
    let word = NonNull::new(map.cast::<AtomicU64>()).filter(|_| wiped)?;
    // SAFETY: the page is zeroed, aligned, valid for reads and writes, and never unmapped.
    Some(unsafe { word.as_ref() })
}
