//! Every target over many mutated inputs, on stable: what a fuzzer would find in the first seconds
//! is found by `cargo test`. The number of an input that breaks something is printed, and its bytes.

use pannier::frame::checksum;
use pannier_targets::{
    chunks, corrupt, decode, differential, metadata_of, mutated, parse, roundtrip, truncate,
};
use proptest::prelude::*;

/// Frames that are mutated. In two tests, since most machines have two cores.
const FRAMES: u32 = 200_000;

/// Each frame is parsed and read; the other targets, which go over it many times, take turns.
fn all(frame: &[u8]) {
    parse(frame);
    decode(frame);
    match checksum(frame) % 3 {
        0 => chunks(frame),
        1 => truncate(frame),
        _ => {
            corrupt(frame);
            metadata_of(frame).iter().for_each(|metadata| differential(metadata));
        }
    }
}

#[test]
fn frames_break_no_promise() {
    mutated("decode", 0..FRAMES / 2, all);
}

#[test]
fn other_frames_break_no_promise() {
    mutated("decode", FRAMES / 2..FRAMES, all);
}

#[test]
fn streams_break_no_promise() {
    mutated("chunks", 0..20_000, chunks);
}

#[test]
fn metadata_means_what_others_say_it_means() {
    mutated("differential", 0..50_000, differential);
}

#[test]
fn values_are_the_same_after_a_round_trip() {
    mutated("roundtrip", 0..20_000, roundtrip);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// The same by proptest, which makes an input smaller before it shows it.
    #[test]
    fn round_trips_hold_for_any_bytes(data in proptest::collection::vec(any::<u8>(), 0..600)) {
        roundtrip(&data);
    }
}
