//! Both ends of a connection, in one process.

#![forbid(unsafe_code)]

use std::os::fd::AsFd;
use std::thread;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::*;
use crate::channel::message::{EntryName, FramePlace, INLINE_FRAME_MAX, TaskHead, decode};
use crate::sys::memory;

struct Ends {
    parent: ParentEnd,
    watch: Watch,
    answers: AnswerEnd,
    messages: MessageEnd,
    /// As the worker sees it.
    line: Arc<Line>,
}

fn connect() -> Ends {
    let (ours, theirs) = Socket::pair().unwrap();
    let (line, [down, up]) = Line::create().unwrap();
    let (pulse, pulse_fd) = Pulse::create().unwrap();
    let (parent, watch) = (ParentEnd::new(ours, line), Watch::new(pulse));
    let line = Line::attach(down, up).unwrap();
    let pulse = Pulse::attach(pulse_fd).unwrap();
    let (answers, messages) = worker_ends(theirs, line.clone(), pulse, false);
    Ends { parent, watch, answers, messages, line }
}

fn forget(context: u64) -> ToWorker {
    ToWorker::Forget { context }
}

fn attach(segment: u32) -> ToWorker {
    ToWorker::Attach { segment, len: 1, block_len: 1, writable: false }
}

/// Waits for the next message.
fn next(messages: &mut MessageEnd, record: &mut Vec<u8>) -> ToWorker {
    while !messages.recv(record).unwrap() {
        messages.wait(0).unwrap();
    }
    decode(record).unwrap().0
}

#[test]
fn what_finds_no_room_goes_when_the_worker_has_read() {
    let Ends { mut parent, mut messages, .. } = connect();
    let frame = Bytes::from(vec![5; INLINE_FRAME_MAX]);
    let sent: Vec<SendState> =
        (0..40).map(|n| parent.send(&forget(n), &frame, None).unwrap()).collect();
    assert_eq!(sent[0], SendState::Done);
    assert_eq!(sent[39], SendState::NoRoom);
    let worker = thread::spawn(move || {
        let mut record = Vec::new();
        for n in 0..40 {
            assert_eq!(next(&mut messages, &mut record), forget(n));
            assert!(record.ends_with(&[5; INLINE_FRAME_MAX]));
        }
    });
    while parent.flush().unwrap() != SendState::Done {
        wait::readable(&parent, Duration::from_secs(20)).unwrap();
        assert_eq!(parent.listen().unwrap(), Heard::Bell);
    }
    worker.join().unwrap();
}

#[test]
fn a_descriptor_comes_with_its_message_behind_a_full_ring_too() {
    let Ends { mut parent, mut messages, .. } = connect();
    let frame = Bytes::from(vec![0; INLINE_FRAME_MAX]);
    while parent.send(&forget(0), &frame, None).unwrap() == SendState::Done {}
    for segment in 1..6 {
        let fd = memory::create("pannier-test", u64::from(segment)).unwrap();
        parent.send(&attach(segment), &Bytes::new(), Some(Arc::new(fd))).unwrap();
    }
    let worker = thread::spawn(move || {
        let (mut record, mut segment) = (Vec::new(), 0);
        while segment < 5 {
            let message = next(&mut messages, &mut record);
            if matches!(message, ToWorker::Attach { .. }) {
                segment += 1;
                assert_eq!(message, attach(segment));
                let fd = messages.fd().unwrap();
                assert!(memory::is_sealed_at(fd, segment.into()).unwrap());
            }
        }
    });
    while parent.flush().unwrap() != SendState::Done {
        wait::readable(&parent, Duration::from_secs(20)).unwrap();
        parent.listen().unwrap();
    }
    worker.join().unwrap();
}

#[test]
fn an_answer_that_finds_no_room_waits_until_the_parent_has_read() {
    let Ends { mut parent, mut watch, mut answers, .. } = connect();
    let worker = thread::spawn(move || {
        let frame = vec![7; INLINE_FRAME_MAX];
        for context in 0..100 {
            answers.send(&ToParent::Forgotten { context }, &frame).unwrap();
        }
        answers
    });
    let (mut record, mut count) = (Vec::new(), 0);
    while count < 100 {
        watch.rest();
        if !parent.has_answers() {
            wait::readable(&parent, Duration::from_secs(20)).unwrap();
            assert_eq!(parent.listen().unwrap(), Heard::Bell);
        }
        watch.begin();
        while parent.recv(&mut record).unwrap() {
            let (answer, frame) = decode::<ToParent>(&record).unwrap();
            assert_eq!(answer, ToParent::Forgotten { context: count });
            assert_eq!(frame, [7; INLINE_FRAME_MAX]);
            count += 1;
        }
        parent.tell_room();
    }
    drop(worker.join().unwrap());
}

#[test]
fn only_the_first_answer_rings_and_only_for_who_rests() {
    let Ends { parent, mut watch, mut answers, messages, .. } = connect();
    let rings = || {
        let mut socket = [PollFd::new(&parent, PollFlags::IN)];
        poll(&mut socket, Some(&Timespec::default())).unwrap() == 1
    };
    let say = |answers: &mut AnswerEnd| {
        answers.send(&ToParent::Forgotten { context: 1 }, &[]).unwrap();
    };
    say(&mut answers);
    assert!(!rings(), "nobody has said that he sleeps");
    watch.rest();
    say(&mut answers);
    assert!(rings());
    parent.listen().unwrap();
    say(&mut answers);
    assert!(!rings(), "it has rung for this sleep");
    watch.begin();
    watch.rest();
    say(&mut answers);
    assert!(rings(), "another sleep");
    parent.listen().unwrap();
    drop((answers, messages));
    assert_eq!(parent.listen().unwrap(), Heard::Closed);
}

#[test]
fn a_message_is_taken_back_or_claimed() {
    let Ends { mut parent, line, .. } = connect();
    let (first, second) = (parent.offer(), parent.offer());
    assert!(parent.revoke(first));
    assert!(!line.claim(first));
    assert!(line.claim(second));
    assert!(!parent.revoke(second));
}

#[test]
fn what_is_taken_back_before_it_found_room_is_never_sent() {
    let Ends { mut parent, mut messages, line, .. } = connect();
    let frame = Bytes::from(vec![0; INLINE_FRAME_MAX]);
    let task = |parent: &mut ParentEnd| {
        let claim = parent.offer();
        let frame = frame.clone();
        (claim, parent.send(&ToWorker::Task(head(claim)), &frame, None).unwrap())
    };
    let mut sent = Vec::new();
    let (late, _) = loop {
        match task(&mut parent) {
            (claim, SendState::Done) => sent.push(claim),
            waiting => break waiting,
        }
    };
    assert!(parent.revoke(late));
    let (last, _) = task(&mut parent);
    let (mut record, mut read) = (Vec::new(), Vec::new());
    loop {
        while messages.recv(&mut record).unwrap() {
            let Some((ToWorker::Task(head), _)) = decode(&record) else { panic!("no task") };
            assert!(line.claim(head.claim));
            read.push(head.claim);
        }
        if parent.flush().unwrap() == SendState::Done && read.len() > sent.len() {
            break;
        }
    }
    sent.push(last);
    assert_eq!(read, sent);
}

fn head(claim: u64) -> TaskHead {
    let entry = EntryName { module: [0; 20], offset: 0, signature: 0 };
    let (context, frame) = (None, FramePlace::Message);
    TaskHead { task: 0, claim, attempt: 1, entry, context, first: 0, count: 1, frame }
}

#[test]
fn a_claim_outlives_any_number_of_others() {
    let Ends { mut parent, line, .. } = connect();
    let kept = parent.offer();
    for _ in 0..1_000 {
        let other = parent.offer();
        assert!(parent.revoke(other) && !line.claim(other));
    }
    assert!(line.claim(kept));
    parent.settle(kept);
    let all: Vec<u64> = (0..crate::channel::CLAIMS).map(|_| parent.offer()).collect();
    assert!(all.iter().all(|&claim| line.claim(claim)) && !line.claim(kept));
}

#[test]
fn the_worker_cannot_write_to_the_memory_of_messages() {
    let (_line, [down, up]) = Line::create().unwrap();
    assert!(Line::attach(&down, &up).is_ok());
    assert!(Line::attach(&up, &down).is_err(), "only the parent's map of it is writable");
    let other = memory::create("pannier-test", 4096).unwrap();
    assert!(Line::attach(other.as_fd(), &up).is_err());
}

#[test]
fn bytes_that_are_no_message_are_none() {
    for bytes in [&[][..], &[0; 7], &[0; 8], &[0xff; 40], &[1, 0, 0, 0, 1, 0, 0, 0, 9]] {
        assert!(decode::<ToParent>(bytes).is_none(), "{bytes:?}");
        assert!(decode::<ToWorker>(bytes).is_none(), "{bytes:?}");
    }
}
