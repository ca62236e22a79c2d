//! Maps over a pool: lazy iterators of results.
//!
//! Promises: one result for each item, in order; the input is pulled in the caller's thread, and no
//! further ahead than was asked for.
//! Does not know: workers; it packs items and waits for answers.
#![forbid(unsafe_code)]

mod chunk;
mod map;
mod size;

pub use self::map::Map;
