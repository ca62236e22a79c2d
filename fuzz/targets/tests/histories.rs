//! The targets that are lists of operations over many such lists, on stable.

use pannier_targets::{arena, channel, hostile_peer, mutated, ring, segments};

#[test]
fn no_range_leaves_its_segment() {
    mutated("segments", 0..10_000, segments);
}

#[test]
fn a_ring_is_a_queue_and_wakes_who_sleeps() {
    mutated("ring", 0..30_000, ring);
}

#[test]
fn a_channel_is_two_queues() {
    mutated("channel", 0..1_000, channel);
}

#[test]
fn an_arena_gives_out_what_is_free() {
    mutated("arena", 0..1_000, arena);
}

#[test]
fn a_hostile_peer_meets_errors_only() {
    mutated("hostile_peer", 0..1_000, hostile_peer);
}
