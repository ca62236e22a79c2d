//! Segments: exclusive, then sealed for everybody; and what is not attached.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::fd::{AsFd, OwnedFd};

use pannier::shm::{Seal, SealedSegment, Segment, SegmentError};
use pannier::{Buffer, Error};
use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags, fallocate, fcntl_add_seals, memfd_create};

use crate::child::{command, in_child, passes, told};
use crate::proc::{count, shared_maps};

const ALL: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::WRITE);

fn sealed(contents: &[u8]) -> SealedSegment {
    let copy = SealedSegment::copy_from_slice(contents).expect("memory");
    let mut segment = Segment::create(contents.len()).expect("memory");
    segment.copy_from_slice(contents);
    let sealed = segment.seal().expect("a seal");
    assert_eq!(*copy, *sealed);
    // Both ways lead to the same, so each test takes one.
    if contents.len() % 2 == 0 { sealed } else { copy }
}

/// Somebody else's memory object.
fn foreign(seals: SealFlags, prepare: impl FnOnce(&File)) -> OwnedFd {
    let fd = memfd_create("other", MemfdFlags::ALLOW_SEALING | MemfdFlags::CLOEXEC);
    let file = File::from(fd.expect("a memory object"));
    prepare(&file);
    fcntl_add_seals(&file, seals).expect("seals");
    file.into()
}

#[track_caller]
fn refusal(fd: impl Into<OwnedFd>) -> SegmentError {
    match SealedSegment::attach(fd.into()) {
        Err(Error::Segment(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_segment_is_zeros_and_then_what_was_written() {
    let mut segment = Segment::create(100_000).expect("memory");
    assert_eq!(segment.len(), 100_000);
    assert!(segment.iter().all(|&byte| byte == 0));
    segment[99_999] = 7;
    let sealed = segment.seal().expect("a seal");
    assert_eq!((sealed.len(), sealed[99_999], sealed[0]), (100_000, 7, 0));
    assert_eq!(format!("{sealed:?}"), "SealedSegment { len: 100000, .. }");
}

#[test]
fn a_sealed_segment_cannot_be_changed_by_anybody() {
    let sealed = sealed(b"north");
    let mut file = File::from(sealed.as_fd().try_clone_to_owned().expect("a descriptor"));
    assert_eq!(file.write_all(b"south").unwrap_err().kind(), ErrorKind::PermissionDenied);
    for len in [0, 1, 1 << 20] {
        assert_eq!(file.set_len(len).unwrap_err().kind(), ErrorKind::PermissionDenied);
    }
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    assert_eq!(fallocate(&file, punch, 0, 5), Err(rustix::io::Errno::PERM));
    assert_eq!(fcntl_add_seals(&file, SealFlags::WRITE), Err(rustix::io::Errno::PERM));
    assert_eq!(&*sealed, b"north");
}

#[test]
fn another_process_attaches_what_was_sealed_here() {
    const TEST: &str = "segment::another_process_attaches_what_was_sealed_here";
    if told(TEST).is_some() {
        let fd = std::io::stdin().as_fd().try_clone_to_owned().expect("a descriptor");
        let attached = SealedSegment::attach(fd).expect("a sealed segment");
        assert_eq!(&*attached, "south ".repeat(1_000).as_bytes());
        return;
    }
    let sealed = sealed("south ".repeat(1_000).as_bytes());
    let mut child = command(TEST, "");
    child.stdin(sealed.as_fd().try_clone_to_owned().expect("a descriptor"));
    passes(child);
}

#[test]
fn clones_and_buffers_share_the_memory_and_keep_it() {
    let sealed = sealed(b"east");
    let address = sealed.as_ptr();
    let twin = sealed.clone();
    let buffer: Buffer<u8> = sealed.into_buffer();
    assert_eq!((twin.as_ptr(), buffer.as_ptr()), (address, address));
    assert!(buffer.is_shared());
    drop(twin);
    assert_eq!(&*buffer, b"east");
    let buffer = buffer.try_into_mut().expect_err("nobody may write it");
    let mut copy = buffer.into_mut().expect("memory");
    copy[0] = b'w';
}

#[test]
fn what_others_sealed_is_attached_as_well() {
    let fd = foreign(ALL, |mut file| file.write_all(b"west").expect("room"));
    assert_eq!(&*SealedSegment::attach(fd).expect("it is sealed"), b"west");
}

#[test]
fn what_could_still_change_is_not_attached() {
    let written = |mut file: &File| file.write_all(b"west").expect("room");
    for (without, missing) in [
        (SealFlags::SHRINK, Seal::Shrinking),
        (SealFlags::GROW, Seal::Growing),
        (SealFlags::WRITE, Seal::Writing),
    ] {
        let why = refusal(foreign(ALL.difference(without), written));
        assert!(matches!(why, SegmentError::Unsealed { missing: found, .. } if found == missing));
    }
    let no_new_writers = SealFlags::SHRINK | SealFlags::GROW | SealFlags::FUTURE_WRITE;
    let why = refusal(foreign(no_new_writers, written));
    assert!(matches!(why, SegmentError::Unsealed { missing: Seal::Writing, .. }), "{why}");
}

#[test]
fn what_is_empty_or_has_no_memory_is_not_attached() {
    assert_eq!(refusal(foreign(ALL, |_| ())), SegmentError::Empty);
    let truncated = foreign(ALL, |mut file| {
        file.write_all(&[7; 100]).expect("room");
        file.set_len(0).expect("not sealed yet");
    });
    assert_eq!(refusal(truncated), SegmentError::Empty);
    let hole = foreign(ALL, |mut file| {
        file.write_all(&[7; 4096]).expect("room");
        file.set_len(1 << 40).expect("not sealed yet");
    });
    let why = refusal(hole);
    let expected = (1 << 40, 4096);
    assert!(
        matches!(why, SegmentError::Unallocated { len, allocated, .. } if (len, allocated) == expected),
        "{why}"
    );
    assert!(matches!(Segment::create(0), Err(Error::Segment(SegmentError::Empty))));
    let copy = SealedSegment::copy_from_slice(&[]);
    assert!(matches!(copy, Err(Error::Segment(SegmentError::Empty))));
}

#[test]
fn memory_beyond_the_end_does_not_make_up_for_holes() {
    for holes in [8 << 20, 1 << 20, 4096] {
        let len = 8 << 20;
        let object = foreign(ALL, |file| {
            file.set_len(len).expect("room");
            fallocate(file, FallocateFlags::empty(), 0, len).expect("memory");
            let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            fallocate(file, punch, len - holes, holes).expect("a hole");
            fallocate(file, FallocateFlags::KEEP_SIZE, len, holes).expect("memory");
        });
        let why = refusal(object);
        assert!(
            matches!(why, SegmentError::Unallocated { len: 0x80_0000, allocated, .. }
                if (len - holes..len).contains(&allocated)),
            "{why}"
        );
    }
    // What has more than its length and no hole is fine.
    let object = foreign(ALL, |mut file| {
        file.write_all(&[7; 5_000]).expect("room");
        fallocate(file, FallocateFlags::KEEP_SIZE, 8192, 8192).expect("memory");
    });
    assert_eq!(SealedSegment::attach(object).expect("it is sealed").len(), 5_000);
}

#[test]
fn what_was_opened_for_reading_only_is_refused() {
    let sealed = sealed(b"north");
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&sealed.as_fd()));
    assert_eq!(refusal(File::open(path).expect("it is ours")), SegmentError::ReadOnly);
}

#[test]
fn descriptors_of_something_else_are_not_attached() {
    assert_eq!(refusal(File::open("/dev/null").expect("it exists")), SegmentError::NotMemory);
    assert_eq!(refusal(File::open("/").expect("it exists")), SegmentError::NotMemory);
    let program = std::env::current_exe().expect("this program has a file");
    assert_eq!(refusal(File::open(program).expect("it exists")), SegmentError::NotMemory);
    let (reader, _writer) = rustix::pipe::pipe().expect("a pipe");
    assert_eq!(refusal(reader), SegmentError::NotMemory);
    let (socket, _other) = std::os::unix::net::UnixStream::pair().expect("sockets");
    assert_eq!(refusal(socket), SegmentError::NotMemory);
}

#[test]
fn nothing_is_left_of_segments() {
    in_child("segment::nothing_is_left_of_segments", || {
        drop(Segment::create(1)); // what is made once is made now
        let before = (count("fd"), shared_maps().len());
        for len in [1, 4096, 5_000, 3 << 20] {
            let buffer = {
                drop(Segment::create(len).expect("memory"));
                let sealed = Segment::create(len).expect("memory").seal().expect("a seal");
                let fd = sealed.as_fd().try_clone_to_owned().expect("a descriptor");
                drop(SealedSegment::attach(fd).expect("sealed"));
                drop(SealedSegment::attach(File::open("/dev/null").expect("it exists").into()));
                sealed.into_buffer()
            };
            assert_eq!(count("fd"), before.0, "a buffer needs no descriptor");
            assert_eq!(shared_maps().len(), before.1 + 1);
            assert_eq!(buffer.len(), len);
        }
        assert_eq!((count("fd"), shared_maps().len()), before);
    });
}

#[test]
fn no_addresses_are_left_of_segments_of_any_length() {
    in_child("segment::no_addresses_are_left_of_segments_of_any_length", || {
        const LARGE: usize = 2 << 20;
        for len in [1, 5_000, LARGE - 1, LARGE, LARGE + 1, 3_000_000] {
            drop(sealed(&vec![7; len])); // what is made once is made now
            let before = all_maps();
            for _ in 0..50 {
                drop(Segment::create(len).expect("memory"));
                drop(Segment::create(len).expect("memory").seal().expect("a seal"));
            }
            assert_eq!(all_maps(), before, "{len} bytes");
        }
    });
}

/// How many maps this process has, and how many bytes they cover.
fn all_maps() -> (usize, usize) {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("proc is mounted");
    let len = |line: &str| {
        let (start, end) = line.split_once(' ')?.0.split_once('-')?;
        let address = |text| usize::from_str_radix(text, 16).ok();
        address(end)?.checked_sub(address(start)?)
    };
    (maps.lines().count(), maps.lines().filter_map(len).sum())
}

#[test]
fn large_segments_lie_where_huge_pages_may_begin() {
    let segment = Segment::create((4 << 20) + 1).expect("memory");
    assert_eq!(segment.as_ptr().addr() % (2 << 20), 0);
    assert!(segment.huge_bytes().expect("proc is mounted") <= 6 << 20);
    let sealed = segment.seal().expect("a seal");
    assert_eq!(sealed.as_ptr().addr() % (2 << 20), 0);
}

#[test]
fn huge_pages_are_counted_where_the_kernel_grants_them() {
    let mut segment = Segment::create(8 << 20).expect("memory");
    // SAFETY: the range is the segment's own, and its contents stay.
    let outcome = unsafe { libc::madvise(segment.as_mut_ptr().cast(), 8 << 20, COLLAPSE) };
    // From Linux 6.1 on, and not on every machine: elsewhere there is nothing to be counted.
    if outcome == 0 {
        assert_eq!(segment.huge_bytes().expect("proc is mounted"), 8 << 20);
    }
}

/// `MADV_COLLAPSE`, madvise(2): make huge pages of these now.
const COLLAPSE: i32 = 25;
