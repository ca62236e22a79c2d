//! Types of many shapes, for what they are read from: each shape takes a way of its own through
//! serde.

use std::collections::BTreeMap;

use pannier::Buffer;
use serde::{Deserialize, Serialize};

/// Each level is a map of one entry.
#[derive(Serialize, Deserialize, Debug, PartialEq)]
pub(crate) enum Chain {
    A(Box<Chain>),
    T(Box<Chain>, u8),
    S { k: Box<Chain> },
    E,
}

#[derive(Serialize, Deserialize, Debug, PartialEq)]
pub(crate) struct Flat {
    pub(crate) k: Option<u8>,
    #[serde(flatten)]
    pub(crate) inner: Inner,
    #[serde(flatten)]
    pub(crate) rest: BTreeMap<String, Untagged>,
}

#[derive(Serialize, Deserialize, Debug, PartialEq)]
pub(crate) struct Inner {
    pub(crate) a: Option<Buffer<u8>>,
    #[serde(default)]
    pub(crate) b: Vec<u8>,
}

#[derive(Serialize, Deserialize, Debug, PartialEq)]
#[serde(untagged)]
pub(crate) enum Untagged {
    Nothing,
    Number(i64),
    Text(String),
    Words(Buffer<u16>),
    Bytes(Buffer<u8>),
    List(Vec<Untagged>),
    Pair { k: Box<Untagged> },
}

#[derive(Serialize, Deserialize, Debug, PartialEq)]
#[serde(tag = "t")]
pub(crate) enum Internal {
    A { c: Option<Buffer<i64>> },
    B(Inner),
    C { k: Box<Internal> },
    E,
}

#[derive(Serialize, Deserialize, Debug, PartialEq)]
#[serde(tag = "t", content = "c")]
pub(crate) enum Adjacent {
    A(Vec<Adjacent>),
    B(Buffer<u16>, u8),
    C { k: String },
    E,
}

/// That of the format's worked example.
#[derive(Serialize, Deserialize, Debug, PartialEq)]
pub(crate) struct Job {
    pub(crate) id: u64,
    pub(crate) x: Buffer<f32>,
    pub(crate) y: Buffer<f32>,
}

/// That of the format's hostile inputs.
pub(crate) type Base = (Buffer<f64>, Buffer<u8>, Buffer<f64>, String);

#[derive(Serialize, Deserialize, Debug, PartialEq)]
pub(crate) struct Borrowed<'a> {
    pub(crate) a: &'a str,
    pub(crate) b: &'a [u8],
    #[serde(borrow)]
    pub(crate) k: Option<&'a str>,
}

#[derive(Serialize, Deserialize, Debug, PartialEq)]
pub(crate) struct Mixed(
    pub(crate) Option<Option<bool>>,
    pub(crate) (i8, u16, i128),
    pub(crate) [u8; 3],
    pub(crate) char,
    pub(crate) f32,
    pub(crate) (),
);

#[derive(Serialize, Deserialize, Debug, PartialEq)]
pub(crate) struct Pods {
    #[serde(with = "pannier::pod")]
    pub(crate) k: Vec<u32>,
    #[serde(with = "pannier::bytes")]
    pub(crate) a: bytes::Bytes,
}
