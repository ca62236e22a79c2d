//! The way to inputs without coverage: a seeded loop over mutated seeds.
//!
//! Promises: the same inputs for the same seed, on every machine.

use std::collections::BTreeMap;
use std::ops::Range;

use pannier::fuzzing::{Random, mutate, seeds};
use pannier::{Buffer, Encoder};
use serde::Serialize;

use crate::types::{Adjacent, Borrowed, Chain, Flat, Inner, Internal, Job, Mixed, Pods, Untagged};

/// What a target begins with: frames mostly; metadata alone for `differential`, and for `roundtrip`
/// bytes of which values are made.
pub fn seeds_of(target: &str) -> Vec<(String, Vec<u8>)> {
    let frames = || seeds().map(|(name, bytes)| (name.to_owned(), bytes.to_vec()));
    match target {
        "differential" => {
            frames().filter_map(|(name, frame)| Some((name, metadata_of(&frame)?))).collect()
        }
        "roundtrip" | "segments" | "ring" | "channel" | "arena" | "hostile_peer" => {
            (1..=24).map(|seed| (format!("random-{seed:02}"), random(seed))).collect()
        }
        "decode" => frames().chain(typed()).collect(),
        _ => frames().collect(),
    }
}

/// The metadata that a frame announces, if it has so much: the input of `differential`.
pub fn metadata_of(frame: &[u8]) -> Option<Vec<u8>> {
    let len = u32::from_le_bytes(frame.get(8..12)?.try_into().ok()?);
    Some(frame.get(32..)?.get(..usize::try_from(len).ok()?)?.to_vec())
}

fn random(seed: u32) -> Vec<u8> {
    Random::new(seed).bytes(16 * seed as usize)
}

/// A frame of each type that `decode` reads.
fn typed() -> Vec<(String, Vec<u8>)> {
    let numbers: Buffer<u8> = (0..40).collect();
    let words: Buffer<u16> = (0..20).collect();
    let floats: Buffer<f32> = vec![1.0, 2.0, 3.0].into();
    let chain = Chain::T(Box::new(Chain::S { k: Box::new(Chain::A(Box::new(Chain::E))) }), 7);
    let inner = || Inner { a: Some(numbers.clone()), b: vec![1, 2] };
    let untagged = Untagged::List(vec![
        Untagged::Nothing,
        Untagged::Number(-5),
        Untagged::Text("x".to_owned()),
        Untagged::Words(words.clone()),
        Untagged::Pair { k: Box::new(Untagged::Bytes(numbers.clone())) },
    ]);
    let rest = BTreeMap::from([("z".to_owned(), Untagged::Text("rest".to_owned()))]);
    let internal = Internal::C { k: Box::new(Internal::B(inner())) };
    let adjacent =
        Adjacent::A(vec![Adjacent::E, Adjacent::B(words, 1), Adjacent::C { k: "k".to_owned() }]);
    let map = BTreeMap::from([("k".to_owned(), Some(vec![numbers.clone(), numbers.clone()]))]);
    let pods = Pods { k: vec![1, 2, 3], a: numbers.to_vec().into() };
    let mixed = Mixed(Some(Some(true)), (-1, 300, i128::MIN), [1, 2, 3], 'é', 0.5, ());
    vec![
        typed_frame("chain", &chain),
        typed_frame("flat", &Flat { k: Some(1), inner: inner(), rest }),
        typed_frame("untagged", &untagged),
        typed_frame("internal", &internal),
        typed_frame("internal-column", &Internal::A { c: Some(vec![1, 2].into()) }),
        typed_frame("adjacent", &adjacent),
        typed_frame("job", &Job { id: 300, x: floats.clone(), y: floats }),
        typed_frame("borrowed", &Borrowed { a: "a", b: &[], k: Some("k") }),
        typed_frame("mixed", &mixed),
        typed_frame("pods", &pods),
        typed_frame("map", &map),
    ]
}

fn typed_frame(name: &str, value: &impl Serialize) -> (String, Vec<u8>) {
    let encoder = Encoder::new().threshold(8).checksum(name.len() % 2 == 0);
    (format!("typed-{name}"), encoder.to_vec(value).expect("it is small"))
}

/// Runs `target` on an input for each of the `numbers`, which is made of a seed of the target
/// `name` by one to four mutations.
///
/// # Panics
///
/// If the target does; the input and its number are printed first.
pub fn mutated(name: &str, numbers: Range<u32>, target: impl Fn(&[u8])) {
    let seeds = seeds_of(name);
    let longest = if name == "chunks" { LONGEST_STREAM } else { LONGEST };
    let step = match name {
        "differential" => mutate_alone,
        "roundtrip" | "segments" | "ring" | "channel" | "arena" | "hostile_peer" => edit,
        _ => mutate_frame,
    };
    let mut data = vec![0; longest];
    for number in numbers {
        let mut random = Random::new(number);
        let start = &seeds[random.below(seeds.len())].1;
        let start = &start[..start.len().min(longest)];
        data[..start.len()].copy_from_slice(start);
        let mut len = start.len();
        for _ in 0..=random.below(3) {
            len = step(&mut data, len, &mut random);
        }
        let report = OnPanic { name, number, input: &data[..len] };
        target(&data[..len]);
        std::mem::forget(report);
    }
}

fn mutate_frame(data: &mut [u8], len: usize, random: &mut Random) -> usize {
    let max = data.len();
    mutate(data, len, max, random.number() as u32)
}

/// Bytes of which nothing is known: some are flipped, put in, left out, or copied over others.
fn edit(data: &mut [u8], len: usize, random: &mut Random) -> usize {
    let mut bytes = data[..len].to_vec();
    let at = random.below(len);
    let count = 1 + random.below(16);
    let end = (at + count).min(len);
    match random.below(4) {
        0 => bytes[at..end].iter_mut().take(1).for_each(|byte| *byte ^= 1 << random.below(8)),
        1 => drop(bytes.splice(at..at, random.bytes(count))),
        2 => drop(bytes.drain(at..end)),
        _ => bytes.copy_within(at..end, random.below(len - (end - at) + 1)),
    }
    bytes.truncate(data.len());
    data[..bytes.len()].copy_from_slice(&bytes);
    bytes.len()
}

/// Metadata, as that of a frame, so that the mutation knows what it has.
fn mutate_alone(data: &mut [u8], len: usize, random: &mut Random) -> usize {
    if random.below(2) == 0 {
        let at = random.below(len.max(1));
        data[at] = random.byte();
        return len.max(1);
    }
    let mut frame = vec![0; LONGEST + 64];
    frame[..5].copy_from_slice(b"\xc1PNR\x01");
    let meta_len = u32::try_from(len).expect("inputs are short");
    frame[8..12].copy_from_slice(&meta_len.to_le_bytes());
    frame[32..32 + len].copy_from_slice(&data[..len]);
    let frame_len = (32 + len).next_multiple_of(64);
    frame[16..24].copy_from_slice(&(frame_len as u64).to_le_bytes());
    let end = mutate(&mut frame, frame_len.min(LONGEST), LONGEST, random.number() as u32);
    let metadata = metadata_of(&frame[..end]).unwrap_or_default();
    data[..metadata.len()].copy_from_slice(&metadata);
    metadata.len()
}

/// Says on the way out which input it was.
struct OnPanic<'a> {
    name: &'a str,
    number: u32,
    input: &'a [u8],
}

impl Drop for OnPanic<'_> {
    fn drop(&mut self) {
        let hex: String = self.input.iter().map(|byte| format!("{byte:02x}")).collect();
        eprintln!("{}: broken by input {}: {hex}", self.name, self.number);
    }
}

/// Of an input, in bytes.
const LONGEST: usize = 4096;
/// Of a stream: longer than what a reader reads ahead.
const LONGEST_STREAM: usize = 32 << 10;
