//! Frames in files: written aside and renamed, read, or mapped and used in place.
//!
//! Promises: whoever opens a file that is written sees the old one or the whole new one; a mapped
//! file is read as far as it is used.
//! Does not know: who else has the file open. Whoever maps one answers for that.
#![expect(unsafe_code, reason = "mapping a file is a promise that only the caller can make")]

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

use ::bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::stream::read_frame;
use crate::codec::{CodecError, Decoder, Encoder};
use crate::frame::FrameError;
use crate::sys::map::FileMap;

/// Writes `value` to a file of one frame, with checksums.
///
/// The file is written under another name beside `path` and renamed, so that a reader sees the old
/// file or the new one, and a map of the old one stays as it was. A link at `path` is replaced, not
/// followed, and the new file has the permissions of the old one. What is neither a file nor a link
/// (a device, a pipe) is refused. A process that is killed while it writes leaves
/// `.pannier-PID-N.tmp`; that a new file outlives a power failure takes [`Encoder::sync`].
///
/// # Errors
///
/// As [`to_writer`](crate::to_writer); nothing is left behind then, and `path` is as it was, unless
/// it was only the last step of [`Encoder::sync`] that failed.
///
/// # Examples
///
/// ```
/// # let folder = std::env::temp_dir();
/// # let path = folder.join(format!("pannier-doc-write-{}", std::process::id()));
/// pannier::write_file(&path, &vec![1, 2, 3])?;
/// assert_eq!(pannier::read_file::<Vec<u8>>(&path)?, [1, 2, 3]);
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), pannier::CodecError>(())
/// ```
///
/// # Platform
///
/// With feature `shm`.
pub fn write_file<T: Serialize + ?Sized>(
    path: impl AsRef<Path>,
    value: &T,
) -> Result<(), CodecError> {
    Encoder::new().write_file(path, value)
}

/// Reads the value of a file of one frame.
///
/// Safe whatever happens to the file meanwhile; buffers in the value share one private copy of it.
///
/// # Errors
///
/// As [`from_slice`](crate::from_slice), and [`CodecError::Io`] when the file cannot be read.
///
/// # Examples
///
/// ```
/// # let folder = std::env::temp_dir();
/// # let path = folder.join(format!("pannier-doc-read-{}", std::process::id()));
/// pannier::write_file(&path, "east")?;
/// assert_eq!(pannier::read_file::<String>(&path)?, "east");
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), pannier::CodecError>(())
/// ```
///
/// # Platform
///
/// With feature `shm`.
pub fn read_file<T: DeserializeOwned>(path: impl AsRef<Path>) -> Result<T, CodecError> {
    Decoder::new().read_file(path)
}

/// Maps a file of one frame: buffers in the value lie in the mapping, and what is not looked at is
/// not read.
///
/// The mapping lives as long as any of the buffers. Checksums of buffers are not looked at, since
/// that reads the file through; [`Decoder::verify`] does.
///
/// # Safety
///
/// * Nobody truncates or rewrites the file during the call, nor as long as a buffer of the value,
///   a clone or a slice of one lives: this process gets SIGBUS at the missing pages, or sees bytes
///   change under a shared reference. Renaming another file over it is harmless, and so is removing
///   it. (A disk or network that fails to deliver a page is SIGBUS too.)
///
/// # Errors
///
/// As [`read_file`].
///
/// # Examples
///
/// ```
/// use pannier::Buffer;
///
/// # let folder = std::env::temp_dir();
/// # let path = folder.join(format!("pannier-doc-map-{}", std::process::id()));
/// pannier::write_file(&path, &Buffer::from(vec![0.5; 1 << 20]))?;
/// // SAFETY: the file was made by this program and is known to nobody else.
/// let column: Buffer<f64> = unsafe { pannier::map_file(&path) }?;
/// assert_eq!(column[1 << 19], 0.5);
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), pannier::CodecError>(())
/// ```
///
/// # Platform
///
/// With feature `shm`.
pub unsafe fn map_file<T: DeserializeOwned>(path: impl AsRef<Path>) -> Result<T, CodecError> {
    // SAFETY: the caller's promise is the same.
    unsafe { Decoder::new().map_file(path) }
}

impl Encoder {
    /// Writes `value` to a file of one frame, with checksums unless this encoder says otherwise.
    ///
    /// # Errors
    ///
    /// As the free [`write_file`].
    ///
    /// # Examples
    ///
    /// ```
    /// # let folder = std::env::temp_dir();
    /// # let path = folder.join(format!("pannier-doc-encoder-{}", std::process::id()));
    /// pannier::Encoder::new().page_aligned(true).sync(true).write_file(&path, "east")?;
    /// assert_eq!(pannier::read_file::<String>(&path)?, "east");
    /// # std::fs::remove_file(&path)?;
    /// # Ok::<(), pannier::CodecError>(())
    /// ```
    pub fn write_file<T: Serialize + ?Sized>(
        &self,
        path: impl AsRef<Path>,
        value: &T,
    ) -> Result<(), CodecError> {
        let path = path.as_ref();
        let replaced = permissions_of(path)?;
        let folder = self.is_synced().then(|| File::open(folder_of(path))).transpose()?;
        let draft = Draft::beside(path)?;
        self.clone().checksum_unless_set(true).to_writer(&draft.file, value)?;
        if let Some(permissions) = replaced {
            draft.file.set_permissions(permissions)?;
        }
        if self.is_synced() {
            draft.file.sync_all()?;
        }
        draft.rename_to(path)?;
        Ok(folder.map_or(Ok(()), |folder| folder.sync_all())?)
    }
}

impl Decoder {
    /// Reads the value of a file of one frame.
    ///
    /// # Errors
    ///
    /// As the free [`read_file`].
    ///
    /// # Examples
    ///
    /// ```
    /// # let folder = std::env::temp_dir();
    /// # let path = folder.join(format!("pannier-doc-decoder-{}", std::process::id()));
    /// pannier::write_file(&path, &[1, 2, 3])?;
    /// let numbers: Vec<u8> = pannier::Decoder::new().verify(true).read_file(&path)?;
    /// assert_eq!(numbers, [1, 2, 3]);
    /// # std::fs::remove_file(&path)?;
    /// # Ok::<(), pannier::CodecError>(())
    /// ```
    pub fn read_file<T: DeserializeOwned>(&self, path: impl AsRef<Path>) -> Result<T, CodecError> {
        let mut file = File::open(path)?;
        let nothing = FrameError::Truncated { need: 32, have: 0 };
        let frame = read_frame(&mut file, &self.file_limits())?.ok_or(nothing)?;
        let mut behind = [0];
        if file.read(&mut behind)? == 0 {
            return self.from_bytes(frame);
        }
        // Of a pipe nobody knows how much comes.
        let extra = file.metadata()?.len().saturating_sub(frame.len() as u64).max(1);
        Err(FrameError::Trailing { extra }.into())
    }

    /// Maps a file of one frame: buffers in the value lie in the mapping.
    ///
    /// # Safety
    ///
    /// * Nobody truncates or rewrites the file during the call, nor as long as a buffer of the
    ///   value lives; see the free [`map_file`].
    ///
    /// # Errors
    ///
    /// As the free [`read_file`].
    ///
    /// # Examples
    ///
    /// ```
    /// # let folder = std::env::temp_dir();
    /// # let path = folder.join(format!("pannier-doc-mapped-{}", std::process::id()));
    /// pannier::write_file(&path, "east")?;
    /// // SAFETY: the file was made by this program and is known to nobody else.
    /// let word: String = unsafe { pannier::Decoder::new().verify(true).map_file(&path) }?;
    /// assert_eq!(word, "east");
    /// # std::fs::remove_file(&path)?;
    /// # Ok::<(), pannier::CodecError>(())
    /// ```
    pub unsafe fn map_file<T: DeserializeOwned>(
        &self,
        path: impl AsRef<Path>,
    ) -> Result<T, CodecError> {
        let file = File::open(path)?;
        // SAFETY: the caller promises that the file keeps its length and contents during this call
        // and while there are buffers; the map lives no longer than that.
        let map = unsafe { FileMap::new(&file) }?;
        self.from_bytes(Bytes::from_owner(map))
    }
}

/// A file under a name of its own, removed again unless it is renamed.
struct Draft {
    file: File,
    path: Option<PathBuf>,
}

impl Draft {
    fn beside(path: &Path) -> io::Result<Draft> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        loop {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let name = format!(".pannier-{}-{count}.tmp", process::id());
            let path = folder_of(path).join(name);
            match File::create_new(&path) {
                Ok(file) => return Ok(Draft { file, path: Some(path) }),
                // Left by a process of the same number that was killed while it wrote.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn rename_to(mut self, path: &Path) -> io::Result<()> {
        let Some(draft) = &self.path else { return Ok(()) };
        fs::rename(draft, path)?;
        self.path = None;
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // What went wrong before is what the caller is told.
            let _ignored = fs::remove_file(path);
        }
    }
}

/// Those of the file that is there; nothing but a file or a link may be replaced.
fn permissions_of(path: &Path) -> io::Result<Option<fs::Permissions>> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        // Other errors come again, and with more reason, when the file is made.
        Err(_) => return Ok(None),
    };
    if !found.is_file() && !found.is_symlink() {
        let text = "only a file or a link can be replaced; write to a device by `to_writer`";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    Ok(found.is_file().then(|| found.permissions()))
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}
