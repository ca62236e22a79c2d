//! `parse`: no panic; what is accepted has its parts in place and is the same bytes when it is
//! written again; head and whole parse agree; cuts are `Truncated`.
//!
//! That [`check`] can fail is tested beside it.

use pannier::Limits;
use pannier::fuzzing::check;

/// Any bytes, under limits for fuzzing and under narrow ones.
pub fn parse(data: &[u8]) {
    check(data, &Limits::tiny());
    check(data, &Limits::tiny().depth(1).buffers(1).meta_len(40).frame_len(1024));
}
