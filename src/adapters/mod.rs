//! Bridges to what a program has already: channels of another crate, memory that has a name.
//!
//! | module | feature | for |
//! | --- | --- | --- |
//! | `ipc_channel` | `ipc-channel` | frames over `IpcSender` and `IpcReceiver` |
//! | `named` | `named` | shared memory with a name, for processes that did not inherit it, Python's too |
//!
//! Promises: nothing here changes what the other layers do.
//! Does not know: pools and channels of this library.

#[cfg(feature = "ipc-channel")]
pub mod ipc_channel;
#[cfg(feature = "named")]
pub mod named;
