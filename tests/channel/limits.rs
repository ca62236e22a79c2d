//! Limits of the machine: descriptors, /dev/shm, a control group.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Command;
use std::{fs, io};

use pannier::channel::{self, Channel, RecvError, TryRecvError};
use pannier::{Buffer, Error};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::Test;
use crate::group::Group;
use crate::parts::{self, Peer, start};

pub(crate) const TESTS: &[Test] = &[
    ("a_segment_that_cannot_be_received_for_want_of_descriptors_waits", no_descriptors),
    ("a_small_dev_shm_does_not_matter", small_dev_shm),
    ("a_control_groups_limit_is_an_error_and_not_a_kill", control_group),
];

fn no_descriptors() {
    let (ours, peer) = start::<(u32, Buffer<u64>), u64>("run out of descriptors");
    // The first is small: then it is there, and full.
    ours.send((1, Buffer::default())).unwrap();
    for n in 0..10 {
        ours.send((2, vec![n; 100_000].into())).unwrap();
    }
    for n in 0..10 {
        assert_eq!(ours.recv().unwrap(), 100_000 * n);
    }
    drop(ours);
    peer.ends_well();
}

/// The part at its limit.
pub(crate) fn run_out_of_descriptors(channel: &Channel<u64, (u32, Buffer<u64>)>) {
    let limit = Rlimit { current: Some(40), ..getrlimit(Resource::Nofile) };
    setrlimit(Resource::Nofile, limit).expect("less is allowed");
    channel.recv().expect("a small value");
    let open = || fs::File::open("/dev/null").map(OwnedFd::from);
    let taken: Vec<OwnedFd> = std::iter::from_fn(|| open().ok()).collect();
    let used_up = |error: &io::Error| error.raw_os_error() == Some(libc::EMFILE);
    for _ in 0..3 {
        let answer = channel.recv();
        assert!(matches!(&answer, Err(RecvError::Io(error)) if used_up(error)), "{answer:?}");
        let answer = channel.try_recv();
        assert!(matches!(&answer, Err(TryRecvError::Io(error)) if used_up(error)), "{answer:?}");
    }
    assert!(matches!(channel.alloc::<u8>(1), Err(Error::Io(error)) if used_up(&error)));
    drop(taken);
    for n in 0..10 {
        let (_, column) = channel.recv().expect("what waited");
        assert_eq!(column[0], n);
        channel.send(column.iter().sum()).expect("the parent is there");
    }
}

fn small_dev_shm() {
    let script = "mount -t tmpfs -o size=64k none /dev/shm && exec \"$@\"";
    let flags = ["-m", "-rm"].into_iter().find(|flags| {
        let trial = [flags, "sh", "-c", script, "sh", "true"];
        Command::new("unshare").args(trial).output().is_ok_and(|output| output.status.success())
    });
    let Some(flags) = flags else { return skip("no mount of our own") };
    let (ours, theirs) = channel::pair::<Buffer<u64>, u64>().unwrap();
    let mut command = Command::new("unshare");
    command.args([flags, "sh", "-c", script, "sh"]).arg(std::env::current_exe().unwrap());
    let peer = parts::give_to(theirs, "sum", command);
    for n in 0..20 {
        ours.send(vec![n; 200_000].into()).unwrap();
        assert_eq!(ours.recv().unwrap(), 200_000 * n);
    }
    drop(ours);
    peer.ends_well();
}

const GROUP: &str = "PANNIER_TEST_GROUP";

fn control_group() {
    let Some(group) = Group::new(64 << 20) else { return skip("no group of version 1 to be made") };
    let (ours, theirs) = channel::pair::<(), (u64, u64)>().unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env(GROUP, &group.0);
    let peer: Peer = parts::give_to(theirs, "run out of a group", command);
    let (blocks, limit) = ours.recv().unwrap();
    assert!((4..8).contains(&blocks) && limit < 64 << 20, "{blocks} blocks, {limit} bytes");
    drop(ours);
    peer.ends_well();
}

/// The part below the limit.
pub(crate) fn run_out_of_a_group(channel: &Channel<(u64, u64), ()>) {
    let group = PathBuf::from(std::env::var_os(GROUP).expect("the parent named it"));
    let own = std::process::id().to_string();
    fs::write(group.join("cgroup.procs"), own).expect("a group of our own");
    let mut blocks = Vec::new();
    let limit = loop {
        match channel.alloc::<u8>(8 << 20) {
            Ok(mut block) => {
                block.fill(7);
                blocks.push(block);
            }
            Err(Error::OutOfMemory { limit, .. }) => break limit,
            Err(other) => panic!("{other:?}"),
        }
    };
    channel.send((blocks.len() as u64, limit)).expect("the parent is there");
}

/// Says that a test cannot be made here: fine at home, not where everything must run.
fn skip(why: &str) {
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "not to be tested here: {why}");
}
