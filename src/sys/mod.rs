//! The kernel: memory objects and maps, sockets, processes, signals, waiting.
//!
//! Promises: every descriptor is close-on-exec, every shared map is left out of forked children,
//! and every call answers with an error instead of a signal.
//! Does not know: what is written into the memory or sent over the sockets.

#[cfg(feature = "channel")]
pub(crate) mod area;
pub(crate) mod cgroup;
#[cfg(feature = "pool")]
pub(crate) mod child;
#[cfg(feature = "pool")]
pub(crate) mod clone;
#[cfg(feature = "pool")]
pub(crate) mod confine;
pub(crate) mod counts;
pub(crate) mod epoch;
#[cfg(feature = "channel")]
pub(crate) mod fault;
#[cfg(feature = "pool")]
pub(crate) mod host;
pub(crate) mod huge;
#[cfg(feature = "channel")]
pub(crate) mod inherit;
pub(crate) mod map;
pub(crate) mod memory;
#[cfg(feature = "pool")]
pub(crate) mod module;
#[cfg(feature = "pool")]
pub(crate) mod poller;
pub(crate) mod room;
#[cfg(feature = "pool")]
pub(crate) mod signal;
#[cfg(feature = "channel")]
pub(crate) mod socket;
pub(crate) mod spill;
#[cfg(feature = "channel")]
pub(crate) mod wait;
