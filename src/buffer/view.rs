//! The typed view of owned bytes, and the heap memory behind most of them: the unsafe room of this floor.
//!
//! Promises: a [`View`] is aligned and long enough for its items for as long as it lives, and its
//! memory is initialised. A writable view is the only one to its memory.
//! Does not know: who else uses the memory; its callers in `shm` answer for that.
#![expect(unsafe_code, reason = "typed views of owned bytes; see docs/SAFETY.md")]

use std::alloc::Layout;
use std::any::Any;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;

use bytemuck::Pod;

use super::owner::{Memo, Owner, Place};
#[cfg(feature = "shm")]
use super::{Buffer, BufferMut};

/// `len` items of `T` at `ptr`, kept valid by `owner`. Without an owner it is empty.
pub(super) struct View<T> {
    ptr: NonNull<u8>,
    len: usize,
    owner: Option<Arc<dyn Owner>>,
    items: PhantomData<fn() -> T>,
}

// SAFETY: a view is a pointer to plain bytes, read through `&View` and written only through
// `&mut View`, and an owner that is `Send + Sync` (bound of `Owner`). The items are made from the
// bytes by whoever looks, so a `T` never moves between threads.
unsafe impl<T> Send for View<T> {}
// SAFETY: as above; through `&View` the bytes are only read.
unsafe impl<T> Sync for View<T> {}

impl<T> Clone for View<T> {
    fn clone(&self) -> Self {
        View { ptr: self.ptr, len: self.len, owner: self.owner.clone(), items: PhantomData }
    }
}

impl<T> View<T> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn owner(&self) -> Option<&Arc<dyn Owner>> {
        self.owner.as_ref()
    }

    /// Whether this is the only handle, and its memory may be written: then what higher floors
    /// remember of the contents is forgotten.
    pub(super) fn make_exclusive(&mut self) -> bool {
        let Some(owner) = self.owner.as_mut() else { return true };
        if owner.place() == Place::Foreign {
            // Never, and it must not even be asked by unique reference: what it lent may lie in it.
            return false;
        }
        let exclusive = Arc::get_mut(owner).is_some_and(|owner| owner.may_be_exclusive());
        if exclusive {
            owner.memo().forget_all();
        }
        exclusive
    }
}

impl<T: Pod> View<T> {
    pub(super) fn empty() -> Self {
        const { assert!(size_of::<T>() != 0, "items of a buffer must not be zero-sized") };
        View { ptr: NonNull::<T>::dangling().cast(), len: 0, owner: None, items: PhantomData }
    }

    /// Any owner of a slice, asked for it once.
    pub(super) fn of_owner<O: AsRef<[T]> + Send + Sync + 'static>(owner: O) -> Self {
        // The slice is taken from the owner in its final place: what it lends may lie inside it.
        let owner = Arc::new(Foreign { owner, memo: Memo::default() });
        let items = owner.owner.as_ref();
        if items.is_empty() {
            return View::empty();
        }
        let (ptr, len) = (NonNull::from(items).cast(), items.len());
        View { ptr, len, owner: Some(owner), items: PhantomData }
    }

    /// Takes over the vector's allocation.
    pub(super) fn of_vec(items: Vec<T>) -> Self {
        if items.is_empty() {
            return View::empty();
        }
        let mut items = ManuallyDrop::new(items);
        let len = items.len();
        // The layout that the vector allocated with: its capacity, which is not zero.
        let layout = Layout::array::<T>(items.capacity()).expect("a vector's own layout is valid");
        let Some(ptr) = NonNull::new(items.as_mut_ptr().cast()) else { return View::empty() };
        View { ptr, len, owner: Some(Arc::new(Heap::new(ptr, layout))), items: PhantomData }
    }

    /// Zeroed memory on the heap, aligned for `T` and to a cache line. `None`: there is none.
    pub(super) fn zeroed(len: usize) -> Option<Self> {
        if len == 0 {
            return Some(View::empty());
        }
        let layout = Layout::array::<T>(len).ok()?.align_to(CACHE_LINE).ok()?;
        // SAFETY: the layout is not empty: `len` is not zero (checked above) and neither is the size
        // of `T` (asserted in `empty`, which every instantiation of this function contains).
        let ptr = NonNull::new(unsafe { std::alloc::alloc_zeroed(layout) })?;
        Some(View { ptr, len, owner: Some(Arc::new(Heap::new(ptr, layout))), items: PhantomData })
    }

    pub(super) fn as_slice(&self) -> &[T] {
        // SAFETY: `ptr` is valid for reads of `len` items and aligned (every constructor), the owner
        // in `self` keeps it so for the borrow, any bytes are a `T` (`Pod`), and nobody writes while
        // a shared view exists (a writable view is the only one: `make_exclusive`, `freeze`).
        unsafe { std::slice::from_raw_parts(self.ptr.cast::<T>().as_ptr(), self.len) }
    }

    /// Only for a view that `make_exclusive` approved or that was born exclusive.
    pub(super) fn as_mut_slice(&mut self) -> &mut [T] {
        debug_assert!(self.owner.as_ref().is_none_or(|owner| Arc::strong_count(owner) == 1));
        // SAFETY: as in `as_slice`; and `BufferMut`, the only caller, holds the one view of memory
        // that its constructors or `make_exclusive` found writable.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.cast::<T>().as_ptr(), self.len) }
    }

    /// A part that shares the owner. The range lies within the items: `slice::get` has said so.
    pub(super) fn part(&self, range: Range<usize>) -> Self {
        let part = &self.as_slice()[range];
        if part.is_empty() {
            return View::empty();
        }
        let offset = part.as_ptr().addr() - self.ptr.addr().get();
        // SAFETY: `part` is a subslice of this view's items, so the offset lies within them.
        let ptr = unsafe { self.ptr.add(offset) };
        View { ptr, len: part.len(), owner: self.owner.clone(), items: PhantomData }
    }

    /// Keeps the first `len` items.
    pub(super) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// The same bytes as items of `U`, if length and alignment allow.
    pub(super) fn cast<U: Pod>(self) -> Result<View<U>, Self> {
        let bytes = self.len * size_of::<T>();
        if bytes == 0 {
            return Ok(View::empty());
        }
        let aligned = self.ptr.addr().get() % align_of::<U>() == 0;
        if !aligned || bytes % size_of::<U>() != 0 {
            return Err(self);
        }
        let len = bytes / size_of::<U>();
        Ok(View { ptr: self.ptr, len, owner: self.owner, items: PhantomData })
    }
}

#[cfg(feature = "shm")]
impl Buffer<u8> {
    /// Bytes in memory of a higher floor.
    ///
    /// # Safety
    ///
    /// * `ptr` is valid for reads of `len` initialised bytes until `owner` is dropped.
    /// * Nobody writes there meanwhile, but through a `BufferMut` made after `owner` said that it
    ///   [may be exclusive](Owner::may_be_exclusive).
    /// * The memory is writable here if `owner` ever says so.
    pub(crate) unsafe fn from_raw(ptr: NonNull<u8>, len: usize, owner: Arc<dyn Owner>) -> Self {
        Buffer::from_view(View::over(ptr, len, owner))
    }
}

#[cfg(feature = "shm")]
impl BufferMut<u8> {
    /// Exclusive bytes in memory of a higher floor.
    ///
    /// # Safety
    ///
    /// * `ptr` is valid for reads and writes of `len` initialised bytes until `owner` is dropped.
    /// * `owner` is held by nobody else, and nobody else reads or writes there.
    pub(crate) unsafe fn from_raw(ptr: NonNull<u8>, len: usize, owner: Arc<dyn Owner>) -> Self {
        BufferMut::from_view(View::over(ptr, len, owner))
    }
}

#[cfg(feature = "shm")]
impl View<u8> {
    /// What the two `from_raw` promise is this view's invariant.
    fn over(ptr: NonNull<u8>, len: usize, owner: Arc<dyn Owner>) -> Self {
        if len == 0 {
            return View::empty();
        }
        View { ptr, len, owner: Some(owner), items: PhantomData }
    }
}

const CACHE_LINE: usize = 64;

/// An allocation of the global allocator.
struct Heap {
    ptr: NonNull<u8>,
    layout: Layout,
    memo: Memo,
}

impl Heap {
    fn new(ptr: NonNull<u8>, layout: Layout) -> Self {
        Heap { ptr, layout, memo: Memo::default() }
    }
}

// SAFETY: the allocation belongs to this value alone, and memory may be freed on any thread.
unsafe impl Send for Heap {}
// SAFETY: nothing is reachable through `&Heap` but the memo, which is `Sync`.
unsafe impl Sync for Heap {}

impl Owner for Heap {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn place(&self) -> Place {
        Place::Heap
    }

    fn may_be_exclusive(&self) -> bool {
        true
    }

    fn memo(&self) -> &Memo {
        &self.memo
    }
}

impl Drop for Heap {
    fn drop(&mut self) {
        // SAFETY: `ptr` came from the global allocator with this layout (`of_vec`, `zeroed`) and is
        // freed here only; every view that reads it holds this owner.
        unsafe { std::alloc::dealloc(self.ptr.as_ptr(), self.layout) }
    }
}

/// Somebody's own value that lends a slice.
struct Foreign<O> {
    owner: O,
    memo: Memo,
}

impl<O: Send + Sync + 'static> Owner for Foreign<O> {
    /// The value itself: its type is known to whoever lent it.
    fn as_any(&self) -> &dyn Any {
        &self.owner
    }

    fn place(&self) -> Place {
        Place::Foreign
    }

    /// The slice was lent by shared reference; writing it is the owner's business.
    fn may_be_exclusive(&self) -> bool {
        false
    }

    fn memo(&self) -> &Memo {
        &self.memo
    }
}
