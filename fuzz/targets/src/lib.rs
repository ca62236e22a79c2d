//! What fuzzing holds pannier to: each target is a function of bytes that panics when a promise is
//! broken. Coverage may lead to the bytes, a seeded loop, or a file that broke something once; the
//! function is the same.
//!
//! A target is generic over the [`Subject`] or the [`Stream`] that it judges, so that the tests can give it one with
//! a planted fault and see it found. Knows the public interface only.

mod chunks;
mod corrupt;
mod decode;
mod differential;
mod drive;
mod parse;
mod roundtrip;
mod subject;
mod tree;
mod truncate;
mod types;

pub use self::chunks::{chunks, chunks_of};
pub use self::corrupt::{corrupt, corrupt_of};
pub use self::decode::{decode, decode_of};
pub use self::differential::{differential, differential_of};
pub use self::drive::{metadata_of, mutated, seeds_of};
pub use self::parse::parse;
pub use self::roundtrip::{roundtrip, roundtrip_of};
pub use self::subject::{Options, Pannier, Stream, Subject};
pub use self::truncate::{truncate, truncate_of};

/// A target's name and function.
pub type Target = (&'static str, fn(&[u8]));

/// All targets; each has a shim, a folder of the corpus and one of regressions by its name.
pub const TARGETS: [Target; 7] = [
    ("parse", parse),
    ("decode", decode),
    ("roundtrip", roundtrip),
    ("differential", differential),
    ("chunks", chunks),
    ("corrupt", corrupt),
    ("truncate", truncate),
];
