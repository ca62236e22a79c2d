//! Where new buffers come from: the heap, or what a higher floor put in its place.
//!
//! Promises: memory for `len` items or a typed error, never an abort.
//! Does not know: which memory the hook hands out.
#![forbid(unsafe_code)]

#[cfg(feature = "shm")]
use std::sync::OnceLock;

use bytemuck::Pod;

use super::buffer_mut::BufferMut;
use super::view::View;
use crate::error::{Error, Result};

/// Memory of `bytes` bytes for [`alloc`], aligned to 4 KiB; the flag asks for zeros. `None`: the heap
/// will do.
#[cfg(feature = "shm")]
pub(crate) type AllocHook = fn(bytes: usize, zeroed: bool) -> Option<Result<BufferMut<u8>>>;

#[cfg(feature = "shm")]
static HOOK: OnceLock<AllocHook> = OnceLock::new();

/// From now on [`alloc`] asks `hook`. The first caller wins: a process is a worker once and for good.
#[cfg(feature = "shm")]
pub(crate) fn set_alloc_hook(hook: AllocHook) {
    let _first_wins = HOOK.set(hook);
}

/// A writable buffer of `len` items where the caller of the running task will read it without a copy.
///
/// In a task it lies in the worker's outgoing shared memory; elsewhere on the heap.
/// A recycled block keeps its old contents: write every element, or use [`alloc_zeroed`].
///
/// # Errors
///
/// [`Error::OutOfMemory`] when there is no memory for `len` items.
///
/// # Examples
///
/// ```
/// let mut squares = pannier::alloc::<u64>(4)?;
/// for (n, square) in (0..).zip(squares.iter_mut()) {
///     *square = n * n;
/// }
/// assert_eq!(squares.freeze(), vec![0, 1, 4, 9].into());
/// # Ok::<(), pannier::Error>(())
/// ```
pub fn alloc<T: Pod>(len: usize) -> Result<BufferMut<T>> {
    allocate(len, false)
}

/// As [`alloc`], with every byte zero.
///
/// # Errors
///
/// [`Error::OutOfMemory`] when there is no memory for `len` items.
///
/// # Examples
///
/// ```
/// let counts = pannier::alloc_zeroed::<u32>(3)?;
/// assert_eq!(*counts, [0, 0, 0]);
/// # Ok::<(), pannier::Error>(())
/// ```
pub fn alloc_zeroed<T: Pod>(len: usize) -> Result<BufferMut<T>> {
    allocate(len, true)
}

/// The bytes that `len` items of `T` take, if there can be so many.
pub(crate) fn element_bytes<T: Pod>(len: usize) -> Result<usize> {
    let bytes = len.checked_mul(size_of::<T>()).filter(|&bytes| bytes <= MAX_BYTES);
    bytes.ok_or(Error::OutOfMemory { wanted: u64::MAX, limit: MAX_BYTES as u64 })
}

/// What an allocation may have at most, by the rules of the language.
const MAX_BYTES: usize = isize::MAX.unsigned_abs();

#[cfg(feature = "shm")]
fn allocate<T: Pod>(len: usize, zeroed: bool) -> Result<BufferMut<T>> {
    let bytes = element_bytes::<T>(len)?;
    // Blocks are aligned to a page; whatever wants more is at home on the heap.
    let fits_blocks = len > 0 && align_of::<T>() <= 4096;
    match HOOK.get().filter(|_| fits_blocks).and_then(|hook| hook(bytes, zeroed)) {
        Some(memory) => memory?.cast_aligned(),
        None => on_heap(len),
    }
}

#[cfg(not(feature = "shm"))]
fn allocate<T: Pod>(len: usize, _heap_is_always_zeroed: bool) -> Result<BufferMut<T>> {
    on_heap(len)
}

fn on_heap<T: Pod>(len: usize) -> Result<BufferMut<T>> {
    let wanted = element_bytes::<T>(len)?;
    let memory = View::zeroed(len).map(BufferMut::from_view);
    memory.ok_or(Error::OutOfMemory { wanted: wanted as u64, limit: MAX_BYTES as u64 })
}
