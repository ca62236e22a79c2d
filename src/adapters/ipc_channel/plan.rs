//! Which buffer of a frame travels in which region.
//!
//! Promises: at most [`REGIONS_MAX`] regions; what lies in a region already is not copied, unless it
//! is among the smallest of too many.
//! Does not know: metadata.
#![forbid(unsafe_code)]

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::region::Region;
use crate::buffer::Buffer;
use crate::codec::{CodecError, Copies, Payload, Placed, Sink};
use crate::frame::{Descriptor, Kind};

/// How many `IpcSharedMemory` a frame has at most, each of which is a descriptor.
///
/// `ipc-channel` permits 64 in a message; so two frames fit in one, with four channels beside them.
pub const REGIONS_MAX: usize = 30;

/// From this length on [`IpcFrame::encode`](super::IpcFrame::encode) puts buffers into shared memory.
///
/// A region is made, sent, mapped three times and faulted in page by page: below this it takes longer
/// than two more copies of the bytes. (For what an [`Encoder`](crate::Encoder) says otherwise, see
/// [`IpcFrame::encode_with`](super::IpcFrame::encode_with).)
pub const THRESHOLD: usize = 64 << 10;

/// Takes every payload out of band. Where it will lie is said when all of them are known.
#[derive(Default)]
pub(super) struct Gather {
    regions: usize,
    copies: Copies,
}

impl Gather {
    pub(super) fn copies(&self) -> Copies {
        self.copies
    }

    /// Bytes that are only lent, at once where they may stay.
    fn keep(&mut self, bytes: &[u8]) -> Result<Buffer<u8>, CodecError> {
        count(&mut self.copies, bytes.len());
        if self.regions == REGIONS_MAX {
            return Ok(Buffer::copy_from_slice(bytes));
        }
        self.regions += 1;
        Ok(Region::copy_of(bytes)?.buffer())
    }
}

impl Sink for Gather {
    fn place(&mut self, payload: Payload<'_>) -> Result<Option<Placed>, CodecError> {
        let (buffer, kind) = match payload {
            Payload::Owned { buffer, kind, align: _ } => (buffer.clone(), kind),
            Payload::Lent(bytes) => (self.keep(bytes)?, Kind::OPAQUE),
        };
        let len = u64::try_from(buffer.len()).unwrap_or(u64::MAX);
        Ok(Some(Placed::new(Descriptor::segment(0, 0, len, 0, kind, 0), buffer)))
    }
}

/// Buffers that share a region, or will.
struct Group {
    /// None yet: the one buffer lies elsewhere.
    region: Option<Region>,
    /// Their indices.
    buffers: Vec<usize>,
    len: usize,
}

/// Regions for all that was placed, and descriptors that say where in them it lies.
pub(super) fn lay_out(
    placed: &[Placed],
    copies: &mut Copies,
) -> Result<(Vec<Region>, Vec<Descriptor>), CodecError> {
    let mut groups = group(placed);
    let packed = pack_smallest(&mut groups);
    let mut descriptors: Vec<Descriptor> = placed.iter().map(|p| p.descriptor).collect();
    let mut regions = Vec::with_capacity(groups.len() + 1);
    for Group { region, buffers, .. } in groups {
        let region = match (region, buffers.first()) {
            (Some(region), _) => region,
            (None, None) => continue,
            (None, Some(&first)) => {
                count(copies, placed[first].buffer.len());
                Region::copy_of(&placed[first].buffer)?
            }
        };
        for index in buffers {
            let offset = Region::of(&placed[index].buffer).map_or(0, |(_, offset)| offset);
            put(&mut descriptors[index], regions.len(), offset);
        }
        regions.push(region);
    }
    if !packed.is_empty() {
        let bytes = pack(placed, &packed, regions.len(), &mut descriptors, copies);
        regions.push(Region::copy_of(&bytes)?);
    }
    Ok((regions, descriptors))
}

fn group(placed: &[Placed]) -> Vec<Group> {
    let (mut groups, mut by_start) = (Vec::<Group>::new(), BTreeMap::new());
    for (index, Placed { buffer, .. }) in placed.iter().enumerate() {
        let region = Region::of(buffer).map(|(region, _)| region);
        let known = region.as_ref().and_then(|region| by_start.get(&region.start()).copied());
        match known.and_then(|at: usize| groups.get_mut(at)) {
            Some(group) => {
                group.buffers.push(index);
                group.len = group.len.saturating_add(buffer.len());
            }
            None => {
                if let Some(region) = &region {
                    by_start.insert(region.start(), groups.len());
                }
                groups.push(Group { region, buffers: vec![index], len: buffer.len() });
            }
        }
    }
    groups
}

/// Takes the smallest groups away if there are too many: the indices of their buffers.
fn pack_smallest(groups: &mut Vec<Group>) -> Vec<usize> {
    if groups.len() <= REGIONS_MAX {
        return Vec::new();
    }
    groups.sort_by_key(|group| Reverse(group.len));
    groups.split_off(REGIONS_MAX - 1).into_iter().flat_map(|group| group.buffers).collect()
}

/// These buffers one behind the other, as the bytes of a region of that number.
fn pack(
    placed: &[Placed],
    packed: &[usize],
    region: usize,
    descriptors: &mut [Descriptor],
    copies: &mut Copies,
) -> Vec<u8> {
    let mut bytes = Vec::new();
    for &index in packed {
        let buffer = &placed[index].buffer;
        bytes.resize(bytes.len().next_multiple_of(ALIGN), 0);
        put(&mut descriptors[index], region, bytes.len());
        bytes.extend_from_slice(buffer);
        // Here, and again into the region.
        count(copies, buffer.len());
        count(copies, buffer.len());
    }
    bytes
}

fn put(descriptor: &mut Descriptor, region: usize, offset: usize) {
    descriptor.segment = u32::try_from(region).expect("there are REGIONS_MAX regions at most");
    descriptor.offset = u64::try_from(offset).expect("a region lies within the addresses");
    // What can be promised of a place in a region, which begins with a page.
    let align = descriptor.offset.trailing_zeros().min(PAGE_ALIGN);
    descriptor.align = u8::try_from(align).expect("it is 12 at most");
}

fn count(copies: &mut Copies, bytes: usize) {
    copies.add(Copies { count: 1, bytes: u64::try_from(bytes).unwrap_or(u64::MAX) });
}

/// As the format has it for buffers in a frame.
const ALIGN: usize = 64;
/// log2 of the smallest page.
const PAGE_ALIGN: u32 = 12;
