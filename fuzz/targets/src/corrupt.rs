//! `corrupt`: a frame with checksums that was changed in up to four bytes does not stand `verify`.
//!
//! A checksum of 32 bits overlooks one change in four thousand million; the places follow from the
//! input and not from feedback, so no run lives to see that.

use pannier::Limits;
use pannier::frame::{Frame, checksum};
use pannier::fuzzing::fix_up;

use crate::{Pannier, Random, Subject};

/// Any bytes, made a frame with checksums if they can be.
pub fn corrupt(data: &[u8]) {
    corrupt_of::<Pannier>(data);
}

/// The same for another reader.
pub fn corrupt_of<S: Subject>(data: &[u8]) {
    let limits = Limits::tiny();
    let mut frame = data.to_vec();
    if let Some(must) = frame.get_mut(5) {
        *must |= 1;
    }
    fix_up(&mut frame);
    if Frame::parse(&frame, &limits).is_err() {
        return;
    }
    assert_eq!(S::verify(&frame, &limits), Ok(()), "a sound frame");
    let mut random = Random::new(checksum(data));
    for _ in 0..8 {
        let mut damaged = frame.clone();
        for _ in 0..=random.below(4) {
            let at = random.below(damaged.len());
            damaged[at] ^= random.byte();
        }
        let verified = S::verify(&damaged, &limits);
        assert!(verified.is_err() || damaged == frame, "a damaged frame stands verify");
    }
}
