//! [`NamedSegment`]: create, attach, read, write, detach.
//!
//! Promises: whoever made the name removes it, and nobody else.
//! Does not know: who else is attached, nor when they write.
#![expect(unsafe_code, reason = "lends memory that others could write, on the caller's word")]

use std::fmt;
use std::sync::Arc;

use super::copy;
use super::error::NamedError;
use super::memory::{Memory, Still};
use super::name::{self, Owner};
use super::object::{self, Link};
use crate::buffer::Buffer;
use crate::sys::epoch::OwnedHere;

/// Shared memory with a name.
///
/// Whoever made it removes the name by dropping it; dropping an attached one detaches. A forked child
/// may go on using its copy, which removes nothing.
///
/// # Examples
///
/// ```
/// use pannier::adapters::named::{NamedError, NamedSegment};
///
/// let segment = NamedSegment::create(1 << 16)?;
/// let attached = NamedSegment::attach(segment.name())?;
/// attached.write(8, b"from there")?;
/// let mut bytes = [0; 10];
/// segment.read(8, &mut bytes)?;
/// assert_eq!(&bytes, b"from there");
///
/// let name = segment.name().to_owned();
/// drop(segment);
/// attached.read(8, &mut bytes)?; // without a name, and still there
/// assert!(matches!(NamedSegment::attach(&name), Err(NamedError::NotFound { .. })));
/// # Ok::<(), NamedError>(())
/// ```
pub struct NamedSegment {
    /// Of the one that made the name. Before the memory, so that nobody finds a name of less.
    link: Option<OwnedHere<Link>>,
    memory: Arc<Memory>,
    name: String,
}

#[expect(clippy::len_without_is_empty, reason = "no segment is empty")]
impl NamedSegment {
    /// Takes `len` bytes, zero at first, under a new name that says who owns it: should this process
    /// be killed, [`sweep`](super::sweep) finds the name.
    ///
    /// # Errors
    ///
    /// [`NamedError::Empty`] for no bytes, [`NamedError::OutOfMemory`] when there are not so many,
    /// [`NamedError::NoProc`] where the owner cannot be named, [`NamedError::System`] when the kernel
    /// refuses something else.
    ///
    /// # Examples
    ///
    /// ```
    /// use pannier::adapters::named::{NamedError, NamedSegment};
    ///
    /// assert_eq!(NamedSegment::create(100)?.len(), 100);
    /// assert!(matches!(NamedSegment::create(usize::MAX), Err(NamedError::OutOfMemory { .. })));
    /// # Ok::<(), NamedError>(())
    /// ```
    pub fn create(len: usize) -> Result<Self, NamedError> {
        let owner = Owner::here()?;
        loop {
            match Self::make(owner.name(), len) {
                // This process has executed another program, which left it.
                Err(NamedError::Exists { .. }) => {}
                made => return made,
            }
        }
    }

    /// Takes `len` bytes under a name of the caller's choice, which [`sweep`](super::sweep) does not
    /// touch: when this process is killed, the name stays.
    ///
    /// A slash at the beginning is permitted and no part of the name.
    ///
    /// # Errors
    ///
    /// [`NamedError::Exists`] if the name is taken, [`NamedError::Name`] if it cannot be one or
    /// begins with `pannier-`; else as [`create`](Self::create).
    ///
    /// # Examples
    ///
    /// ```
    /// use pannier::adapters::named::{NamedError, NamedSegment};
    ///
    /// let name = format!("weather-{}", std::process::id());
    /// let segment = NamedSegment::create_named(&name, 100)?;
    /// let again = NamedSegment::create_named(&name, 100);
    /// assert!(matches!(again, Err(NamedError::Exists { .. })));
    /// # Ok::<(), NamedError>(())
    /// ```
    pub fn create_named(name: &str, len: usize) -> Result<Self, NamedError> {
        Self::make(name::chosen(name)?.to_owned(), len)
    }

    /// Attaches what another program, or this one, has made.
    ///
    /// Memory that it does not have yet (Python reserves none) is taken now, so that reading is not
    /// ended by a signal later.
    ///
    /// # Errors
    ///
    /// [`NamedError::NotFound`], [`NamedError::Denied`], [`NamedError::NotMemory`] by what is there;
    /// [`NamedError::Empty`] while its maker has not given it a length yet;
    /// [`NamedError::OutOfMemory`] and others as [`create`](Self::create).
    ///
    /// # Examples
    ///
    /// See [`NamedSegment`].
    pub fn attach(name: &str) -> Result<Self, NamedError> {
        let name = name::checked(name)?.to_owned();
        let object = object::open(&name)?;
        let memory = Arc::new(Memory::attach(&name, &object)?);
        Ok(NamedSegment { link: None, memory, name })
    }

    /// The name, without a slash: as Python has it.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pannier::adapters::named::NamedSegment;
    /// assert!(NamedSegment::create(100)?.name().starts_with("pannier-"));
    /// # Ok::<(), pannier::adapters::named::NamedError>(())
    /// ```
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pannier::adapters::named::NamedSegment;
    /// assert_eq!(NamedSegment::create(100)?.len(), 100);
    /// # Ok::<(), pannier::adapters::named::NamedError>(())
    /// ```
    #[must_use]
    pub fn len(&self) -> usize {
        self.memory.len()
    }

    /// Copies the bytes from `offset` on.
    ///
    /// What others write meanwhile is seen or not, in words of eight bytes: agree with them, over a
    /// pipe, a channel or a lock, when it is complete.
    ///
    /// # Errors
    ///
    /// [`NamedError::OutOfRange`]; nothing is copied then.
    ///
    /// # Examples
    ///
    /// See [`NamedSegment`].
    pub fn read(&self, offset: usize, into: &mut [u8]) -> Result<(), NamedError> {
        self.check(offset, into.len())?;
        copy::read(self.memory.words(), offset, into);
        Ok(())
    }

    /// Copies the bytes to `offset` and behind.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    ///
    /// # Examples
    ///
    /// See [`NamedSegment`].
    pub fn write(&self, offset: usize, from: &[u8]) -> Result<(), NamedError> {
        self.check(offset, from.len())?;
        copy::write(self.memory.words(), offset, from);
        Ok(())
    }

    /// The bytes in place.
    ///
    /// # Safety
    ///
    /// While the slice lives,
    ///
    /// * nobody writes to the segment: no other process, no other handle, no
    ///   [`write`](Self::write);
    /// * nobody makes it shorter (it would end this process by SIGBUS).
    ///
    /// # Examples
    ///
    /// ```
    /// use pannier::adapters::named::NamedSegment;
    ///
    /// let segment = NamedSegment::create(4)?;
    /// segment.write(0, b"east")?;
    /// // SAFETY: nobody was told the name.
    /// assert_eq!(unsafe { segment.as_slice() }, b"east");
    /// # Ok::<(), pannier::adapters::named::NamedError>(())
    /// ```
    #[must_use]
    pub unsafe fn as_slice(&self) -> &[u8] {
        // SAFETY: nobody writes while the slice lives, by the caller's promise.
        unsafe { self.memory.bytes() }
    }

    /// The bytes in place, as a buffer, which keeps the memory and not the name.
    ///
    /// # Safety
    ///
    /// As of [`as_slice`](Self::as_slice), for as long as the buffer, a clone or a part of it lives.
    ///
    /// # Examples
    ///
    /// ```
    /// use pannier::adapters::named::NamedSegment;
    ///
    /// let segment = NamedSegment::create(32)?;
    /// segment.write(0, &1.5_f64.to_le_bytes())?;
    /// // SAFETY: nobody was told the name.
    /// let column = unsafe { segment.buffer() }.try_cast::<f64>().unwrap();
    /// drop(segment);
    /// assert_eq!(*column, [1.5, 0.0, 0.0, 0.0]);
    /// # Ok::<(), pannier::adapters::named::NamedError>(())
    /// ```
    #[must_use]
    pub unsafe fn buffer(&self) -> Buffer<u8> {
        // SAFETY: nobody writes while a handle of the buffer lives, by the caller's promise.
        Buffer::from_owner(unsafe { Still::new(self.memory.clone()) })
    }

    fn make(name: String, len: usize) -> Result<Self, NamedError> {
        let len = u64::try_from(len).unwrap_or(u64::MAX);
        let (link, object) = object::create(&name, len)?;
        let memory = Arc::new(Memory::attach(&name, &object)?);
        Ok(NamedSegment { link: Some(OwnedHere::new(link)), memory, name })
    }

    fn check(&self, offset: usize, count: usize) -> Result<(), NamedError> {
        let len = self.len();
        match offset.checked_add(count) {
            Some(end) if end <= len => Ok(()),
            _ => Err(NamedError::OutOfRange { offset, count, len }),
        }
    }
}

impl fmt::Debug for NamedSegment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NamedSegment")
            .field("name", &self.name)
            .field("len", &self.len())
            .field("owner", &self.link.is_some())
            .finish()
    }
}
