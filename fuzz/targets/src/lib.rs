//! What fuzzing holds pannier to: each target is a function of bytes that panics when a promise is
//! broken. Coverage may lead to the bytes, a seeded loop, or a file that broke something once; the
//! function is the same.
//!
//! A target is generic over the [`Subject`], the [`Stream`] or the like that it judges, so that the tests can
//! give it one with a planted fault and see it found. Knows the public interface only, and the doors of
//! `pannier::fuzzing`.

mod arena;
mod attach;
mod channel;
mod chunks;
mod corrupt;
mod decode;
mod differential;
mod drive;
mod hostile_peer;
mod ledger;
mod liar;
mod parse;
mod ring;
mod roundtrip;
mod script;
mod segments;
mod subject;
mod tree;
mod truncate;
mod types;

pub use self::arena::{Careful, Keeper, arena, arena_of};
pub use self::channel::{Ends, Letter, Post, Royal, channel, channel_of};
pub use self::chunks::{chunks, chunks_of};
pub use self::corrupt::{corrupt, corrupt_of};
pub use self::decode::{decode, decode_of};
pub use self::differential::{differential, differential_of};
pub use self::drive::{metadata_of, mutated, seeds_of};
pub use self::hostile_peer::{
    Distrustful, Receiver, Report, Victim, hostile_peer, hostile_peer_of,
};
pub use self::liar::Liar;
pub use self::parse::parse;
pub use self::ring::{Honest, Sides, ring, ring_of};
pub use self::roundtrip::{roundtrip, roundtrip_of};
pub use self::segments::{Gates, Guarded, segments, segments_of};
pub use self::subject::{Options, Pannier, Stream, Subject};
pub use self::truncate::{truncate, truncate_of};

/// A target's name and function.
pub type Target = (&'static str, fn(&[u8]));

/// All targets; each has a shim, a folder of the corpus and one of regressions by its name.
pub const TARGETS: [Target; 12] = [
    ("parse", parse),
    ("decode", decode),
    ("roundtrip", roundtrip),
    ("differential", differential),
    ("chunks", chunks),
    ("corrupt", corrupt),
    ("truncate", truncate),
    ("segments", segments),
    ("ring", ring),
    ("channel", channel),
    ("arena", arena),
    ("hostile_peer", hostile_peer),
];
