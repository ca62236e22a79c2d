//! Values that go from one end to the other, and back.

use std::collections::BTreeSet;

use pannier::{Buffer, channel};

use crate::Test;
use crate::parts::{Mixed, start};
use crate::proc::shared_maps;

pub(crate) const TESTS: &[Test] = &[
    ("two_programs_exchange_values_of_mixed_sizes", mixed_sizes),
    ("both_directions_work_at_once", both_directions),
    ("a_frame_carries_many_hundred_buffers", many_buffers),
    ("a_received_buffer_lies_in_shared_memory_and_outlives_the_channel", outlives),
    ("a_buffer_that_comes_back_is_the_same_memory", comes_back),
    ("blocks_are_used_again_when_the_peer_lets_go_of_them", recycled),
    ("a_buffer_that_was_filled_in_an_ends_memory_is_not_copied", filled_in_place),
    ("one_heap_buffer_sent_many_times_is_copied_once", copied_once),
    ("buffers_are_dropped_on_other_threads_than_they_came_on", dropped_elsewhere),
    ("several_threads_send_and_receive", several_threads),
];

/// Numbers without meaning, the same every time.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Random(seed)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % limit
    }
}

/// Of all orders of magnitude, with nothing and thresholds among them.
fn size(random: &mut Random) -> usize {
    let most = [0, 10, 300, 5_000, 40_000, 300_000][usize::try_from(random.below(6)).unwrap()];
    usize::try_from(random.below(most + 1)).unwrap()
}

fn mixed(random: &mut Random) -> Mixed {
    let inline = size(random);
    let count = random.below(6);
    let buffers = (0..count).map(|n| vec![n; size(random) / 8].into());
    let buffers = buffers.collect();
    (random.below(1 << 40), vec![7; inline / 8], buffers)
}

fn mixed_sizes() {
    let (ours, peer) = start::<Mixed, Mixed>("echo");
    let mut random = Random::new(0x5eed);
    for round in 0..2_000 {
        let value = mixed(&mut random);
        ours.send(value.clone()).unwrap();
        assert!(ours.recv().unwrap() == value, "round {round}");
    }
    drop(ours);
    peer.ends_well();
}

fn both_directions() {
    let (ours, peer) = start::<Mixed, Mixed>("echo");
    std::thread::scope(|scope| {
        let values = || {
            let mut random = Random::new(7);
            std::iter::repeat_with(move || mixed(&mut random)).take(1_500)
        };
        let sent = values();
        scope.spawn(|| sent.for_each(|value| ours.send(value).unwrap()));
        for (round, value) in values().enumerate() {
            assert!(ours.recv().unwrap() == value, "round {round}");
        }
    });
    drop(ours);
    peer.ends_well();
}

fn many_buffers() {
    let (ours, peer) = start::<Mixed, Mixed>("echo");
    let buffers: Vec<Buffer<u64>> = (0..900).map(|n| vec![n; 600].into()).collect();
    for round in 0..3 {
        ours.send((round, Vec::new(), buffers.clone())).unwrap();
        assert!(ours.recv().unwrap() == (round, Vec::new(), buffers.clone()));
    }
    drop(ours);
    peer.ends_well();
}

fn outlives() {
    let (ours, mut peer) = start::<(), Buffer<u64>>("count, and wait to be killed");
    let received: Vec<Buffer<u64>> = (0..3).map(|_| ours.recv().unwrap()).collect();
    drop(ours);
    peer.kill();
    let maps = shared_maps();
    for (n, buffer) in (0..).zip(received) {
        assert!(buffer.is_shared() && maps.iter().any(|m| m.contains(&buffer.as_ptr().addr())));
        assert_eq!(buffer, vec![n; 10_000].into());
    }
    assert!(shared_maps().is_empty(), "the last buffer takes the map along");
}

fn comes_back() {
    let (ours, theirs) = channel::pair::<Buffer<u64>, Buffer<u64>>().unwrap();
    ours.send(vec![5; 10_000].into()).unwrap();
    let there = theirs.recv().unwrap();
    theirs.send(there).unwrap();
    let back = ours.recv().unwrap();
    // In its sender's memory now: what goes out from there is named and not copied.
    let before = format!("{ours:?}");
    let address = back.as_ptr();
    ours.send(back).unwrap();
    theirs.send(theirs.recv().unwrap().slice(10..9_000)).unwrap();
    let part = ours.recv().unwrap();
    assert_eq!(part.as_ptr(), address.wrapping_add(10));
    assert!(before.contains("copies: 1, copied_bytes: 80000"), "{before}");
    assert!(format!("{ours:?}").contains("copies: 1, copied_bytes: 80000"), "{ours:?}");
    assert!(format!("{theirs:?}").contains("copies: 0,"), "{theirs:?}");
    // Nobody else has it: it can be filled anew in place.
    let mut part = part.try_into_mut().expect("the peer has let go of it");
    part.fill(9);
    let address = part.as_ptr();
    ours.send(part.freeze()).unwrap();
    theirs.send(theirs.recv().unwrap()).unwrap();
    assert_eq!(ours.recv().unwrap().as_ptr(), address);
    assert!(format!("{ours:?}").contains("copies: 1,"), "{ours:?}");
}

fn recycled() {
    let (ours, theirs) = channel::pair::<Buffer<u64>, ()>().unwrap();
    let mut seen = BTreeSet::new();
    for n in 0..1_000 {
        ours.send(vec![n; 40_000].into()).unwrap();
        let received = theirs.recv().unwrap();
        assert_eq!(received[39_999], n);
        seen.insert(received.as_ptr().addr());
    }
    assert!(seen.len() <= 2, "{} blocks for one message at a time", seen.len());
}

fn filled_in_place() {
    let (ours, theirs) = channel::pair::<Buffer<u64>, Buffer<u64>>().unwrap();
    for len in [0, 1, 10_000, 1_000_000] {
        let mut column = ours.alloc::<u64>(len).unwrap();
        column.fill(7);
        ours.send(column.freeze()).unwrap();
        let received = theirs.recv().unwrap();
        assert!(received.len() == len && received.iter().all(|&item| item == 7));
        assert!(received.is_shared() || len < 512);
    }
    assert_eq!((ours.stats().payload_copies, theirs.stats().payload_copies), (0, 0));
    theirs.send(vec![7; 10_000].into()).unwrap();
    assert_eq!((ours.stats().payload_copies, theirs.stats().payload_copies), (0, 1));
}

fn copied_once() {
    let (ours, theirs) = channel::pair::<Buffer<u64>, ()>().unwrap();
    let column: Buffer<u64> = (0..50_000).collect();
    let received: Vec<Buffer<u64>> = (0..100)
        .map(|n| {
            ours.send(column.slice(n..)).unwrap();
            theirs.recv().unwrap()
        })
        .collect();
    assert!((0..).zip(&received).all(|(n, buffer)| buffer[0] == n));
    assert!(format!("{ours:?}").contains("copies: 1, copied_bytes: 400000"), "{ours:?}");
}

fn dropped_elsewhere() {
    let (ours, theirs) = channel::pair::<Buffer<u64>, ()>().unwrap();
    let (sender, receiver) = std::sync::mpsc::sync_channel::<Buffer<u64>>(4);
    let dropping =
        std::thread::spawn(move || receiver.into_iter().map(|buffer| buffer[0]).sum::<u64>());
    for n in 0..2_000 {
        ours.send(vec![n; 1_000].into()).unwrap();
        sender.send(theirs.recv().unwrap()).unwrap();
    }
    drop(sender);
    assert_eq!(dropping.join().unwrap(), (0..2_000).sum());
    let maps: usize = shared_maps().iter().map(|map| map.len()).sum();
    assert!(maps < 4 << 20, "{maps} bytes are mapped for a few blocks of 8 KiB");
}

fn several_threads() {
    const EACH: u64 = 3_000;
    let (ours, theirs) = channel::pair::<(u64, Buffer<u8>), ()>().unwrap();
    let received = std::thread::scope(|scope| {
        for sender in 0..3 {
            let ours = &ours;
            scope.spawn(move || {
                for n in 0..EACH {
                    let len = usize::try_from(n % 7 * 1_500).unwrap();
                    ours.send((sender * EACH + n, vec![1; len].into())).unwrap();
                }
            });
        }
        let receive = || -> Vec<u64> {
            std::iter::from_fn(|| theirs.recv_timeout(crate::DEADLINE).ok())
                .map(|(n, _)| n)
                .take_while(|&n| n != u64::MAX)
                .collect()
        };
        let receivers = [scope.spawn(receive), scope.spawn(receive)];
        let mut done = 0;
        while done < 3 * EACH {
            std::thread::yield_now();
            done = format!("{theirs:?}")
                .split("received: ")
                .nth(1)
                .and_then(|text| text.split(',').next()?.parse().ok())
                .unwrap_or(0);
        }
        (0..2).for_each(|_| ours.send((u64::MAX, Buffer::default())).unwrap());
        receivers.map(|receiver| receiver.join().unwrap()).concat()
    });
    let distinct: BTreeSet<u64> = received.iter().copied().collect();
    assert_eq!((received.len(), distinct.len()), (9_000, 9_000));
}
