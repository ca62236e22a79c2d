//! Frames in files: whole or not at all, read safely, or used in place page by page.
#![expect(unsafe_code, reason = "maps files, which is unsafe for its caller")]

use std::fs::{self, File};
use std::io::{self, IoSlice, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use pannier::frame::Frame;
use pannier::{
    Buffer, CodecError, Decoder, Encoder, FrameError, LimitKind, Limits, map_file, read_file,
    write_file,
};
use serde::{Serialize, Serializer};

/// A folder of one test's own, removed with everything in it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("pannier-files-{}-{count}", process::id()));
        fs::create_dir(&path).expect("a file of this test's own");
        Folder(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).expect("a file of this test's own");
        entries
            .map(|entry| {
                entry
                    .expect("a file of this test's own")
                    .file_name()
                    .into_string()
                    .expect("a file of this test's own")
            })
            .collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).expect("a file of this test's own");
    }
}

/// Maps a file of this test's own folder.
fn map<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, CodecError> {
    // SAFETY: nobody but this test knows the file, and it does not write to it while it is mapped.
    unsafe { map_file(path) }
}

fn frame_error<T: std::fmt::Debug>(result: Result<T, CodecError>) -> FrameError {
    match result.expect_err("what this test does is refused") {
        CodecError::Frame(error) => error,
        other => panic!("{other}"),
    }
}

fn columns() -> (Buffer<f64>, Buffer<u8>, String) {
    ((0..10_000).map(f64::from).collect(), Buffer::from(vec![7; 9_999]), "name".to_owned())
}

/// A value that fails after some of it was written.
struct Fails;

impl Serialize for Fails {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("on purpose"))
    }
}

#[test]
fn what_is_written_is_read_and_mapped_again() {
    let folder = Folder::new();
    let path = folder.file("columns");
    write_file(&path, &columns()).unwrap();
    assert_eq!(read_file::<(Buffer<f64>, Buffer<u8>, String)>(&path).unwrap(), columns());
    assert_eq!(map::<(Buffer<f64>, Buffer<u8>, String)>(&path).unwrap(), columns());
    assert_eq!(folder.names(), ["columns"]);
}

#[test]
fn files_have_checksums_unless_told_otherwise() {
    let folder = Folder::new();
    let checksum = |path: &Path| {
        let bytes = fs::read(path).unwrap();
        Frame::parse(&bytes, &Limits::default()).unwrap().options().checksum
    };
    write_file(folder.file("with"), &columns()).unwrap();
    assert!(checksum(&folder.file("with")));
    Encoder::new().checksum(false).write_file(folder.file("without"), &columns()).unwrap();
    assert!(!checksum(&folder.file("without")));
}

#[test]
fn a_file_is_replaced_as_a_whole_and_maps_of_the_old_one_stay() {
    let folder = Folder::new();
    let path = folder.file("value");
    write_file(&path, &columns()).unwrap();
    let (old, ..): (Buffer<f64>, Buffer<u8>, String) = map(&path).unwrap();
    Encoder::new().sync(true).write_file(&path, "new").unwrap();
    assert_eq!(read_file::<String>(&path).unwrap(), "new");
    assert_eq!(old, columns().0);
    assert_eq!(folder.names(), ["value"]);
}

#[test]
fn a_write_that_fails_leaves_the_old_file_and_nothing_else() {
    let folder = Folder::new();
    let path = folder.file("value");
    write_file(&path, "old").unwrap();
    assert!(matches!(write_file(&path, &(1, Fails)), Err(CodecError::Encode(_))));
    assert_eq!(read_file::<String>(&path).unwrap(), "old");
    assert_eq!(folder.names(), ["value"]);

    fs::create_dir(folder.file("folder")).unwrap();
    fs::write(folder.file("folder/inside"), "").unwrap();
    assert!(matches!(write_file(folder.file("folder"), "x"), Err(CodecError::Io(_))));
    assert!(matches!(write_file(folder.file("no/such/folder"), "x"), Err(CodecError::Io(_))));
    assert_eq!(folder.names().len(), 2);
}

#[test]
fn a_replaced_file_keeps_its_permissions_and_a_pipe_is_not_replaced() {
    let folder = Folder::new();
    let path = folder.file("private");
    write_file(&path, "old").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    write_file(&path, "new").unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

    let pipe = folder.file("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RWXU).unwrap();
    let refused = write_file(&pipe, "x").unwrap_err();
    assert!(
        matches!(refused, CodecError::Io(error) if error.kind() == io::ErrorKind::InvalidInput)
    );
    assert!(!fs::symlink_metadata(&pipe).unwrap().is_file());
    assert_eq!(folder.names().len(), 2);
}

#[test]
fn a_link_is_replaced_and_not_followed() {
    let folder = Folder::new();
    let (link, target) = (folder.file("link"), folder.file("target"));
    write_file(&target, "target").unwrap();
    symlink(&target, &link).unwrap();
    write_file(&link, "link").unwrap();
    assert_eq!(read_file::<String>(&target).unwrap(), "target");
    assert_eq!(read_file::<String>(&link).unwrap(), "link");
    assert!(fs::symlink_metadata(&link).unwrap().is_file());
}

#[test]
fn other_names_for_files_work_and_what_is_no_file_is_an_error() {
    let folder = Folder::new();
    assert!(matches!(read_file::<()>(folder.file("missing")), Err(CodecError::Io(_))));
    assert!(matches!(read_file::<()>(&folder.0), Err(CodecError::Io(_))));
    assert!(matches!(map::<()>(&folder.0), Err(CodecError::Io(_))));
    assert!(matches!(
        map::<()>(Path::new("/dev/null")),
        Err(CodecError::Io(_) | CodecError::Frame(_))
    ));
    assert!(matches!(write_file("/", &()), Err(CodecError::Io(_))));
}

#[test]
fn cut_empty_and_longer_files_say_so_however_they_are_opened() {
    let folder = Folder::new();
    let path = folder.file("value");
    write_file(&path, &columns()).unwrap();
    let bytes = fs::read(&path).unwrap();
    type Columns = (Buffer<f64>, Buffer<u8>, String);
    for (len, error) in [
        (0, FrameError::Truncated { need: 32, have: 0 }),
        (31, FrameError::Truncated { need: 32, have: 31 }),
        (
            bytes.len() - 1,
            FrameError::Truncated { need: bytes.len() as u64, have: bytes.len() as u64 - 1 },
        ),
    ] {
        fs::write(&path, &bytes[..len]).unwrap();
        assert_eq!(frame_error(read_file::<Columns>(&path)), error);
        assert_eq!(frame_error(map::<Columns>(&path)), error);
    }
    fs::write(&path, [&bytes[..], &[0; 64]].concat()).unwrap();
    assert_eq!(frame_error(read_file::<Columns>(&path)), FrameError::Trailing { extra: 64 });
    assert_eq!(frame_error(map::<Columns>(&path)), FrameError::Trailing { extra: 64 });
}

#[test]
fn damage_in_a_buffer_is_found_by_verifying_only() {
    let folder = Folder::new();
    let path = folder.file("value");
    write_file(&path, &columns()).unwrap();
    let file = File::options().write(true).open(&path).unwrap();
    file.write_all_at(&[0xff], 50_000).unwrap();
    type Columns = (Buffer<f64>, Buffer<u8>, String);
    assert!(read_file::<Columns>(&path).is_ok());
    let decoder = Decoder::new().verify(true);
    let damaged = FrameError::BufferChecksum { index: 0 };
    assert_eq!(frame_error(decoder.read_file::<Columns>(&path)), damaged);
    // SAFETY: nobody writes to the file from here on.
    assert_eq!(frame_error(unsafe { decoder.map_file::<Columns>(&path) }), damaged);
}

#[test]
fn a_reader_with_limits_refuses_a_file_by_its_header() {
    let folder = Folder::new();
    let path = folder.file("value");
    write_file(&path, &columns()).unwrap();
    let small = Decoder::new().limits(Limits::default().frame_len(4_096));
    let error = frame_error(small.read_file::<()>(&path));
    assert!(matches!(error, FrameError::Limit { what: LimitKind::FrameLen, .. }), "{error}");
}

#[test]
fn buffers_of_a_mapped_file_lie_in_the_file() {
    let folder = Folder::new();
    let path = folder.file("columns");
    Encoder::new().page_aligned(true).write_file(&path, &columns()).unwrap();
    let (floats, bytes, _): (Buffer<f64>, Buffer<u8>, String) = map(&path).unwrap();
    for (at, len) in [(floats.as_ptr().addr(), 80_000), (bytes.as_ptr().addr(), 9_999)] {
        assert_eq!(at % 4096, 0);
        assert!(lies_in(&path, at, len));
    }
    assert!(!floats.is_shared());
    let slice = floats.slice(5_000..);
    drop((floats, bytes));
    assert_eq!(slice[0], 5_000.0);
    assert!(slice.clone().try_into_mut().is_err(), "a mapped file is read-only");
    drop(slice);
    assert!(!fs::read_to_string("/proc/self/maps").unwrap().contains(path.to_str().unwrap()));
}

fn lies_in(path: &Path, at: usize, len: usize) -> bool {
    let maps = fs::read_to_string("/proc/self/maps").expect("a file of this test's own");
    maps.lines()
        .filter(|line| line.ends_with(path.to_str().expect("a file of this test's own")))
        .any(|line| {
            let (start, end) = line
                .split(' ')
                .next()
                .expect("a file of this test's own")
                .split_once('-')
                .expect("a file of this test's own");
            let [start, end] = [start, end]
                .map(|hex| usize::from_str_radix(hex, 16).expect("a file of this test's own"));
            start <= at && at + len <= end
        })
}

/// Leaves a hole where a large slice would be written: the slices of this test are zeros.
struct Sparse(File);

impl Write for Sparse {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() < 1 << 20 {
            return self.0.write(bytes);
        }
        self.0.seek(SeekFrom::Current(
            i64::try_from(bytes.len()).expect("a file of this test's own"),
        ))?;
        Ok(bytes.len())
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        slices.iter().try_fold(0, |sum, slice| Ok(sum + self.write(slice)?))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Page faults of this thread so far.
fn faults() -> u64 {
    let stat = fs::read_to_string("/proc/thread-self/stat").expect("a file of this test's own");
    let fields: Vec<&str> =
        stat.rsplit(") ").next().expect("a file of this test's own").split(' ').collect();
    // proc_pid_stat(5): fields 10 and 12, counted from the process id; 3 is the first behind ")".
    fields[7].parse::<u64>().expect("a file of this test's own")
        + fields[9].parse::<u64>().expect("a file of this test's own")
}

#[test]
fn a_file_of_a_gibibyte_is_opened_and_used_by_the_page() {
    const LEN: usize = 1 << 27; // items of eight bytes
    let folder = Folder::new();
    let path = folder.file("large");
    let zeros: Buffer<u64> = pannier::alloc_zeroed(LEN).unwrap().freeze();
    let mut sparse = Sparse(File::create_new(&path).unwrap());
    Encoder::new().to_writer(&mut sparse, &("large", zeros)).unwrap();
    let end = sparse.0.stream_position().unwrap();
    sparse.0.set_len(end).unwrap();
    sparse.0.write_all_at(&7u64.to_le_bytes(), 128 + 8 * (LEN as u64 / 2)).unwrap();
    assert!(fs::metadata(&path).unwrap().len() > 1 << 30);

    // Once before, so that the faults of code and heap are not counted.
    drop(map::<(String, Buffer<u64>)>(&path).unwrap());
    let before = faults();
    let (_, column): (String, Buffer<u64>) = map(&path).unwrap();
    let opened = faults();
    let sum = column[0] + column[LEN / 2] + column[LEN - 1];
    let used = faults();
    assert_eq!(sum, 7);
    assert!(opened - before <= 8, "{} faults to open", opened - before);
    assert!(used - opened <= 8, "{} faults to look at three pages", used - opened);
}
