//! A constructor that makes workers of programs whose `main` is not theirs to change.
//!
//! Promises: constructors that come after this one have run before a worker serves; in every other
//! process nothing happens but that the entry is noted.
//! Does not know: what a worker does.
#![expect(unsafe_code, reason = "walks the program's table of constructors")]

use std::ffi::{c_char, c_int};

use super::enter::{Calling, enter, is_initialised};

/// The type of an entry in `.init_array`; glibc passes what `main` gets.
type Constructor = extern "C" fn(c_int, *const *const c_char, *const *const c_char);

/// Makes workers of this crate's test or program, once, anywhere outside of a function.
///
/// For a crate whose `main` is not its own: tests under libtest or nextest, a benchmark harness. In
/// a `main` of your own call [`init`](crate::init) instead.
///
/// # Platform
///
/// It is an entry in the program's `.init_array`, so it works in executables and not in libraries
/// that are loaded later.
///
/// # Examples
///
/// ```
/// pannier::premain!();
///
/// # fn main() -> pannier::Result<()> {
/// let pool = pannier::Pool::builder().workers(1).build()?;
/// assert_eq!(pool.submit(u32::count_ones, 7).join()?, 3);
/// # Ok(())
/// # }
/// ```
#[macro_export]
macro_rules! premain {
    () => {
        const _: () = {
            #[used]
            #[unsafe(link_section = ".init_array")]
            static ENTRY: extern "C" fn(
                ::std::ffi::c_int,
                *const *const ::std::ffi::c_char,
                *const *const ::std::ffi::c_char,
            ) = $crate::__premain;
        };
    };
}

/// What the constructor does, for a program whose workers have this calling.
pub(crate) fn premain(
    ours: Constructor,
    (argc, argv, envp): (c_int, *const *const c_char, *const *const c_char),
    calling: Calling,
) {
    // Only the first call, which is the linker's if `ours` is in the table at all: nobody else can
    // run constructors again, or with arguments of his own.
    if super::start::marker().is_some() && !is_initialised() {
        for constructor in constructors_after(ours) {
            constructor(argc, argv, envp);
        }
    }
    enter(calling);
}

/// The entries of the program's table behind ours.
fn constructors_after(ours: Constructor) -> Vec<Constructor> {
    unsafe extern "C" {
        static __init_array_start: [Option<Constructor>; 0];
        static __init_array_end: [Option<Constructor>; 0];
    }
    // The symbols name the table's bounds and are no part of it, so its address is all they give.
    let start = (&raw const __init_array_start).expose_provenance();
    let end = (&raw const __init_array_end).addr();
    let len = end.saturating_sub(start) / size_of::<Constructor>();
    let start = std::ptr::with_exposed_provenance::<Option<Constructor>>(start);
    // SAFETY: the linker puts the symbols around the table, which is aligned, relocated before any
    // constructor runs, and read-only from then on.
    let table = unsafe { std::slice::from_raw_parts(start, len) };
    let after = table.iter().flatten().skip_while(|entry| !std::ptr::fn_addr_eq(**entry, ours));
    after.skip(1).copied().filter(|entry| !std::ptr::fn_addr_eq(*entry, ours)).collect()
}

// The unit tests of this crate have workers too.
#[cfg(test)]
premain!();
