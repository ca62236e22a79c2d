//! What may travel to another process: a bound with words of its own.
//!
//! Does not know: how.
#![forbid(unsafe_code)]

use serde::Serialize;
use serde::de::DeserializeOwned;

/// What travels to and from another process, a worker above all: owned serde data.
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
    message = "`{Self}` cannot travel to or from another process",
    label = "not owned serde data",
    note = "it must own its data and implement `serde::Serialize`, `serde::Deserialize` and `Send`: `.cloned()` items, `String` for `&str`, `Vec` or `Buffer` for a slice",
    note = "an error that serde cannot carry travels as `pannier::RemoteError`: `.map_err(RemoteError::new)`"
)]
pub trait Data: Serialize + DeserializeOwned + Send + 'static {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned + Send + 'static> Data for T {}
