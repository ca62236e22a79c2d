//! A frame taken apart, changed where it means something, and put together again.
//!
//! Promises: what is put together has sound lengths, offsets and checksums. Whether the metadata is
//! well formed is left open: that is what a fuzzer is for.
//! Does not know: where the first frame of a stream is of interest and where the last.
#![forbid(unsafe_code)]

use std::borrow::Cow;

use crate::frame::{
    Descriptor, Frame, HeadOptions, Kind, Limits, SegmentFault, Segments, skip_token, skip_value,
    write_frame,
};
use crate::fuzzing::fix_up::number;
use crate::fuzzing::random::Random;
use crate::fuzzing::seeds::any_seed;

pub(super) struct Parts<'a> {
    options: HeadOptions,
    metadata: Vec<u8>,
    buffers: Vec<(Descriptor, Cow<'a, [u8]>)>,
}

impl<'a> Parts<'a> {
    /// The first frame of `bytes`, if its head is sound.
    pub(super) fn split(bytes: &'a [u8]) -> Option<Self> {
        let first = bytes.get(..number(bytes, 16, 8))?;
        let permitted = Limits::default().segments(true);
        let frame = Frame::parse_head_with(first, &permitted, &Anywhere).ok()?;
        let body = |d: &Descriptor| Cow::Borrowed(frame.inline(d).unwrap_or_default());
        let buffers = frame.descriptors().map(|d| (d, body(&d))).collect();
        Some(Parts { options: frame.options(), metadata: frame.metadata().to_vec(), buffers })
    }

    /// The frame; `None` if the parts have become such that no writer takes them.
    pub(super) fn join(&self) -> Option<Vec<u8>> {
        let mut buffers: Vec<_> = self.buffers.iter().map(|(d, body)| (*d, &**body)).collect();
        let mut out = Vec::new();
        write_frame(&mut out, &[&self.metadata], &mut buffers, &self.options).ok()?;
        Some(out)
    }

    pub(super) fn change(&mut self, random: &mut Random) {
        match random.below(10) {
            0 => self.change_options(random),
            1 | 2 if !self.buffers.is_empty() => self.change_buffer(random),
            _ => self.change_metadata(random),
        }
        if !random.one_in(8) {
            self.renumber(random);
        }
    }

    fn change_options(&mut self, random: &mut Random) {
        match random.below(3) {
            0 => self.options.checksum ^= true,
            1 => self.options.may = random.byte(),
            _ => self.options.tag = u32::from(random.byte()),
        }
    }

    fn change_buffer(&mut self, random: &mut Random) {
        let index = random.below(self.buffers.len());
        let (descriptor, body) = &mut self.buffers[index];
        let len = body.len();
        match random.below(7) {
            0 => descriptor.align = 6 + random.byte() % 4,
            1 => descriptor.writable ^= true,
            2 => descriptor.kind = Kind::from_byte(random.byte()).unwrap_or(Kind::OPAQUE),
            3 => *descriptor = elsewhere(random),
            4 => body.to_mut().truncate(random.below(len)),
            5 => body.to_mut().extend(random.bytes(8)),
            _ => {
                let at = random.below(len);
                body.to_mut().get_mut(at..).into_iter().flatten().take(1).for_each(|b| *b ^= 0x81);
            }
        }
    }

    fn change_metadata(&mut self, random: &mut Random) {
        let starts = token_starts(&self.metadata);
        let at = starts.get(random.below(starts.len())).copied().unwrap_or_default();
        let end = skip_value(&self.metadata, at).unwrap_or(self.metadata.len());
        match random.below(8) {
            0 => self.replace(at, end, random.pick(LITERALS)),
            1 => {
                let index = u8::try_from(random.below(self.buffers.len() + 1)).unwrap_or(0xff);
                self.replace(at, end, &[0xd4, 0x70, index]);
            }
            2 => self.replace(at, at, random.pick(WRAPPERS)),
            3 => {
                let from = starts.get(random.below(starts.len())).copied().unwrap_or_default();
                let to = skip_value(&self.metadata, from).unwrap_or(from);
                let copy = self.metadata.get(from..to).unwrap_or_default().to_vec();
                self.replace(at, end, &copy);
            }
            4 => {
                let other = Parts::split(any_seed(random));
                self.replace(at, end, other.as_ref().map_or(&[0xc0], |other| &other.metadata));
            }
            5 => self.grow(at, random),
            6 => self.replace(at, at + 1, &[random.byte()]),
            _ => self.metadata.truncate(self.metadata.len().max(2) - 1),
        }
    }

    /// One more item for the short sequence or map at `at`.
    fn grow(&mut self, at: usize, random: &mut Random) {
        let more: &[u8] = match self.metadata.get(at) {
            Some(0x80..=0x8e) => &[0xa1, b'z', 0xc0],
            Some(0x90..=0x9e) => &[0xc0],
            _ => return self.replace(at, at, random.pick(WRAPPERS)),
        };
        self.metadata[at] += 1;
        self.replace(at + 1, at + 1, more);
    }

    fn replace(&mut self, from: usize, to: usize, by: &[u8]) {
        let end = to.clamp(from, self.metadata.len().max(from));
        if end <= self.metadata.len() && self.metadata.len() + by.len() < MOST_METADATA {
            self.metadata.splice(from..end, by.iter().copied());
        }
    }

    /// References in the order of first use, and as many buffers as they name.
    fn renumber(&mut self, random: &mut Random) {
        let mut order: Vec<u8> = Vec::new();
        let mut at = 0;
        while let Some((next, reference)) = skip_token(&self.metadata, at) {
            // The long forms are left as they are.
            if reference.is_some() && self.metadata[at] == 0xd4 {
                let old = self.metadata[at + 2];
                let new = order.iter().position(|&index| index == old).unwrap_or(order.len());
                if new == order.len() {
                    order.push(old);
                }
                self.metadata[at + 2] = u8::try_from(new).unwrap_or(u8::MAX);
            }
            at = next;
        }
        let buffer = |old: u8| self.buffers.get(usize::from(old)).cloned();
        let found: Vec<_> = order.into_iter().map(buffer).collect();
        let made = |random: &mut Random| {
            let len = 1 + random.below(80);
            (Descriptor::inline(0, Kind::OPAQUE, 6), Cow::Owned(random.bytes(len)))
        };
        self.buffers = found.into_iter().map(|b| b.unwrap_or_else(|| made(random))).collect();
    }
}

/// Every segment holds every range: which of them do is for the real one to say.
struct Anywhere;

impl Segments for Anywhere {
    fn check(&self, _: u32, _: u64, _: u64, _: u32) -> Result<(), SegmentFault> {
        Ok(())
    }
}

fn elsewhere(random: &mut Random) -> Descriptor {
    let offset = u64::from(random.byte()) << 6;
    if random.one_in(2) {
        Descriptor::segment(5, offset, 64, 3, Kind::OPAQUE, 6)
    } else {
        Descriptor::external(offset, 64, Kind::OPAQUE, 6)
    }
}

fn token_starts(metadata: &[u8]) -> Vec<usize> {
    let next = |&at: &usize| Some(skip_token(metadata, at)?.0).filter(|&at| at < metadata.len());
    std::iter::successors(Some(0), next).collect()
}

const MOST_METADATA: usize = 8 << 10;
/// One for each marker, and the edges of their ranges.
const LITERALS: &[&[u8]] = &[
    &[0xc0],
    &[0xc2],
    &[0xc3],
    &[0],
    &[0x7f],
    &[0xe0],
    &[0xff],
    &[0xcc, 0x80],
    &[0xcd, 1, 0],
    &[0xce, 0, 1, 0, 0],
    &[0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    &[0xd0, 0x80],
    &[0xd1, 0x80, 0],
    &[0xd2, 0x80, 0, 0, 0],
    &[0xd3, 0x80, 0, 0, 0, 0, 0, 0, 0],
    &[0xca, 0x7f, 0xc0, 0, 1],
    &[0xcb, 0x80, 0, 0, 0, 0, 0, 0, 0],
    &[0xa0],
    &[0xa1, b'x'],
    &[0xa2, 0xc3, 0xa9],
    &[0xa1, 0xff],
    &[0xd9, 1, b'k'],
    &[0xda, 0, 1, b'k'],
    &[0xdb, 0, 0, 0, 1, b'k'],
    &[0xc4, 0],
    &[0xc4, 2, 1, 2],
    &[0xc5, 0, 1, 9],
    &[0xc6, 0, 0, 0, 1, 9],
    &[0xc4, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80],
    &[0x80],
    &[0x90],
    &[0xdc, 0, 0],
    &[0xdd, 0, 0, 0, 0],
    &[0xde, 0, 0],
    &[0xdf, 0, 0, 0, 0],
    &[0xdd, 0xff, 0xff, 0xff, 0xff],
    &[0xdf, 0x80, 0, 0, 0],
    &[0xc1],
    &[0xc7, 1, 0x70, 0],
    &[0xd4, 0x71, 0],
    &[0xd5, 0x70, 0, 1],
    &[0xd6, 0x70, 0, 0, 1, 0],
    &[0xd6, 0xff, 0, 0, 0, 0],
];
/// What makes a value the last part of a larger one.
const WRAPPERS: &[&[u8]] = &[
    &[0x91],
    &[0x92, 0xc0],
    &[0xdc, 0, 1],
    &[0xdd, 0, 0, 0, 1],
    &[0x81, 0xa1, b'k'],
    &[0x81, 7],
    &[0xde, 0, 1, 0xa1, b'A'],
    &[0x82, 0xa1, b't', 0xa1, b'A', 0xa1, b'c'],
];
