//! The first line of a program: where a worker parts from it.
//!
//! Does not know: pools.
#![forbid(unsafe_code)]

use std::ffi::{c_char, c_int};

use super::once;
use super::worker::serve;
use crate::process::{self, Calling, Duty};

/// The first line of `main`: in a worker it never returns.
///
/// A worker is this program, started again. Code before this line runs in every worker too, and
/// without this line a pool refuses to be built
/// ([`Error::NotInitialised`](crate::Error::NotInitialised)). Where `main` is not yours, say
/// [`premain!`](crate::premain) instead.
///
/// # Examples
///
/// ```
/// fn main() -> pannier::Result<()> {
///     pannier::init();
///     let pool = pannier::Pool::builder().workers(1).build()?;
///     assert_eq!(pool.submit(|x: u64| x + 1, 41).join()?, 42);
///     Ok(())
/// }
/// ```
pub fn init() {
    process::enter(CALLING);
}

/// Of the workers and fork servers of a program that has come to its `main`.
pub(super) const CALLING: Calling = Calling { serve, run_once: once::run };

/// What [`premain!`](crate::premain) puts before `main`.
#[doc(hidden)]
pub extern "C" fn __premain(argc: c_int, argv: *const *const c_char, envp: *const *const c_char) {
    let calling = Calling { serve: serve_on_a_thread, run_once: once::run };
    process::premain(__premain, (argc, argv, envp), calling);
}

/// In a worker of such a program. Before `main` the first thread is not one of the standard library's
/// yet: tasks run on one that is.
fn serve_on_a_thread(duty: Duty) -> ! {
    let thread = std::thread::Builder::new().name("main".into()).stack_size(MAIN_STACK);
    let served = thread.spawn(|| serve(duty)).map(std::thread::JoinHandle::join);
    // A worker ends by its parent's word; here it could not start, or its own code panicked.
    std::process::exit(if served.is_err() { CANNOT_START } else { PANICKED })
}

/// What Linux gives a main thread by default.
const MAIN_STACK: usize = 8 << 20;
const CANNOT_START: i32 = 113;
/// The exit code of a Rust program that panicked.
const PANICKED: i32 = 101;
