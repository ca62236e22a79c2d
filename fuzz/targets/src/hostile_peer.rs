//! `hostile_peer`: a peer that writes what it likes, when it likes: into the words of a ring between
//! any two reads of them, and into the lanes, the socket and the segments of a real channel, before,
//! after and, from a second thread, during a receive. There is no panic, no wrong access to memory,
//! no memory for what is only announced; no word of a record is read twice, so that what was checked
//! is what is used.

use std::collections::BTreeSet;

use pannier::Buffer;
use pannier::channel::{Channel, TryRecvError};
use pannier::fuzzing::{Pop, Ring, RingConsumer};

use crate::liar::{self, Liar};
use crate::ring::lines_of;
use crate::script::Script;

/// A number, buffers, and one more of which the items must be aligned.
pub type Report = (u32, Vec<Buffer<u8>>, Option<Buffer<u64>>);
/// The end of the channel that is lied to.
pub type Receiver = Channel<Report, Report>;

/// Who reads what the peer wrote; a test may replace it by somebody with a fault.
pub trait Victim {
    /// Takes a record from a ring.
    fn pop(ring: &Ring, consumer: &mut RingConsumer) -> Pop {
        let _not_looked_at = ring;
        consumer.pop()
    }

    /// Receives from a channel, whose memory the liar shares.
    fn try_recv(end: &Receiver, liar: &Liar) -> Result<Report, TryRecvError> {
        let _not_looked_at = liar;
        end.try_recv()
    }
}

/// That of the library.
#[derive(Debug)]
pub struct Distrustful;

impl Victim for Distrustful {}

/// Any bytes, as what the peer does.
pub fn hostile_peer(data: &[u8]) {
    hostile_peer_of::<Distrustful>(data);
}

/// The same for another victim.
pub fn hostile_peer_of<V: Victim>(data: &[u8]) {
    let mut script = Script::new(data);
    if script.one_in(2) {
        changing_ring::<V>(&mut script);
    } else {
        liar::lie_to::<V>(&mut script);
    }
}

fn changing_ring<V: Victim>(script: &mut Script<'_>) {
    let lines = 1 << script.below(5);
    let ring = Ring::new(lines);
    let (mut producer, mut consumer) = (ring.producer(), ring.consumer());
    for _ in 0..STEPS {
        if script.is_over() {
            return;
        }
        match script.below(8) {
            0..=2 => {
                let record = vec![script.byte(); script.short() % (70 * lines)];
                let _either = producer.push(&[&record]);
                let loads = ring.take_loads();
                assert!(loads.len() <= 1 && loads.iter().all(|(at, _)| *at > ring.published()));
            }
            3 => ring.set(word(&ring, &consumer, script), value(&consumer, script)),
            4 => {
                let _either = producer.room(script.short());
                drop(ring.take_loads());
            }
            _ => {
                for _ in 0..script.below(4) {
                    let (at, value) = (word(&ring, &consumer, script), value(&consumer, script));
                    ring.set_after(script.below(6), at, value);
                }
                pop::<V>(&ring, &mut consumer, lines);
            }
        }
    }
}

const STEPS: usize = 60;

/// Mostly one that decides something: a cursor, or the length of the next record.
fn word(ring: &Ring, consumer: &RingConsumer, script: &mut Script<'_>) -> usize {
    let words = ring.published();
    let next = usize::try_from(consumer.position()).unwrap_or(0) * 8 % words;
    match script.below(4) {
        0 => words,
        1 => words + 1,
        2 => next,
        _ => (next + script.below(64)) % words,
    }
}

fn value(consumer: &RingConsumer, script: &mut Script<'_>) -> u64 {
    match script.below(3) {
        0 => consumer.position().wrapping_add(u64::from(script.byte())),
        1 => u64::from(script.byte()) * 8,
        _ => script.number(),
    }
}

/// A record is what was read, once each; and its length one that the ring can hold.
fn pop<V: Victim>(ring: &Ring, consumer: &mut RingConsumer, lines: usize) {
    let before = consumer.position();
    let mut popped = None;
    let cost = allocation_counter::measure(|| popped = Some(V::pop(ring, consumer)));
    // The record, and here also a note of every word.
    let most = 1024 * lines as u64 + 4096;
    assert!(cost.bytes_max <= most, "{} bytes allocated for a ring of {lines}", cost.bytes_max);
    let loads = ring.take_loads();
    let distinct: BTreeSet<_> = loads.iter().map(|(at, _)| *at).collect();
    assert_eq!(distinct.len(), loads.len(), "a word is read twice: {loads:?}");
    let taken = consumer.position().wrapping_sub(before);
    let Some(Pop::Record(record)) = popped else {
        assert_eq!(taken, 0, "nothing was popped, and something is gone");
        return;
    };
    let mut words = loads.iter().filter(|(at, _)| *at < ring.published()).map(|(_, value)| *value);
    assert_eq!(words.next(), Some(record.len() as u64), "the length is the one that was read");
    let bytes: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
    assert!(bytes[..record.len()] == record[..], "other bytes than those that were read");
    assert_eq!(taken, lines_of(record.len()) as u64);
    assert!(lines_of(record.len()) <= lines, "longer than the ring");
}
