//! A task of 64 bytes and its result, one after the other (T1, T2).

use rustix::thread::{sched_getaffinity, sched_setaffinity};
use serde_bytes::ByteArray;

use crate::common::{Probe, Wait, pin};
use crate::contest::{Side, at_most, contest, ratio, show_times};
use crate::peers::{MESSAGE, Socket, Threads};
use crate::warm_pool;

/// One byte string, so that little of the time is the value's own.
type Small = ByteArray<MESSAGE>;

pub(crate) const ROWS: &[crate::Row] = &[
    ("64 B task and result, unpinned", unpinned),
    ("64 B task and result, two CPUs, asleep", |name| asleep(name, 1)),
    ("64 B task and result, one CPU, asleep", |name| asleep(name, 0)),
];

fn echo(value: Small) -> Small {
    value
}

fn unpinned(name: &str) {
    let mut spinning = Probe::start(MESSAGE, Wait::Spin, None);
    let mut sleeping = Probe::start(MESSAGE, Wait::Sleep, None);
    let socket = Socket::start();
    let threads = Threads::start(1, |_: &mut Small| ());
    let pool = warm_pool(1);
    let value = Small::new([7; MESSAGE]);
    let sides = vec![
        Side::limit("two words, spinning", 100, &mut spinning, &*value),
        Side::limit("two words, asleep by futex", 1, &mut sleeping, &*value),
        Side::new("a thread, channels of the std", 1, || {
            threads.send(value);
            assert_eq!(threads.receive(), value);
        }),
        Side::new("a process, sockets", 1, || {
            socket.send();
            socket.receive();
        }),
        Side::new("pool", 1, || assert_eq!(pool.submit(echo, value).join().unwrap(), value)),
    ];
    let times = contest(40, 100, sides);
    show_times(name, &times);
    let [limit, asleep, .., ours] = &times[..] else { unreachable!("five sides") };
    at_most("T1", "µs, if the limit spins in 0.13", 0.13 * ratio(ours, limit), 1.0);
    at_most("T2", "times the futex, unpinned", ratio(ours, asleep), 1.15);
}

/// This process on CPU 0, the other one on `cpu`.
fn asleep(name: &str, cpu: usize) {
    let before = sched_getaffinity(None).unwrap();
    let mut probe = Probe::start(MESSAGE, Wait::Sleep, Some(cpu));
    pin(Some(0));
    // Its threads and workers inherit that.
    let pool = warm_pool(1);
    pool.submit(|cpu: usize| pin(Some(cpu)), cpu).join().unwrap();
    let value = Small::new([7; MESSAGE]);
    let sides = vec![
        Side::limit("two words, asleep by futex", 1, &mut probe, &*value),
        Side::new("pool", 1, || assert_eq!(pool.submit(echo, value).join().unwrap(), value)),
    ];
    let times = contest(40, 100, sides);
    drop(pool);
    sched_setaffinity(None, &before).unwrap();
    show_times(name, &times);
    at_most("T2", "times the futex", ratio(&times[1], &times[0]), 1.15);
}
