//! [`mutate`]: a step of a fuzzer that knows frames.
//!
//! Half of the changes are to bytes as they lie (fields of the header, descriptors, markers, cuts,
//! insertions), half to a frame that was taken apart. Most results are put right again, so that the
//! change is met by the check it belongs to and not by a checksum before it.
//!
//! Promises: the same bytes and seed give the same result; it is not longer than permitted, and not
//! empty unless nothing else is. Does not know: what was reached. The fuzzer does.
#![forbid(unsafe_code)]

use crate::frame::{HEADER_LEN, MAGIC};
use crate::fuzzing::fix_up::{fix_up, number};
use crate::fuzzing::parts::Parts;
use crate::fuzzing::random::Random;
use crate::fuzzing::seeds::any_seed;

/// Changes the first `size` bytes of `data` in one to three places and says how many there are
/// then: at most `max`, and not zero unless `max` or the length of `data` is. It is what libFuzzer's
/// `fuzz_mutator!` wants.
///
/// Best with frames and streams of them, but any bytes are taken.
///
/// # Examples
///
/// ```
/// use pannier::{Limits, frame::Frame, fuzzing};
///
/// let mut sound = 0;
/// for seed in 0..100 {
///     let mut data = [0; 1024];
///     let frame = pannier::to_vec("east")?;
///     data[..frame.len()].copy_from_slice(&frame);
///     let len = fuzzing::mutate(&mut data, frame.len(), 1024, seed);
///     sound += usize::from(Frame::parse(&data[..len], &Limits::default()).is_ok());
/// }
/// assert!(sound > 10 && sound < 90);
/// # Ok::<(), pannier::CodecError>(())
/// ```
pub fn mutate(data: &mut [u8], size: usize, max: usize, seed: u32) -> usize {
    let max = max.min(data.len());
    let random = &mut Random::new(seed);
    let mut bytes = data.get(..size.min(max)).unwrap_or_default().to_vec();
    if bytes.is_empty() || random.one_in(256) {
        bytes = any_seed(random).to_vec();
    }
    for _ in 0..=random.below(3) {
        let rebuilt = random.one_in(2).then(|| rebuild(&bytes, random)).flatten();
        bytes = rebuilt.unwrap_or_else(|| edit(bytes, random));
    }
    if !random.one_in(8) {
        put_right(&mut bytes, max);
    }
    bytes.truncate(max);
    if bytes.is_empty() {
        bytes.resize(max.min(1), 0);
    }
    if let Some(place) = data.get_mut(..bytes.len()) {
        place.copy_from_slice(&bytes);
    }
    bytes.len()
}

/// The first frame with a part changed, and what lies behind it.
fn rebuild(bytes: &[u8], random: &mut Random) -> Option<Vec<u8>> {
    let mut parts = Parts::split(bytes)?;
    parts.change(random);
    let mut frame = parts.join()?;
    frame.extend_from_slice(bytes.get(number(bytes, 16, 8)..)?);
    if random.one_in(32) {
        frame.extend_from_slice(any_seed(random));
    }
    Some(frame)
}

/// Bytes changed as they lie.
fn edit(mut bytes: Vec<u8>, random: &mut Random) -> Vec<u8> {
    // Most faults of interest lie in the head, which is short beside the buffers.
    let reach = if random.one_in(4) { bytes.len() } else { bytes.len().min(160) };
    let at = random.below(reach);
    match random.below(8) {
        0 => flip(&mut bytes, at, 1 << random.below(8)),
        1 => lay(&mut bytes, at, &[random.byte()]),
        2 => bytes.truncate(at),
        3 => forge_header(&mut bytes, random),
        4 => forge_descriptor(&mut bytes, random),
        5 => {
            let other = any_seed(random);
            let from = random.below(other.len());
            let len = 1 + random.below(32);
            lay(&mut bytes, at, other.get(from..).unwrap_or_default().get(..len).unwrap_or(other));
        }
        6 => {
            let len = 1 + random.below(65);
            let byte = if random.one_in(2) { 0 } else { random.byte() };
            bytes.splice(at..at, std::iter::repeat_n(byte, len));
        }
        _ => {
            let end = (at + 1 + random.below(32)).min(bytes.len());
            bytes.drain(at.min(end)..end);
        }
    }
    bytes
}

/// A field of the header, set to what may be mistaken.
fn forge_header(bytes: &mut [u8], random: &mut Random) {
    const FIELDS: [(usize, usize); 10] =
        [(0, 4), (4, 1), (5, 1), (6, 1), (7, 1), (8, 4), (12, 4), (16, 8), (24, 4), (28, 4)];
    let (at, width) = FIELDS[random.below(FIELDS.len())];
    lay(bytes, at, &forged(random).to_le_bytes()[..width]);
}

/// The same for a field of a descriptor, if there is a table.
fn forge_descriptor(bytes: &mut [u8], random: &mut Random) {
    const FIELDS: [(usize, usize); 9] =
        [(0, 8), (8, 8), (16, 4), (20, 4), (24, 4), (28, 1), (29, 1), (30, 1), (31, 1)];
    let table_at = HEADER_LEN.saturating_add(number(bytes, 8, 4)).checked_next_multiple_of(32);
    let index = random.below(number(bytes, 12, 4).min(64));
    let (at, width) = FIELDS[random.below(FIELDS.len())];
    if let Some(at) = table_at.and_then(|table_at| table_at.checked_add(32 * index + at)) {
        lay(bytes, at, &forged(random).to_le_bytes()[..width]);
    }
}

/// A number at an edge of something.
fn forged(random: &mut Random) -> u64 {
    const EDGES: [u64; 18] = [
        0,
        1,
        6,
        16,
        32,
        63,
        64,
        127,
        128,
        192,
        255,
        4096,
        0xffff,
        1 << 31,
        1 << 32,
        1 << 63,
        u64::MAX - 63,
        u64::MAX,
    ];
    match random.below(8) {
        0 => random.number(),
        1 => u64::from(random.byte()),
        _ => EDGES[random.below(EDGES.len())].wrapping_add(u64::from(random.byte() & 1)),
    }
}

/// Enough room for what was inserted, then everything consistent, and no tail that is no frame.
fn put_right(bytes: &mut Vec<u8>, max: usize) {
    bytes.truncate(max);
    bytes.resize(bytes.len().next_multiple_of(64).min(max), 0);
    fix_up(bytes);
    let mut end = 0;
    while bytes.get(end..).is_some_and(|rest| rest.starts_with(&MAGIC) && rest.len() >= 64) {
        end += number(&bytes[end..], 16, 8).max(64);
    }
    if end > 0 {
        bytes.truncate(end);
    }
}

fn flip(bytes: &mut [u8], at: usize, mask: u8) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= mask;
    }
}

/// Lays `over` on the bytes from `at` on, as far as they go.
fn lay(bytes: &mut [u8], at: usize, over: &[u8]) {
    let place = bytes.get_mut(at..).unwrap_or_default();
    place.iter_mut().zip(over).for_each(|(byte, new)| *byte = *new);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Frame, Limits};
    use crate::fuzzing::seeds;

    #[test]
    fn results_fit_are_repeatable_and_many_are_sound() {
        let (mut sound, mut changed) = (0, 0);
        let all: Vec<_> = seeds().collect();
        for seed in 0..20_000u32 {
            let (_, start) = all[seed as usize % all.len()];
            let max = [1, 63, 64, 200, 4096][seed as usize % 5];
            let mut data = vec![0; max.max(start.len())];
            data[..start.len()].copy_from_slice(start);
            let mut again = data.clone();
            let len = mutate(&mut data, start.len(), max, seed);
            assert!(len > 0 && len <= max, "{len} of {max}, seed {seed}");
            assert_eq!(mutate(&mut again, start.len(), max, seed), len, "seed {seed}");
            assert_eq!(data, again, "seed {seed}");
            if max == 4096 && Frame::parse(&data[..len], &Limits::default()).is_ok() {
                sound += 1;
                changed += usize::from(data[..len] != *start);
            }
        }
        assert!(sound > 800 && changed > 600, "{sound} of 4000 sound, {changed} of them changed");
    }

    #[test]
    fn a_fixed_frame_is_a_sound_frame_and_stays_as_it_is() {
        for (name, bytes) in seeds() {
            let mut fixed = bytes.to_vec();
            fix_up(&mut fixed);
            if name.starts_with("sound") {
                assert_eq!(fixed, bytes, "{name}");
            }
            let once = fixed.clone();
            fix_up(&mut fixed);
            assert_eq!(fixed, once, "{name}");
        }
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let mut random = Random::new(1);
        for seed in 0..20_000 {
            let len = random.below(400);
            let mut bytes = random.bytes(len);
            lay(&mut bytes, 0, &MAGIC);
            if seed % 2 == 0 {
                forge_header(&mut bytes, &mut random);
                forge_descriptor(&mut bytes, &mut random);
            }
            fix_up(&mut bytes);
            bytes.resize(512, 0);
            mutate(&mut bytes, len, 512, seed);
        }
    }
}
