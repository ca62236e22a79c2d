//! What happens when something runs out: descriptors, the limit for files, a group's memory, a disk.
//! Always an error, never a signal.

use std::fs;
use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::Command;

use pannier::shm::{Arena, Segment};
use pannier::{BufferMut, Error};
use rustix::fs::{AtFlags, CWD, linkat};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::child::{Folder, command, command_in_namespace, in_child, passes, skip, told};
use crate::group::Group;
use crate::proc::count;

const MIB: usize = 1 << 20;

/// For this process, which is a child that ends soon.
fn limit(resource: Resource, current: u64) {
    let maximum = getrlimit(resource).maximum;
    setrlimit(resource, Rlimit { current: Some(current), maximum }).expect("less is allowed");
}

/// Blocks until there are no more, and why not.
fn exhaust(arena: &Arena, len: usize) -> (Vec<BufferMut<u8>>, Error) {
    let mut blocks = Vec::new();
    loop {
        match arena.alloc(len) {
            Ok(mut block) => {
                block.fill(7);
                blocks.push(block);
            }
            Err(why) => return (blocks, why),
        }
    }
}

#[track_caller]
fn is_io(why: &Error, kind: ErrorKind) {
    assert!(matches!(why, Error::Io(error) if error.kind() == kind), "{why:?}");
}

#[test]
fn descriptors_that_are_used_up_are_an_error() {
    in_child("limits::descriptors_that_are_used_up_are_an_error", || {
        drop(Segment::create(1));
        limit(Resource::Nofile, count("fd") as u64 + 10);
        let arena = Arena::create(1 << 30).expect("an arena");
        let (mut blocks, why) = exhaust(&arena, 2 * MIB);
        assert_eq!(why_errno(&why), Some(libc::EMFILE), "{why:?}");
        assert!((5..=12).contains(&blocks.len()), "{}", blocks.len());
        let why = Segment::create(100).unwrap_err();
        assert_eq!(why_errno(&why), Some(libc::EMFILE), "{why:?}");
        // What is there goes on.
        let taken = arena.stats().memory_bytes;
        assert_eq!(taken, (blocks.len() * 2 * MIB) as u64, "nothing is booked for what failed");
        blocks.pop();
        drop(arena.alloc::<u8>(2 * MIB).expect("a recycled block"));
        arena.trim();
        drop(Segment::create(100).expect("a descriptor is free again"));
    });
}

fn why_errno(why: &Error) -> Option<i32> {
    match why {
        Error::Io(error) => error.raw_os_error(),
        _ => None,
    }
}

#[test]
fn the_limit_for_files_is_an_error_and_not_a_signal() {
    in_child("limits::the_limit_for_files_is_an_error_and_not_a_signal", || {
        let folder = Folder::new("fsize");
        let none = Arena::create(0).expect("an arena").spill(&folder).expect("a folder");
        let arena = Arena::create(1 << 30).expect("an arena");
        limit(Resource::Fsize, 4 * MIB as u64);
        is_io(&Segment::create(4 * MIB + 1).unwrap_err(), ErrorKind::FileTooLarge);
        is_io(&arena.alloc::<u8>(8 * MIB).unwrap_err(), ErrorKind::FileTooLarge);
        is_io(&none.alloc::<u8>(8 * MIB).unwrap_err(), ErrorKind::FileTooLarge);
        assert_eq!((arena.stats().memory_bytes, none.stats().file_bytes), (0, 0));
        Segment::create(4 * MIB).expect("as much as is allowed").fill(7);
        arena.alloc::<u8>(4 * MIB).expect("as much as is allowed").fill(7);
        none.alloc::<u8>(4 * MIB).expect("as much as is allowed").fill(7);
    });
}

#[test]
fn more_than_the_machine_has_is_an_error_with_both_figures() {
    in_child("limits::more_than_the_machine_has_is_an_error_with_both_figures", || {
        // So that this test fails, and takes no other program's memory, where nobody asks first.
        limit(Resource::Fsize, 4 * MIB as u64);
        let arena = Arena::create(u64::MAX).expect("an arena");
        for outcome in
            [Segment::create(1 << 50).map(|_| ()), arena.alloc::<u8>(1 << 50).map(|_| ())]
        {
            let Err(Error::OutOfMemory { wanted, limit, .. }) = outcome else {
                panic!("{outcome:?}")
            };
            assert!(wanted == 1 << 50 && limit < 1 << 50, "{limit}");
        }
        assert!(matches!(Segment::create(usize::MAX), Err(Error::OutOfMemory { .. })));
    });
}

#[test]
fn addresses_that_are_used_up_are_an_error() {
    in_child("limits::addresses_that_are_used_up_are_an_error", || {
        let pages = fs::read_to_string("/proc/self/statm").expect("proc is mounted");
        let pages: u64 = pages.split(' ').next().and_then(|n| n.parse().ok()).expect("a number");
        limit(Resource::As, pages * 4096 + 256 * MIB as u64);
        let arena = Arena::create(1 << 40).expect("an arena");
        for _ in 0..2 {
            let (blocks, why) = exhaust(&arena, 16 * MIB);
            assert!(matches!(why, Error::OutOfMemory { .. }), "{why:?}");
            assert!((2..=16).contains(&blocks.len()), "{}", blocks.len());
        }
        assert!(matches!(Segment::create(300 * MIB), Err(Error::OutOfMemory { .. })));
    });
}

#[test]
fn a_control_groups_limit_is_an_error_and_not_a_kill() {
    const TEST: &str = "limits::a_control_groups_limit_is_an_error_and_not_a_kill";
    if let Some(group) = told(TEST) {
        return run_out_of_a_group(Path::new(&group));
    }
    let Some(group) = Group::new(64 * MIB) else { return skip("no group of version 1 to be made") };
    passes(command(TEST, group.0.to_str().expect("a plain path")));
}

fn run_out_of_a_group(group: &Path) {
    let own = std::process::id().to_string();
    fs::write(group.join("cgroup.procs"), own).expect("a group of our own");
    match Segment::create(256 * MIB) {
        Err(Error::OutOfMemory { limit, .. }) => assert!((1..64 * MIB as u64).contains(&limit)),
        other => panic!("{other:?}"),
    }
    let arena = Arena::create(1 << 30).expect("an arena");
    let (blocks, why) = exhaust(&arena, 8 * MIB);
    assert!(matches!(why, Error::OutOfMemory { limit, .. } if limit < 64 * MIB as u64), "{why:?}");
    assert!((4..8).contains(&blocks.len()), "{} blocks", blocks.len());
    // What is beyond may lie in files: those pages the kernel can write out.
    let folder = Folder::new("group");
    let arena = arena.spill(&folder).expect("a folder");
    for _ in 0..8 {
        arena.alloc::<u8>(8 * MIB).expect("room on the disk").fill(7);
    }
    assert!(arena.stats().file_bytes >= 8 * MIB as u64);
}

#[test]
fn over_the_budget_blocks_lie_in_files_that_have_no_name() {
    let folder = Folder::new("files");
    let arena = Arena::create(2 * MIB as u64).expect("an arena").spill(&folder).expect("a folder");
    let mut blocks = Vec::new();
    for _ in 0..6 {
        let mut block = arena.alloc_zeroed::<u8>(2 * MIB).expect("memory or disk");
        assert!(block.iter().all(|&byte| byte == 0));
        block.fill(7);
        blocks.push(block);
    }
    let stats = arena.stats();
    assert_eq!((stats.memory_bytes, stats.file_bytes), (2 * MIB as u64, 10 * MIB as u64));
    assert_eq!(fs::read_dir(&folder).expect("a folder").count(), 0);
    // Whoever is given the file can neither write nor truncate it.
    let segment = &arena.segments()[5];
    let fd: OwnedFd = segment.as_fd().try_clone_to_owned().expect("a descriptor");
    assert!(fs::File::from(fd).set_len(0).is_err());
    let again = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&segment.as_fd()));
    let name = folder.as_ref().join("name");
    assert!(linkat(CWD, again, CWD, name, AtFlags::SYMLINK_FOLLOW).is_err());
    assert!(blocks.iter().all(|block| block.iter().all(|&byte| byte == 7)));
    // Files are recycled, trimmed, and closed as segments in memory are.
    let address = blocks[5].as_ptr();
    drop(blocks.pop());
    assert_eq!(arena.alloc::<u8>(2 * MIB).expect("a block").as_ptr(), address);
    drop(blocks);
    arena.trim();
    assert_eq!((arena.stats().segments, arena.stats().file_bytes), (0, 0));
}

#[test]
fn a_folder_that_cannot_be_used_is_an_error() {
    let arena = || Arena::create(1).expect("an arena");
    is_io(&arena().spill("/nowhere/at/all").unwrap_err(), ErrorKind::NotFound);
    is_io(&arena().spill("/dev/null").unwrap_err(), ErrorKind::NotADirectory);
    assert!(arena().spill("/proc").is_err());
}

#[test]
fn a_folder_that_is_memory_itself_is_refused() {
    const TEST: &str = "limits::a_folder_that_is_memory_itself_is_refused";
    if let Some(folder) = told(TEST) {
        let refused = Arena::create(1).expect("an arena").spill(&folder);
        let Err(Error::SpillInMemory { folder: named, .. }) = refused else {
            panic!("{refused:?}")
        };
        assert_eq!(named, Path::new(&folder));
        return;
    }
    let folder = Folder::new("memory");
    for kind in ["tmpfs", "ramfs"] {
        let script = format!("mount -t {kind} none \"$0\"");
        match command_in_namespace(TEST, &script, folder.as_ref()) {
            Some(command) => passes(command),
            None => skip("no mount of our own"),
        }
    }
}

#[test]
fn a_full_disk_is_an_error_and_not_a_signal() {
    const TEST: &str = "limits::a_full_disk_is_an_error_and_not_a_signal";
    if let Some(folder) = told(TEST) {
        return fill_a_disk(&Path::new(&folder).join("disk"));
    }
    let folder = Folder::new("full");
    let (image, disk) = (folder.as_ref().join("image"), folder.as_ref().join("disk"));
    fs::create_dir(&disk).expect("a folder");
    fs::File::create(&image).and_then(|file| file.set_len(8 * MIB as u64)).expect("a file");
    let mount = "/sbin/mkfs.ext4 -q -F -m 0 -O ^has_journal \"$0/image\" \
                 && mount -o loop \"$0/image\" \"$0/disk\"";
    let mut trial = Command::new("unshare");
    trial.args(["-m", "sh", "-c", mount]).arg(folder.as_ref());
    // Only root may mount a disk. Elsewhere nothing is full, and what is left is the limit for files
    // above, which is refused at the same place.
    if trial.output().is_ok_and(|output| output.status.success()) {
        let command = command_in_namespace(TEST, mount, folder.as_ref());
        passes(command.expect("a mount of our own"));
    }
    fs::remove_file(image).and_then(|()| fs::remove_dir(disk)).expect("they are ours");
}

fn fill_a_disk(folder: &Path) {
    let arena = Arena::create(MIB as u64).expect("an arena").spill(folder).expect("a folder");
    let (blocks, why) = exhaust(&arena, MIB);
    is_io(&why, ErrorKind::StorageFull);
    assert!((4..=8).contains(&blocks.len()), "{} blocks on a disk of 8", blocks.len());
    assert!(blocks.iter().all(|block| block.iter().all(|&byte| byte == 7)));
    drop(blocks);
    arena.trim();
    arena.alloc::<u8>(3 * MIB).expect("what was taken is free again").fill(7);
}

#[test]
fn a_small_dev_shm_does_not_matter_and_nothing_is_put_there() {
    const TEST: &str = "limits::a_small_dev_shm_does_not_matter_and_nothing_is_put_there";
    if told(TEST).is_some() {
        let mut segment = Segment::create(8 * MIB).expect("memory");
        segment.fill(7);
        let arena = Arena::create(64 * MIB as u64).expect("an arena");
        arena.alloc::<u8>(8 * MIB).expect("memory").fill(7);
        let _sealed = segment.seal().expect("a seal");
        assert_eq!(fs::read_dir("/dev/shm").expect("a folder").count(), 0);
        return;
    }
    let script = "mount -t tmpfs -o size=64k none /dev/shm";
    match command_in_namespace(TEST, script, Path::new("")) {
        Some(command) => passes(command),
        None => skip("no mount of our own"),
    }
}
