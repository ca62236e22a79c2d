//! A function and its items, as they are named in one process and run in another.
//!
//! Promises: only what this program's own compiler made into an entry is ever called; a panic, a
//! value that cannot be read and one that cannot be written each end one item and no more.
//! Does not know: workers, sockets, scheduling.

mod bounds;
mod entry;
mod outcome;
mod panic;
mod run;

pub use self::bounds::Function;

pub(crate) use self::entry::{
    Call, Entry, Plain, WithContext, entry_of, name_of, once_entry_of, resolve,
};
pub(crate) use self::outcome::{Outcome, PanicReport, with_sources};
pub(crate) use self::panic::{catch, record_panics};
pub(crate) use self::run::{Context, Failure, Run};
