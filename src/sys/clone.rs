//! A process made as a copy of this one (clone3(2)).
//!
//! Promises: only a process with one thread is copied; the copy's C library knows its own thread
//! number, so that `abort`, `raise` and mutexes that look after the dead work in it; the number of
//! the copy is in shared memory before the copy runs, whatever becomes of this process.
//! Does not know: what the copy does.
#![expect(unsafe_code, reason = "a system call that no library wraps, and what it is told")]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::io::Errno;
use rustix::thread::{get_clear_child_tid_address, gettid};

use super::host;

/// Which of the two processes goes on.
#[derive(Debug)]
pub(crate) enum Side {
    /// The copy.
    Copy,
    /// The process that was copied, with a descriptor for the copy.
    Original(OwnedFd),
}

/// Makes a copy whose parent is this process's own parent, who is to reap it.
///
/// `born` gets the number of the copy. Of a copy that came to be, it is there even if this process
/// is killed before it returns from here.
///
/// # Errors
///
/// `EBUSY` when this process has more than one thread: the others would be missing in the copy, with
/// the locks that they hold. `EOPNOTSUPP` where the C library keeps its thread number elsewhere.
pub(crate) fn sibling(born: &AtomicU32) -> io::Result<Side> {
    if host::thread_count()? != 1 {
        return Err(Errno::BUSY.into());
    }
    born.store(0, Ordering::Relaxed);
    clone(libc::CLONE_PARENT, born)
}

/// The word of somebody who may give it that this process may be copied as it is.
#[derive(Debug)]
pub(crate) struct MayFork(());

impl MayFork {
    /// # Safety
    ///
    /// * While this value is used, what the process holds is sound in a copy: the libraries that are
    ///   loaded cope with it, and nothing relies on there being one process only.
    pub(crate) unsafe fn promised() -> Self {
        MayFork(())
    }
}

/// Makes a copy that is a child of this process, with its number. It sends no signal when it ends, so
/// nobody hears of it but who waits for it by name and with `__WALL`.
///
/// # Errors
///
/// As [`sibling`].
pub(crate) fn child(_promise: &MayFork) -> io::Result<(u32, Side)> {
    if host::thread_count()? != 1 {
        return Err(Errno::BUSY.into());
    }
    let born = AtomicU32::new(0);
    let side = clone(0, &born)?;
    Ok((born.into_inner(), side))
}

/// Calls clone3(2) from a process that has one thread: the caller has looked.
fn clone(relation: libc::c_int, born: &AtomicU32) -> io::Result<Side> {
    let flags = [libc::CLONE_PIDFD, libc::CLONE_PARENT_SETTID, libc::CLONE_CHILD_SETTID, relation]
        .into_iter()
        .fold(libc::CLONE_CHILD_CLEARTID, |flags, flag| flags | flag);
    let (thread_word, robust) = (thread_word()?, RobustList::of_this_thread()?);
    let mut pidfd: RawFd = -1;
    let address = |address: usize| u64::try_from(address).map_err(|_| Errno::FAULT);
    // SAFETY: the structure is numbers, for which zeros are "nothing" (clone3(2)).
    let mut arguments: libc::clone_args = unsafe { MaybeUninit::zeroed().assume_init() };
    arguments.flags = u64::try_from(flags).map_err(|_| Errno::INVAL)?;
    arguments.pidfd = address((&raw mut pidfd).expose_provenance())?;
    arguments.parent_tid = address(born.as_ptr().expose_provenance())?;
    arguments.child_tid = address(thread_word)?;
    // SAFETY: the call reads the structure, writes the two words here that it names, and in the copy
    // the C library's word of the thread number, which is the C library's own way to fork. Without
    // CLONE_VM and a stack of its own the copy has memory of its own and goes on right here. The
    // caller has seen that there is no other thread.
    let made = unsafe {
        libc::syscall(libc::SYS_clone3, &raw mut arguments, size_of::<libc::clone_args>())
    };
    match made {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            robust.restore();
            Ok(Side::Copy)
        }
        _ => {
            // SAFETY: the kernel has just opened it for this call alone (CLONE_PIDFD).
            Ok(Side::Original(unsafe { OwnedFd::from_raw_fd(pidfd) }))
        }
    }
}

/// Where the C library keeps the number of this thread, which a bare clone3(2) would leave stale.
fn thread_word() -> io::Result<usize> {
    let word = get_clear_child_tid_address()?.ok_or(Errno::OPNOTSUPP)?.cast::<libc::pid_t>();
    // SAFETY: the C library gave this address to the kernel, to be written when the thread ends: it
    // is an aligned word that lives as long as the thread, and only this thread is there.
    let known = unsafe { word.read_volatile() };
    // musl names another word there, its lock.
    let is_number = known == gettid().as_raw_nonzero().get();
    if is_number { Ok(word.addr().get()) } else { Err(Errno::OPNOTSUPP.into()) }
}

/// The C library's list of mutexes that look after the dead (get_robust_list(2)): the kernel forgets
/// it in a copy.
struct RobustList {
    head: *mut libc::c_void,
    len: usize,
}

impl RobustList {
    fn of_this_thread() -> io::Result<Self> {
        let mut list = RobustList { head: std::ptr::null_mut(), len: 0 };
        let (head, len) = (&raw mut list.head, &raw mut list.len);
        // SAFETY: 0 is this thread; the call writes a pointer and a length to where it is told.
        let asked = unsafe { libc::syscall(libc::SYS_get_robust_list, 0, head, len) };
        if asked == 0 { Ok(list) } else { Err(io::Error::last_os_error()) }
    }

    fn restore(self) {
        // SAFETY: head and length that the C library registered for this very thread, whose memory
        // is the same in the copy.
        let _cannot_fail = unsafe { libc::syscall(libc::SYS_set_robust_list, self.head, self.len) };
    }
}
