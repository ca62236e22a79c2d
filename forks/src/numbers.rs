//! The threads of other libraries at work: `parallel.c`, and what its answers must be.

use std::ffi::{c_int, c_long};

unsafe extern "C" {
    fn openmp_sum(last: c_long, threads: *mut c_int) -> f64;
    fn blas_product(length: c_int, threads: *mut c_int) -> f64;
}

const LAST: c_long = 1_000_000;
/// Long enough for OpenBLAS to use its threads.
const LENGTH: c_int = 192;

/// Whether a sum by OpenMP is right, by more than one thread where there is more than one CPU.
pub(crate) fn openmp(_: ()) -> bool {
    let mut threads = 0;
    // SAFETY: the function takes any number, and writes to `threads` while it runs.
    let sum = unsafe { openmp_sum(LAST, &raw mut threads) };
    let last = LAST as f64;
    is_parallel(threads) && sum == last * (last + 1.0) / 2.0
}

/// Whether a product by OpenBLAS is right, by more than one thread where there is more than one CPU.
pub(crate) fn blas(_: ()) -> bool {
    let mut threads = 0;
    // SAFETY: the function takes any positive length, and writes to `threads` while it runs.
    let sum = unsafe { blas_product(LENGTH, &raw mut threads) };
    is_parallel(threads) && sum == 2.0 * f64::from(LENGTH).powi(3)
}

/// Whether that was OpenBLAS, and no product of our own in its place.
pub(crate) fn has_blas() -> bool {
    option_env!("PANNIER_FORKS_BLAS") != Some("none")
}

pub(crate) fn both(_: ()) -> bool {
    openmp(()) && blas(())
}

/// One thread would prove nothing.
fn is_parallel(threads: c_int) -> bool {
    threads > 1 || std::thread::available_parallelism().is_ok_and(|cpus| cpus.get() == 1)
}
