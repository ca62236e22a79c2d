//! Moves values and large buffers between processes, and runs work in worker processes that may crash.

pub use bytemuck::{self, Pod};

#[cfg(feature = "pool")]
mod pool;
