//! The mutator of the targets that read frames.
#![forbid(unsafe_code)]

use libfuzzer_sys::fuzzer_mutate;
use pannier::fuzzing::{fix_up, mutate};

/// Mostly a step of pannier's own; every fourth is libFuzzer's, which knows the dictionary and what
/// the program compared its input with, and half of those are put right afterwards.
pub fn step(data: &mut [u8], size: usize, max: usize, seed: u32) -> usize {
    if seed % 4 > 0 {
        return mutate(data, size, max, seed);
    }
    let len = fuzzer_mutate(data, size, max);
    if seed % 8 == 0 {
        fix_up(&mut data[..len]);
    }
    len
}
