//! Shared memory without a pool: segments, arenas, and what happens when something runs out.
//!
//! Limits, descriptors and maps are the process's, so whatever changes or counts them happens in a
//! child: this program again, with the one test that it is to run.
#![expect(unsafe_code, reason = "attaches arenas, forks")]

#[path = "shm/arena.rs"]
mod arena;
#[path = "shm/child.rs"]
mod child;
#[expect(dead_code, reason = "each test program uses its part")]
#[path = "common/group.rs"]
mod group;
#[path = "shm/limits.rs"]
mod limits;
#[path = "shm/model.rs"]
mod model;
#[expect(dead_code, reason = "each test program uses its part")]
#[path = "common/proc.rs"]
mod proc;
#[path = "shm/segment.rs"]
mod segment;

use std::fmt::Debug;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, OwnedFd};

use pannier::shm::{Arena, ArenaReader, ArenaSegment, Lease, Place, SealedSegment, Segment};
use pannier::{Buffer, BufferMut, BufferSink, Result};

fn travels_between_threads<T: Send + Sync + Unpin + Debug + 'static>() {}

#[test]
fn the_surface_is_as_promised() {
    let _: fn(usize) -> Result<Segment> = Segment::create;
    let _: fn(Segment) -> Result<SealedSegment> = Segment::seal;
    let _: fn(OwnedFd) -> Result<SealedSegment> = SealedSegment::attach;
    let _: fn(SealedSegment) -> Buffer<u8> = SealedSegment::into_buffer;
    let _: fn(u64) -> Result<Arena> = Arena::create;
    let _: fn(&Arena, usize) -> Result<BufferMut<f64>> = Arena::alloc;
    fn lends<T: Deref<Target = [u8]>>() {}
    lends::<Segment>();
    lends::<SealedSegment>();
    fn is_written<T: DerefMut>() {}
    is_written::<Segment>();
    fn has_a_descriptor<T: AsFd + Clone>() {}
    has_a_descriptor::<SealedSegment>();
    has_a_descriptor::<ArenaSegment>();
    fn takes_buffers<T: BufferSink + Clone>() {}
    takes_buffers::<Arena>();
    travels_between_threads::<Segment>();
    travels_between_threads::<SealedSegment>();
    travels_between_threads::<Arena>();
    travels_between_threads::<ArenaReader>();
    travels_between_threads::<(Lease, Place)>();
}
