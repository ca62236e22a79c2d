//! What a fuzzer of frames needs, for this library's own targets and for yours.
//!
//! With feature `arbitrary` there is [`SoundFrame`], beside the `Arbitrary` of this library's types;
//! with feature `fuzzing` the rest. Some of that is for this library's own targets only: doors to
//! what is not public, with feature `channel`.
//!
//! Promises: deterministic, no clock and no I/O of its own. Does not promise to stay: **this module
//! is outside of semver**, a fuzzer gets better by changing.
#![cfg_attr(feature = "fuzzing", doc = include_str!("yours.md"))]
#![forbid(unsafe_code)]

#[cfg(feature = "fuzzing")]
mod check;
#[cfg(feature = "fuzzing")]
mod dictionary;
#[cfg(feature = "fuzzing")]
mod fix_up;
#[cfg(all(feature = "fuzzing", feature = "channel"))]
mod memory;
#[cfg(feature = "fuzzing")]
mod mutate;
#[cfg(feature = "fuzzing")]
mod parts;
#[cfg(feature = "fuzzing")]
mod peer;
#[cfg(feature = "fuzzing")]
mod random;
#[cfg(all(feature = "fuzzing", feature = "channel"))]
mod ring;
#[cfg(feature = "fuzzing")]
mod seeds;
#[cfg(feature = "fuzzing")]
mod segments;
mod sound;

pub use self::sound::SoundFrame;
#[cfg(feature = "fuzzing")]
pub use self::{
    check::check, dictionary::DICTIONARY, fix_up::fix_up, mutate::mutate, peer::HostilePeer,
    random::Random, seeds::seeds, segments::parse_with,
};
#[cfg(all(feature = "fuzzing", feature = "channel"))]
pub use self::{
    memory::{Block, HostileWords, PoolMemory, Range, SegmentOffer, WorkerMemory},
    ring::{Pop, Push, Ring, RingConsumer, RingProducer},
};
