//! What a message costs once things are warm, by the counters of both sides; and what is let go of.

use pannier::Buffer;
use pannier::channel::{self, Channel, Stats};
use pannier::shm::{KernelCounts, kernel_counts};

use crate::parts::start;
use crate::proc::{count, shared_maps};
use crate::{DEADLINE, Test};

pub(crate) const TESTS: &[Test] = &[
    ("the_steady_state_costs_no_fault_no_call_and_no_copy", steady_state),
    ("both_ends_count_what_they_do", both_count),
    ("descriptors_stay_constant_over_a_hundred_thousand_messages", constant_descriptors),
    ("a_remembered_copy_goes_with_its_channel", copies_go),
    ("what_was_never_received_goes_with_its_sender", unread_goes),
    ("what_the_peer_still_reads_is_not_written_after_a_close", still_read),
    ("a_buffer_on_its_way_back_holds_up_no_other", holds_up_no_other),
    ("releases_that_found_no_room_are_told_before_sleeping", releases_are_told),
];

/// What both processes have done so far: this one, and the one that answers.
type Counts = (u64, u64, u64, u64, u64);

fn counts(kernel: KernelCounts, stats: Stats) -> Counts {
    let faults = kernel.minor_faults + kernel.major_faults;
    (kernel.memory_objects, kernel.maps, kernel.unmaps, faults, stats.payload_copies)
}

/// Reads a byte of each page and gives the buffer back; an empty one asks for the counts.
pub(crate) fn echo_and_count(channel: &Channel<(Buffer<u8>, Counts), Buffer<u8>>) {
    while let Ok(buffer) = channel.recv() {
        let counts = counts(kernel_counts(), channel.stats());
        buffer.iter().step_by(4096).for_each(|&byte| assert_eq!(byte, 7));
        channel.send((buffer, counts)).expect("the parent receives");
    }
}

fn steady_state() {
    for (len, messages) in [(64, 5_000), (1 << 20, 2_000), (64 << 20, 20)] {
        let (ours, peer) = start::<Buffer<u8>, (Buffer<u8>, Counts)>("echo and count");
        let build = || {
            let mut built = ours.alloc::<u8>(len).unwrap();
            built.fill(7);
            built.freeze()
        };
        // Built in the channel's memory, handed over, handed back.
        let pass = |built: Buffer<u8>| {
            ours.send(built).unwrap();
            let back = ours.recv_timeout(DEADLINE).unwrap().0;
            assert_eq!(back.len(), len);
            back
        };
        let both = || {
            ours.send(Buffer::default()).unwrap();
            let theirs = ours.recv_timeout(DEADLINE).unwrap().1;
            [counts(kernel_counts(), ours.stats()), theirs]
        };
        // The peer lets go of a block a moment after it has sent it back, so there are two in turn.
        let blocks = [build(), build(), build()];
        drop(blocks.map(pass));
        (0..20).for_each(|_| drop(pass(build())));
        let before = both();
        (0..messages).for_each(|_| drop(pass(build())));
        for (before, after) in before.into_iter().zip(both()) {
            let calls = (after.0 - before.0, after.1 - before.1, after.2 - before.2);
            assert_eq!(calls, (0, 0, 0), "memory objects, maps, unmaps; {len} bytes");
            assert_eq!(after.4 - before.4, 0, "copies; {len} bytes");
            // Not quite zero: the kernel may take a page out of a map to see whether it is used, and
            // stacks and the heap grow. One for each message, or each of its pages, it is not.
            let faults = after.3 - before.3;
            assert!(faults <= 100, "{faults} faults in {messages} messages of {len} bytes");
        }
        let peak = ours.stats().blocks_peak;
        assert!(peak <= 3, "{peak} blocks for one message at a time");
        drop(ours);
        peer.ends_well();
    }
}

fn both_count() {
    let (ours, theirs) = channel::pair::<(u32, Buffer<u8>), ()>().unwrap();
    let heap: Buffer<u8> = vec![7; 10_000].into();
    ours.send((1, heap.clone())).unwrap();
    ours.send((2, heap)).unwrap();
    (0..2).for_each(|_| drop(theirs.recv().unwrap()));
    let (sent, received) = (ours.stats(), theirs.stats());
    assert_eq!((sent.sent, received.received), (2, 2));
    assert_eq!((sent.sent_out_of_band, received.received_out_of_band), (20_000, 20_000));
    assert_eq!(sent.sent_in_band, received.received_in_band);
    assert_eq!((sent.payload_copies, sent.payload_copied_bytes), (1, 10_000));
    assert_eq!((received.payload_copies, received.peer_segments), (0, 1));
    assert_eq!((sent.blocks_live, sent.blocks_peak, sent.segments), (0, 1, 1));
    assert_eq!((sent.received, received.sent, sent.bells_rung), (0, 0, 0));
    let timeout = std::time::Duration::from_millis(1);
    assert!(theirs.recv_timeout(timeout).is_err());
    assert_eq!((theirs.stats().sleeps, theirs.stats().spins_paid), (1, 0));
}

fn constant_descriptors() {
    let (ours, theirs) = channel::pair::<Buffer<u8>, Buffer<u8>>().unwrap();
    let pass = || {
        ours.send(vec![7; 5_000].into()).unwrap();
        theirs.send(theirs.recv().unwrap()).unwrap();
        theirs.send(vec![8; 5_000].into()).unwrap();
        assert_eq!((ours.recv().unwrap()[4_999], ours.recv().unwrap()[4_999]), (7, 8));
    };
    (0..100).for_each(|_| pass());
    let before = (count("fd"), shared_maps().len());
    // Three messages each, two of them with a buffer that was on the heap.
    (0..33_400).for_each(|_| pass());
    assert_eq!((count("fd"), shared_maps().len()), before);
}

fn copies_go() {
    let heap: Buffer<u64> = vec![7; 1 << 17].into();
    let before = (count("fd"), shared_maps().len());
    for _ in 0..20 {
        let (ours, theirs) = channel::pair::<Buffer<u64>, ()>().unwrap();
        ours.send(heap.clone()).unwrap();
        ours.send(heap.slice(5..)).unwrap();
        assert_eq!(theirs.recv().unwrap(), heap);
        assert_eq!(ours.stats().payload_copies, 1);
        drop((ours, theirs));
        assert_eq!((count("fd"), shared_maps().len()), before);
    }
    assert_eq!(heap[1 << 16], 7);
}

fn unread_goes() {
    let before = shared_maps().len();
    let (ours, theirs) = channel::pair::<Buffer<u8>, ()>().unwrap();
    let kept = ours.alloc::<u8>(1 << 20).unwrap().freeze();
    for _ in 0..5 {
        ours.send(ours.alloc::<u8>(2 << 20).unwrap().freeze()).unwrap();
        ours.send(kept.clone()).unwrap();
    }
    drop((ours, theirs));
    assert_eq!(shared_maps().len(), before + 1, "what is kept here");
    drop(kept);
    assert_eq!(shared_maps().len(), before);
}

fn still_read() {
    let (ours, theirs) = channel::pair::<Buffer<u8>, ()>().unwrap();
    let mut built = ours.alloc::<u8>(10_000).unwrap();
    built.fill(7);
    let (sent, unsent) = (built.freeze(), ours.alloc::<u8>(10_000).unwrap().freeze());
    ours.send(sent.clone()).unwrap();
    let received = theirs.recv().unwrap();
    drop(ours);
    assert!(sent.try_into_mut().is_err(), "the peer reads it");
    assert!(unsent.try_into_mut().is_ok());
    assert!(received.iter().all(|&byte| byte == 7));
}

fn holds_up_no_other() {
    let (ours, theirs) = channel::pair::<Buffer<u8>, Buffer<u8>>().unwrap();
    let send = || ours.send(ours.alloc::<u8>(10_000).unwrap().freeze()).unwrap();
    send();
    theirs.send(theirs.recv().unwrap()).unwrap();
    // It waits to be received, and these do not wait for it.
    for _ in 0..10 {
        send();
        drop(theirs.recv().unwrap());
        assert_eq!(ours.stats().blocks_live, 1);
    }
    assert_eq!(ours.recv().unwrap().len(), 10_000);
    assert_eq!(ours.stats().blocks_live, 0);
}

fn releases_are_told() {
    let (ours, theirs) = channel::pair::<Buffer<u8>, ()>().unwrap();
    let received: Vec<Buffer<u8>> = (0..600)
        .map(|_| {
            ours.send(ours.alloc::<u8>(4096).unwrap().freeze()).unwrap();
            theirs.recv().unwrap()
        })
        .collect();
    // More than their ring has room for.
    drop(received);
    assert!(ours.stats().blocks_live > 0);
    for _ in 0..3 {
        assert!(theirs.try_recv().is_err());
        let _takes_back = ours.stats();
    }
    assert_eq!(ours.stats().blocks_live, 0);
}
