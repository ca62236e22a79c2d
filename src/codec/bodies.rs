//! The bodies of one frame: by index for the reader, by address for the handles that want to share.
//!
//! Promises: a lookup by address costs the logarithm of the number of bodies at most, however they
//! overlap, and a slice is found only in a body that contains all of it.
//! Does not know: where a body's memory is.
#![forbid(unsafe_code)]

use std::cell::OnceCell;
use std::rc::Rc;

use crate::buffer::Buffer;
use crate::codec::scope::Found;
use crate::frame::Kind;

/// One body of a frame.
#[derive(Debug)]
pub(crate) enum Body<'de> {
    /// Bytes that are only lent: what wants to keep them copies.
    Borrowed { bytes: &'de [u8], kind: Kind },
    /// Bytes that a `Buffer` can share.
    Owned { buffer: Buffer<u8>, kind: Kind },
}

/// The bodies of a frame, in the order of their indices; built once for each frame.
pub(crate) struct Bodies<'de> {
    /// `None` for no bodies at all, as small messages have it. Shared with the scope of the value
    /// that is being read, on the same thread: a plain count is enough.
    table: Option<Rc<Table>>,
    /// By index, up to the last that is lent; `None` stands for owned bodies.
    lent: Vec<Option<&'de [u8]>>,
}

impl<'de> Bodies<'de> {
    pub(crate) fn new(bodies: impl IntoIterator<Item = Body<'de>>) -> Self {
        bodies.into_iter().collect()
    }

    /// Of a value that has none.
    #[cfg(feature = "channel")]
    pub(crate) const NONE: Bodies<'static> = Bodies { table: None, lent: Vec::new() };

    fn lent(&self, index: u32) -> Option<&'de [u8]> {
        self.lent.get(usize::try_from(index).ok()?).copied().flatten()
    }
}

impl<'de> FromIterator<Body<'de>> for Bodies<'de> {
    fn from_iter<I: IntoIterator<Item = Body<'de>>>(bodies: I) -> Self {
        let mut lent = Vec::new();
        let mut regions = bodies.into_iter().enumerate().map(|(at, body)| match body {
            Body::Borrowed { bytes, kind } => {
                lent.resize(at, None);
                lent.push(Some(bytes));
                Region { start: bytes.as_ptr().addr(), len: bytes.len(), kind, owned: None }
            }
            Body::Owned { buffer, kind } => {
                let (start, len) = (buffer.as_ptr().addr(), buffer.len());
                Region { start, len, kind, owned: Some(buffer) }
            }
        });
        let table = regions.next().map(|first| {
            Rc::new(Table { first, others: regions.collect(), by_address: OnceCell::new() })
        });
        Bodies { table, lent }
    }
}

/// The bodies of a reader.
pub(super) enum Held<'de> {
    /// They outlive what is read, so it can borrow from owned bodies too.
    For(&'de Bodies<'de>),
    /// They go with the reader: what is read can borrow from lent bodies only.
    Here(Bodies<'de>),
}

impl<'de> Held<'de> {
    pub(super) fn table(&self) -> Option<Rc<Table>> {
        match self {
            Held::For(bodies) => bodies.table.clone(),
            Held::Here(bodies) => bodies.table.clone(),
        }
    }

    /// The bytes of the body with this index.
    pub(super) fn get(&self, index: u32) -> Option<&'de [u8]> {
        match self {
            Held::For(bodies) => match bodies.table.as_ref()?.region(index)?.owned.as_ref() {
                Some(buffer) => Some(buffer),
                None => bodies.lent(index),
            },
            Held::Here(bodies) => bodies.lent(index),
        }
    }
}

/// Where the bodies lie. It borrows nothing, so that a scope can hold it beside serde.
pub(super) struct Table {
    /// Mostly there are no others.
    first: Region,
    others: Vec<Region>,
    /// Sorted when first needed: mostly the body that was referenced last is the one.
    by_address: OnceCell<Vec<Spot>>,
}

struct Region {
    start: usize,
    len: usize,
    kind: Kind,
    owned: Option<Buffer<u8>>,
}

/// A region in the order of addresses.
#[derive(Clone, Copy)]
struct Spot {
    start: usize,
    len: usize,
    index: u32,
    /// That of the region, or opaque if the same range is there with several kinds: the address
    /// cannot tell which of them was meant.
    kind: Kind,
    /// Of all regions up to this one, that which ends last.
    longest: u32,
    longest_end: usize,
}

impl Table {
    /// The region that contains `bytes`; `likely` is tried first.
    pub(super) fn find(&self, bytes: &[u8], likely: u32) -> Option<Found> {
        let start = bytes.as_ptr().addr();
        if let Some(region) = self.region(likely).filter(|r| r.contains(start, bytes.len())) {
            return Some(region.found(likely, region.kind, start, bytes.len()));
        }
        let spots = self.by_address.get_or_init(|| sort(self.regions()));
        let key = (start, bytes.len());
        let exact = spots.binary_search_by_key(&key, |spot| (spot.start, spot.len)).ok();
        let (index, kind) = match exact.and_then(|at| spots.get(at)) {
            Some(spot) => (spot.index, spot.kind),
            None => {
                // What contains the slice starts no later, and of those the one that ends last
                // contains it if any does.
                let behind = spots.partition_point(|spot| spot.start <= start);
                let index = spots.get(behind.checked_sub(1)?)?.longest;
                (index, self.region(index)?.kind)
            }
        };
        let region = self.region(index).filter(|r| r.contains(start, bytes.len()))?;
        Some(region.found(index, kind, start, bytes.len()))
    }

    fn region(&self, index: u32) -> Option<&Region> {
        match usize::try_from(index).ok()?.checked_sub(1) {
            None => Some(&self.first),
            Some(at) => self.others.get(at),
        }
    }

    /// In the order of their indices.
    fn regions(&self) -> impl Iterator<Item = &Region> {
        std::iter::once(&self.first).chain(&self.others)
    }
}

impl Region {
    fn contains(&self, start: usize, len: usize) -> bool {
        start.checked_sub(self.start).is_some_and(|at| at <= self.len && len <= self.len - at)
    }

    /// The range lies in this region.
    fn found(&self, index: u32, kind: Kind, start: usize, len: usize) -> Found {
        let at = start - self.start;
        let buffer = self.owned.as_ref().map(|owned| owned.slice(at..at + len));
        Found { index, kind, buffer }
    }
}

fn sort<'r>(regions: impl Iterator<Item = &'r Region>) -> Vec<Spot> {
    let spot = |(index, region): (u32, &Region)| {
        let Region { start, len, kind, .. } = *region;
        Spot { start, len, index, kind, longest: index, longest_end: start.saturating_add(len) }
    };
    let mut spots: Vec<Spot> = (0..).zip(regions).map(spot).collect();
    spots.sort_unstable_by_key(|spot| (spot.start, spot.len));
    spots.dedup_by(|next, kept| {
        let same = (next.start, next.len) == (kept.start, kept.len);
        if same && next.kind != kept.kind {
            kept.kind = Kind::OPAQUE;
        }
        same
    });
    let mut longest = (0, 0);
    for spot in &mut spots {
        longest = longest.max((spot.longest_end, spot.longest));
        (spot.longest_end, spot.longest) = longest;
    }
    spots
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(buffer: &Buffer<u8>, kind: Kind) -> Body<'static> {
        Body::Owned { buffer: buffer.clone(), kind }
    }

    #[test]
    fn a_slice_is_found_wherever_it_lies_and_however_regions_overlap() {
        let memory: Buffer<u8> = vec![7; 4096].into();
        let ranges = [0..4096, 64..128, 64..256, 300..301, 1000..4000, 64..128, 2000..2001];
        let bodies = ranges.iter().map(|range| owned(&memory.slice(range.clone()), Kind::OPAQUE));
        let bodies = Bodies::new(bodies);
        for start in (0..4096).step_by(37) {
            for end in (start + 1..4096).step_by(101) {
                let found = bodies.table.as_ref().unwrap().find(&memory[start..end], 3).unwrap();
                assert_eq!(found.buffer.unwrap().as_ptr(), &raw const memory[start]);
            }
        }
        let elsewhere = vec![7; 64];
        assert!(bodies.table.as_ref().unwrap().find(&elsewhere, 0).is_none());
    }

    #[test]
    fn a_slice_that_leaves_its_region_is_not_found() {
        let memory: Buffer<u8> = vec![7; 128].into();
        let parts = [memory.slice(..64), memory.slice(32..96)];
        let bodies = Bodies::new(parts.iter().map(|part| owned(part, Kind::OPAQUE)));
        assert!(bodies.table.as_ref().unwrap().find(&memory[..96], 0).is_none());
        assert!(bodies.table.as_ref().unwrap().find(&memory[90..97], 0).is_none());
        assert!(bodies.table.as_ref().unwrap().find(&memory[90..96], 0).is_some());
    }

    #[test]
    fn the_kind_is_that_of_the_exact_region_unless_there_are_several() {
        let memory: Buffer<u8> = vec![7; 128].into();
        let (whole, half) = (memory.clone(), memory.slice(..64));
        let bodies = [owned(&whole, Kind::F64), owned(&half, Kind::U32), owned(&half, Kind::U64)];
        let bodies = Bodies::new(bodies);
        assert_eq!(bodies.table.as_ref().unwrap().find(&half, 1).unwrap().kind, Kind::U32);
        assert_eq!(bodies.table.as_ref().unwrap().find(&half, 9).unwrap().kind, Kind::OPAQUE);
        assert_eq!(bodies.table.as_ref().unwrap().find(&whole, 9).unwrap().kind, Kind::F64);
    }
}
