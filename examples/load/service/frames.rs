//! What travels: buffers that can be recognised by their bytes, and what is wished of whoever gets
//! them.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use pannier::{Buffer, BufferMut};
use serde::{Deserialize, Serialize};

/// A buffer, or a part of one, that knows what its bytes must be.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Part {
    stamp: u64,
    /// Where the bytes begin in the buffer that was stamped.
    start: usize,
    bytes: Buffer<u8>,
}

/// Bytes that are alike: one of each is looked at.
const STRIPE: usize = 512;

/// What all bytes of a stripe are.
fn byte_of(stamp: u64, stripe: usize) -> u8 {
    let mixed = (stamp ^ stripe as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed.to_be_bytes()[0]
}

impl Part {
    pub(crate) fn new(stamp: u64, mut space: BufferMut<u8>) -> Self {
        for (at, stripe) in space.chunks_mut(STRIPE).enumerate() {
            stripe.fill(byte_of(stamp, at));
        }
        Part { stamp, start: 0, bytes: space.freeze() }
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// A part of this part, without a copy.
    pub(crate) fn part(&self, random: &mut Random) -> Part {
        let from = random.below(self.len() + 1);
        let to = from + random.below(self.len() + 1 - from);
        Part { stamp: self.stamp, start: self.start + from, bytes: self.bytes.slice(from..to) }
    }

    /// Looks at the last byte, and at one of each stripe.
    pub(crate) fn is_right(&self) -> bool {
        let is_right =
            |at: usize| self.bytes[at] == byte_of(self.stamp, (self.start + at) / STRIPE);
        (0..self.len()).step_by(STRIPE).all(is_right)
            && self.len().checked_sub(1).is_none_or(is_right)
    }
}

/// What goes to the other process.
#[derive(Serialize, Deserialize)]
pub(crate) struct Frame {
    pub(crate) number: u64,
    pub(crate) wish: Wish,
    pub(crate) parts: Vec<Part>,
}

/// What the other process is to do with the parts, beside looking at them.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) enum Wish {
    /// To drop them.
    Look,
    /// To send them back.
    Echo,
    /// To keep them for a while.
    Keep,
    /// To send a new one, as long as the first.
    Make,
}

/// What comes back.
#[derive(Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) number: u64,
    /// Parts that were not what they should be.
    pub(crate) wrong: u64,
    pub(crate) parts: Vec<Part>,
}

impl Frame {
    /// The bytes that its buffers have, as if none shared any.
    pub(crate) fn len(&self) -> usize {
        self.parts.iter().map(Part::len).sum()
    }
}

static KEPT: Mutex<Shelf> = Mutex::new(Shelf::new());

/// What the other process does, be it a worker or the peer of a channel.
pub(crate) fn serve(frame: Frame) -> Answer {
    let Frame { number, wish, parts } = frame;
    let wrong = parts.iter().filter(|part| !part.is_right()).count() as u64;
    let parts = match wish {
        Wish::Look => Vec::new(),
        Wish::Echo => parts,
        Wish::Keep => {
            let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
            parts.into_iter().for_each(|part| kept.put(part));
            Vec::new()
        }
        Wish::Make => {
            parts.iter().take(1).map(|part| make(number ^ part.stamp, part.len())).collect()
        }
    };
    Answer { number, wrong, parts }
}

/// In shared memory of the pool's where there is a pool.
fn make(stamp: u64, len: usize) -> Part {
    Part::new(stamp, pannier::alloc(len).expect("there is memory for a result"))
}

/// Parts that are kept until newer ones come, never many and never large together.
pub(crate) struct Shelf {
    parts: VecDeque<Part>,
    len: usize,
}

impl Shelf {
    const MOST_PARTS: usize = 48;
    const MOST_BYTES: usize = 24 << 20;

    pub(crate) const fn new() -> Self {
        Shelf { parts: VecDeque::new(), len: 0 }
    }

    pub(crate) fn put(&mut self, part: Part) {
        self.len += part.len();
        self.parts.push_back(part);
        while self.parts.len() > Self::MOST_PARTS || self.len > Self::MOST_BYTES {
            let Some(oldest) = self.parts.pop_front() else { return };
            self.len -= oldest.len();
        }
    }

    pub(crate) fn pick(&self, random: &mut Random) -> Option<Part> {
        self.parts.get(random.below(self.parts.len().max(1))).cloned()
    }

    /// Parts that are not what they should be.
    pub(crate) fn wrong(&self) -> u64 {
        self.parts.iter().filter(|part| !part.is_right()).count() as u64
    }
}

/// Numbers that look random and are the same for the same seed (SplitMix64).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Random(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).expect("less than a usize")
    }
}

/// The length of the first buffer of a frame. Of so many one is large, and of a tenth of that one is
/// half-way; these are of a few lengths that come again, as in a service.
pub(crate) fn len_of(number: u64, (seldom, largest): (u64, usize), random: &mut Random) -> usize {
    let half = seldom / 2;
    let shift = if number % seldom == half {
        random.below(3)
    } else if number % (seldom / 10) == half / 10 {
        3 + random.below(4)
    } else {
        return small_len(random);
    };
    (largest >> shift) - random.below(1_000)
}

/// None at all, or up to a MiB.
pub(crate) fn small_len(random: &mut Random) -> usize {
    let most = match random.below(100) {
        0..8 => 1,
        8..55 => 256,
        55..80 => 4 << 10,
        80..97 => 64 << 10,
        _ => 1 << 20,
    };
    random.below(most)
}
