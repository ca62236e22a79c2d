//! Waiting: for values, for room, by descriptor, in vain.

use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use pannier::channel::{self, RecvError, TryRecvError, TrySendError};
use pannier::{Buffer, CodecError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::parts::start;
use crate::{DEADLINE, Test};

pub(crate) const TESTS: &[Test] = &[
    ("full_and_empty_are_told_and_pass", full_and_empty),
    ("send_waits_for_room", send_waits),
    ("large_buffers_wait_although_the_ring_has_room", large_wait),
    ("a_sender_that_waits_for_room_hears_that_its_peer_has_gone", sender_hears),
    ("the_descriptor_is_readable_when_something_comes_or_the_peer_goes", readiness),
    ("recv_timeout_ends_in_time_and_takes_what_comes_before", timeout),
    ("a_sleeper_is_woken_thousands_of_times", sleepers),
    ("errors_give_the_value_back", value_back),
    ("none_of_many_receivers_is_forgotten", many_receivers),
    ("try_send_hears_that_its_peer_has_gone", try_send_hears),
    ("try_recv_beside_a_sleeper_loses_nothing", beside_a_sleeper),
    ("memory_of_a_long_value_is_given_back", long_value),
];

fn many_receivers() {
    for round in 0..300 {
        let (ours, theirs) = channel::pair::<u64, ()>().unwrap();
        let receivers = 3 + round % 2;
        let received: usize = thread::scope(|scope| {
            let theirs = &theirs;
            let receivers: Vec<_> = (0..receivers)
                .map(|n| {
                    scope.spawn(move || {
                        // One of them may give up at any moment.
                        let timeout = Duration::from_micros(round);
                        let first =
                            if n == 0 { theirs.recv_timeout(timeout).is_ok() } else { false };
                        usize::from(first) + std::iter::from_fn(|| theirs.recv().ok()).count()
                    })
                })
                .collect();
            (0..receivers.len() as u64).for_each(|n| ours.send(n).unwrap());
            drop(ours);
            receivers.into_iter().map(|receiver| receiver.join().unwrap()).sum()
        });
        assert_eq!(received, usize::try_from(receivers).unwrap(), "round {round}");
    }
}

fn beside_a_sleeper() {
    const COUNT: u64 = 400;
    let (ours, theirs) = channel::pair::<(u64, Buffer<u8>), ()>().unwrap();
    let (slept, tried) = thread::scope(|scope| {
        let sleeper = scope.spawn(|| {
            std::iter::from_fn(|| theirs.recv_timeout(DEADLINE).ok())
                .map(|(n, _)| n)
                .take_while(|&n| n != COUNT)
                .collect::<Vec<u64>>()
        });
        let mut tried = Vec::new();
        for n in 0..COUNT {
            // Large ones have a segment each, which whoever reads the socket hears of.
            let len = usize::try_from(n % 40).unwrap() << 16;
            ours.send((n, vec![1; len].into())).unwrap();
            match theirs.try_recv() {
                Ok((n, buffer)) => {
                    assert!(buffer.iter().step_by(4096).all(|&byte| byte == 1));
                    tried.push(n);
                }
                Err(TryRecvError::Empty) => {}
                Err(other) => panic!("{other}"),
            }
        }
        ours.send((COUNT, Buffer::default())).unwrap();
        (sleeper.join().unwrap(), tried)
    });
    let mut all = [slept, tried].concat();
    all.sort_unstable();
    assert_eq!(all, (0..COUNT).collect::<Vec<u64>>());
}

fn try_send_hears() {
    let (ours, theirs) = channel::pair::<u64, ()>().unwrap();
    // Its descriptor goes without a word, as when its process is killed.
    drop(theirs.into_fd());
    let refused = (0..100_000).find_map(|n| ours.try_send(n).err());
    assert!(matches!(refused, Some(TrySendError::Closed(_))), "{refused:?}");
}

fn long_value() {
    let (ours, theirs) = channel::pair::<String, ()>().unwrap();
    let held = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("RssAnon")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let before = held();
    thread::scope(|scope| {
        scope.spawn(|| ours.send("x".repeat(200 << 20)).unwrap());
        assert_eq!(theirs.recv().unwrap().len(), 200 << 20);
    });
    let kept = held().saturating_sub(before);
    assert!(kept < 50 << 10, "{kept} KiB are held");
}

/// Whether the descriptor is readable, or becomes so in time.
fn is_readable(fd: impl AsFd, within: Duration) -> bool {
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    let timeout = Timespec::try_from(within).unwrap();
    poll(&mut fds, Some(&timeout)).unwrap();
    fds[0].revents().intersects(PollFlags::IN | PollFlags::HUP)
}

fn full_and_empty() {
    let (ours, theirs) = channel::pair::<u64, ()>().unwrap();
    assert!(matches!(theirs.try_recv(), Err(TryRecvError::Empty)));
    let mut sent = 0;
    let refused = loop {
        match ours.try_send(sent) {
            Ok(()) => sent += 1,
            Err(TrySendError::Full(n)) => break n,
            Err(other) => panic!("{other}"),
        }
    };
    assert!(refused == sent && sent >= 1_000);
    assert_eq!(theirs.recv().unwrap(), 0);
    ours.try_send(sent).unwrap();
    for n in 1..=sent {
        assert_eq!(theirs.try_recv().unwrap(), n);
    }
    assert!(matches!(theirs.try_recv(), Err(TryRecvError::Empty)));
}

fn send_waits() {
    let (ours, theirs) = channel::pair::<Vec<u64>, ()>().unwrap();
    let sender = std::thread::spawn(move || {
        (0..20_000_u64).for_each(|n| ours.send(vec![n; 30]).unwrap());
    });
    for n in 0..20_000 {
        assert_eq!(theirs.recv().unwrap(), vec![n; 30]);
    }
    sender.join().unwrap();
    assert!(matches!(theirs.recv(), Err(RecvError::Closed)));
}

fn large_wait() {
    let (ours, theirs) = channel::pair::<Buffer<u8>, ()>().unwrap();
    let large = || Buffer::from(vec![1; 5 << 20]);
    let sent = (0..100).take_while(|_| ours.try_send(large()).is_ok()).count();
    assert!((2..30).contains(&sent), "{sent} times 5 MiB");
    assert!(matches!(ours.try_send(large()), Err(TrySendError::Full(_))));
    let kept = theirs.recv().unwrap();
    ours.try_send(large()).unwrap();
    (0..sent).for_each(|_| drop(theirs.recv().unwrap()));
    // However large, one alone may go.
    ours.try_send(vec![1; 100 << 20].into()).unwrap();
    assert_eq!(theirs.recv().unwrap().len(), 100 << 20);
    assert_eq!(kept.len(), 5 << 20);
}

fn sender_hears() {
    let (ours, mut peer) = start::<Vec<u64>, Buffer<u64>>("count, and wait to be killed");
    (0..3).for_each(|_| drop(ours.recv().unwrap()));
    let sender = std::thread::spawn(move || {
        let refused = std::iter::repeat_with(|| ours.send(vec![0; 100])).find_map(Result::err);
        assert!(matches!(refused, Some(channel::SendError::Closed(value)) if value.len() == 100));
    });
    peer.kill();
    sender.join().unwrap();
}

fn readiness() {
    let (ours, theirs) = channel::pair::<u64, ()>().unwrap();
    for n in 0..100 {
        assert!(matches!(theirs.try_recv(), Err(TryRecvError::Empty)));
        assert!(!is_readable(&theirs, Duration::ZERO), "round {n}");
        ours.send(n).unwrap();
        assert!(is_readable(&theirs, DEADLINE), "round {n}");
        // Nobody is woken for what comes while the reader is not waiting.
        ours.send(n).unwrap();
        assert_eq!((theirs.try_recv().unwrap(), theirs.try_recv().unwrap()), (n, n));
    }
    assert!(matches!(theirs.try_recv(), Err(TryRecvError::Empty)));
    drop(ours);
    assert!(is_readable(&theirs, DEADLINE));
    assert!(matches!(theirs.try_recv(), Err(TryRecvError::Closed)));
}

fn timeout() {
    let (ours, theirs) = channel::pair::<u64, ()>().unwrap();
    for wanted in [0, 1, 20] {
        let (wanted, began) = (Duration::from_millis(wanted), Instant::now());
        assert!(matches!(theirs.recv_timeout(wanted), Err(TryRecvError::Empty)));
        assert!(began.elapsed() >= wanted);
        assert!(began.elapsed() < DEADLINE);
    }
    ours.send(1).unwrap();
    assert_eq!(theirs.recv_timeout(Duration::ZERO).unwrap(), 1);
    let later = std::thread::spawn(move || {
        assert!(matches!(ours.recv_timeout(Duration::from_millis(5)), Err(TryRecvError::Empty)));
        ours.send(2).unwrap();
        ours
    });
    assert_eq!(theirs.recv_timeout(Duration::MAX).unwrap(), 2);
    drop(later.join().unwrap());
    assert!(matches!(theirs.recv_timeout(DEADLINE), Err(TryRecvError::Closed)));
}

fn sleepers() {
    let (ours, theirs) = channel::pair::<u64, u64>().unwrap();
    let echo = std::thread::spawn(move || {
        while let Ok(n) = theirs.recv() {
            theirs.send(n).unwrap();
        }
    });
    for n in 0..5_000 {
        ours.send(n).unwrap();
        assert_eq!(ours.recv_timeout(DEADLINE).unwrap(), n);
    }
    drop(ours);
    echo.join().unwrap();
}

fn value_back() {
    #[derive(Clone, serde::Serialize, serde::Deserialize)]
    struct Moody(#[serde(serialize_with = "refuse")] String);
    fn refuse<S: serde::Serializer>(_: &str, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("not today"))
    }
    let (ours, theirs) = channel::pair::<Moody, ()>().unwrap();
    match ours.send(Moody("east".to_owned())) {
        Err(channel::SendError::Encode(value, CodecError::Encode(why))) => {
            assert_eq!((&*value.0, &*why), ("east", "not today"));
        }
        _ => panic!("it was sent"),
    }
    drop(theirs);
    let (ours, theirs) = channel::pair::<String, u32>().unwrap();
    ours.send("no number".to_owned()).unwrap();
    let fd = theirs.into_fd();
    let misread = channel::Channel::<(), u32>::from_fd(fd).unwrap();
    assert!(matches!(misread.recv(), Err(RecvError::Decode(CodecError::Decode { .. }))));
    ours.send("another".to_owned()).unwrap();
    assert!(matches!(misread.try_recv(), Err(TryRecvError::Decode(_))));
    drop(misread);
    match ours.try_send("west".to_owned()) {
        Err(TrySendError::Closed(value)) => assert_eq!(value, "west"),
        other => panic!("{other:?}"),
    }
}
