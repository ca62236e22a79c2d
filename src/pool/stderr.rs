//! The last lines that a starting worker wrote to standard error.
//!
//! Promises: keeps little, reads without waiting, never lets the worker wait for a reader.
//! Does not know: the worker.
#![forbid(unsafe_code)]

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::retry_on_intr;

/// The end of a pipe, and the tail of what came through it.
#[derive(Debug)]
pub(super) struct StderrTail {
    pipe: OwnedFd,
    tail: Vec<u8>,
}

/// Reads at a time: one who writes without end must not be read without end.
const READS: usize = 16;
/// Bytes that are kept.
const KEPT: usize = 4 << 10;

impl StderrTail {
    pub(super) fn new(pipe: OwnedFd) -> std::io::Result<Self> {
        fcntl_setfl(&pipe, fcntl_getfl(&pipe)? | OFlags::NONBLOCK)?;
        Ok(StderrTail { pipe, tail: Vec::new() })
    }

    /// Reads what there is, up to what a pipe holds; whether there will be more.
    pub(super) fn read(&mut self) -> bool {
        let mut space = [0; 4 << 10];
        for _ in 0..READS {
            match retry_on_intr(|| rustix::io::read(&self.pipe, &mut space)) {
                Ok(0) => return false,
                Ok(len) => {
                    self.tail.extend_from_slice(&space[..len]);
                    let surplus = self.tail.len().saturating_sub(KEPT);
                    self.tail.drain(..surplus);
                }
                Err(error) => return error == rustix::io::Errno::AGAIN,
            }
        }
        true
    }

    /// What was written, if anything.
    pub(super) fn text(&self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.tail).into_owned();
        (!text.is_empty()).then_some(text)
    }
}

impl AsFd for StderrTail {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}
