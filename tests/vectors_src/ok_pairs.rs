//! Every pair of choices that a writer of files has, in as few frames as a greedy search finds.

use std::collections::BTreeSet;

use pannier::frame::{Descriptor, HeadOptions, Kind};
use pannier::{Buffer, Encoder};
use serde::Serialize;

use crate::parts::xorshift;
use crate::vector::Good;

const PROFILES: [&str; 2] = ["named", "compact"];
const CHECKSUMS: [&str; 2] = ["plain", "crc"];
const ALIGNS: [u8; 4] = [6, 7, 12, 16];
const KINDS: [u8; 17] = [
    0x00, 0x10, 0x11, 0x12, 0x13, 0x14, 0x20, 0x21, 0x22, 0x23, 0x24, 0x31, 0x32, 0x33, 0x43, 0x44,
    0x90,
];
const COUNTS: [(&str, usize); 3] = [("one", 1), ("two", 2), ("many", 9)];

const FACTORS: [usize; 5] =
    [PROFILES.len(), CHECKSUMS.len(), ALIGNS.len(), KINDS.len(), COUNTS.len()];
type Choice = [usize; 5];

pub(crate) fn all() -> Vec<Good> {
    pairwise().into_iter().zip(1..).map(|(choice, seed)| vector(choice, seed)).collect()
}

/// Takes what covers most new pairs until none is left; the first of equals, so always the same.
fn pairwise() -> Vec<Choice> {
    let all = choices();
    let mut uncovered: BTreeSet<[usize; 4]> = all.iter().flat_map(pairs).collect();
    let mut chosen = Vec::new();
    while !uncovered.is_empty() {
        let gain = |choice: &Choice| pairs(choice).filter(|pair| uncovered.contains(pair)).count();
        // Of equals `max_by_key` takes the last.
        let best = *all.iter().rev().max_by_key(|choice| gain(choice)).unwrap();
        pairs(&best).for_each(|pair| {
            uncovered.remove(&pair);
        });
        chosen.push(best);
    }
    chosen
}

fn choices() -> Vec<Choice> {
    let mut all = vec![[0; 5]];
    for (factor, levels) in FACTORS.into_iter().enumerate() {
        let with = |choice: Choice, level| {
            let mut choice = choice;
            choice[factor] = level;
            choice
        };
        all = all.iter().flat_map(|&c| (0..levels).map(move |level| with(c, level))).collect();
    }
    all
}

fn pairs(choice: &Choice) -> impl Iterator<Item = [usize; 4]> + use<> {
    let choice = *choice;
    let pair = move |a: usize, b: usize| [a, choice[a], b, choice[b]];
    (0..5).flat_map(move |a| (a + 1..5).map(move |b| pair(a, b)))
}

#[derive(Serialize)]
struct Sample {
    id: u64,
    label: Option<&'static str>,
    state: State,
    columns: Vec<Buffer<u8>>,
}

#[derive(Serialize)]
enum State {
    Ready,
    Running { step: u32 },
}

fn vector([profile, checksum, align, kind, count]: Choice, seed: u64) -> Good {
    let (profile, checksum_name, align) = (PROFILES[profile], CHECKSUMS[checksum], ALIGNS[align]);
    let (kind, (count_name, count)) = (Kind::from_byte(KINDS[kind]).unwrap(), COUNTS[count]);
    let kind_name = if kind.to_byte() < 0x80 { kind.to_string() } else { "advisory".to_owned() };
    let size = usize::try_from(kind.element_size().unwrap_or(1)).unwrap();
    let lens = (0..count).map(|index| size * (1 + 2 * (index % 3)));
    let bodies: Vec<Vec<u8>> =
        lens.zip(0..).map(|(len, index)| xorshift(1000 * seed + index + 1, len)).collect();
    let random = xorshift(seed, 5);
    let state = if seed % 2 == 0 { State::Ready } else { State::Running { step: 70_000 } };
    let label = (seed % 3 > 0).then_some("sample");
    let columns = bodies.iter().cloned().map(Buffer::from).collect();
    let sample = Sample { id: seed * 1_000_003, label, state, columns };
    let encoder = Encoder::new().threshold(1).compact(profile == "compact");
    let metadata = encoder.to_parts(&sample, &mut Vec::new()).unwrap();
    let tag = u32::from_le_bytes([random[0], random[1], random[2], random[3]]);
    let descriptor = Descriptor::inline(0, kind, align);
    let name = format!("pair_{profile}_{checksum_name}_a{align}_{kind_name}_{count_name}");
    Good::new(&name, "One combination of a writer's choices, as its name tells.", metadata)
        .profile(profile)
        .options(HeadOptions::default().tag(tag).checksum(checksum == 1).may(random[4]))
        .buffers(bodies.into_iter().map(|body| (descriptor, body)).collect())
}
