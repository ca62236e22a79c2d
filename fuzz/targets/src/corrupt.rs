//! `corrupt`: a frame with checksums that was damaged in one place does not stand `verify`.
//!
//! The damage is one burst within four bytes, and a checksum of 32 bits finds each of these: no run
//! fails by chance. So the burst keeps clear of what is not certain: it does not run over an edge of
//! the head's checksum, and leaves the lengths alone that say what is under it.

use pannier::Limits;
use pannier::frame::{Frame, checksum};
use pannier::fuzzing::{Random, fix_up};

use crate::{Pannier, Subject};

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
        damage(&mut damaged, &mut random);
        // Without its flag, a head whose checksum happens to be zero is one that has none.
        if damaged[5] & 1 == 1 || damaged[28..32] != [0; 4] {
            assert!(S::verify(&damaged, &limits).is_err(), "a damaged frame stands verify");
        }
    }
}

/// Changes one bit, or some of 32 that lie together.
fn damage(frame: &mut [u8], random: &mut Random) {
    let at = random.below(frame.len());
    let at = if LENGTHS.contains(&at) { at - LENGTHS.start } else { at };
    let bit = 1 << random.below(8);
    let bits = if random.one_in(2) { bit } else { bit | random.number() };
    // Flags, lengths, what else is in the header, its checksum, the rest.
    let edges = [LENGTHS.start, LENGTHS.end, 28, 32, frame.len()];
    let edge = edges.into_iter().find(|edge| at < *edge).unwrap_or(at);
    let burst = bits.to_le_bytes();
    frame[at..edge].iter_mut().zip(&burst[..4]).for_each(|(byte, bits)| *byte ^= bits);
}

/// Of the metadata, and how many buffers.
const LENGTHS: std::ops::Range<usize> = 8..16;
