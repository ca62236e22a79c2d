//! What a worker gives up before its first task, because it is not trusted.
//!
//! Promises: it takes effect while the worker has one thread of this library's, so that threads which
//! come later inherit it; whatever cannot be done is an error, and no worker comes of it.
//! Does not know: what is run last; it is named in a form that the floors above understand.
#![forbid(unsafe_code)]

use std::io;

use serde::{Deserialize, Serialize};

use crate::sys::confine::{Limited, be_opaque, gain_no_privileges, limit};

/// What a worker is told to give up, for good.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Confinement {
    /// Bytes.
    pub(crate) address_space: Option<u64>,
    pub(crate) open_files: Option<u64>,
    /// Bytes of each.
    pub(crate) file_size: Option<u64>,
    /// Of this user, with threads.
    pub(crate) processes: Option<u64>,
    /// The function that is to be run when all this has been done.
    pub(crate) then: Option<Vec<u8>>,
}

impl Confinement {
    pub(super) fn take_effect(&self) -> io::Result<()> {
        gain_no_privileges()?;
        be_opaque()?;
        limit(Limited::Core, 0)?;
        let limits = [
            (Limited::AddressSpace, self.address_space),
            (Limited::OpenFiles, self.open_files),
            (Limited::FileSize, self.file_size),
            (Limited::Processes, self.processes),
        ];
        let given = limits.into_iter().filter_map(|(what, most)| Some((what, most?)));
        given.into_iter().try_for_each(|(what, most)| limit(what, most))
    }
}
