//! How much memory may be taken now, and the right to take it: for one thread at a time.
//!
//! What is left counts only what has been allocated. So whoever asks keeps all others from asking
//! until that which the answer was for is allocated.
//! Promises: threads of this process together take no more than is left.
//! Does not know: what other processes are about to take.
#![forbid(unsafe_code)]

use std::sync::{Mutex, MutexGuard, PoisonError};

use once_cell::race::OnceBox;

use super::{cgroup, epoch};

/// The right to take memory. Whoever has it allocates, and drops it.
pub(crate) struct Room {
    _turn: MutexGuard<'static, ()>,
}

impl Room {
    /// Waits until no other thread takes memory.
    pub(crate) fn wait() -> Self {
        Room { _turn: turn_here().lock().unwrap_or_else(PoisonError::into_inner) }
    }

    /// Bytes that the machine and the control groups have left at this moment. It is asked each
    /// time: what others use changes.
    pub(crate) fn left(&self) -> u64 {
        #[cfg(test)]
        if let Some(made_up) = tests::MADE_UP.get() {
            return made_up.left();
        }
        cgroup::headroom().unwrap_or(u64::MAX)
    }
}

/// The turns of one process. A forked child cannot wait for its parent's, which may be taken for
/// ever there, so it has its own; nor for one that a thread of its parent was making.
struct Turns {
    epoch: u64,
    turn: Mutex<()>,
    of_child: OnceBox<Turns>,
}

impl Turns {
    fn new(epoch: u64) -> Box<Self> {
        Box::new(Turns { epoch, turn: Mutex::new(()), of_child: OnceBox::new() })
    }
}

fn turn_here() -> &'static Mutex<()> {
    static FIRST: OnceBox<Turns> = OnceBox::new();
    let here = epoch::current();
    let mut turns = FIRST.get_or_init(|| Turns::new(here));
    while turns.epoch != here {
        turns = turns.of_child.get_or_init(|| Turns::new(here));
    }
    &turns.turn
}

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::Cell;
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    thread_local! {
        /// What this thread believes of the machine.
        pub(crate) static MADE_UP: Cell<Option<MadeUp>> = const { Cell::new(None) };
    }

    /// A machine of `limit` bytes on which nothing counts but this process's objects whose size is a
    /// multiple of `unit`; so tests that run beside each other have one each.
    #[derive(Clone, Copy)]
    pub(crate) struct MadeUp {
        pub(crate) limit: u64,
        pub(crate) unit: u64,
    }

    impl MadeUp {
        pub(super) fn left(self) -> u64 {
            self.limit.saturating_sub(self.allocated())
        }

        /// By what the kernel says.
        pub(crate) fn allocated(self) -> u64 {
            let descriptors = fs::read_dir("/proc/self/fd").unwrap();
            let objects = descriptors.filter_map(|entry| fs::metadata(entry.ok()?.path()).ok());
            let counted = objects.filter(|object| {
                object.is_file() && object.len() > 0 && object.len() % self.unit == 0
            });
            counted.map(|object| object.blocks() * 512).sum()
        }
    }
}
