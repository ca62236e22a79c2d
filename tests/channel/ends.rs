//! Birth and end of a channel: who closes, who dies, what is left.
#![expect(unsafe_code, reason = "forks")]

use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::process::Command;

use pannier::channel::{self, Channel, RecvError, TryRecvError};
use pannier::{Buffer, Error};

use crate::parts::{Mixed, give, start};
use crate::proc::{count, shared_maps};
use crate::{DEADLINE, Test};

pub(crate) const TESTS: &[Test] = &[
    ("what_was_sent_before_a_goodbye_arrives_before_it", goodbye),
    ("a_peer_that_is_killed_has_died_and_what_it_sent_arrives", killed),
    ("an_end_is_found_once_and_under_its_name", found_once),
    ("what_is_sent_before_the_peer_starts_waits_for_it", sent_before),
    ("an_end_that_was_used_is_not_handed_over", used),
    ("an_end_is_opened_once_and_the_second_takes_nothing_away", opened_once),
    ("a_descriptor_that_is_no_end_is_refused", no_end),
    ("a_forked_child_is_refused_and_the_parent_goes_on", forked),
    ("nothing_is_left_behind", nothing_left),
];

fn goodbye() {
    let (ours, peer) = start::<(), u64>("count to three");
    for n in 0..3 {
        assert_eq!(ours.recv().unwrap(), n);
    }
    assert!(matches!(ours.recv(), Err(RecvError::Closed)));
    assert!(matches!(ours.try_recv(), Err(TryRecvError::Closed)));
    peer.ends_well();
}

fn killed() {
    for _ in 0..5 {
        let (ours, mut peer) = start::<(), Buffer<u64>>("count, and wait to be killed");
        let first = ours.recv().unwrap();
        for n in 1..3 {
            assert_eq!(ours.recv_timeout(DEADLINE).unwrap()[9_999], n);
        }
        peer.kill();
        assert!(matches!(ours.recv(), Err(RecvError::Died)));
        assert!(matches!(ours.recv(), Err(RecvError::Died)));
        assert_eq!(first[9_999], 0);
    }
}

fn found_once() {
    let (ours, peer) = start::<(), bool>("find it once");
    assert!(ours.recv().unwrap());
    peer.ends_well();
    let absent = Channel::<(), ()>::from_env("never given").unwrap_err();
    assert!(matches!(absent, Error::Io(error) if error.kind() == ErrorKind::NotFound));
    for name in ["", "a=b", "a\0b"] {
        let (ours, _theirs) = channel::pair::<(), ()>().unwrap();
        let refused = ours.hand_to(&mut Command::new("true"), name).unwrap_err();
        assert!(matches!(refused, Error::Io(error) if error.kind() == ErrorKind::InvalidInput));
    }
}

fn sent_before() {
    let (ours, theirs) = channel::pair::<Buffer<u64>, u64>().unwrap();
    (0..10).for_each(|n| ours.send(vec![n; 5_000].into()).unwrap());
    let peer = give(theirs, "sum");
    (0..10).for_each(|n| assert_eq!(ours.recv().unwrap(), n * 5_000));
    drop(ours);
    peer.ends_well();
}

fn used() {
    let (ours, theirs) = channel::pair::<u64, u64>().unwrap();
    ours.send(1).unwrap();
    assert!(ours.hand_to(&mut Command::new("true"), "peer").is_err());
    theirs.recv().unwrap();
    assert!(Channel::<u64, u64>::from_fd(theirs.into_fd()).is_err());

    let (ours, theirs) = channel::pair::<u64, u64>().unwrap();
    assert!(matches!(theirs.try_recv(), Err(TryRecvError::Empty)));
    assert!(theirs.hand_to(&mut Command::new("true"), "peer").is_err());
    assert!(matches!(ours.recv(), Err(RecvError::Closed)));

    let (ours, theirs) = channel::pair::<u64, u64>().unwrap();
    let moved = Channel::<u64, u64>::from_fd(theirs.into_fd()).unwrap();
    ours.send(3).unwrap();
    assert_eq!(moved.recv().unwrap(), 3);
}

fn opened_once() {
    let (ours, theirs) = channel::pair::<Buffer<u64>, u64>().unwrap();
    let fd = theirs.into_fd();
    let copies: Vec<OwnedFd> = (0..3).map(|_| fd.try_clone().unwrap()).collect();
    let first = Channel::<u64, Buffer<u64>>::from_fd(fd).unwrap();
    // Its segment is announced where the others would look for a greeting.
    ours.send(vec![7; 10_000].into()).unwrap();
    for copy in copies {
        assert!(Channel::<u64, Buffer<u64>>::from_fd(copy).is_err());
    }
    assert_eq!(first.recv().unwrap()[9_999], 7);
    first.send(7).unwrap();
    assert_eq!(ours.recv().unwrap(), 7);

    // A copy of an end that was used where it was made.
    let (ours, theirs) = channel::pair::<u64, u64>().unwrap();
    let copy = rustix::io::fcntl_dupfd_cloexec(&theirs, 3).unwrap();
    theirs.send(1).unwrap();
    assert!(Channel::<u64, u64>::from_fd(copy).is_err());
    ours.send(2).unwrap();
    assert_eq!((ours.recv().unwrap(), theirs.recv().unwrap()), (1, 2));
}

fn no_end() {
    let file: OwnedFd = std::fs::File::open("/dev/null").unwrap().into();
    assert!(Channel::<(), ()>::from_fd(file).is_err());
    let (stream, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    assert!(Channel::<(), ()>::from_fd(stream.into()).is_err());
}

fn forked() {
    let (ours, theirs) = channel::pair::<Buffer<u64>, u64>().unwrap();
    ours.send(vec![1; 5_000].into()).unwrap();
    let received = theirs.recv().unwrap();
    // SAFETY: this thread is the only one that holds a lock, the child only looks, and it ends at once.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let is_refused = |error: &dyn std::error::Error| {
            let mut causes = std::iter::successors(Some(error), |error| error.source());
            causes.any(|error| error.to_string().contains("forked"))
        };
        let refused = [
            ours.send(Buffer::default()).is_err_and(|error| is_refused(&error)),
            ours.try_send(Buffer::default()).is_err_and(|error| is_refused(&error)),
            ours.recv().is_err_and(|error| is_refused(&error)),
            theirs.try_recv().is_err_and(|error| is_refused(&error)),
            theirs.hand_to(&mut Command::new("true"), "x").is_err(),
            ours.alloc::<u64>(1).is_err_and(|error| is_refused(&error)),
        ];
        drop((received, ours.into_fd()));
        let sound = shared_maps().is_empty() && refused == [true; 6];
        // SAFETY: ends this process, without the exit handlers that are its parent's.
        unsafe { libc::_exit(i32::from(!sound)) };
    }
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    let ended = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
    assert_eq!(ended.unwrap().unwrap().1.exit_status(), Some(0));
    theirs.send(received.iter().sum()).unwrap();
    assert_eq!(ours.recv().unwrap(), 5_000);
    drop(ours);
    assert!(matches!(theirs.recv(), Err(RecvError::Closed)));
}

fn nothing_left() {
    let belongings = || (count("fd"), count("task"), shared_maps().len());
    let work = || {
        let (ours, peer) = start::<Mixed, Mixed>("echo");
        let buffers: Vec<Buffer<u64>> = (0..50).map(|n| vec![n; 3_000].into()).collect();
        ours.send((1, vec![0; 50_000], buffers)).unwrap();
        let back = ours.recv().unwrap();
        drop(ours);
        peer.ends_well();
        drop(back);
        let (ours, theirs) = channel::pair::<Buffer<u64>, ()>().unwrap();
        ours.send(vec![1; 1 << 20].into()).unwrap();
        drop((theirs.recv().unwrap(), ours, theirs));
        let (ours, theirs) = channel::pair::<Buffer<u64>, ()>().unwrap();
        ours.send(vec![1; 1 << 20].into()).unwrap();
        drop((ours, theirs));
    };
    work();
    let before = belongings();
    work();
    assert_eq!(belongings(), before, "descriptors, threads, maps");
    let (ours, theirs) = channel::pair::<u64, u64>().unwrap();
    assert_eq!(count("fd"), before.0 + 2, "one descriptor is the whole end");
    assert_eq!(count("task"), before.1, "no thread");
    drop((ours, theirs));
}
