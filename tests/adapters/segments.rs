//! Memory with a name: what it holds, what is refused, who removes it.
#![expect(unsafe_code, reason = "reads in place, forks")]

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::process::Command;

use pannier::adapters::named::{NameFault, NamedError, NamedSegment};

use crate::parts::{command, start};
use crate::proc::count;
use crate::runner::Test;

pub(crate) const TESTS: &[Test] = &[
    ("any_range_is_read_as_it_was_written", any_range),
    ("threads_that_write_beside_each_other_lose_nothing", beside),
    ("a_segment_has_all_its_memory_and_is_for_this_user", facts),
    ("what_cannot_be_a_name_is_refused", names),
    ("a_name_is_given_once_and_goes_with_its_owner", once),
    ("what_is_attached_stays_without_its_name", stays),
    ("what_is_no_memory_is_not_attached", no_memory),
    ("a_name_that_somebody_else_has_now_is_left_alone", swapped),
    ("a_forked_child_removes_no_name", forked),
    ("a_free_descriptor_0_is_given_back_and_the_name_removed", no_stdin),
    ("a_small_dev_shm_is_an_error_and_not_a_signal", small_folder),
    ("nothing_is_kept_of_segments_that_are_gone", nothing_kept),
];

/// What lies in `/dev/shm` and is of this library or these tests.
pub(crate) fn listed() -> Vec<String> {
    let entries = fs::read_dir("/dev/shm").unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.contains("pannier")).collect()
}

pub(crate) fn is_there(name: &str) -> bool {
    fs::exists(format!("/dev/shm/{name}")).unwrap()
}

/// A name that a test has used by hand; gone with this, whatever becomes of the test.
pub(crate) struct ByHand(pub(crate) String);

impl ByHand {
    pub(crate) fn path(&self) -> String {
        format!("/dev/shm/{}", self.0)
    }
}

impl Drop for ByHand {
    fn drop(&mut self) {
        let path = self.path();
        let _gone_or_folder = fs::remove_file(&path);
        let _gone = fs::remove_dir(&path);
    }
}

/// A name that no other program or test has.
pub(crate) fn unique(what: &str) -> String {
    format!("test-pannier-{what}-{}-", std::process::id())
}

fn bytes(segment: &NamedSegment) -> Vec<u8> {
    let mut bytes = vec![0; segment.len()];
    segment.read(0, &mut bytes).unwrap();
    bytes
}

fn any_range() {
    const LEN: usize = 83;
    let segment = NamedSegment::create(LEN).unwrap();
    let attached = NamedSegment::attach(segment.name()).unwrap();
    let mut model = vec![0_u8; LEN];
    let mut next = 0_u8;
    for start in 0..=LEN {
        for end in start..=LEN {
            next = next.wrapping_add(1);
            model[start..end].fill(next);
            segment.write(start, &model[start..end]).unwrap();
            let mut part = vec![0; end - start];
            attached.read(start, &mut part).unwrap();
            assert_eq!(part, model[start..end], "{start}..{end}");
        }
        assert_eq!(bytes(&attached), model, "beside what was written from {start} on");
    }
    for (offset, count) in [(0, LEN + 1), (LEN, 1), (LEN + 1, 0), (usize::MAX, 2)] {
        let refused = segment.write(offset, &vec![0; count]).unwrap_err();
        assert!(matches!(refused, NamedError::OutOfRange { len: LEN, .. }), "{refused:?}");
        assert_eq!(segment.read(offset, &mut vec![0; count]).unwrap_err(), refused);
    }
}

fn beside() {
    let segment = NamedSegment::create(64).unwrap();
    std::thread::scope(|scope| {
        for at in 0..4 {
            let segment = &segment;
            scope.spawn(move || {
                for round in 0..10_000_u32 {
                    // Three bytes each, so that words are shared and straddled.
                    let value = round.to_le_bytes();
                    segment.write(at * 3 + 1, &value[..3]).unwrap();
                    let mut back = [0; 3];
                    segment.read(at * 3 + 1, &mut back).unwrap();
                    assert_eq!(back, value[..3]);
                }
            });
        }
    });
}

fn facts() {
    let segment = NamedSegment::create(100_001).unwrap();
    let facts = fs::metadata(format!("/dev/shm/{}", segment.name())).unwrap();
    assert_eq!((facts.len(), facts.mode() & 0o777), (100_001, 0o600));
    assert!(facts.blocks() * 512 >= 100_001);
    // Of a maker that reserves nothing: it is there once it is attached.
    let sparse = ByHand(unique("sparse"));
    fs::File::create_new(sparse.path()).unwrap().set_len(1 << 20).unwrap();
    let attached = NamedSegment::attach(&sparse.0).unwrap();
    assert_eq!(attached.len(), 1 << 20);
    assert!(fs::metadata(sparse.path()).unwrap().blocks() * 512 >= 1 << 20);
}

fn names() {
    let why = |name: &str| match NamedSegment::create_named(name, 100) {
        Err(NamedError::Name { why, .. }) => why,
        other => panic!("{name:?} {other:?}"),
    };
    assert_eq!(why(""), NameFault::Empty);
    assert_eq!(why("/"), NameFault::Empty);
    assert!(matches!(why("a/b"), NameFault::Character { at: 1, .. }));
    assert!(matches!(why("//b"), NameFault::Character { at: 0, .. }));
    assert!(matches!(why("ab\0"), NameFault::Character { at: 2, .. }));
    assert!(matches!(why(&"n".repeat(256)), NameFault::TooLong { len: 256, .. }));
    assert_eq!(why("pannier-of-my-own"), NameFault::Reserved);
    assert_eq!(why(".."), NameFault::Reserved);
    assert!(matches!(NamedSegment::attach("a/b"), Err(NamedError::Name { .. })));
    let longest = format!("{:n<255}", unique("longest"));
    assert_eq!(NamedSegment::create_named(&longest, 100).unwrap().name(), longest);
    assert!(matches!(NamedSegment::create_named(&unique("none"), 0), Err(NamedError::Empty)));
    assert!(matches!(NamedSegment::create(0), Err(NamedError::Empty)));
    assert!(!is_there(&unique("none")));
}

fn once() {
    let name = unique("once");
    let segment = NamedSegment::create_named(&format!("/{name}"), 100).unwrap();
    assert_eq!(segment.name(), name);
    segment.write(0, b"first").unwrap();
    let again = NamedSegment::create_named(&name, 100).unwrap_err();
    assert_eq!(again.to_string(), format!("there is a segment named {name:?} already"));
    let attached = NamedSegment::attach(&name).unwrap();
    drop(attached);
    assert!(is_there(&name), "detaching removes no name");
    let mut word = [0; 5];
    NamedSegment::attach(&format!("/{name}")).unwrap().read(0, &mut word).unwrap();
    assert_eq!(&word, b"first");
    drop(segment);
    assert!(!is_there(&name));
    assert!(matches!(NamedSegment::attach(&name), Err(NamedError::NotFound { .. })));
}

fn stays() {
    let segment = NamedSegment::create(8_000).unwrap();
    segment.write(0, &7_u64.to_le_bytes().repeat(1_000)).unwrap();
    let attached = NamedSegment::attach(segment.name()).unwrap();
    // SAFETY: nobody writes to it from here on.
    let buffer = unsafe { attached.buffer() };
    drop((segment, attached));
    let words = buffer.try_cast::<u64>().unwrap();
    assert!(words.iter().all(|&word| word == 7) && words.len() == 1_000);
    let words = words.try_into_mut().unwrap_err();
    assert_eq!(
        pannier::from_slice::<Vec<u64>>(&pannier::to_vec(&*words).unwrap()).unwrap(),
        *words
    );
}

fn no_memory() {
    let (target, other) = (NamedSegment::create(100).unwrap(), ByHand(unique("other")));
    let path = other.path();
    let refused = || NamedSegment::attach(&other.0).unwrap_err();
    symlink(target.name(), &path).unwrap();
    assert!(matches!(refused(), NamedError::NotMemory { .. }));
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(matches!(refused(), NamedError::NotMemory { .. }));
    fs::remove_dir(&path).unwrap();
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    assert!(matches!(refused(), NamedError::NotMemory { .. }));
    fs::remove_file(&path).unwrap();
    fs::File::create_new(&path).unwrap();
    assert!(matches!(refused(), NamedError::Empty));
}

fn swapped() {
    let swapped = ByHand(unique("swapped"));
    let segment = NamedSegment::create_named(&swapped.0, 100).unwrap();
    fs::remove_file(swapped.path()).unwrap();
    fs::write(swapped.path(), "of somebody else").unwrap();
    drop(segment);
    assert_eq!(fs::read_to_string(swapped.path()).unwrap(), "of somebody else");
}

fn forked() {
    let segment = NamedSegment::create(100).unwrap();
    let name = segment.name().to_owned();
    segment.write(0, b"parent").unwrap();
    // SAFETY: the child takes no lock that another thread could hold, and leaves by `_exit`.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let mut word = [0; 6];
        let read = segment.read(0, &mut word).is_ok() && &word == b"parent";
        let wrote = segment.write(0, b"child!").is_ok();
        drop(segment);
        // SAFETY: it ends the process.
        unsafe { libc::_exit(if read && wrote { 0 } else { 1 }) };
    }
    let mut status = 0;
    // SAFETY: the child is this process's, and the status is written to a variable.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    assert_eq!(status, 0, "the child reads and writes");
    assert!(is_there(&name), "the child has removed its parent's name");
    assert_eq!(&bytes(&segment)[..6], b"child!");
    drop(segment);
    assert!(!is_there(&name));
}

fn no_stdin() {
    start(command("do without standard input", "")).ends_well();
}

/// In a process of its own.
pub(crate) fn without_stdin() {
    let before = count("fd");
    // SAFETY: nobody in this process reads standard input.
    assert_eq!(unsafe { libc::close(0) }, 0);
    for _ in 0..3 {
        let segment = NamedSegment::create(100).unwrap();
        let (name, attached) = (segment.name().to_owned(), NamedSegment::attach(segment.name()));
        drop((segment, attached.unwrap()));
        assert!(!is_there(&name));
        assert_eq!(count("fd"), before - 1);
    }
}

fn small_folder() {
    let mount = "mount -t tmpfs -o size=1m none /dev/shm && exec \"$0\"";
    let flags = ["-m", "-rm"].into_iter().find(|flags| {
        let arguments = [flags, "mount", "-t", "tmpfs", "none", "/mnt"];
        let trial = Command::new("unshare").args(arguments).output();
        trial.is_ok_and(|output| output.status.success())
    });
    let Some(flags) = flags else {
        let is_ci = std::env::var_os("CI").is_some_and(|ci| ci == "true");
        return assert!(!is_ci, "not to be tested here: no mount of our own");
    };
    let program = command("have a small /dev/shm", "");
    let mut outer = Command::new("unshare");
    outer.args([flags, "sh", "-c", mount]).arg(program.get_program());
    for (name, value) in program.get_envs() {
        outer.env(name, value.unwrap());
    }
    start(outer).ends_well();
}

/// In a process of its own, where `/dev/shm` is 1 MiB.
pub(crate) fn with_small_folder() {
    let refused = NamedSegment::create(2 << 20).unwrap_err();
    assert!(
        matches!(refused, NamedError::OutOfMemory { wanted, left, .. }
            if wanted == 2 << 20 && left <= 1 << 20),
        "{refused:?}"
    );
    assert_eq!(listed(), [""; 0]);
    let segment = NamedSegment::create(700 << 10).unwrap();
    segment.write(0, &vec![7; 700 << 10]).unwrap();
    assert!(matches!(NamedSegment::create(700 << 10), Err(NamedError::OutOfMemory { .. })));
    // What Python would make, and be killed for writing to.
    fs::File::create_new("/dev/shm/sparse").unwrap().set_len(700 << 10).unwrap();
    assert!(matches!(NamedSegment::attach("sparse"), Err(NamedError::OutOfMemory { .. })));
    drop(segment);
    assert_eq!(NamedSegment::attach("sparse").unwrap().len(), 700 << 10);
}

fn nothing_kept() {
    let maps = || fs::read_to_string("/proc/self/maps").unwrap().matches("/dev/shm/").count();
    let before = (count("fd"), maps());
    for len in (1..10_000).step_by(101) {
        let segment = NamedSegment::create(len).unwrap();
        let attached = NamedSegment::attach(segment.name()).unwrap();
        assert!(matches!(
            NamedSegment::create_named(segment.name(), 7),
            Err(NamedError::Name { why: NameFault::Reserved, .. })
        ));
        assert_eq!(attached.len(), len);
    }
    assert_eq!((count("fd"), maps()), before);
}
