//! How a worker is born, recognised, and told from a program that was merely started again.
//!
//! A worker is this program, executed again with its end of a socket as standard input and a marker
//! in the environment; [`enter`](fn@enter) finds both. Or it is a copy of a process that was started so,
//! the fork server (`server` is its side, `forks` that of the pool).
//! Promises: a worker that does not prove that it is the same program is not used; a worker ends
//! with its parent; what a worker inherited from the parent is undone.
//! Does not know: what a worker does once it is ready.

#[cfg(feature = "testing")]
mod chaos;
mod confine;
mod enter;
mod forks;
mod handshake;
mod premain;
mod server;
mod start;

#[cfg(feature = "testing")]
pub use self::chaos::Chaos;
#[cfg(feature = "testing")]
pub(crate) use self::chaos::PLAN;
pub(crate) use self::confine::Confinement;
pub(crate) use self::enter::{Calling, Duty, end, enter, is_initialised};
pub(crate) use self::forks::{ForkServer, News, is_gone};
pub(crate) use self::handshake::{Hello, MESSAGE, Welcome, fits};
pub(crate) use self::premain::premain;
pub(crate) use self::start::{Program, Started, depth, start};
