//! Maps of memory objects, shared, and of files, private (mmap(2)).
//!
//! Promises: a map of a sealed object is valid over its whole length until it is dropped, and one of
//! a file as long as nobody truncates it; forked
//! children do not inherit it; large maps ask for huge pages, which [`super::huge`] can count, and lie at
//! 2 MiB boundaries where there are addresses for that.
//! Does not know: who writes what where; of shared memory it gives out pointers, never references.
#![expect(unsafe_code, reason = "maps memory")]

use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::ptr::NonNull;

use rustix::mm::{
    Advice, MapFlags, MremapFlags, ProtFlags, madvise, mmap, mmap_anonymous, mremap_fixed, munmap,
};
use rustix::param::page_size;

use super::{counts, epoch};

/// Where huge pages may begin.
const HUGE_PAGE: usize = 2 << 20;

/// A map of a whole memory object.
#[derive(Debug)]
pub(crate) struct Map {
    ptr: NonNull<u8>,
    len: usize,
    writable: bool,
    epoch: u64,
}

// SAFETY: a map is a range of addresses; whoever dereferences them answers for the access.
unsafe impl Send for Map {}
// SAFETY: as above, and `&Map` changes nothing.
unsafe impl Sync for Map {}

impl Map {
    /// Maps `len` bytes of an object whose size is sealed at `len`, or of a file that has so many,
    /// which nobody truncates: no seal holds it, only the rights of those who have a descriptor.
    pub(crate) fn writable(fd: impl AsFd, len: usize) -> io::Result<Self> {
        Map::new(fd, len, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED)
    }

    /// As [`writable`](Self::writable), but the kernel refuses writes.
    pub(crate) fn readable(fd: impl AsFd, len: usize) -> io::Result<Self> {
        Map::new(fd, len, ProtFlags::READ, MapFlags::SHARED)
    }

    /// Maps an object that is sealed against writing too.
    pub(crate) fn sealed(fd: impl AsFd, len: usize) -> io::Result<Self> {
        // Of such an object kernels before 6.7 refuse every shared map. Nobody writes, so the pages
        // of a private one are the same.
        Map::new(fd, len, ProtFlags::READ, MapFlags::PRIVATE)
    }

    /// The addresses that this map covers.
    pub(crate) fn addresses(&self) -> std::ops::Range<usize> {
        let start = self.ptr.addr().get();
        start..start + self.len
    }

    pub(crate) fn ptr(&self) -> NonNull<u8> {
        self.ptr
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_writable(&self) -> bool {
        self.writable
    }

    fn new(fd: impl AsFd, len: usize, prot: ProtFlags, kind: MapFlags) -> io::Result<Self> {
        let ptr = map_aligned(fd, len, prot, kind)?;
        counts::MAPS.add_one();
        let map =
            Map { ptr, len, writable: prot.contains(ProtFlags::WRITE), epoch: epoch::current() };
        map.advise(Advice::LinuxDontFork)?;
        if len >= HUGE_PAGE {
            // A wish: refused where the kernel was built or told to do without.
            let _refused = map.advise(Advice::LinuxHugepage);
        }
        Ok(map)
    }

    fn advise(&self, advice: Advice) -> io::Result<()> {
        // SAFETY: the range is this map's own, and neither advice changes its contents.
        Ok(unsafe { madvise(self.ptr.as_ptr().cast(), self.len, advice) }?)
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // In a forked child the range is a hole that later maps may have filled.
        if self.epoch == epoch::current() {
            // Mapped by `new`, and everything that points into it holds this map alive.
            unmap(self.ptr.as_ptr().cast(), self.len);
            counts::UNMAPS.add_one();
        }
    }
}

/// A private, read-only map of a whole file, whose bytes can be lent.
#[derive(Debug)]
pub(crate) struct FileMap {
    /// Dangling, and nothing mapped, for an empty file.
    ptr: NonNull<u8>,
    len: usize,
}

// SAFETY: the bytes are only ever read, by the promise that `new` asks for.
unsafe impl Send for FileMap {}
// SAFETY: as above.
unsafe impl Sync for FileMap {}

impl FileMap {
    /// Maps the file in its present length.
    ///
    /// # Safety
    ///
    /// * Nobody truncates the file or writes to it while the map lives.
    pub(crate) unsafe fn new(file: &File) -> io::Result<Self> {
        let too_large = |_| io::Error::from(rustix::io::Errno::NOMEM);
        let len = usize::try_from(file.metadata()?.len()).map_err(too_large)?;
        // A slice ends at half of the addresses.
        isize::try_from(len).map_err(|_| io::Error::from(rustix::io::Errno::NOMEM))?;
        if len == 0 {
            return Ok(FileMap { ptr: NonNull::dangling(), len });
        }
        // SAFETY: a new map at an address of the kernel's choice touches no other memory.
        let map = unsafe {
            mmap(std::ptr::null_mut(), len, ProtFlags::READ, MapFlags::PRIVATE, file, 0)
        }?;
        counts::MAPS.add_one();
        Ok(FileMap { ptr: non_null(map)?, len })
    }
}

impl AsRef<[u8]> for FileMap {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: `new` has mapped so many bytes, they stay until this is dropped, and nobody
        // changes them: its caller's promise.
        unsafe { std::slice::from_raw_parts(self.ptr.as_ptr(), self.len) }
    }
}

impl Drop for FileMap {
    fn drop(&mut self) {
        // Mapped by `new`, and what it lent does not outlive `self`. Of an empty file nothing is.
        if self.len > 0 {
            unmap(self.ptr.as_ptr().cast(), self.len);
            counts::UNMAPS.add_one();
        }
    }
}

/// Maps anywhere, and moves a large map to where huge pages may begin.
fn map_aligned(
    fd: impl AsFd,
    len: usize,
    prot: ProtFlags,
    kind: MapFlags,
) -> io::Result<NonNull<u8>> {
    // Whole pages, as the kernel counts them: what is computed from the length must be given back.
    let len = len.checked_next_multiple_of(page_size()).ok_or(rustix::io::Errno::NOMEM)?;
    // SAFETY: a new map at an address of the kernel's choice touches no other memory.
    let map = unsafe { mmap(std::ptr::null_mut(), len, prot, kind, fd, 0) }?;
    if len < HUGE_PAGE || map.addr() % HUGE_PAGE == 0 {
        return non_null(map);
    }
    non_null(moved_to_boundary(map, len).unwrap_or(map))
}

/// Moves a map of whole pages that nobody else knows of; `None`: it is where it was.
///
/// A map with `MAP_FIXED` in the hole would do in one step. But when that fails nobody can tell
/// whether the hole is still there, or its addresses belong to another thread already.
fn moved_to_boundary(map: *mut c_void, len: usize) -> Option<*mut c_void> {
    let reserved = len.checked_add(HUGE_PAGE)?;
    let (anywhere, no_access) = (std::ptr::null_mut(), ProtFlags::empty());
    // SAFETY: as in `map_aligned`; without access, only to find addresses that are free.
    let hole = unsafe { mmap_anonymous(anywhere, reserved, no_access, MapFlags::PRIVATE) }.ok()?;
    let before = hole.addr().next_multiple_of(HUGE_PAGE) - hole.addr();
    let place = hole.wrapping_byte_add(before);
    // SAFETY: the caller gives up the old range, and the new one lies within the hole, which nobody
    // else knows of.
    let moved = unsafe { mremap_fixed(map, len, len, MremapFlags::MAYMOVE, place) };
    unmap(hole, before);
    // When the kernel had no memory to move the map, nothing is known of the middle: it stays as it
    // is, a loss of addresses.
    unmap(place.wrapping_byte_add(len), reserved - before - len);
    moved.ok()
}

/// Gives back a range that its caller mapped, and that nothing points into.
fn unmap(start: *mut c_void, len: usize) {
    if len > 0 {
        // SAFETY: every caller made the map, and gives it up.
        let unmapped = unsafe { munmap(start, len) };
        debug_assert_eq!(unmapped, Ok(()), "{len} bytes at {start:?}");
    }
}

fn non_null(map: *mut c_void) -> io::Result<NonNull<u8>> {
    NonNull::new(map.cast()).ok_or_else(|| rustix::io::Errno::NOMEM.into())
}
