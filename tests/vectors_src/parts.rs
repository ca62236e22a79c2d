//! Frames that are too long to be kept as files: as parts that any language can lay end to end.

use serde_json::{Value as Json, json};

use crate::tree::{from_int, hex, int, unhex};

/// One part of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The same bytes again and again, perhaps with a number in them that grows.
    Repeat { bytes: Vec<u8>, times: u64, count: Option<Count> },
    /// Numbers of xorshift64*, eight bytes each, little-endian; the last is cut where it must be.
    Xorshift { seed: u64, len: usize },
}

/// A little-endian number that is added to the repeated bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Count {
    /// Where in the repeated bytes.
    pub(crate) at: usize,
    /// How many bytes it has.
    pub(crate) size: usize,
    pub(crate) from: u64,
    pub(crate) step: u64,
}

impl Part {
    pub(crate) fn once(bytes: &[u8]) -> Part {
        Part::repeat(bytes, 1)
    }

    pub(crate) fn repeat(bytes: &[u8], times: u64) -> Part {
        Part::Repeat { bytes: bytes.to_vec(), times, count: None }
    }

    pub(crate) fn counted(bytes: &[u8], times: u64, count: Count) -> Part {
        Part::Repeat { bytes: bytes.to_vec(), times, count: Some(count) }
    }

    pub(crate) fn append_to(&self, frame: &mut Vec<u8>) {
        match self {
            Part::Repeat { bytes, times, count } => {
                for time in 0..*times {
                    let start = frame.len();
                    frame.extend(bytes);
                    if let Some(Count { at, size, from, step }) = *count {
                        let number = (from + step * time).to_le_bytes();
                        frame[start + at..start + at + size].copy_from_slice(&number[..size]);
                    }
                }
            }
            Part::Xorshift { seed, len } => frame.extend(xorshift(*seed, *len)),
        }
    }

    fn to_json(&self) -> Json {
        match self {
            Part::Repeat { bytes, times: 1, count: None } => json!({"hex": hex(bytes)}),
            Part::Repeat { bytes, times, count: None } => {
                json!({"hex": hex(bytes), "times": times})
            }
            Part::Repeat { bytes, times, count: Some(Count { at, size, from, step }) } => json!({
                "hex": hex(bytes), "times": times,
                "count": {"at": at, "size": size, "from": from, "step": step},
            }),
            Part::Xorshift { seed, len } => {
                json!({"xorshift": {"seed": int((*seed).into()), "len": len}})
            }
        }
    }

    fn from_json(part: &Json) -> Part {
        let size = |json: &Json| usize::try_from(json.as_u64().unwrap()).unwrap();
        if let Some(rule) = part.get("xorshift") {
            return Part::Xorshift { seed: from_int(&rule["seed"]), len: size(&rule["len"]) };
        }
        let count = part.get("count").map(|count| Count {
            at: size(&count["at"]),
            size: size(&count["size"]),
            from: from_int(&count["from"]),
            step: from_int(&count["step"]),
        });
        let times = part.get("times").map_or(1, from_int);
        Part::Repeat { bytes: unhex(part["hex"].as_str().unwrap()), times, count }
    }
}

/// xorshift64*, a generator of three lines in any language.
pub(crate) fn xorshift(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    let mut bytes = vec![0; len.next_multiple_of(8)];
    for number in bytes.chunks_exact_mut(8) {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        number.copy_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// The parts of a frame: `known` ones where they lie, and runs of equal bytes between them.
pub(crate) fn parts_of(frame: &[u8], known: &[(usize, Vec<Part>)]) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut at = 0;
    for (start, of_range) in known {
        append_runs(&frame[at..*start], &mut parts);
        let mut range = Vec::new();
        of_range.iter().for_each(|part| part.append_to(&mut range));
        at = start + range.len();
        parts.extend(of_range.iter().cloned());
    }
    append_runs(&frame[at..], &mut parts);
    assert!(assemble(&parts) == frame, "the parts are those of the frame");
    parts
}

/// The frame that parts make.
pub(crate) fn assemble(parts: &[Part]) -> Vec<u8> {
    let mut frame = Vec::new();
    parts.iter().for_each(|part| part.append_to(&mut frame));
    frame
}

pub(crate) fn to_json(parts: &[Part]) -> Json {
    parts.iter().map(Part::to_json).collect()
}

pub(crate) fn from_json(parts: &Json) -> Vec<Part> {
    parts.as_array().unwrap().iter().map(Part::from_json).collect()
}

fn append_runs(bytes: &[u8], parts: &mut Vec<Part>) {
    let (mut literal, mut at) = (0, 0);
    while at < bytes.len() {
        let run = bytes[at..].iter().take_while(|&&byte| byte == bytes[at]).count();
        if run >= LEAST_RUN {
            append_literal(&bytes[literal..at], parts);
            parts.push(Part::repeat(&bytes[at..=at], u64::try_from(run).unwrap()));
            literal = at + run;
        }
        at += run;
    }
    append_literal(&bytes[literal..], parts);
}

fn append_literal(bytes: &[u8], parts: &mut Vec<Part>) {
    if !bytes.is_empty() {
        parts.push(Part::once(bytes));
    }
}

/// Shorter runs are written out.
const LEAST_RUN: usize = 64;
