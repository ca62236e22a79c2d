//! Typed bytes with an owner: [`Buffer`] is immutable and shared, [`BufferMut`] exclusive and writable.
//!
//! Promises: cloning, slicing and freezing never copy; the bytes stay where they are for as long as
//! any handle lives; a `BufferMut` is the only way to its memory.
//! Does not know: where other processes see the bytes. Higher floors put their memory behind
//! [`Owner`] and install [`set_alloc_hook`].

#[cfg(feature = "arbitrary")]
mod arbitrary;
mod buffer_mut;
mod heap;
mod immutable;
mod owner;
mod view;

pub use self::buffer_mut::BufferMut;
pub use self::heap::{alloc, alloc_zeroed};
pub use self::immutable::Buffer;

#[cfg(feature = "shm")]
pub(crate) use self::heap::element_bytes;
#[cfg(feature = "shm")]
pub(crate) use self::heap::set_alloc_hook;
pub(crate) use self::owner::{Memo, Owner, Place};
