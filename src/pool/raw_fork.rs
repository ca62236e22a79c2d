//! The one setting of a pool whose soundness is the program's to know.
//!
//! Does not know: how a process is copied.
#![expect(unsafe_code, reason = "declares a function that is unsafe for its caller")]

use super::builder::PoolBuilder;
use crate::sys::clone::MayFork;

impl PoolBuilder {
    /// Workers by raw `fork` of a zygote made inside [`build`](Self::build): a copy of this process as
    /// it is then. Instead of the [start method](Self::start_method).
    ///
    /// All that the program has loaded and computed is there in the workers, and takes memory once.
    /// What it had open stays open in them; what it registered for its end does not run there. Shared
    /// memory of this library is not there. If the zygote dies, no worker can be started any more
    /// ([`StartFailure::ServerDied`](crate::StartFailure::ServerDied)).
    ///
    /// `build` refuses while this process has more than one thread
    /// ([`StartFailure::Threads`](crate::StartFailure::Threads)), and so while it has another pool.
    ///
    /// # Safety
    ///
    /// * This process has one thread, and what it holds (locks, library state) is sound in a forked
    ///   child, when `build` is called. `pthread_atfork` is not honoured.
    /// * The thread that calls `build` lives as long as the pool, or the workers end with it.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn table() -> Vec<u64> { vec![7; 100] }
    /// use std::sync::OnceLock;
    ///
    /// static TABLE: OnceLock<Vec<u64>> = OnceLock::new();
    ///
    /// fn main() -> pannier::Result<()> {
    ///     pannier::init();
    ///     TABLE.get_or_init(table);
    ///     // SAFETY: there is no other thread, and nothing but memory to be copied.
    ///     let pool = unsafe { pannier::Pool::builder().workers(2).fork() }.build()?;
    ///     let found = pool.submit(|at: usize| TABLE.get().map(|table| table[at]), 3);
    ///     assert_eq!(found.join()?, Some(7));
    ///     Ok(())
    /// }
    /// ```
    pub unsafe fn fork(mut self) -> Self {
        // SAFETY: it is used by `build` only, for which the caller gives his word.
        self.fork = Some(unsafe { MayFork::promised() });
        self
    }
}
