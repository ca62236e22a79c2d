//! Submitting: from a function and its arguments to a payload in the queue.
//!
//! Promises: whatever is wrong with the arguments is an error of this handle alone.
//! Does not know: workers.
#![forbid(unsafe_code)]

use std::sync::Arc;

use serde::Serialize;

use super::handle::JoinHandle;
use super::inner::{Inner, Settings};
use super::payload::{Context, Packer, Parcel, Payload};
use super::pending::{Answer, Fault, Pending};
use super::resolve::Names;
use crate::channel::EntryName;
use crate::codec::CodecError;
use crate::codec::Data;
use crate::task::{Call, entry_of, name_of};

impl Inner {
    /// One call of `C`; refused where the pool is the parent's of this forked process.
    pub(super) fn submit_one<C: Call<Context = ()>>(
        self: &Arc<Self>,
        argument: C::Item,
        settings: Settings,
        is_here: bool,
    ) -> JoinHandle<C::Output>
    where
        C::Item: Data,
        C::Output: Data,
    {
        let packed = if is_here { self.pack_one(&argument, true) } else { Err(Fault::Forked) };
        drop(argument);
        self.submit_one_packed::<C>(packed, settings)
    }

    /// The same without waiting for memory; if there is none now, the argument comes back.
    pub(super) fn try_submit_one<C: Call<Context = ()>>(
        self: &Arc<Self>,
        argument: C::Item,
        settings: Settings,
    ) -> Result<JoinHandle<C::Output>, C::Item>
    where
        C::Item: Data,
        C::Output: Data,
    {
        let packed = self.pack_one(&argument, false);
        if packed.as_ref().is_err_and(Fault::is_out_of_memory) {
            return Err(argument);
        }
        drop(argument);
        Ok(self.submit_one_packed::<C>(packed, settings))
    }

    fn submit_one_packed<C: Call<Context = ()>>(
        self: &Arc<Self>,
        packed: Result<Packer, Fault>,
        settings: Settings,
    ) -> JoinHandle<C::Output>
    where
        C::Item: Data,
        C::Output: Data,
    {
        let names = Names {
            id: self.next_id(),
            item: None,
            function: C::function(),
            argument: std::any::type_name::<C::Item>(),
        };
        let pending = match packed {
            Ok(packer) => self.submit_packed::<C>(names.id, packer, None, settings),
            Err(fault) => self.refused(1, fault),
        };
        JoinHandle::new(self.clone(), pending, names)
    }

    pub(super) fn pack_one<T: Serialize>(
        self: &Arc<Self>,
        value: &T,
        waits: bool,
    ) -> Result<Packer, Fault> {
        let mut packer = self.packer();
        packer.push(value, waits)?;
        Ok(packer)
    }

    /// For the items of one payload.
    pub(crate) fn packer(self: &Arc<Self>) -> Packer {
        Packer::new(self.clone())
    }

    /// A value that many payloads share.
    pub(crate) fn share_context<T: Serialize>(
        self: &Arc<Self>,
        value: &T,
    ) -> Result<Arc<Context>, Fault> {
        let parcel = self.finish(self.pack_one(value, true)?)?;
        Ok(Arc::new(Context::new(self.next_id(), parcel, Arc::downgrade(self))))
    }

    /// The items that were packed, as arguments of `C`.
    pub(crate) fn submit_packed<C: Call>(
        self: &Arc<Self>,
        id: u64,
        packer: Packer,
        context: Option<Arc<Context>>,
        settings: Settings,
    ) -> Arc<Pending> {
        let items = packer.count();
        if items == 0 {
            // Every item failed before it was packed.
            return Arc::new(Pending::new(0));
        }
        match self.payload::<C>(packer, context) {
            Ok(payload) => {
                let pending = payload.pending.clone();
                self.submit(id, Arc::new(payload), items, settings);
                pending
            }
            Err(fault) => self.refused(items, fault),
        }
    }

    /// The items that were packed, ready to be sent.
    pub(super) fn payload<C: Call>(
        &self,
        packer: Packer,
        context: Option<Arc<Context>>,
    ) -> Result<Payload, Fault> {
        let items = packer.count();
        let entry = entry_name::<C>()?;
        let parcel = self.finish(packer)?;
        let pending = Arc::new(Pending::of_bytes(items, parcel.bytes_out_of_band));
        Ok(Payload { parcel, entry, context, pending })
    }

    fn finish(&self, packer: Packer) -> Result<Parcel, Fault> {
        self.counters.add_copies(packer.copies());
        let parcel = packer.finish()?;
        self.counters.bytes_in_band.add(parcel.bytes_in_band);
        self.counters.bytes_out_of_band.add(parcel.bytes_out_of_band);
        Ok(parcel)
    }

    /// Items that fail before they are submitted.
    fn refused(&self, items: u32, fault: Fault) -> Arc<Pending> {
        self.counters.tasks_submitted.add(items.into());
        self.counters.tasks_failed.add(items.into());
        let pending = Arc::new(Pending::new(items));
        let _nobody_waits = pending.answer(Answer { first: 0, count: items, result: Err(fault) });
        pending
    }
}

fn entry_name<C: Call>() -> Result<EntryName, Fault> {
    name_of(entry_of::<C>()).ok_or_else(|| {
        let text = "the program has no build-id, by which a worker could know that it is the same: \
                    link it with `-C link-arg=-Wl,--build-id`";
        Fault::Unwritable(CodecError::Encode(text.to_owned()))
    })
}
