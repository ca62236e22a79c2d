//! Every target over many mutated inputs, on stable: what a fuzzer would find in the first seconds
//! is found by `cargo test`. The seed of an input that breaks something is printed.

use pannier_targets::{
    TARGETS, chunks, corrupt, decode, differential, mutated, parse, roundtrip, truncate,
};
use proptest::prelude::*;

/// Frames that go through each target.
const FRAMES: u32 = 200_000;

#[test]
fn parse_holds() {
    mutated("parse", FRAMES, parse);
}

#[test]
fn decode_holds() {
    mutated("decode", FRAMES, decode);
}

#[test]
fn roundtrip_holds() {
    mutated("roundtrip", FRAMES / 4, roundtrip);
}

#[test]
fn differential_holds() {
    mutated("differential", FRAMES, differential);
}

#[test]
fn chunks_holds() {
    mutated("chunks", FRAMES, chunks);
}

#[test]
fn corrupt_holds() {
    mutated("corrupt", FRAMES, corrupt);
}

#[test]
fn truncate_holds() {
    mutated("truncate", FRAMES, truncate);
}

#[test]
fn no_target_is_left_out() {
    assert_eq!(TARGETS.len(), 7);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// The same by proptest, which makes an input smaller before it shows it.
    #[test]
    fn roundtrip_holds_for_any_bytes(data in proptest::collection::vec(any::<u8>(), 0..600)) {
        roundtrip(&data);
    }
}
