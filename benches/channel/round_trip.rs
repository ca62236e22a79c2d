//! 64 bytes there and back.

use serde_bytes::ByteArray;

use crate::common::probe::WINDOW;
use crate::common::{Probe, Wait, pin};
use crate::{compare, end, start};

/// One byte string, so that little of the time is the value's own.
type Small = ByteArray<64>;

pub(crate) const ROWS: &[crate::Row] = &[
    ("64 B sent and received, one thread", one_thread),
    ("round trip 64 B, spinning", spinning),
    ("round trip 64 B, asleep, two CPUs", two_cpus),
    ("round trip 64 B, asleep, one CPU", one_cpu),
    ("empty, 64 on the way, one peer", |name| in_flight(name, 1)),
    ("empty, 64 on the way to each of two", |name| in_flight(name, 2)),
];

/// Answers values that are nothing.
pub(crate) fn answer() {
    let channel = end::<(), ()>();
    // Nobody waits for the last answers.
    while channel.recv().is_ok_and(|()| channel.send(()).is_ok()) {}
}

/// Time for each value and its answer, while many are on the way. With two peers there are more
/// processes than CPUs here, so somebody sleeps.
fn in_flight(name: &str, peers: usize) {
    let peers: Vec<_> = (0..peers).map(|_| start::<(), ()>("answer", None)).collect();
    let mut probe = Probe::start(1 << 14, Wait::Window, None);
    let (mut n, mut unanswered) = (0, vec![0; peers.len()]);
    let pass = || {
        n = (n + 1) % peers.len();
        let channel = &peers[n].0;
        channel.send(()).unwrap();
        unanswered[n] += 1;
        if unanswered[n] == WINDOW {
            // Half of them at once: whoever answers need not be woken for each.
            (0..WINDOW / 2).for_each(|_| channel.recv().unwrap());
            unanswered[n] -= WINDOW / 2;
        }
    };
    compare(name, (101, 20_000), (&mut probe, &[]), pass);
    for (channel, mut child) in peers {
        drop(channel);
        child.wait().unwrap();
    }
}

pub(crate) fn echo() {
    let channel = end::<Small, Small>();
    while let Ok(value) = channel.recv() {
        channel.send(value).unwrap();
    }
}

/// What a value costs without any waiting: twice this is in each round trip.
fn one_thread(name: &str) {
    let (ours, theirs) = pannier::channel::pair::<Small, Small>().unwrap();
    let value = ByteArray::new([7; 64]);
    let mut probe = Probe::start(64, Wait::Sleep, None);
    compare(name, (101, 100), (&mut probe, &[7; 64]), || {
        ours.send(value).unwrap();
        assert_eq!(theirs.recv().unwrap(), value);
    });
}

fn spinning(name: &str) {
    round_trips(name, Wait::Spin, None, (101, 2_000));
}

fn two_cpus(name: &str) {
    round_trips(name, Wait::Sleep, Some((0, 1)), (201, 20));
}

fn one_cpu(name: &str) {
    round_trips(name, Wait::Sleep, Some((0, 0)), (201, 20));
}

fn round_trips(name: &str, wait: Wait, cpus: Option<(usize, usize)>, calls: (usize, u32)) {
    // In a process of its own, since a pinned one stays so for the rows behind it.
    let (here, there) = (cpus.map(|cpus| cpus.0), cpus.map(|cpus| cpus.1));
    let before = rustix::thread::sched_getaffinity(None).unwrap();
    let (channel, mut child) = start::<Small, Small>("echo", there);
    let mut probe = Probe::start(64, wait, there);
    pin(here);
    let value = ByteArray::new([7; 64]);
    let ping = || {
        channel.send(value).unwrap();
        assert_eq!(channel.recv().unwrap(), value);
    };
    (0..1_000).for_each(|_| ping());
    compare(name, calls, (&mut probe, &[7; 64]), ping);
    drop(channel);
    child.wait().unwrap();
    rustix::thread::sched_setaffinity(None, &before).unwrap();
}
