//! What may run in a worker, and what may travel there: two bounds with words of their own.
//!
//! Does not know: how.
#![forbid(unsafe_code)]

use serde::Serialize;
use serde::de::DeserializeOwned;

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

/// What travels to and from a worker: owned serde data.
///
/// # Examples
///
/// ```
/// fn travels<T: pannier::Data>() {}
///
/// travels::<(String, Vec<f64>)>();
/// travels::<pannier::Buffer<f32>>();
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot travel to or from a worker",
    label = "not owned serde data",
    note = "it must own its data and implement `serde::Serialize`, `serde::Deserialize` and `Send`: `.cloned()` items, `String` for `&str`, `Vec` or `Buffer` for a slice",
    note = "an error that serde cannot carry travels as `pannier::RemoteError`: `.map_err(RemoteError::new)`"
)]
pub trait Data: Serialize + DeserializeOwned + Send + 'static {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned + Send + 'static> Data for T {}
