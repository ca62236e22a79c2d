//! What serde cannot carry, beside it: which owner a lent byte string belongs to.
//!
//! `Buffer` and the serializer of this floor meet only through serde, which knows slices and no
//! owners. So a buffer that is being written leaves an offer here, which the serializer takes if it
//! is given that very slice; and a buffer that is being read asks here who owns the slice it got.
//! Addresses are compared and never followed.
//!
//! Promises: scopes are guards, so nothing is left on return, error or panic, and a value that
//! itself encodes or decodes meanwhile sees its own scope.
//! Does not know: how values are laid out.
#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::rc::Rc;

use crate::buffer::Buffer;
use crate::codec::bodies::Table;
use crate::codec::reader::Copies;
use crate::frame::Kind;

thread_local! {
    /// Byte strings from this length on are worth an offer; outside an encode none is.
    static THRESHOLD: Cell<usize> = const { Cell::new(NO_ENCODE) };
    static OFFER: RefCell<Option<Offer>> = const { RefCell::new(None) };
    static DECODE: RefCell<Option<Decoding>> = const { RefCell::new(None) };
    /// Whether there is anything in `DECODE`, which takes longer to look at.
    static DECODES: Cell<bool> = const { Cell::new(false) };
}

const NO_ENCODE: usize = usize::MAX;

/// The owner of the slice that is about to be given to `serialize_bytes`.
pub(super) struct Offer {
    pub(super) buffer: Buffer<u8>,
    pub(super) kind: Kind,
    pub(super) align: u8,
}

/// This thread writes a value for as long as the guard lives.
pub(super) struct EncodeScope {
    /// What another value, that this one lies in, has left here.
    outer: (usize, Option<Offer>),
    not_send: PhantomData<*const ()>,
}

impl EncodeScope {
    pub(super) fn enter(threshold: usize) -> Self {
        let outer = THRESHOLD.replace(threshold.min(NO_ENCODE - 1));
        // Outside an encode nothing is offered.
        let offer = if outer == NO_ENCODE { None } else { swap_offer(None) };
        EncodeScope { outer: (outer, offer), not_send: PhantomData }
    }
}

impl Drop for EncodeScope {
    fn drop(&mut self) {
        THRESHOLD.set(self.outer.0);
        // Whoever offered within has taken it back.
        if let Some(offer) = self.outer.1.take() {
            swap_offer(Some(offer));
        }
    }
}

pub(super) fn is_encoding() -> bool {
    THRESHOLD.get() != NO_ENCODE
}

/// Leaves an offer for as long as the guard lives, if this thread writes a frame and the bytes are
/// long enough to matter.
pub(super) fn offer(len: usize, make: impl FnOnce() -> Offer) -> Option<OfferGuard> {
    let wanted = is_encoding() && len >= THRESHOLD.get() && len > 0;
    wanted.then(|| OfferGuard { outer: swap_offer(Some(make())), not_send: PhantomData })
}

pub(super) struct OfferGuard {
    outer: Option<Offer>,
    not_send: PhantomData<*const ()>,
}

impl Drop for OfferGuard {
    fn drop(&mut self) {
        swap_offer(self.outer.take());
    }
}

/// The offer that was left for these very bytes.
pub(super) fn take_offer(bytes: &[u8]) -> Option<Offer> {
    let slot = |offer: &Offer| std::ptr::eq(&raw const *offer.buffer, bytes);
    let matching = |offers: &RefCell<Option<Offer>>| offers.borrow_mut().take_if(|o| slot(o));
    OFFER.try_with(matching).ok().flatten()
}

fn swap_offer(offer: Option<Offer>) -> Option<Offer> {
    // A thread that is ending has no offers any more.
    OFFER.try_with(|slot| slot.replace(offer)).ok().flatten()
}

/// What the value that is being read on this thread may own, and what it has cost.
struct Decoding {
    table: Rc<Table>,
    /// The body that was referenced last: most often the one that is asked for next.
    last: u32,
    copies: Copies,
    /// Bytes of repeated references that may have been copied, and those of each body.
    charged: u64,
    charges: BTreeMap<u32, u64>,
}

/// This thread reads a value for as long as the guard lives.
pub(super) struct DecodeScope {
    outer: Option<Decoding>,
    has_inner: bool,
    not_send: PhantomData<*const ()>,
}

impl DecodeScope {
    /// Without bodies there is nothing to own and nothing to pay for. `charged` is what values read
    /// before this one from the same metadata have cost.
    pub(super) fn enter(table: Option<Rc<Table>>, charged: u64) -> Self {
        let (copies, charges) = (Copies::default(), BTreeMap::new());
        let inner = table.map(|table| Decoding { table, last: 0, copies, charged, charges });
        let has_inner = inner.is_some();
        let outer = if has_inner || DECODES.get() { swap_decoding(inner) } else { None };
        DecodeScope { outer, has_inner, not_send: PhantomData }
    }

    /// What this value and those before it have cost, and the copies that were made since `enter`.
    pub(super) fn spent(&self) -> (u64, Copies) {
        decoding(|decoding| (decoding.charged, decoding.copies)).unwrap_or_default()
    }

    /// The reader came to a reference to this body.
    pub(super) fn resolved(&self, index: u32) {
        decoding(|decoding| decoding.last = index);
    }

    /// The same, of a body that was referenced before: taken for copied until it is found shared.
    pub(super) fn repeated(&self, index: u32, len: u64) {
        decoding(|decoding| {
            decoding.last = index;
            decoding.charged = decoding.charged.saturating_add(len);
            let charge = decoding.charges.entry(index).or_default();
            *charge = charge.saturating_add(len);
        });
    }
}

impl Drop for DecodeScope {
    fn drop(&mut self) {
        if self.has_inner || self.outer.is_some() {
            swap_decoding(self.outer.take());
        }
    }
}

/// A slice that lies in a body of the frame that is being read.
pub(super) struct Found {
    pub(super) index: u32,
    /// The kind its writer named.
    pub(super) kind: Kind,
    /// The slice with its owner; `None` when the frame was only lent.
    pub(super) buffer: Option<Buffer<u8>>,
}

pub(super) fn find(bytes: &[u8]) -> Option<Found> {
    decoding(|decoding| decoding.table.find(bytes, decoding.last)).flatten()
}

/// Bytes of this body were shared: if that was a repeat, it has cost nothing. A first use was never
/// charged, so it pays nothing back.
pub(super) fn shared(index: u32, len: usize) {
    decoding(|decoding| {
        let Some(charge) = decoding.charges.get_mut(&index) else { return };
        let refund = (*charge).min(len as u64);
        *charge -= refund;
        decoding.charged = decoding.charged.saturating_sub(refund);
    });
}

/// Out-of-band bytes were copied.
pub(super) fn copied(len: usize) {
    decoding(|decoding| decoding.copies.add(Copies { count: 1, bytes: len as u64 }));
}

fn decoding<R>(with: impl FnOnce(&mut Decoding) -> R) -> Option<R> {
    if !DECODES.get() {
        return None;
    }
    DECODE.try_with(|slot| slot.borrow_mut().as_mut().map(with)).ok().flatten()
}

fn swap_decoding(decoding: Option<Decoding>) -> Option<Decoding> {
    DECODES.set(decoding.is_some());
    DECODE.try_with(|slot| slot.replace(decoding)).ok().flatten()
}

/// Whether nothing is left on this thread.
#[cfg(test)]
pub(super) fn is_clean() -> bool {
    !is_encoding()
        && OFFER.with(|offer| offer.borrow().is_none())
        && DECODE.with(|decoding| decoding.borrow().is_none())
}
