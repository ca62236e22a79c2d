//! [`BufferMut`]: exclusive and writable, until it is frozen.
//!
//! Promises: it is the only handle to its memory; [`freeze`](BufferMut::freeze) costs nothing.
//! Does not know: where its memory lies.
#![forbid(unsafe_code)]

use std::fmt;
use std::ops::{Deref, DerefMut};

use bytemuck::Pod;

use super::immutable::{Buffer, fmt_items};
use super::view::View;

/// Exclusive, writable, typed bytes; [`freeze`](Self::freeze) makes a [`Buffer`] without a copy.
///
/// One comes from [`alloc`](crate::alloc), from `Pool::alloc` (then it lies in shared memory) or
/// from [`Buffer::try_into_mut`]. It derefs to `[T]`. As serde data it is what a `Buffer` is, but
/// reading always makes a private copy.
///
/// # Examples
///
/// ```
/// let mut column = pannier::alloc::<f64>(1_000)?;
/// column.fill(0.5);
/// let column: pannier::Buffer<f64> = column.freeze();
/// assert_eq!(column.iter().sum::<f64>(), 500.0);
/// # Ok::<(), pannier::Error>(())
/// ```
pub struct BufferMut<T = u8> {
    view: View<T>,
}

impl<T> BufferMut<T> {
    /// `view` is the only one to its memory, which is writable.
    pub(super) fn from_view(view: View<T>) -> Self {
        BufferMut { view }
    }
}

impl<T: Pod> BufferMut<T> {
    /// The immutable form of the same memory.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut word = pannier::alloc::<u8>(4)?;
    /// word.copy_from_slice(b"east");
    /// assert_eq!(&*word.freeze(), b"east");
    /// # Ok::<(), pannier::Error>(())
    /// ```
    #[must_use]
    pub fn freeze(self) -> Buffer<T> {
        Buffer::from_view(self.view)
    }

    /// Keeps the first `len` items; does nothing if there are no more than that.
    ///
    /// The rest of the memory stays leased until the buffer is dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut word = pannier::alloc_zeroed::<u8>(4)?;
    /// word.truncate(1);
    /// assert_eq!(*word, [0]);
    /// # Ok::<(), pannier::Error>(())
    /// ```
    pub fn truncate(&mut self, len: usize) {
        self.view.truncate(len);
    }
}

#[cfg(feature = "shm")]
impl BufferMut<u8> {
    /// As items of `T`, for memory whose size and alignment were chosen for them.
    pub(crate) fn cast_aligned<T: Pod>(self) -> crate::error::Result<BufferMut<T>> {
        let bytes = self.view.len() as u64;
        let unfit = |_| crate::error::Error::OutOfMemory { wanted: bytes, limit: 0 };
        self.view.cast().map(BufferMut::from_view).map_err(unfit)
    }
}

impl<T: Pod> Deref for BufferMut<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        self.view.as_slice()
    }
}

impl<T: Pod> DerefMut for BufferMut<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        self.view.as_mut_slice()
    }
}

impl<T: Pod> AsRef<[T]> for BufferMut<T> {
    fn as_ref(&self) -> &[T] {
        self
    }
}

impl<T: Pod> AsMut<[T]> for BufferMut<T> {
    fn as_mut(&mut self) -> &mut [T] {
        self
    }
}

impl<T: Pod + fmt::Debug> fmt::Debug for BufferMut<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt_items(f, "BufferMut", self.view.owner(), self)
    }
}
