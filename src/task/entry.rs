//! How a function is named in another process that runs the same program.
//!
//! Not by a code address: each combination of function, arguments and result has one constant
//! [`Entry`] in the program's read-only data, and its offset in the file travels, with the file's
//! build-id and a hash of the types. The other process finds the file among its own, and looks
//! before it believes: the entry lies whole and aligned in a readable segment that is not code, has
//! the magic number, names functions that lie in code, and has the same types.
//!
//! Promises: works for functions, closures that capture nothing, and generic ones; a wrong name is
//! refused. A zero-sized function value is made anew in the other process: it may have captured
//! zero-sized tokens, so `Function` bounds it by `Copy + Send + 'static` (docs/SAFETY.md).
//! Does not know: what an entry is called with.
#![expect(unsafe_code, reason = "turns a checked address into an entry; see docs/SAFETY.md")]

use std::any::TypeId;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::marker::PhantomData;
use std::sync::{RwLock, TryLockError, TryLockResult};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::bounds::Function;
use super::run::{Context, Run, run_items};
use crate::channel::EntryName;
use crate::codec::{Bodies, CodecError, Reader};
use crate::frame::Limits;
use crate::sys::module::{self, Module};

/// What runs in a worker, as a type: how to call it is known without a value.
pub(crate) trait Call: 'static {
    type Context: DeserializeOwned + Send + 'static;
    type Item: DeserializeOwned;
    type Output: Serialize;

    fn call(context: &Self::Context, item: Self::Item) -> Self::Output;

    fn function() -> &'static str;
}

/// `F: Fn(A) -> R`.
pub(crate) struct Plain<F, A, R>(PhantomData<fn(F, A) -> R>);

/// `F: Fn(&C, A) -> R`.
pub(crate) struct WithContext<F, C, A, R>(PhantomData<fn(F, C, A) -> R>);

impl<F, A, R> Call for Plain<F, A, R>
where
    F: Fn(A) -> R + Copy + Send + 'static,
    A: DeserializeOwned + 'static,
    R: Serialize + 'static,
{
    type Context = ();
    type Item = A;
    type Output = R;

    fn call((): &(), item: A) -> R {
        again::<F>()(item)
    }

    fn function() -> &'static str {
        std::any::type_name::<F>()
    }
}

impl<F, C, A, R> Call for WithContext<F, C, A, R>
where
    F: Fn(&C, A) -> R + Copy + Send + 'static,
    C: DeserializeOwned + Send + 'static,
    A: DeserializeOwned + 'static,
    R: Serialize + 'static,
{
    type Context = C;
    type Item = A;
    type Output = R;

    fn call(context: &C, item: A) -> R {
        again::<F>()(context, item)
    }

    fn function() -> &'static str {
        std::any::type_name::<F>()
    }
}

/// What a name leads to. The layout is fixed, so that it can be looked at before it is believed.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Entry {
    magic: u64,
    version: u64,
    signature: fn() -> u64,
    run: fn(&mut Run<'_>),
    context: fn(&mut Reader<'_>) -> Result<Context, CodecError>,
}

const MAGIC: u64 = 0x70_61_6E_6E_69_65_72_21;
const VERSION: u64 = 1;
const WORDS: usize = 5;

const _: () = assert!(size_of::<Entry>() == WORDS * size_of::<usize>());
const _: () = assert!(align_of::<Entry>() == align_of::<usize>());

impl Entry {
    /// Runs the items that `run` holds.
    pub(crate) fn run(&self, run: &mut Run<'_>) {
        (self.run)(run);
    }

    /// Reads the context that all items share.
    pub(crate) fn context(&self, reader: &mut Reader<'_>) -> Result<Context, CodecError> {
        (self.context)(reader)
    }

    /// Calls a function of an entry that [`once_entry_of`] made.
    pub(crate) fn once(&self) {
        let none = Bodies::NONE;
        let mut nothing = Reader::new(&[], &none, &Limits::default());
        // It reads nothing, so there is no error.
        let _unit = self.context(&mut nothing);
    }
}

/// The entry of a call; there is one in every program that mentions the call.
pub(crate) fn entry_of<C: Call>() -> &'static Entry {
    struct Of<C>(PhantomData<C>);
    impl<C: Call> Of<C> {
        const ENTRY: &'static Entry = &Entry {
            magic: MAGIC,
            version: VERSION,
            signature: signature_of::<C>,
            run: run_items::<C>,
            context: read_context::<C>,
        };
    }
    Of::<C>::ENTRY
}

/// The entry of a function that is called once in a process, for what it leaves behind there: a
/// context of nothing.
pub(crate) fn once_entry_of<F: Function<(), ()>>() -> &'static Entry {
    struct Of<F>(PhantomData<F>);
    impl<F: Function<(), ()>> Of<F> {
        const ENTRY: &'static Entry = &Entry {
            magic: MAGIC,
            version: VERSION,
            signature: || signature_of::<Of<F>>(),
            run: |_no_items| {},
            context: |_no_bytes| {
                again::<F>()(());
                Ok(Context::new(()))
            },
        };
    }
    Of::<F>::ENTRY
}

/// The name of an entry of this process; `None`: the file it lies in has no build-id.
pub(crate) fn name_of(entry: &'static Entry) -> Option<EntryName> {
    static NAMES: RwLock<Option<HashMap<usize, Option<EntryName>>>> = RwLock::new(None);
    let address = std::ptr::from_ref(entry).addr();
    // Never waited for: in a forked child a thread that is not there any more may have it for ever.
    if let Some(known) = unless_taken(NAMES.try_read()) {
        if let Some(name) = known.as_ref().and_then(|names| names.get(&address)) {
            return *name;
        }
    }
    let name = find_name(entry, address);
    if let Some(mut known) = unless_taken(NAMES.try_write()) {
        known.get_or_insert_default().insert(address, name);
    }
    name
}

fn unless_taken<T>(lock: TryLockResult<T>) -> Option<T> {
    match lock {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// The entry that another process named; `None`: there is no such entry in this program.
pub(crate) fn resolve(name: &EntryName) -> Option<&'static Entry> {
    module::find(|module| {
        if module.build_id != Some(name.module) {
            return None;
        }
        let address = module.base.checked_add(usize::try_from(name.offset).ok()?)?;
        let entry = entry_at(module, address)?;
        ((entry.signature)() == name.signature).then_some(entry)
    })
}

fn find_name(entry: &Entry, address: usize) -> Option<EntryName> {
    module::find(|module| {
        let mut segments = module.segments.iter();
        segments.find(|segment| segment.contains(address, size_of::<Entry>()))?;
        Some(EntryName {
            module: module.build_id?,
            offset: u64::try_from(address - module.base).ok()?,
            signature: (entry.signature)(),
        })
    })
}

/// The entry at an address that came from outside, if there is one.
fn entry_at(module: &Module, address: usize) -> Option<&'static Entry> {
    let data = |s: &&module::LoadedSegment| s.readable && !s.executable;
    let code = |at: usize| module.segments.iter().any(|s| s.executable && s.contains(at, 1));
    let segment =
        module.segments.iter().filter(data).find(|s| s.contains(address, size_of::<Entry>()))?;
    let within = address - segment.start;
    if address % align_of::<Entry>() != 0 || within > segment.len {
        return None;
    }
    let place = std::ptr::with_exposed_provenance::<[usize; WORDS]>(address);
    // SAFETY: the range lies within a segment that the linker's tables say is mapped readable, and
    // is aligned (both checked above); modules of a running program are not unmapped under it.
    let words = unsafe { place.read() };
    let [magic, version, signature, run, context] = words;
    let is_entry = u64::try_from(magic) == Ok(MAGIC) && u64::try_from(version) == Ok(VERSION);
    if !is_entry || ![signature, run, context].into_iter().all(code) {
        return None;
    }
    // SAFETY: the constant of this library's own with this magic number is an `Entry`; its function
    // pointers lie in code (checked above). Read-only data lives as long as the program.
    Some(unsafe { &*place.cast::<Entry>() })
}

fn signature_of<T: 'static>() -> u64 {
    let mut hasher = DefaultHasher::new();
    TypeId::of::<T>().hash(&mut hasher);
    hasher.finish()
}

fn read_context<C: Call>(reader: &mut Reader<'_>) -> Result<Context, CodecError> {
    Ok(Context::new(reader.next::<C::Context>()?))
}

/// The value of a zero-sized function type.
fn again<F: Copy + Send + 'static>() -> F {
    const {
        assert!(
            size_of::<F>() == 0,
            "a task must not capture anything: pass what it needs as an argument (several as a \
             tuple), or once for all items by `Pool::map_with`"
        );
    };
    // SAFETY: a zero-sized value is read from any aligned address. The caller of `submit` or `map`
    // had a value of this type, in this program, and could copy it (`Copy`) and send it (`Send`).
    unsafe { std::ptr::NonNull::<F>::dangling().read() }
}
