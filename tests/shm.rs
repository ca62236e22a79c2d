//! Shared memory without a pool: segments, arenas, and what happens when something runs out.
//!
//! Limits, descriptors and maps are the process's, so whatever changes or counts them happens in a
//! child: this program again, with the one test that it is to run.
#![expect(unsafe_code, reason = "attaches arenas, forks")]

#[path = "shm/arena.rs"]
mod arena;
#[path = "shm/child.rs"]
mod child;
#[path = "shm/limits.rs"]
mod limits;
#[expect(dead_code, reason = "each test program uses its part")]
#[path = "common/proc.rs"]
mod proc;
#[path = "shm/segment.rs"]
mod segment;
