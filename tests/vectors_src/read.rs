//! The committed files, read as a stranger would: JSON and bytes against the library.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use bytes::Bytes;
use pannier::frame::{Frame, write_frame};
use pannier::{CodecError, Decoder, FrameError};
use serde::de::IgnoredAny;
use serde_json::{Value as Json, json};

use crate::tree::{is_shortest, read, sha256, tree, value};
use crate::vector::{buffers, error, limits, shown};
use crate::{folder, parts};

/// One vector as it lies on the disk.
pub(crate) struct Case {
    name: String,
    json: Json,
    bytes: Vec<u8>,
}

/// What readers must accept.
pub(crate) fn good() -> &'static [Case] {
    static CASES: OnceLock<Vec<Case>> = OnceLock::new();
    CASES.get_or_init(|| cases("ok"))
}

/// What readers must refuse.
pub(crate) fn bad() -> Vec<Case> {
    cases("bad")
}

/// All vectors of a folder, in the order of their names.
fn cases(kind: &str) -> Vec<Case> {
    let entries = fs::read_dir(folder().join(kind)).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let is_json = |path: &&PathBuf| path.extension().is_some_and(|e| e == "json");
    paths.iter().filter(is_json).map(|path| case(path)).collect()
}

fn case(path: &Path) -> Case {
    let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
    let json: Json = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(json["name"], *name);
    let bytes = match json.get("generated") {
        Some(rule) => parts::assemble(&parts::from_json(rule)),
        None => fs::read(path.with_extension("bin")).unwrap(),
    };
    assert_eq!(json["len"], bytes.len(), "{name}");
    assert_eq!(json["sha256"], sha256(&bytes), "{name}");
    Case { name, json, bytes }
}

impl Case {
    pub(crate) fn is_read_as_said(&self) {
        let Case { name, json, bytes } = self;
        let frame = Frame::parse(bytes, &limits(&json["limits"]))
            .unwrap_or_else(|error| panic!("{name}: {error}\n{}", shown(bytes)));
        assert_eq!(frame.verify(), Ok(()), "{name}");
        let options = frame.options();
        assert_eq!(json["tag"], options.tag, "{name}");
        assert_eq!(json["may"], options.may, "{name}");
        assert_eq!(json["checksum"], options.checksum, "{name}");
        assert_eq!(json["value"], read(frame.metadata()), "{name}");
        assert_eq!(json["shortest"], is_shortest(frame.metadata()), "{name}");
        let descriptors: Vec<_> = frame.descriptors().collect();
        let bodies: Vec<&[u8]> =
            descriptors.iter().map(|d| frame.inline(d).unwrap_or_default()).collect();
        assert_eq!(json["buffers"], buffers(&descriptors, &bodies, options.checksum), "{name}");
        let mut parts: Vec<_> = descriptors.into_iter().zip(bodies).collect();
        let mut again = Vec::new();
        write_frame(&mut again, &[frame.metadata()], &mut parts, &options).unwrap();
        assert!(again == *bytes, "{name}: written again it is another frame");
    }

    pub(crate) fn is_decoded(&self) {
        let Case { name, json, bytes } = self;
        let decoder = Decoder::new().limits(limits(&json["limits"])).verify(true);
        let ignored = decoder.from_slice::<IgnoredAny>(bytes);
        if let Some(index) = self.external() {
            let refused = ignored.map(|_| ()).unwrap_err();
            assert_eq!(frame_error(refused), FrameError::External { index }, "{name}");
            return;
        }
        ignored.unwrap_or_else(|error| panic!("{name}: {error}"));
        if bytes.len() > LARGEST_VALUE {
            return;
        }
        let frame = Frame::parse(bytes, &limits(&json["limits"])).unwrap();
        let expected = tree(&with_buffers(value(frame.metadata()), &frame));
        let lent: rmpv::Value = decoder.from_slice(bytes).unwrap();
        assert_eq!(tree(&lent), expected, "{name}");
        let shared: rmpv::Value = decoder.from_bytes(Bytes::from(bytes.clone())).unwrap();
        assert_eq!(tree(&shared), expected, "{name}");
    }

    pub(crate) fn is_refused_as_said(&self) {
        let Case { name, json, bytes } = self;
        let limits = limits(&json["limits"]);
        let frame = Frame::parse(bytes, &limits);
        let found = match frame {
            Ok(frame) if json["verify"] == true => frame.verify().err(),
            Ok(_) => None,
            Err(_) if json["verify"] == true => panic!("{name}: found without verifying"),
            Err(error) => Some(error),
        };
        let found = found.unwrap_or_else(|| panic!("{name} was accepted"));
        assert_eq!(json["error"], error(&found), "{name}: {}", shown(bytes));
        let decoded = Decoder::new().limits(limits).verify(true).from_slice::<IgnoredAny>(bytes);
        assert_eq!(frame_error(decoded.map(|_| ()).unwrap_err()), found, "{name}");
    }

    /// The first buffer that is not in the frame.
    fn external(&self) -> Option<u32> {
        let buffers = self.json["buffers"].as_array()?;
        let at = buffers.iter().position(|buffer| buffer["location"] == json!("external"))?;
        u32::try_from(at).ok()
    }
}

fn frame_error(error: CodecError) -> FrameError {
    match error {
        CodecError::Frame(error) => error,
        other => panic!("{other}"),
    }
}

/// The value with each reference replaced by what it stands for.
fn with_buffers(value: rmpv::Value, frame: &Frame<'_>) -> rmpv::Value {
    use rmpv::Value;
    if let Some(index) = crate::tree::reference(&value) {
        let descriptor = frame.descriptor(index).unwrap();
        return Value::Binary(frame.inline(&descriptor).unwrap().to_vec());
    }
    match value {
        Value::Array(items) => {
            Value::Array(items.into_iter().map(|item| with_buffers(item, frame)).collect())
        }
        Value::Map(entries) => {
            let entry = |(key, value)| (with_buffers(key, frame), with_buffers(value, frame));
            Value::Map(entries.into_iter().map(entry).collect())
        }
        other => other,
    }
}

/// Larger frames are decoded without making a value of them: it would take long.
const LARGEST_VALUE: usize = 1 << 18;
