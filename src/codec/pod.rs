//! `#[serde(with = "pannier::pod")]` for fields of type `Vec<T>`, `T:` [`Pod`].
//!
//! In a frame the items are one byte string, out of band if it is large, instead of a sequence of
//! numbers. Unlike a [`Buffer`](crate::Buffer) the vector is copied on both sides.
//!
//! # Examples
//!
//! ```
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Samples {
//!     #[serde(with = "pannier::pod")]
//!     values: Vec<f32>,
//! }
//!
//! let frame = pannier::to_vec(&Samples { values: vec![0.5; 1_000] })?;
//! assert!(frame.len() < 4_500); // four bytes an item, not five
//! let samples: Samples = pannier::from_slice(&frame)?;
//! assert_eq!(samples.values, [0.5; 1_000]);
//! # Ok::<(), pannier::CodecError>(())
//! ```
#![forbid(unsafe_code)]

use bytemuck::Pod;
use serde::{Deserializer, Serializer};

use crate::codec::buffer_impls::{deserialize_pod, serialize_lent};

/// Writes the items as bytes, or as numbers to a format that people read.
///
/// # Errors
///
/// Those of the serializer.
///
/// # Examples
///
/// ```
/// let mut json = serde_json::Serializer::new(Vec::new());
/// pannier::pod::serialize(&[1_u16, 2], &mut json)?;
/// assert_eq!(json.into_inner(), b"[1,2]");
/// # Ok::<(), serde_json::Error>(())
/// ```
pub fn serialize<T: Pod, S: Serializer>(items: &[T], serializer: S) -> Result<S::Ok, S::Error> {
    serialize_lent(items, serializer)
}

/// Reads what [`serialize`] wrote: bytes or a sequence.
///
/// # Errors
///
/// Those of the deserializer; bytes that are no whole number of items, or were written as items of
/// another type.
///
/// # Examples
///
/// ```
/// let mut json = serde_json::Deserializer::from_str("[1, 2]");
/// let items: Vec<u16> = pannier::pod::deserialize(&mut json)?;
/// assert_eq!(items, [1, 2]);
/// # Ok::<(), serde_json::Error>(())
/// ```
pub fn deserialize<'de, T: Pod, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    deserialize_pod(deserializer)
}
