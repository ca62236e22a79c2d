//! `segments`: descriptors against any registry of segments. No range that is accepted leaves its
//! segment or block, no writable range meets another, and who does not permit segments never looks
//! one up. In half of the inputs the registry is a table and the frame a frame; in the others the
//! segments are real memory, sound or not, that both readers of it attach, detach and lease.

use std::cell::RefCell;

use pannier::frame::{Descriptor, Frame, HeadOptions, Kind, Layout, Location, write_head};
use pannier::fuzzing::{Block, Range, WorkerMemory, fix_up, parse_with};
use pannier::shm::{ArenaReader, Place, SegmentError};
use pannier::{Buffer, FrameError, Limits, SegmentFault};

use crate::attach;
use crate::script::Script;

/// The ways to a segment, each of which a test may replace by one with a fault.
pub trait Gates {
    /// A frame, by somebody who knows segments.
    fn parse<'a>(
        bytes: &'a [u8],
        limits: &Limits,
        knows: impl Fn(Range, u32) -> Result<(), SegmentFault>,
    ) -> Result<Frame<'a>, FrameError> {
        parse_with(bytes, limits, knows)
    }

    /// Buffers of another process's arena.
    fn buffers(reader: &ArenaReader, places: &[Place]) -> Result<Vec<Buffer<u8>>, SegmentError> {
        reader.buffers(places)
    }

    /// A buffer that a worker was told of.
    fn lease(
        worker: &WorkerMemory,
        range: Range,
        generation: u32,
    ) -> Result<(Buffer<u8>, Block), SegmentFault> {
        worker.lease(range, generation)
    }
}

/// Those of the library.
#[derive(Debug)]
pub struct Guarded;

impl Gates for Guarded {}

/// Any bytes: a registry and descriptors.
pub fn segments(data: &[u8]) {
    segments_of::<Guarded>(data);
}

/// The same for other gates.
pub fn segments_of<G: Gates>(data: &[u8]) {
    let mut script = Script::new(data);
    if script.one_in(2) {
        attach::attach_of::<G>(&mut script);
    } else {
        frame_of::<G>(&mut script);
    }
}

/// A segment as a table has it.
#[derive(Debug)]
struct Known {
    segment: u32,
    len: u64,
    block_len: u64,
    generation: u32,
}

struct Registry(Vec<Known>);

impl Registry {
    fn new(script: &mut Script<'_>) -> Self {
        let known = (0..script.below(5)).map(|_| Known {
            segment: segment(script),
            len: 64 * u64::from(script.byte() % 64),
            block_len: 1 << (4 + script.below(8)),
            generation: script.below(3) as u32,
        });
        Registry(known.collect())
    }

    /// What the format says: an existing segment, within one block of it, of that generation.
    fn answer(&self, (segment, offset, len): Range, generation: u32) -> Result<(), SegmentFault> {
        let known = self.0.iter().find(|known| known.segment == segment);
        let known = known.ok_or(SegmentFault::Unknown)?;
        let end = u128::from(offset) + u128::from(len);
        let block_end = (u128::from(offset / known.block_len) + 1) * u128::from(known.block_len);
        if end > u128::from(known.len) || end > block_end {
            return Err(SegmentFault::Bounds);
        }
        (known.generation == generation).then_some(()).ok_or(SegmentFault::Stale)
    }
}

fn segment(script: &mut Script<'_>) -> u32 {
    [1, 2, 3, 1 << 31 | 1, u32::MAX][script.below(5)]
}

fn frame_of<G: Gates>(script: &mut Script<'_>) {
    let permitted = !script.one_in(4);
    let registry = Registry::new(script);
    let table = (0..script.below(9)).map(|_| descriptor(script, &registry));
    // What no reader would accept of itself is the business of other targets.
    let mut table: Vec<_> = table.filter(|d| Layout::new(1, &mut [*d]).is_ok()).collect();
    // One reference to each, in order, in an array.
    let count = u8::try_from(table.len()).expect("few");
    let references = (0..count).flat_map(|index| [0xd4, 0x70, index]);
    let metadata: Vec<u8> = [0x90 | count].into_iter().chain(references).collect();
    let layout = Layout::new(metadata.len(), &mut table).expect("each alone can be placed");
    let mut bytes = Vec::new();
    write_head(&mut bytes, &layout, &[&metadata], &table, &HeadOptions::default());
    bytes.resize(usize::try_from(layout.frame_len()).expect("only heads"), 0);
    let expected = expected(&table, permitted, &registry);
    assert_eq!(judge::<G>(&bytes, permitted, &registry), expected, "{table:?} with {registry}");
    for _ in 0..script.below(4) {
        let at = bytes.len().saturating_sub(1 + script.short() % 320);
        bytes[at] = script.byte();
        fix_up(&mut bytes);
        let _either = judge::<G>(&bytes, permitted, &registry);
    }
}

/// Mostly within a block that is there, else near or far from it.
fn descriptor(script: &mut Script<'_>, registry: &Registry) -> Descriptor {
    let (mut at, mut generation) = ((segment(script), script.number() & !7, script.number()), 1);
    if let Some(known) = registry.0.get(script.below(registry.0.len() + 1)) {
        let block = u64::from(script.byte()) % (known.len / known.block_len).max(1);
        let start = u64::from(script.byte()) % known.block_len;
        let len = 1 + u64::from(script.byte()) % (known.block_len - start);
        at = (known.segment, block * known.block_len + start, len);
        generation = known.generation;
    }
    match script.below(24) {
        0 => at.0 = segment(script),
        1 => at.1 = at.1.wrapping_add(script.number()),
        2 => at.2 = at.2.wrapping_add(script.number()),
        3 => generation = script.below(3) as u32,
        _ => {}
    }
    let (align, kind) = ([0, 0, 0, 3][script.below(4)], Kind::OPAQUE);
    match script.below(8) {
        0 => Descriptor::external(script.word(), at.2, kind, align),
        how => Descriptor::segment(at.0, at.1, at.2, generation, kind, align).writable(how < 3),
    }
}

/// By the words of the format, in its order of checks.
fn expected(table: &[Descriptor], permitted: bool, registry: &Registry) -> Result<(), FrameError> {
    for (descriptor, index) in table.iter().zip(0..) {
        let Descriptor { segment, offset, len, generation, .. } = *descriptor;
        if descriptor.location == Location::Segment {
            let answer = registry.answer((segment, offset, len), generation);
            let answer = if permitted { answer } else { Err(SegmentFault::NotPermitted) };
            answer.map_err(|why| FrameError::Segment { index, why })?;
        }
    }
    let first = (0..table.len()).find(|&j| (0..j).any(|i| alias(&table[i], &table[j])));
    first.map_or(Ok(()), |index| {
        let index = u32::try_from(index).expect("few");
        Err(FrameError::Segment { index, why: SegmentFault::AliasedWritable })
    })
}

fn alias(a: &Descriptor, b: &Descriptor) -> bool {
    let end = |d: &Descriptor| u128::from(d.offset) + u128::from(d.len);
    a.location == Location::Segment
        && b.location == Location::Segment
        && a.segment == b.segment
        && (a.writable || b.writable)
        && u128::from(a.offset) < end(b)
        && u128::from(b.offset) < end(a)
}

/// What holds for any frame, and what becomes of this one.
fn judge<G: Gates>(bytes: &[u8], permitted: bool, registry: &Registry) -> Result<(), FrameError> {
    let asked = RefCell::new(Vec::new());
    let parsed = G::parse(bytes, &Limits::tiny().segments(permitted), |range, generation| {
        asked.borrow_mut().push((range, generation));
        registry.answer(range, generation)
    });
    let asked = asked.into_inner();
    assert!(permitted || asked.is_empty(), "looked up what is not permitted");
    let frame = parsed?;
    let table: Vec<_> = frame.descriptors().collect();
    for d in table.iter().filter(|d| d.location == Location::Segment) {
        let question = ((d.segment, d.offset, d.len), d.generation);
        assert!(asked.contains(&question), "accepted, and nobody was asked");
        assert_eq!(registry.answer(question.0, question.1), Ok(()), "accepted {d:?}");
    }
    let aliased = (0..table.len()).any(|j| (0..j).any(|i| alias(&table[i], &table[j])));
    assert!(!aliased, "accepted an alias: {table:?}");
    Ok(())
}

impl std::fmt::Display for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.0)
    }
}
