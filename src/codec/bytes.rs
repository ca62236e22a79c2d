//! `#[serde(with = "pannier::bytes")]` for fields of type [`::bytes::Bytes`].
//!
//! In a frame they travel as a [`Buffer`] of bytes: shared and not copied, where the
//! frame's memory can be.
//!
//! # Examples
//!
//! ```
//! use bytes::Bytes;
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Body {
//!     #[serde(with = "pannier::bytes")]
//!     body: Bytes,
//! }
//!
//! let frame = Bytes::from(pannier::to_vec(&Body { body: vec![7; 10_000].into() })?);
//! let body: Body = pannier::from_bytes(frame.clone())?;
//! assert!(frame.as_ptr_range().contains(&body.body.as_ptr()));
//! # Ok::<(), pannier::CodecError>(())
//! ```
#![forbid(unsafe_code)]

use ::bytes::Bytes;
use serde::{Deserializer, Serializer};

use crate::buffer::Buffer;
use crate::codec::buffer_impls::{deserialize_pod, serialize_pod};

/// Writes the bytes, or numbers to a format that people read.
///
/// # Errors
///
/// Those of the serializer.
///
/// # Examples
///
/// ```
/// let mut json = serde_json::Serializer::new(Vec::new());
/// pannier::bytes::serialize(&bytes::Bytes::from_static(b"hi"), &mut json)?;
/// assert_eq!(json.into_inner(), b"[104,105]");
/// # Ok::<(), serde_json::Error>(())
/// ```
pub fn serialize<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    serialize_pod(bytes, serializer, || Buffer::from(bytes.clone()))
}

/// Reads what [`serialize`] wrote: bytes or a sequence.
///
/// # Errors
///
/// Those of the deserializer.
///
/// # Examples
///
/// ```
/// let mut json = serde_json::Deserializer::from_str("[104, 105]");
/// assert_eq!(pannier::bytes::deserialize(&mut json)?, "hi");
/// # Ok::<(), serde_json::Error>(())
/// ```
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    deserialize_pod::<u8, Buffer<u8>, D>(deserializer).map(Bytes::from)
}
