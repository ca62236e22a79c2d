//! Reading values: rmp-serde wrapped in every direction.
//!
//! `wrap` stands between rmp-serde and the type, `enums` and `integers` answer for the two shapes
//! that rmp-serde reads wrong, and `decode` keeps what is known across the values of one read.
#![forbid(unsafe_code)]

mod decode;
mod enums;
mod integers;
mod wrap;

pub(super) use self::decode::Decode;
