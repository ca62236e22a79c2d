//! `decode`: what a type accepts is a sound frame; borrowing and sharing come to the same value;
//! and no input makes a reader allocate beyond a multiple of its size and the repeat budget.

use std::collections::HashMap;

use bytes::Bytes;
use pannier::frame::Frame;
use pannier::{Buffer, Limits};
use rmpv::Value;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::types::{Adjacent, Base, Borrowed, Chain, Flat, Internal, Job, Mixed, Pods, Untagged};
use crate::{Pannier, Subject};

/// Any bytes, as values of many types.
pub fn decode(data: &[u8]) {
    decode_of::<Pannier>(data);
}

/// The same for another reader.
pub fn decode_of<S: Subject>(data: &[u8]) {
    let limits = Limits::tiny();
    let sound = Frame::parse(data, &limits).is_ok();
    let read = Input { data, limits: &limits, sound };
    read.owned::<S, IgnoredAny>();
    read.owned::<S, Value>();
    read.lent::<S, Borrowed<'_>>();
    if !sound {
        return; // What has come this far was refused before any type was asked.
    }
    read.owned::<S, Chain>();
    read.owned::<S, Flat>();
    read.owned::<S, Untagged>();
    read.owned::<S, Internal>();
    read.owned::<S, Adjacent>();
    read.owned::<S, Job>();
    read.owned::<S, Base>();
    read.owned::<S, Mixed>();
    read.owned::<S, Pods>();
    read.owned::<S, HashMap<String, Option<Vec<Buffer<u8>>>>>();
    read.owned::<S, Vec<()>>();
    read.lent::<S, Vec<(&str, &[u8])>>();
    read.lent::<S, &[u8]>();
}

struct Input<'a> {
    data: &'a [u8],
    limits: &'a Limits,
    sound: bool,
}

impl<'a> Input<'a> {
    /// Whether it was read.
    fn lent<S: Subject, T: Deserialize<'a>>(&self) -> bool {
        let mut accepted = false;
        self.measure(&mut || accepted = S::decode::<T>(self.data, self.limits).is_ok());
        assert!(self.sound || !accepted, "a type accepts what is no sound frame");
        accepted
    }

    fn owned<S: Subject, T: DeserializeOwned>(&self) {
        let copied = self.lent::<S, T>();
        let bytes = Bytes::copy_from_slice(self.data);
        let mut shared = false;
        self.measure(&mut || shared = S::decode_shared::<T>(bytes.clone(), self.limits).is_ok());
        assert!(self.sound || !shared, "a type accepts what is no sound frame");
        // Sharing costs less of the repeat budget, so that it may succeed where copying does not.
        assert!(shared || !copied, "what can be copied cannot be shared");
    }

    fn measure(&self, run: &mut dyn FnMut()) {
        let peak = allocation_counter::measure(run).bytes_max;
        let bound = PER_BYTE * self.data.len() as u64 + self.limits.repeat_bytes + ALWAYS;
        assert!(peak <= bound, "{peak} bytes allocated for {} of input", self.data.len());
    }
}

/// What a value may take for each byte it was read from: a `Value` of 32 bytes from one byte, in a
/// vector that is half full, or a node of a `BTreeMap` for one short entry.
const PER_BYTE: u64 = 512;
/// For errors and tables, whatever the input.
const ALWAYS: u64 = 4096;
