//! Waiting for one thing: a word that another process changes (futex(2)), a descriptor (poll(2)).
//!
//! Promises: a wait ends by its deadline; a signal only makes it come back early.
//! Does not know: what is waited for; the caller looks again.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, retry_on_intr};
use rustix::thread::{futex, sched_getaffinity};

/// Sleeps while the word in shared memory is `value`, at most so long.
pub(crate) fn while_word_is(word: &AtomicU32, value: u32, at_most: Duration) {
    let timeout = Timespec::try_from(at_most).ok();
    // Woken, changed, interrupted, over: the caller looks in any case.
    let _why = futex::wait(word, futex::Flags::empty(), value, timeout.as_ref());
}

/// Wakes everybody in any process who sleeps on the word.
pub(crate) fn wake_all(word: &AtomicU32) {
    let _nobody = futex::wake(word, futex::Flags::empty(), u32::MAX >> 1);
}

/// Waits until the descriptor can be read, or is at its end.
pub(crate) fn readable(fd: impl AsFd, at_most: Duration) -> io::Result<()> {
    wait(fd, PollFlags::IN, at_most).map(|_| ())
}

/// Waits until the descriptor can be written, or is at its end.
pub(crate) fn writable(fd: impl AsFd, at_most: Duration) -> io::Result<()> {
    wait(fd, PollFlags::OUT, at_most).map(|_| ())
}

/// Waits until the descriptor says that nothing more will come, at most so long.
pub(crate) fn until_hung_up(fd: impl AsFd, at_most: Duration) {
    let _either_way = wait(fd, PollFlags::empty(), at_most);
}

/// Waits until one of two descriptors can be read or is at its end: which.
pub(crate) fn either(fds: [BorrowedFd<'_>; 2]) -> io::Result<[bool; 2]> {
    let mut polled = fds.each_ref().map(|fd| PollFd::new(fd, PollFlags::IN));
    retry_on_intr(|| poll(&mut polled, None))?;
    Ok(polled.map(|fd| !fd.revents().is_empty()))
}

/// Whether there is room to write now.
pub(crate) fn is_writable(fd: impl AsFd) -> bool {
    let found = wait(fd, PollFlags::OUT, Duration::ZERO);
    found.is_ok_and(|found| found.contains(PollFlags::OUT))
}

/// Whether there is something to read now, or the end.
pub(crate) fn is_readable(fd: impl AsFd) -> bool {
    wait(fd, PollFlags::IN, Duration::ZERO).is_ok_and(|found| !found.is_empty())
}

/// Whether the other end of a socket is closed; what it sent may still be there to read.
pub(crate) fn is_hung_up(fd: impl AsFd) -> bool {
    let found = wait(fd, PollFlags::empty(), Duration::ZERO);
    found.is_ok_and(|found| found.intersects(PollFlags::HUP | PollFlags::ERR))
}

fn wait(fd: impl AsFd, events: PollFlags, at_most: Duration) -> io::Result<PollFlags> {
    let mut fds = [PollFd::new(&fd, events)];
    let timeout = Timespec::try_from(at_most).ok();
    match poll(&mut fds, timeout.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(fds[0].revents()),
        Err(error) => Err(error.into()),
    }
}

/// Whether this thread may run on more than one CPU.
pub(crate) fn has_several_cpus() -> bool {
    sched_getaffinity(None).is_ok_and(|cpus| cpus.count() > 1)
}
