//! What may run in a worker: a bound with words of its own.
//!
//! Does not know: how.
#![forbid(unsafe_code)]

/// What may run in a worker: functions and non-capturing closures.
///
/// A closure that captures something is refused when the program is built (not by `cargo check`):
/// pass what it needs as an argument, several as a tuple, or once for all items by
/// [`Pool::map_with`](crate::Pool::map_with).
///
/// # Examples
///
/// ```
/// fn runs_in_a_worker<A, R>(_f: impl pannier::Function<A, R>) {}
///
/// runs_in_a_worker(u32::count_ones);
/// runs_in_a_worker(|(a, b): (f64, f64)| a.hypot(b));
/// ```
///
/// What captures does not build:
///
/// ```compile_fail
/// # fn show(pool: &pannier::Pool) {
/// let factor = 3;
/// let triple = pool.submit(move |x: u32| x * factor, 14);
/// # }
/// # fn main() { show(&pannier::Pool::new().unwrap()) }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot run in a worker: it must be a function or a closure that captures nothing",
    note = "pass what it needs as an argument (several as a tuple), or once for all items by `Pool::map_with`"
)]
pub trait Function<A, R>: Fn(A) -> R + Copy + Send + 'static {}

#[diagnostic::do_not_recommend]
impl<F: Fn(A) -> R + Copy + Send + 'static, A, R> Function<A, R> for F {}
