//! Arenas: recycling, growth, budget, and the peer that reads in place.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::fd::{AsFd, OwnedFd};

use pannier::shm::{Arena, ArenaReader, Place, Seal, SealedSegment, Segment, SegmentError};
use pannier::{Buffer, BufferMut, BufferSink, CodecError, Decoder, Encoder, Error, Placement};
use rustix::fs::{FallocateFlags, fallocate};

use crate::child::{Folder, command, in_child, passes, told};
use crate::proc::{count, lies_in_shared_memory, shared_maps};

const MIB: usize = 1 << 20;

fn arena(budget: usize) -> Arena {
    Arena::create(budget as u64).expect("an arena")
}

/// The descriptor that a peer would get.
fn sent(segment: &pannier::shm::ArenaSegment) -> OwnedFd {
    segment.as_fd().try_clone_to_owned().expect("a descriptor")
}

/// A reader in this process, with everything attached.
fn reader(arena: &Arena) -> ArenaReader {
    let mut reader = ArenaReader::new();
    attach_all(&mut reader, arena);
    reader
}

pub(crate) fn attach_all(reader: &mut ArenaReader, arena: &Arena) {
    for segment in arena.segments() {
        // SAFETY: the tests keep their leases while they read.
        unsafe { reader.attach(segment.number(), sent(&segment)) }.expect("an arena's segment");
    }
}

#[test]
fn the_last_block_back_is_the_first_one_out() {
    let arena = arena(64 * MIB);
    for len in [1, 4096, 100_000, MIB, 5 * MIB] {
        let blocks: [BufferMut<u8>; 3] = std::array::from_fn(|_| arena.alloc(len).expect("memory"));
        let addresses: Vec<_> = blocks.iter().map(|block| block.as_ptr()).collect();
        assert_eq!(addresses.iter().collect::<BTreeSet<_>>().len(), 3);
        let [first, second, third] = blocks;
        drop(third);
        drop(first);
        drop(second.freeze());
        for expected in [1, 0, 2] {
            let again = arena.alloc::<u8>(len).expect("memory");
            assert_eq!(again.as_ptr(), addresses[expected], "{len} bytes");
            std::mem::forget(again);
        }
    }
}

#[test]
fn blocks_are_typed_aligned_and_apart() {
    let arena = arena(MIB);
    let mut words = arena.alloc::<u64>(100).expect("memory");
    let mut bytes = arena.alloc_zeroed::<u8>(100).expect("memory");
    words.fill(u64::MAX);
    bytes.fill(1);
    assert!(words.iter().all(|&word| word == u64::MAX));
    assert_eq!(words.as_ptr().addr() % 4096, 0);
    drop(words);
    assert!(arena.alloc_zeroed::<u64>(100).expect("memory").iter().all(|&word| word == 0));
    assert!(arena.alloc::<f64>(0).expect("nothing").is_empty());
    assert_eq!(arena.stats().blocks_live, 1, "an empty buffer has no block");
}

#[test]
fn an_arena_grows_by_segments_and_large_blocks_have_their_own() {
    let arena = arena(64 * MIB);
    let mut small = Vec::new();
    for _ in 0..200 {
        small.push(arena.alloc::<u8>(4096).expect("memory"));
    }
    let stats = arena.stats();
    assert_eq!((stats.blocks_live, stats.segments), (200, 3)); // of 64, 128 and 256 blocks
    let large = arena.alloc::<u8>(3 * MIB).expect("memory");
    assert_eq!(arena.stats().segments, 4);
    assert_eq!(large.as_ptr().addr() % (2 * MIB), 0, "where huge pages may begin");
    assert!(arena.huge_bytes().expect("proc is mounted") <= arena.stats().memory_bytes);
    assert_eq!(arena.stats().memory_bytes, ((64 + 128 + 256) * 4096 + 3 * MIB) as u64);
}

#[test]
fn idle_segments_are_trimmed_and_used_ones_stay() {
    let arena = arena(64 * MIB);
    let (kept, idle) = (arena.alloc::<u8>(10).expect("memory"), arena.alloc::<u8>(9 * MIB));
    drop(idle.expect("memory"));
    let before: Vec<u32> = arena.segments().iter().map(|segment| segment.number()).collect();
    arena.trim();
    let after: Vec<u32> = arena.segments().iter().map(|segment| segment.number()).collect();
    assert_eq!((before, after), (vec![1, 2], vec![1]));
    assert_eq!(arena.stats().memory_bytes, 256 << 10);
    drop(kept);
    let _new = arena.alloc::<u8>(9 * MIB).expect("memory");
    assert_eq!(arena.segments()[1].number(), 3, "a number is not used again");
}

#[test]
fn beyond_the_budget_is_an_error_and_what_comes_back_can_be_had_again() {
    let arena = arena(4 * MIB);
    let mut blocks: Vec<BufferMut<u8>> = Vec::new();
    let refused = loop {
        match arena.alloc(MIB) {
            Ok(block) => blocks.push(block),
            Err(refused) => break refused,
        }
    };
    assert_eq!(blocks.len(), 4);
    let figures = (MIB as u64, 4 * MIB as u64);
    assert!(
        matches!(refused, Error::OutOfMemory { wanted, limit, .. } if (wanted, limit) == figures)
    );
    blocks.clear();
    // Of another size: the idle segments make room.
    drop(arena.alloc::<u8>(4 * MIB).expect("memory"));
    assert!(matches!(arena.alloc::<u64>(usize::MAX), Err(Error::OutOfMemory { .. })));
}

#[test]
fn buffers_of_the_arena_are_placed_without_a_copy_and_others_with_one() {
    let mut arena = arena(64 * MIB);
    let mut column = arena.alloc::<f64>(10_000).expect("memory");
    column.fill(0.5);
    let column = column.freeze();
    let heap: Buffer<u32> = (0..5_000).collect();
    let lent = serde_bytes::ByteBuf::from(vec![7; 6_000]);
    let value = (&column, column.slice(100..9_000), &heap, lent);
    let metadata = Encoder::new().to_parts(&value, &mut arena).expect("a value");
    let lease = arena.take_lease();
    assert_eq!((lease.places().len(), lease.copied_bytes()), (4, 26_000));
    assert!(arena.take_lease().places().is_empty());

    let reader = reader(&arena);
    let mut buffers = reader.buffers(lease.places()).expect("places of the arena");
    type Value = (Buffer<f64>, Buffer<f64>, Buffer<u32>, serde_bytes::ByteBuf);
    let read: Value = Decoder::new().from_parts(&metadata, &mut buffers).expect("the value");
    assert_eq!((&read.0, &*read.1, &read.2), (&column, &column[100..9_000], &heap));
    assert_eq!(read.3, vec![7; 6_000]);
    assert_eq!(read.1.as_ptr(), &raw const read.0[100], "the slice lies in the column");
    assert!(lies_in_shared_memory(&read.2));
}

#[test]
fn what_is_empty_is_not_placed() {
    let mut arena = arena(MIB);
    let empty = Buffer::<u8>::default();
    assert_eq!(BufferSink::place(&mut arena, &empty).expect("no error"), Placement::InBand);
    assert_eq!(arena.place_slice(&[]).expect("no error"), Placement::InBand);
    assert_eq!((arena.take_lease().places().len(), arena.stats().segments), (0, 0));
    let value = (Buffer::<u64>::default(), arena.alloc::<f64>(0).expect("nothing").freeze());
    let metadata = Encoder::new().threshold(0).to_parts(&value, &mut arena).expect("a value");
    let mut none = Vec::new();
    let read: (Buffer<u64>, Buffer<f64>) =
        Decoder::new().from_parts(&metadata, &mut none).expect("the value");
    assert_eq!(read, value);
}

#[test]
fn a_lease_holds_its_blocks_and_gives_them_back() {
    let mut arena = arena(64 * MIB);
    let column = arena.alloc_zeroed::<u8>(10_000).expect("memory").freeze();
    Encoder::new().to_parts(&column, &mut arena).expect("a value");
    let lease = arena.take_lease();
    let column = column.try_into_mut().expect_err("a peer may read it");
    drop(column);
    assert_eq!(arena.stats().blocks_live, 1);
    drop(lease);
    assert_eq!(arena.stats().blocks_live, 0);
}

#[test]
fn an_arena_that_is_full_fails_the_value_and_not_the_arena() {
    let mut arena = arena(MIB);
    let large: Buffer<u8> = vec![7; 2 * MIB].into();
    let failed = Encoder::new().to_parts(&(vec![1; 10], large), &mut arena);
    let Err(CodecError::Buffer(why)) = failed else { panic!("{failed:?}") };
    assert!(matches!(why.downcast_ref(), Some(Error::OutOfMemory { .. })), "{why}");
    assert!(arena.take_lease().places().is_empty());
    let small: Buffer<u8> = vec![7; 10_000].into();
    Encoder::new().to_parts(&small, &mut arena).expect("room");
    assert_eq!(arena.take_lease().places().len(), 1);
}

#[test]
fn what_a_failed_value_had_placed_is_not_the_next_ones() {
    let mut arena = arena(MIB);
    let (small, large): (Buffer<u8>, Buffer<u8>) =
        (vec![1; 20_000].into(), vec![2; 3 * MIB].into());
    assert!(Encoder::new().to_parts(&(small, large), &mut arena).is_err());
    assert_eq!(arena.stats().blocks_live, 0);
    let next: Buffer<u8> = vec![3; 20_000].into();
    let metadata = Encoder::new().to_parts(&next, &mut arena).expect("room");
    let lease = arena.take_lease();
    assert_eq!((lease.places().len(), lease.copied_bytes()), (1, 20_000));
    let mut buffers = reader(&arena).buffers(lease.places()).expect("places of the arena");
    let read: Buffer<u8> = Decoder::new().from_parts(&metadata, &mut buffers).expect("the value");
    assert_eq!(read, next);
}

#[test]
fn clones_share_the_memory_and_place_for_themselves() {
    let mut one = arena(MIB);
    let mut two = one.clone();
    let buffer = one.alloc_zeroed::<u8>(8_192).expect("memory").freeze();
    Encoder::new().to_parts(&buffer, &mut two).expect("a value");
    assert!(one.take_lease().places().is_empty());
    let lease = two.take_lease();
    assert_eq!((lease.places().len(), lease.copied_bytes()), (1, 0));
    let threads: Vec<_> = (0..4)
        .map(|_| one.clone())
        .map(|mut arena| {
            std::thread::spawn(move || {
                for round in 0..100_u8 {
                    let bytes: Buffer<u8> = vec![round; 5_000].into();
                    Encoder::new().to_parts(&bytes, &mut arena).expect("room");
                    let lease = arena.take_lease();
                    let read = reader(&arena).buffers(lease.places()).expect("a place");
                    assert!(read[0].iter().all(|&byte| byte == round));
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().expect("a thread"));
    drop((buffer, lease));
    assert_eq!(one.stats().blocks_live, 0);
}

#[test]
fn another_process_reads_in_place_and_cannot_write() {
    const TEST: &str = "arena::another_process_reads_in_place_and_cannot_write";
    if let Some(told) = told(TEST) {
        return read_as_a_peer(&told);
    }
    let mut arena = arena(64 * MIB);
    let mut column = arena.alloc::<f64>(MIB).expect("memory");
    column.fill(0.5);
    let column = column.freeze();
    let metadata = Encoder::new().to_parts(&("x", &column), &mut arena).expect("a value");
    let lease = arena.take_lease();
    let segments = arena.segments();
    assert_eq!((segments.len(), lease.places()[0].segment()), (1, segments[0].number()));
    let told = serde_json::to_string(&(metadata, lease.places())).expect("plain data");
    let mut child = command(TEST, &told);
    child.stdin(sent(&segments[0]));
    passes(child);
    assert!(column.iter().all(|&item| item == 0.5));
}

fn read_as_a_peer(told: &str) {
    let (metadata, places): (Vec<u8>, Vec<Place>) = serde_json::from_str(told).expect("told so");
    let fd = std::io::stdin().as_fd().try_clone_to_owned().expect("a descriptor");
    let mut file = File::from(fd.try_clone().expect("a descriptor"));
    let mut reader = ArenaReader::new();
    // SAFETY: the parent keeps the lease until this process has ended.
    unsafe { reader.attach(places[0].segment(), fd) }.expect("an arena's segment");
    let mut buffers = reader.buffers(&places).expect("places of the arena");
    let (name, column): (String, Buffer<f64>) =
        Decoder::new().from_parts(&metadata, &mut buffers).expect("the value");
    assert_eq!((name.as_str(), column.iter().sum::<f64>()), ("x", MIB as f64 / 2.0));
    assert!(lies_in_shared_memory(&column));
    // The arena is its owner's alone to write.
    assert_eq!(file.write_all(b"damage").expect_err("sealed").kind(), ErrorKind::PermissionDenied);
    assert_eq!(file.set_len(0).expect_err("sealed").kind(), ErrorKind::PermissionDenied);
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    assert_eq!(fallocate(&file, punch, 0, 4096), Err(rustix::io::Errno::PERM));
    let column = column.try_into_mut().expect_err("it is not ours to write");
    // Buffers outlive the reader and what it attached.
    reader.detach(places[0].segment());
    drop((reader, buffers));
    assert_eq!(column[MIB - 1], 0.5);
}

#[test]
fn places_that_are_none_are_refused() {
    let mut arena = arena(MIB);
    let bytes: Buffer<u8> = vec![7; 10_000].into();
    Encoder::new().to_parts(&bytes, &mut arena).expect("a value");
    let lease = arena.take_lease();
    let mut reader = reader(&arena);
    let place = |segment: u32, offset: u64, len: u64| {
        let json = serde_json::json!({ "segment": segment, "offset": offset, "len": len });
        serde_json::from_value::<Place>(json).expect("a place")
    };
    let segment_len = arena.stats().memory_bytes;
    assert!(reader.buffers(&[place(1, 0, segment_len)]).is_ok());
    assert!(reader.buffers(&[place(1, segment_len, 0)]).is_ok());
    for (offset, len) in [(1, segment_len), (segment_len, 1), (u64::MAX, 1), (1, u64::MAX)] {
        let refused = reader.buffers(&[place(1, offset, len)]);
        assert!(matches!(refused, Err(SegmentError::Bounds { segment: 1, .. })), "{offset} {len}");
    }
    let refused = reader.buffers(&[lease.places()[0], place(9, 0, 1)]);
    assert!(matches!(refused, Err(SegmentError::NotAttached { segment: 9, .. })));
    reader.detach(1);
    assert!(reader.buffers(lease.places()).is_err());
}

#[test]
fn only_segments_of_an_arena_are_attached_as_such() {
    let attach = |fd: OwnedFd| {
        // SAFETY: nothing is read.
        unsafe { ArenaReader::new().attach(1, fd) }
    };
    let foreign = attach(File::open("/dev/null").expect("it exists").into());
    assert!(matches!(foreign, Err(Error::Segment(SegmentError::NotMemory))));
    let program = File::open(std::env::current_exe().expect("a file")).expect("it exists");
    let named = attach(program.into());
    assert!(matches!(named, Err(Error::Segment(SegmentError::NotMemory))));
    let flags = rustix::fs::MemfdFlags::ALLOW_SEALING;
    for flags in [flags, rustix::fs::MemfdFlags::empty()] {
        let unsealed = File::from(rustix::fs::memfd_create("other", flags).expect("an object"));
        unsealed.set_len(1 << 20).expect("no seal");
        // It has no name, and opened for reading it looks like a file that was spilled.
        let again = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&unsealed));
        let for_reading = File::open(again).expect("it is ours");
        for refused in [attach(for_reading.into()), attach(unsealed.into())] {
            let Err(Error::Segment(why)) = refused else { panic!("{refused:?}") };
            assert!(matches!(why, SegmentError::Unsealed { missing: Seal::Shrinking, .. }));
        }
    }
    // A descriptor that gives no access, be it of a file without a name.
    let folder = Folder::new("path");
    let spilling = Arena::create(0).expect("an arena").spill(&folder).expect("a folder");
    let _block = spilling.alloc::<u8>(1).expect("a block");
    let (fd, flags) = (sent(&spilling.segments()[0]), rustix::fs::OFlags::PATH);
    let again = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd));
    let path = rustix::fs::open(again, flags, rustix::fs::Mode::empty()).expect("a descriptor");
    let twin = path.try_clone().expect("a descriptor");
    assert!(matches!(attach(path), Err(Error::Segment(SegmentError::NotMemory))));
    let sealed = SealedSegment::attach(twin);
    assert!(matches!(sealed, Err(Error::Segment(SegmentError::NotMemory))));
    attach(fd).expect("what a peer is given");
    // Sealed for everybody is more than is asked for.
    let sealed = Segment::create(10).expect("memory").seal().expect("a seal");
    assert!(attach(sealed.as_fd().try_clone_to_owned().expect("a descriptor")).is_ok());
    // But an arena's owner goes on writing.
    let arena = arena(MIB);
    let _block = arena.alloc::<u8>(1).expect("memory");
    let taken_for_sealed = SealedSegment::attach(sent(&arena.segments()[0]));
    let Err(Error::Segment(why)) = taken_for_sealed else { panic!("{taken_for_sealed:?}") };
    assert!(matches!(why, SegmentError::Unsealed { missing: Seal::Writing, .. }));
}

#[test]
fn blocks_outlive_their_arena_and_take_its_memory_along() {
    in_child("arena::blocks_outlive_their_arena_and_take_its_memory_along", || {
        drop(arena(MIB).alloc::<u8>(1)); // what is made once is made now
        let before = (count("fd"), shared_maps().len());
        let (small, large) = {
            let arena = arena(64 * MIB);
            drop(arena.alloc::<u8>(100_000).expect("memory"));
            let mut small = arena.alloc::<u8>(100).expect("memory");
            small.fill(7);
            (small.freeze(), arena.alloc_zeroed::<u64>(MIB).expect("memory"))
        };
        assert_eq!(shared_maps().len(), before.1 + 2, "what nobody uses is gone");
        assert!(small.iter().all(|&byte| byte == 7) && large.iter().all(|&word| word == 0));
        drop(large);
        assert_eq!(shared_maps().len(), before.1 + 1);
        drop(small);
        assert_eq!((count("fd"), shared_maps().len()), before);
    });
}

#[test]
fn nothing_is_left_of_arenas_and_their_readers() {
    in_child("arena::nothing_is_left_of_arenas_and_their_readers", || {
        drop(arena(MIB).alloc::<u8>(1));
        let folder = Folder::new("spill");
        let before = (count("fd"), shared_maps().len());
        for round in 0..100_usize {
            let mut arena = arena(MIB).spill(&folder).expect("a folder");
            let bytes: Buffer<u8> = vec![7; 5_000 << (round % 12)].into();
            Encoder::new().to_parts(&bytes, &mut arena).expect("room");
            let lease = arena.take_lease();
            let read = reader(&arena).buffers(lease.places()).expect("a place");
            assert_eq!(read[0], bytes);
        }
        assert_eq!((count("fd"), shared_maps().len()), before);
    });
}

#[test]
fn recycled_blocks_are_warm_on_both_sides() {
    let mut arena = arena(64 * MIB);
    let mut peer = None;
    let mut message = |arena: &mut Arena, round: u8| {
        let mut column =
            arena.alloc::<u8>(MIB + usize::from(round % 4 + 1) * 1000).expect("memory");
        column.fill(round);
        Encoder::new().to_parts(&column.freeze(), arena).expect("a value");
        let lease = arena.take_lease();
        let peer = peer.get_or_insert_with(|| reader(arena));
        let read = peer.buffers(lease.places()).expect("a place");
        assert!(read[0].iter().step_by(512).all(|&byte| byte == round));
    };
    (0..10).for_each(|round| message(&mut arena, round));
    let before = (minor_faults(), arena.stats());
    (0..200).for_each(|round| message(&mut arena, round));
    let faults = minor_faults() - before.0;
    // 200 MiB would be 51,200 pages on each side; what there is comes from the heap and from asking.
    assert!(faults < 20, "{faults} page faults");
    assert_eq!(arena.stats(), before.1);
}

/// Of this thread, by proc_pid_stat(5).
fn minor_faults() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").expect("proc is mounted");
    let (_, after_name) = stat.rsplit_once(')').expect("a name in parentheses");
    after_name.split_whitespace().nth(7).expect("field 10").parse().expect("a number")
}

#[test]
fn a_forked_child_has_no_part_in_an_arena() {
    let arena = arena(MIB);
    let mut block = arena.alloc::<u8>(100).expect("memory");
    block.fill(7);
    let segment = Segment::create(10).expect("memory");
    // SAFETY: the child asks the library what it must answer there, and ends without returning.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let refused = matches!(arena.alloc::<u8>(1), Err(Error::ForkedHandle))
            && matches!(arena.huge_bytes(), Err(Error::ForkedHandle))
            && arena.segments().is_empty()
            && matches!(segment.seal(), Err(Error::ForkedHandle));
        arena.trim();
        drop((block, arena));
        // SAFETY: ends this process, without the exit handlers that are its parent's.
        unsafe { libc::_exit(i32::from(!refused)) };
    }
    assert_eq!(end_of(pid), Some(0));
    assert!(block.iter().all(|&byte| byte == 7));
    drop(block);
    assert_eq!(arena.stats().blocks_live, 0);
    segment.seal().expect("it is still ours");
}

#[test]
fn a_buffer_that_outlived_its_arena_closes_nothing_in_a_forked_child() {
    in_child("arena::a_buffer_that_outlived_its_arena_closes_nothing_in_a_forked_child", || {
        let arena = arena(MIB);
        let block = arena.alloc::<u8>(10).expect("memory").freeze();
        drop(arena);
        let before = count("fd");
        // SAFETY: the child looks at its descriptors, and ends without returning.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            drop(block);
            let closed = before != count("fd");
            // SAFETY: ends this process, without the exit handlers that are its parent's.
            unsafe { libc::_exit(i32::from(closed)) };
        }
        assert_eq!(end_of(pid), Some(0));
        drop(block);
        assert_eq!(count("fd"), before - 1);
    });
}

#[test]
fn a_child_forked_while_another_thread_takes_memory_can_take_some_too() {
    in_child("arena::a_child_forked_while_another_thread_takes_memory_can_take_some_too", || {
        let over = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    drop(Segment::create(8 * MIB).expect("memory"));
                }
            });
            let outcomes: Vec<_> = (0..20).map(|_| forked_takes_memory()).collect();
            over.store(true, std::sync::atomic::Ordering::Relaxed);
            assert!(outcomes.iter().all(|&outcome| outcome == Some(0)), "{outcomes:?}");
        });
    });
}

fn forked_takes_memory() -> Option<i32> {
    // SAFETY: the child asks the library, and the alarm ends it if it waits for ever.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // SAFETY: a signal to this process itself.
        unsafe { libc::alarm(20) };
        let taken = Segment::create(1).is_ok();
        // SAFETY: ends this process, without the exit handlers that are its parent's.
        unsafe { libc::_exit(i32::from(!taken)) };
    }
    end_of(pid)
}

/// The status that a forked child exits with.
fn end_of(pid: libc::pid_t) -> Option<i32> {
    let pid = rustix::process::Pid::from_raw(pid).expect("a child");
    let options = rustix::process::WaitOptions::empty();
    let (_, status) =
        rustix::process::waitpid(Some(pid), options).expect("our child").expect("over");
    status.exit_status()
}
