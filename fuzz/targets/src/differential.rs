//! `differential`: metadata means what others say it means. What we accept rmpv accepts, as the
//! same value, and what we write in band is what rmp-serde writes.

use pannier::{Buffer, Limits};
use rmpv::Value;

use crate::{Options, Pannier, Subject};

/// Any bytes, as metadata.
pub fn differential(data: &[u8]) {
    differential_of::<Pannier>(data);
}

/// The same for another reader and writer.
pub fn differential_of<S: Subject>(data: &[u8]) {
    let limits = Limits::tiny();
    let mut buffers: Vec<_> = (0..limits.buffers).map(buffer).collect();
    let Ok(ours) = S::decode_parts::<Value>(data, &mut buffers, &limits) else { return };
    let mut rest = data;
    let theirs = rmpv::decode::read_value(&mut rest).expect("rmpv accepts what we accept");
    assert!(rest.is_empty(), "rmpv sees {} bytes behind the value", rest.len());
    let theirs = resolved(theirs);
    assert_eq!(canonical(&ours), canonical(&theirs), "rmpv reads another value");
    let plain = rmp_serde::to_vec_named(&ours).expect("it was read, so it can be written");
    let (written, _) = S::encode_parts(&ours, &Options::IN_BAND).expect("as rmp-serde does");
    assert_eq!(written, plain, "rmp-serde writes other bytes");
    let low = Options { threshold: 1, ..Options::IN_BAND };
    let (metadata, mut buffers) = S::encode_parts(&ours, &low).expect("as in band");
    let again = S::decode_parts::<Value>(&metadata, &mut buffers, &Limits::default());
    assert_eq!(canonical(&again.expect("it was written")), plain, "out of band");
}

/// What buffer `index` holds here.
fn buffer(index: u32) -> Buffer<u8> {
    vec![index.to_le_bytes()[0]; 5].into()
}

/// References replaced by the bytes that they refer to.
fn resolved(value: Value) -> Value {
    match value {
        Value::Ext(0x70, payload) => {
            let index = payload.iter().rev().fold(0, |index, &byte| index << 8 | u32::from(byte));
            Value::Binary(buffer(index).to_vec())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(resolved).collect()),
        Value::Map(items) => {
            Value::Map(items.into_iter().map(|(k, v)| (resolved(k), resolved(v))).collect())
        }
        other => other,
    }
}

/// Bytes of the value: to compare values of which some are not equal to themselves.
fn canonical(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    rmpv::encode::write_value(&mut out, value).expect("a vector takes everything");
    out
}
