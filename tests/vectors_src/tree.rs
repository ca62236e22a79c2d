//! Metadata as a tree of JSON that loses nothing, and the small notations that it needs.
//!
//! The tree is made from what rmpv reads, so it does not rest on the code that it tests. One value
//! has one tree: README.md of the vectors says which.

use rmpv::Value;
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};

/// The tree of well-formed metadata.
pub(crate) fn read(metadata: &[u8]) -> Json {
    tree(&value(metadata))
}

/// Whether metadata is in the form that writers use.
pub(crate) fn is_shortest(metadata: &[u8]) -> bool {
    let mut again = Vec::new();
    rmpv::encode::write_value(&mut again, &value(metadata)).unwrap();
    again == metadata
}

/// What rmpv makes of metadata.
pub(crate) fn value(mut metadata: &[u8]) -> Value {
    let value = rmpv::decode::read_value(&mut metadata).unwrap();
    assert!(metadata.is_empty(), "metadata is one value");
    value
}

pub(crate) fn tree(value: &Value) -> Json {
    match value {
        Value::Nil => Json::Null,
        Value::Boolean(value) => json!(value),
        Value::Integer(n) => {
            int(n.as_i64().map(i128::from).or(n.as_u64().map(i128::from)).unwrap())
        }
        Value::F32(value) => json!({"f32": format!("{:08x}", value.to_bits())}),
        Value::F64(value) => json!({"f64": format!("{:016x}", value.to_bits())}),
        Value::String(text) => string(text.as_str().unwrap()),
        Value::Binary(bytes) => json!({"bytes": long_or(bytes, || json!(hex(bytes)))}),
        Value::Array(items) => deep(value).unwrap_or_else(|| array(items)),
        Value::Map(entries) => deep(value).unwrap_or_else(|| map(entries)),
        Value::Ext(..) => json!({"buffer": reference(value).unwrap()}),
    }
}

/// The index that a reference names; `None` for all other values.
pub(crate) fn reference(value: &Value) -> Option<u32> {
    let Value::Ext(kind, payload) = value else { return None };
    assert_eq!(*kind, 0x70);
    Some(payload.iter().rev().fold(0, |index, &byte| index << 8 | u32::from(byte)))
}

/// A number where JSON readers agree on its value, else its digits.
pub(crate) fn int(n: i128) -> Json {
    if n.abs() <= 1 << 53 {
        json!(i64::try_from(n).unwrap())
    } else {
        json!({"int": n.to_string()})
    }
}

/// What [`int`] made.
pub(crate) fn from_int(json: &Json) -> u64 {
    match json.get("int") {
        Some(digits) => digits.as_str().unwrap().parse().unwrap(),
        None => json.as_u64().unwrap(),
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes of hexadecimal digits; spaces separate nothing.
pub(crate) fn unhex(digits: &str) -> Vec<u8> {
    let digits: Vec<u32> = digits.chars().filter_map(|digit| digit.to_digit(16)).collect();
    assert_eq!(digits.len() % 2, 0);
    digits.chunks(2).map(|pair| u8::try_from(pair[0] << 4 | pair[1]).unwrap()).collect()
}

fn string(text: &str) -> Json {
    if text.len() > LONG_TEXT {
        json!({"text": long_or(text.as_bytes(), || json!(text))})
    } else {
        json!(text)
    }
}

fn long_or(bytes: &[u8], short: impl FnOnce() -> Json) -> Json {
    if bytes.len() > LONG_TEXT {
        json!({"len": bytes.len(), "sha256": sha256(bytes)})
    } else {
        short()
    }
}

fn array(items: &[Value]) -> Json {
    if items.len() > MANY_ITEMS {
        if items.iter().all(|item| *item == items[0]) {
            return json!({"repeat": {"count": items.len(), "item": tree(&items[0])}});
        }
        if let Some(from) = reference(&items[0]) {
            assert!((from..).zip(items).all(|(index, item)| reference(item) == Some(index)));
            return json!({"buffers": {"from": from, "count": items.len()}});
        }
    }
    items.iter().map(tree).collect()
}

fn map(entries: &[(Value, Value)]) -> Json {
    if entries.len() > MANY_ITEMS {
        assert!(entries.iter().all(|entry| *entry == entries[0]));
        let (key, value) = &entries[0];
        let repeat = json!({"count": entries.len(), "key": tree(key), "value": tree(value)});
        return json!({"map_repeat": repeat});
    }
    let entries = entries.iter().map(|(key, value)| json!([tree(key), tree(value)]));
    json!({"map": entries.collect::<Json>()})
}

/// Many arrays of one item, or maps of one entry with the same key, inside each other: JSON readers
/// need not nest as deep as this format.
fn deep(value: &Value) -> Option<Json> {
    let (shell, mut inner) = shell(value)?;
    let mut levels = 1;
    while let Some((_, next)) = self::shell(inner).filter(|(key, _)| *key == shell) {
        levels += 1;
        inner = next;
    }
    let key = shell.map(|key| json!({"key": tree(key)}));
    let shell = key.unwrap_or(json!("array"));
    let deep = json!({"levels": levels, "shell": shell, "item": tree_of_deep(inner, levels)?});
    Some(json!({"deep": deep}))
}

/// Whatever is in a chain that is long enough; a short one is written out.
fn tree_of_deep(inner: &Value, levels: u32) -> Option<Json> {
    (levels > DEEP).then(|| tree(inner))
}

fn shell(value: &Value) -> Option<(Option<&Value>, &Value)> {
    match value {
        Value::Array(items) if items.len() == 1 => Some((None, &items[0])),
        Value::Map(entries) if entries.len() == 1 => Some((Some(&entries[0].0), &entries[0].1)),
        _ => None,
    }
}

/// Longer strings and byte strings are told by their hash.
const LONG_TEXT: usize = 256;
/// Longer arrays and maps are told by their rule.
const MANY_ITEMS: usize = 1000;
/// A longer chain of single items is told by its length.
const DEEP: u32 = 32;
