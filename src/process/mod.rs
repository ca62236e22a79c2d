//! How a worker is born, recognised, and told from a program that was merely started again.
//!
//! A worker is this program, executed again with its end of a socket as standard input and a marker
//! in the environment; [`enter`](fn@enter) finds both.
//! Promises: a worker that does not prove that it is the same program is not used; a worker ends
//! with its parent; what a worker inherited from the parent is undone.
//! Does not know: what a worker does once it is ready.

#[cfg(feature = "testing")]
mod chaos;
mod enter;
mod handshake;
mod premain;
mod start;

#[cfg(feature = "testing")]
pub use self::chaos::Chaos;
#[cfg(feature = "testing")]
pub(crate) use self::chaos::PLAN;
pub(crate) use self::enter::{Duty, enter, is_initialised};
pub(crate) use self::handshake::{Hello, Welcome, fits};
pub(crate) use self::premain::premain;
pub(crate) use self::start::{Program, Started, depth, start};
