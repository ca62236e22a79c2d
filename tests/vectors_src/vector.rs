//! One vector: what it shows, its bytes, and the JSON that says what a reader must make of them.

use pannier::frame::{Descriptor, Frame, HeadOptions, Location, write_frame};
use pannier::{FrameError, Limits};
use serde_json::{Map, Value as Json, json};

use crate::parts::{Part, parts_of, to_json};
use crate::tree::{hex, int, is_shortest, read, sha256};

/// A file pair of the folder, as text and bytes.
pub(crate) struct Vector {
    /// Folder and name: `ok/nil`.
    pub(crate) path: String,
    pub(crate) json: String,
    /// `None` for a frame that the JSON tells how to make.
    pub(crate) bin: Option<Vec<u8>>,
}

/// A frame that readers accept.
#[derive(Clone)]
pub(crate) struct Good {
    name: String,
    shows: String,
    profile: Option<&'static str>,
    limits: Limits,
    options: HeadOptions,
    metadata: Vec<u8>,
    value: Json,
    buffers: Vec<(Descriptor, Vec<u8>)>,
    /// What is known of the frame's parts, by the position where it begins.
    parts: Vec<(usize, Vec<Part>)>,
}

/// Bytes that readers refuse.
#[derive(Clone)]
pub(crate) struct Bad {
    name: String,
    shows: String,
    limits: Limits,
    verify: bool,
    bytes: Vec<u8>,
    error: FrameError,
    parts: Vec<(usize, Vec<Part>)>,
}

impl Good {
    /// A frame of this metadata, whose tree is what rmpv reads.
    pub(crate) fn new(name: &str, shows: &str, metadata: Vec<u8>) -> Good {
        let value = read(&metadata);
        Good {
            name: name.to_owned(),
            shows: shows.to_owned(),
            profile: None,
            limits: Limits::default(),
            options: HeadOptions::default(),
            metadata,
            value,
            buffers: Vec::new(),
            parts: Vec::new(),
        }
    }

    /// A frame that the library's encoder wrote.
    pub(crate) fn encoded(name: &str, shows: &str, bytes: &[u8]) -> Good {
        let frame = Frame::parse(bytes, &Limits::default()).unwrap();
        let body = |d: Descriptor| (d, frame.inline(&d).unwrap().to_vec());
        let good = Good::new(name, shows, frame.metadata().to_vec());
        let buffers = frame.descriptors().map(body).collect();
        let good = good.options(frame.options()).buffers(buffers);
        assert!(good.frame().0 == bytes, "{name}: parts written again are the frame");
        good
    }

    /// The tree as somebody wrote it down, where that is not left to rmpv.
    pub(crate) fn value(self, value: Json) -> Good {
        assert_eq!(self.value, value, "{}", self.name);
        self
    }

    pub(crate) fn profile(self, profile: &'static str) -> Good {
        Good { profile: Some(profile), ..self }
    }

    pub(crate) fn limits(self, limits: Limits) -> Good {
        Good { limits, ..self }
    }

    pub(crate) fn options(self, options: HeadOptions) -> Good {
        Good { options, ..self }
    }

    pub(crate) fn checksum(mut self) -> Good {
        self.options.checksum = true;
        self
    }

    pub(crate) fn buffers(self, buffers: Vec<(Descriptor, Vec<u8>)>) -> Good {
        Good { buffers, ..self }
    }

    pub(crate) fn parts(self, parts: Vec<(usize, Vec<Part>)>) -> Good {
        Good { parts, ..self }
    }

    pub(crate) fn vector(&self) -> Vector {
        let (bytes, descriptors) = self.frame();
        let mut fields = Fields::begin(&self.name, &self.shows);
        fields.limits(&self.limits);
        fields.add("len", bytes.len());
        fields.add("sha256", sha256(&bytes));
        fields.add("tag", self.options.tag);
        fields.add("may", self.options.may);
        fields.add("checksum", self.options.checksum);
        self.profile.into_iter().for_each(|profile| fields.add("profile", profile));
        fields.add("shortest", is_shortest(&self.metadata));
        fields.add("value", self.value.clone());
        let bodies: Vec<&[u8]> = self.buffers.iter().map(|(_, body)| &body[..]).collect();
        fields.add("buffers", buffers(&descriptors, &bodies, self.options.checksum));
        fields.finish(&format!("ok/{}", self.name), bytes, &self.parts)
    }

    fn frame(&self) -> (Vec<u8>, Vec<Descriptor>) {
        let mut buffers: Vec<_> = self.buffers.iter().map(|(d, body)| (*d, &body[..])).collect();
        let mut bytes = Vec::new();
        write_frame(&mut bytes, &[&self.metadata], &mut buffers, &self.options).unwrap();
        (bytes, buffers.into_iter().map(|(descriptor, _)| descriptor).collect())
    }
}

impl Bad {
    pub(crate) fn new(name: &str, shows: &str, bytes: Vec<u8>, error: FrameError) -> Bad {
        Bad {
            name: name.to_owned(),
            shows: shows.to_owned(),
            limits: Limits::default(),
            verify: false,
            bytes,
            error,
            parts: Vec::new(),
        }
    }

    pub(crate) fn limits(self, limits: Limits) -> Bad {
        Bad { limits, ..self }
    }

    /// Only reading the buffers finds it.
    pub(crate) fn verify(self) -> Bad {
        Bad { verify: true, ..self }
    }

    pub(crate) fn parts(self, parts: Vec<(usize, Vec<Part>)>) -> Bad {
        Bad { parts, ..self }
    }

    pub(crate) fn vector(&self) -> Vector {
        let mut fields = Fields::begin(&self.name, &self.shows);
        fields.limits(&self.limits);
        fields.add("len", self.bytes.len());
        fields.add("sha256", sha256(&self.bytes));
        if self.verify {
            fields.add("verify", true);
        }
        fields.add("error", error(&self.error));
        fields.finish(&format!("bad/{}", self.name), self.bytes.clone(), &self.parts)
    }
}

/// The buffers of a frame: each by itself, or all by two hashes where they are very many.
pub(crate) fn buffers(descriptors: &[Descriptor], bodies: &[&[u8]], checksum: bool) -> Json {
    if descriptors.len() > MANY_BUFFERS {
        let shape = buffer(&descriptors[0], bodies[0], false);
        let alike = |d: &Descriptor| {
            let mut moved = *d;
            moved.offset = descriptors[0].offset;
            moved == descriptors[0]
        };
        assert!(!checksum && descriptors.iter().all(alike), "the JSON has one place for all");
        let all = bodies.concat();
        return json!({
            "count": descriptors.len(), "kind": shape["kind"], "align": shape["align"],
            "first_offset": shape["offset"], "len": shape["len"], "sha256_of_all": sha256(&all),
        });
    }
    descriptors.iter().zip(bodies).map(|(d, body)| buffer(d, body, checksum)).collect()
}

fn buffer(descriptor: &Descriptor, body: &[u8], checksum: bool) -> Json {
    let inline = descriptor.location == Location::Inline;
    let kind = descriptor.kind.to_byte();
    let name = if kind < 0x80 { descriptor.kind.to_string() } else { "advisory".to_owned() };
    let mut json = json!({
        "location": if inline { "inline" } else { "external" },
        "offset": int(descriptor.offset.into()),
        "len": int(descriptor.len.into()),
        "kind": kind,
        "kind_name": name,
        "align": descriptor.align,
        "writable": descriptor.writable,
    });
    if inline {
        json["sha256"] = json!(sha256(body));
    }
    if inline && checksum {
        json["crc"] = json!(descriptor.crc);
    }
    json
}

/// An error with its fields, as the JSON of a bad vector has it.
pub(crate) fn error(error: &FrameError) -> Json {
    use FrameError::*;
    let number = |n: u64| int(n.into());
    match *error {
        Truncated { need, have } => {
            json!({"name": "Truncated", "need": number(need), "have": number(have)})
        }
        BadMagic => json!({"name": "BadMagic"}),
        Version(version) => json!({"name": "Version", "version": version}),
        UnknownFlags(flags) => json!({"name": "UnknownFlags", "flags": flags}),
        Reserved { at } => json!({"name": "Reserved", "at": at}),
        FrameLen { stated, computed } => json!({
            "name": "FrameLen", "stated": number(stated), "computed": number(computed),
        }),
        Trailing { extra } => json!({"name": "Trailing", "extra": extra}),
        Padding { at } => json!({"name": "Padding", "at": at}),
        Limit { what, value, limit } => json!({
            "name": "Limit", "what": what.to_string(), "value": number(value),
            "limit": number(limit),
        }),
        Descriptor { index, why } => {
            json!({"name": "Descriptor", "index": index, "why": format!("{why:?}")})
        }
        Meta { at, why } => json!({"name": "Meta", "at": at, "why": format!("{why:?}")}),
        Segment { index, why } => {
            json!({"name": "Segment", "index": index, "why": format!("{why:?}")})
        }
        External { index } => json!({"name": "External", "index": index}),
        HeadChecksum { stated, computed } => {
            json!({"name": "HeadChecksum", "stated": stated, "computed": computed})
        }
        BufferChecksum { index } => json!({"name": "BufferChecksum", "index": index}),
        other => panic!("the vectors know no {other:?}"),
    }
}

/// The limits that a vector is read with: the defaults, and what its JSON has instead.
pub(crate) fn limits(json: &Json) -> Limits {
    let mut limits = Limits::default();
    for (name, value) in json.as_object().into_iter().flatten() {
        let short = || u32::try_from(value.as_u64().unwrap()).unwrap();
        limits = match name.as_str() {
            "frame_len" => limits.frame_len(value.as_u64().unwrap()),
            "meta_len" => limits.meta_len(short()),
            "buffers" => limits.buffers(short()),
            "depth" => limits.depth(short()),
            "segments" => limits.segments(value.as_bool().unwrap()),
            other => panic!("no limit {other}"),
        };
    }
    limits
}

/// The fields of a document in the order in which people read them.
struct Fields(Vec<(&'static str, Json)>);

impl Fields {
    fn begin(name: &str, shows: &str) -> Fields {
        let mut fields = Fields(Vec::new());
        fields.add("name", name);
        fields.add("shows", shows);
        fields
    }

    fn add(&mut self, name: &'static str, value: impl Into<Json>) {
        self.0.push((name, value.into()));
    }

    fn limits(&mut self, limits: &Limits) {
        let default = Limits::default();
        let numbers = [
            ("frame_len", limits.frame_len, default.frame_len),
            ("meta_len", limits.meta_len.into(), default.meta_len.into()),
            ("buffers", limits.buffers.into(), default.buffers.into()),
            ("depth", limits.depth.into(), default.depth.into()),
        ];
        let differ = numbers.into_iter().filter(|(_, here, default)| here != default);
        let mut json: Map<String, Json> =
            differ.map(|(name, here, _)| (name.to_owned(), int(here.into()))).collect();
        if limits.segments {
            json.insert("segments".to_owned(), json!(true));
        }
        if !json.is_empty() {
            self.add("limits", json);
        }
    }

    fn finish(mut self, path: &str, bytes: Vec<u8>, known: &[(usize, Vec<Part>)]) -> Vector {
        let kept = bytes.len() <= LARGEST_FILE;
        if !kept {
            self.add("generated", to_json(&parts_of(&bytes, known)));
        }
        let path = path.to_owned();
        Vector { path, json: self.text(), bin: kept.then_some(bytes) }
    }

    /// A line for each field, and for each item of the lists.
    fn text(&self) -> String {
        let line = |(name, value): &(&str, Json)| match value {
            Json::Array(items) if ["buffers", "generated"].contains(name) && !items.is_empty() => {
                let items: Vec<String> = items.iter().map(|item| format!("    {item}")).collect();
                format!("  \"{name}\": [\n{}\n  ]", items.join(",\n"))
            }
            _ => format!("  \"{name}\": {value}"),
        };
        let lines: Vec<String> = self.0.iter().map(line).collect();
        format!("{{\n{}\n}}\n", lines.join(",\n"))
    }
}

/// The bytes of many small descriptions, for a failure that can be read.
pub(crate) fn shown(bytes: &[u8]) -> String {
    hex(&bytes[..bytes.len().min(256)])
}

/// Longer frames are not kept as files but told by their parts.
const LARGEST_FILE: usize = 8192;
/// More buffers than this are told by what they have in common.
const MANY_BUFFERS: usize = 1000;
