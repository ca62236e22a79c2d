//! [`Buffer`]: immutable, counted, shared.
//!
//! Promises: no method copies but those whose name says so (`copy_from_slice`, `into_mut`) and the
//! collecting ones.
//! Does not know: how it travels; the codec does.
#![forbid(unsafe_code)]

use std::fmt;
use std::ops::{Bound, Deref, RangeBounds};
use std::sync::Arc;

use bytemuck::Pod;
use bytes::Bytes;

use super::buffer_mut::BufferMut;
use super::heap::alloc;
use super::owner::{Owner, Place};
use super::view::View;
use crate::error::Result;

/// Immutable, counted, typed bytes: on the heap, in shared memory, in a file.
///
/// ```text
///   Buffer<f64>  ──┐  data, len
///   .slice(1..3) ──┼──▶ [ 0.0 │ 1.0 │ 2.0 │ 3.0 ]   kept in place by one counted owner:
///   .clone()     ──┘                                a Vec's memory, a shared block, a Bytes, …
/// ```
///
/// It derefs to `[T]`. Cloning and slicing share the memory. `T` is any [`Pod`] type
/// that is not zero-sized (a compile error), and the length is counted in items.
///
/// As serde data it is one byte string in a binary format, and in a human-readable one a sequence
/// of numbers (of bytes, if `T` is not a primitive type). Inside this library's frames it travels
/// out of band, and a buffer in shared memory is not copied at all.
///
/// # Examples
///
/// ```
/// use pannier::Buffer;
///
/// let column: Buffer<f64> = vec![0.0, 1.0, 2.0, 3.0].into();
/// let middle = column.slice(1..3);
/// assert_eq!(*middle, [1.0, 2.0]);
/// assert_eq!(middle.as_ptr(), &column[1]);
/// ```
pub struct Buffer<T = u8> {
    view: View<T>,
}

impl<T> Clone for Buffer<T> {
    fn clone(&self) -> Self {
        Buffer { view: self.view.clone() }
    }
}

impl<T> Buffer<T> {
    pub(super) fn from_view(view: View<T>) -> Self {
        Buffer { view }
    }

    /// What keeps the bytes in place; an empty buffer has nothing to keep.
    pub(crate) fn owner(&self) -> Option<&Arc<dyn Owner>> {
        self.view.owner()
    }
}

impl<T: Pod> Buffer<T> {
    /// A copy of `items` on the heap.
    ///
    /// # Examples
    ///
    /// ```
    /// let copy = pannier::Buffer::copy_from_slice(&[1_u16, 2, 3]);
    /// assert_eq!(copy.len(), 3);
    /// ```
    #[must_use]
    pub fn copy_from_slice(items: &[T]) -> Self {
        items.to_vec().into()
    }

    /// The slice of any owner, without a copy: `Arc<[T]>`, a mapping, an array of another library.
    ///
    /// The owner is moved to its final place, asked for its slice once, and dropped with the last
    /// handle (as `Bytes::from_owner`).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// let column: Arc<[f32]> = Arc::new([1.0, 2.0]);
    /// let buffer = pannier::Buffer::from_owner(column.clone());
    /// assert_eq!(buffer.as_ptr(), column.as_ptr());
    /// ```
    #[must_use]
    pub fn from_owner<O: AsRef<[T]> + Send + Sync + 'static>(owner: O) -> Self {
        Buffer { view: View::of_owner(owner) }
    }

    /// The items of `range`, sharing this buffer's memory.
    ///
    /// # Panics
    ///
    /// As indexing a slice: when the range ends before it starts or beyond the last item.
    ///
    /// # Examples
    ///
    /// ```
    /// let bytes = pannier::Buffer::copy_from_slice(b"pannier");
    /// assert_eq!(&*bytes.slice(3..), b"nier");
    /// ```
    #[must_use]
    pub fn slice(&self, range: impl RangeBounds<usize>) -> Self {
        let start = match range.start_bound() {
            Bound::Included(&start) => start,
            Bound::Excluded(&before) => {
                before.checked_add(1).expect("a range starts below usize::MAX")
            }
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(&last) => last.checked_add(1).expect("a range ends below usize::MAX"),
            Bound::Excluded(&end) => end,
            Bound::Unbounded => self.len(),
        };
        Buffer { view: self.view.part(start..end) }
    }

    /// Whether the bytes lie where another process can be given them without a copy.
    ///
    /// # Examples
    ///
    /// ```
    /// let on_the_heap: pannier::Buffer = vec![1, 2, 3].into();
    /// assert!(!on_the_heap.is_shared());
    /// ```
    #[must_use]
    pub fn is_shared(&self) -> bool {
        #[cfg(feature = "shm")]
        return self.owner().is_some_and(|owner| owner.place() == Place::Shared);
        #[cfg(not(feature = "shm"))]
        false
    }

    /// The exclusive form of the same memory, if nobody else can see it.
    ///
    /// That is: this is the only handle, the memory is writable here (a task's input is not), no
    /// other process holds it and no unfinished task refers to it.
    ///
    /// # Errors
    ///
    /// The buffer comes back unchanged.
    ///
    /// # Examples
    ///
    /// ```
    /// let buffer: pannier::Buffer = vec![1, 2, 3].into();
    /// let twin = buffer.clone();
    /// let buffer = buffer.try_into_mut().unwrap_err();
    /// drop(twin);
    /// let mut buffer = buffer.try_into_mut().unwrap();
    /// buffer[0] = 7;
    /// ```
    pub fn try_into_mut(mut self) -> std::result::Result<BufferMut<T>, Self> {
        if self.view.make_exclusive() { Ok(BufferMut::from_view(self.view)) } else { Err(self) }
    }

    /// The exclusive form; a copy (made by [`alloc`]) where
    /// [`try_into_mut`](Self::try_into_mut) would give the buffer back.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory) when there is no memory for the copy.
    ///
    /// # Examples
    ///
    /// ```
    /// let original = pannier::Buffer::copy_from_slice(&[3, 1, 2]);
    /// let mut sorted = original.clone().into_mut()?;
    /// sorted.sort();
    /// assert_eq!((&*original, &*sorted), (&[3, 1, 2][..], &[1, 2, 3][..]));
    /// # Ok::<(), pannier::Error>(())
    /// ```
    pub fn into_mut(self) -> Result<BufferMut<T>> {
        self.try_into_mut().or_else(|shared| {
            let mut copy = alloc(shared.len())?;
            copy.copy_from_slice(&shared);
            Ok(copy)
        })
    }

    /// The same memory as items of another type, if length and alignment allow.
    ///
    /// # Errors
    ///
    /// The buffer comes back unchanged.
    ///
    /// # Examples
    ///
    /// ```
    /// let words: pannier::Buffer<u32> = vec![1, 2].into();
    /// let pairs = words.try_cast::<[u32; 2]>().unwrap();
    /// assert_eq!(*pairs, [[1, 2]]);
    /// assert!(pairs.slice(..1).into_bytes().slice(1..).try_cast::<u32>().is_err());
    /// ```
    pub fn try_cast<U: Pod>(self) -> std::result::Result<Buffer<U>, Self> {
        self.view.cast().map(Buffer::from_view).map_err(Buffer::from_view)
    }

    /// The same memory as bytes.
    ///
    /// # Examples
    ///
    /// ```
    /// let words: pannier::Buffer<u16> = vec![0, 0].into();
    /// assert_eq!(words.into_bytes().len(), 4);
    /// ```
    #[must_use]
    pub fn into_bytes(self) -> Buffer<u8> {
        match self.try_cast() {
            Ok(bytes) => bytes,
            Err(_) => unreachable!("every item is a whole number of bytes, aligned to one"),
        }
    }
}

impl<T: Pod> Deref for Buffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        self.view.as_slice()
    }
}

impl<T: Pod> AsRef<[T]> for Buffer<T> {
    fn as_ref(&self) -> &[T] {
        self
    }
}

impl<T: Pod + fmt::Debug> fmt::Debug for Buffer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt_items(f, "Buffer", self.owner(), self)
    }
}

impl<T: Pod> Default for Buffer<T> {
    fn default() -> Self {
        Buffer { view: View::empty() }
    }
}

impl<T: Pod + PartialEq> PartialEq for Buffer<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Pod + Eq> Eq for Buffer<T> {}

impl<'a, T: Pod> IntoIterator for &'a Buffer<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T: Pod> FromIterator<T> for Buffer<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        items.into_iter().collect::<Vec<T>>().into()
    }
}

impl<T: Pod> From<Vec<T>> for Buffer<T> {
    fn from(items: Vec<T>) -> Self {
        Buffer { view: View::of_vec(items) }
    }
}

impl<T: Pod> From<&[T]> for Buffer<T> {
    fn from(items: &[T]) -> Self {
        Self::copy_from_slice(items)
    }
}

impl<T: Pod, const N: usize> From<[T; N]> for Buffer<T> {
    fn from(items: [T; N]) -> Self {
        Self::copy_from_slice(&items)
    }
}

impl<T: Pod> From<BufferMut<T>> for Buffer<T> {
    fn from(buffer: BufferMut<T>) -> Self {
        buffer.freeze()
    }
}

impl From<Bytes> for Buffer<u8> {
    fn from(bytes: Bytes) -> Self {
        Self::from_owner(bytes)
    }
}

impl From<Buffer<u8>> for Bytes {
    fn from(buffer: Buffer<u8>) -> Self {
        Bytes::from_owner(buffer)
    }
}

/// Length, place and the first items: a buffer may have billions.
pub(super) fn fmt_items<T: fmt::Debug>(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    owner: Option<&Arc<dyn Owner>>,
    items: &[T],
) -> fmt::Result {
    const SHOWN: usize = 8;
    let place = owner.map_or(Place::Heap, |owner| owner.place());
    let mut out = f.debug_struct(name);
    out.field("len", &items.len()).field("place", &place);
    if items.len() <= SHOWN {
        out.field("items", &items).finish()
    } else {
        out.field("first", &&items[..SHOWN]).finish_non_exhaustive()
    }
}
