//! Removes what dead owners left.
//!
//! Does not know: names that others made.
#![forbid(unsafe_code)]

use std::fs;

use super::error::NamedError;
use super::name::{Owner, View};
use super::object::FOLDER;

/// Removes the names that [`NamedSegment::create`](super::NamedSegment::create) made and whose owner
/// has ended without doing so: which.
///
/// No object is opened, and nobody's map changes: what is attached stays readable. Left alone are
/// names of living owners, of other users, and of processes that cannot be judged from here since
/// they lie in another namespace; names that were chosen are never touched.
///
/// # Errors
///
/// [`NamedError::NoProc`] where `/proc` does not show this process; [`NamedError::System`] when
/// `/dev/shm` cannot be listed.
///
/// # Examples
///
/// ```
/// use pannier::adapters::named::{NamedSegment, sweep};
///
/// let mine = NamedSegment::create(100)?;
/// assert!(!sweep()?.contains(&mine.name().to_owned()));
/// # Ok::<(), pannier::adapters::named::NamedError>(())
/// ```
pub fn sweep() -> Result<Vec<String>, NamedError> {
    let here = View::here()?;
    let listed = |error| NamedError::system("list /dev/shm", &error);
    let mut removed = Vec::new();
    for entry in fs::read_dir(FOLDER).map_err(listed)? {
        let entry = entry.map_err(listed)?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        // The name of a dead owner is nobody's again: only he could make it.
        let is_left = Owner::of(&name).is_some_and(|owner| owner.is_dead(&here));
        if is_left && fs::remove_file(entry.path()).is_ok() {
            removed.push(name);
        }
    }
    Ok(removed)
}
