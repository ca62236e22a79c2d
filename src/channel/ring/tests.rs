//! The ring against a queue, against a peer that lies or dies, and against every interleaving.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use proptest::prelude::*;

use super::*;
use crate::channel::bell::{Bell, Sleeper};
use crate::channel::claim::Claim;

/// A ring on the heap.
#[derive(Debug)]
pub(super) struct Heap<W> {
    lines: Vec<W>,
    published: W,
    consumed: W,
}

impl<W> Heap<W> {
    fn new(lines: usize, word: impl Fn(u64) -> W) -> Arc<Self> {
        Self::of(lines, &word, &word)
    }

    /// Of words that the producer writes, and one that the consumer writes.
    fn of(lines: usize, produced: impl Fn(u64) -> W, consumed: impl Fn(u64) -> W) -> Arc<Self> {
        let words = (0..lines * LINE).map(|_| produced(0)).collect();
        Arc::new(Heap { lines: words, published: produced(0), consumed: consumed(0) })
    }
}

impl<W: Word> Memory for Arc<Heap<W>> {
    type Word = W;

    fn lines(&self) -> &[W] {
        &self.lines
    }

    fn published(&self) -> &W {
        &self.published
    }

    fn consumed(&self) -> &W {
        &self.consumed
    }
}

type Ends = (Producer<Arc<Heap<AtomicU64>>>, Consumer<Arc<Heap<AtomicU64>>>);

fn ring(lines: usize) -> (Arc<Heap<AtomicU64>>, Ends) {
    let heap = Heap::new(lines, AtomicU64::new);
    let ends = (Producer::new(heap.clone()), Consumer::new(heap.clone()));
    (heap, ends)
}

#[derive(Clone, Debug)]
enum Step {
    Push(Vec<Vec<u8>>),
    Pop,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let part = prop::collection::vec(any::<u8>(), 0..90);
    let push = prop::collection::vec(part, 0..5).prop_map(Step::Push);
    prop::collection::vec(prop_oneof![push, Just(Step::Pop)], 0..200)
}

proptest! {
    #[test]
    fn a_ring_is_a_bounded_queue(steps in steps()) {
        let (_, (mut producer, mut consumer)) = ring(16);
        let mut queue: VecDeque<Vec<u8>> = VecDeque::new();
        let mut record = Vec::new();
        for step in steps {
            match step {
                Step::Push(parts) => {
                    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
                    let lines: u64 = queue.iter().filter_map(|old| record_lines(old.len())).sum();
                    let room = lines + record_lines(parts.concat().len()).unwrap() <= 16;
                    let pushed = producer.push(&parts).unwrap();
                    prop_assert_eq!(pushed == Pushed::Yes, room, "{:?}", pushed);
                    if room {
                        queue.push_back(parts.concat());
                    }
                }
                Step::Pop => {
                    let there = consumer.pop(&mut record).unwrap();
                    let expected = queue.pop_front();
                    prop_assert_eq!(there.then_some(&record), expected.as_ref());
                }
            }
        }
    }
}

#[test]
fn records_longer_than_the_ring_are_refused_and_the_longest_is_not() {
    let (_, (mut producer, mut consumer)) = ring(4);
    let longest = vec![7; 4 * 64 - 8];
    assert_eq!(producer.push(&[&longest, &[1]]), Ok(Pushed::TooLong));
    let mut record = Vec::new();
    for _ in 0..3 {
        assert_eq!(producer.push(&[&longest]), Ok(Pushed::Yes));
        assert_eq!(producer.push(&[]), Ok(Pushed::Full));
        assert_eq!(consumer.pop(&mut record), Ok(true));
        assert_eq!(record, longest);
    }
}

#[test]
fn cursors_and_lengths_that_cannot_be_are_found() {
    for (lie, word) in [(17, 0), (u64::MAX, 0), (1, u64::MAX), (1, 57), (2, 121)] {
        let (heap, (_, mut consumer)) = ring(16);
        heap.lines[0].store(word, Ordering::Relaxed);
        heap.published.store(lie, Ordering::Relaxed);
        assert_eq!(consumer.pop(&mut Vec::new()), Err(Broken), "{lie} lines, length {word}");
    }
    let (heap, (mut producer, mut consumer)) = ring(2);
    producer.push(&[b"a"]).unwrap();
    producer.push(&[b"b"]).unwrap();
    for lie in [3, u64::MAX] {
        heap.consumed.store(lie, Ordering::Relaxed);
        assert_eq!(producer.push(&[b"c"]), Err(Broken), "{lie} lines");
    }
    // A cursor that goes back.
    consumer.pop(&mut Vec::new()).unwrap();
    heap.published.store(1, Ordering::Relaxed);
    consumer.pop(&mut Vec::new()).unwrap();
    assert_eq!(consumer.pop(&mut Vec::new()), Err(Broken));
}

#[test]
fn two_threads_pass_every_record_once_and_in_order() {
    let (_, (mut producer, mut consumer)) = ring(64);
    let count = 50_000u64;
    let body = |n: u64| vec![n.to_le_bytes()[0]; usize::try_from(n % 300).unwrap()];
    let writer = std::thread::spawn(move || {
        for n in 0..count {
            while producer.push(&[&n.to_le_bytes(), &body(n)]).unwrap() != Pushed::Yes {
                std::thread::yield_now();
            }
        }
    });
    let mut record = Vec::new();
    for n in 0..count {
        while !consumer.pop(&mut record).unwrap() {
            std::thread::yield_now();
        }
        assert_eq!(record, [&n.to_le_bytes()[..], &body(n)].concat());
    }
    writer.join().unwrap();
    assert_eq!(consumer.pop(&mut record), Ok(false));
}

/// A word whose writer dies: from a certain store on, nothing arrives.
struct Mortal<W> {
    word: W,
    life: Arc<Life>,
}

/// How many stores there still are in a writer, and how many it made.
struct Life {
    left: AtomicU64,
    made: AtomicU64,
}

impl Life {
    fn of(stores: u64) -> Arc<Self> {
        Arc::new(Life { left: AtomicU64::new(stores), made: AtomicU64::new(0) })
    }

    fn is_over(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0
    }

    fn made(&self) -> u64 {
        self.made.load(Ordering::Relaxed)
    }

    /// Whether the next store arrives.
    fn lives(&self) -> bool {
        let left = self.left.load(Ordering::Relaxed);
        self.left.store(left.saturating_sub(1), Ordering::Relaxed);
        self.made.fetch_add(u64::from(left > 0), Ordering::Relaxed);
        left > 0
    }
}

impl<W: Word> Word for Mortal<W> {
    fn load(&self, order: Ordering) -> u64 {
        self.word.load(order)
    }

    fn store(&self, value: u64, order: Ordering) {
        if self.life.lives() {
            self.word.store(value, order);
        }
    }

    fn swap(&self, value: u64, order: Ordering) -> u64 {
        let lives = self.life.lives();
        if lives { self.word.swap(value, order) } else { self.word.load(Ordering::Relaxed) }
    }

    fn replace(&self, old: u64, new: u64) -> bool {
        self.life.lives() && self.word.replace(old, new)
    }

    fn fence(order: Ordering) {
        W::fence(order);
    }
}

/// Words that are written by one side, for as long as it lives.
fn mortal<W>(life: Arc<Life>, word: fn(u64) -> W) -> impl Fn(u64) -> Mortal<W> {
    move |n| Mortal { word: word(n), life: life.clone() }
}

fn immortal() -> Arc<Life> {
    Life::of(u64::MAX)
}

#[test]
fn a_producer_that_dies_at_any_store_leaves_whole_records_only() {
    let records: Vec<Vec<u8>> = (0..6u8).map(|n| vec![n; 20 * usize::from(n)]).collect();
    for stores in 0..80 {
        let word = |life| mortal(life, AtomicU64::new);
        let heap = Heap::of(16, word(Life::of(stores)), word(immortal()));
        let mut producer = Producer::new(heap.clone());
        for record in &records {
            producer.push(&[record]).unwrap();
        }
        let mut consumer = Consumer::new(heap.clone());
        let (mut record, mut count) = (Vec::new(), 0);
        while consumer.pop(&mut record).unwrap() {
            assert_eq!(record, records[count], "life of {stores} stores");
            count += 1;
        }
        assert!(stores < 70 || count == records.len());
    }
}

mod interleaved {
    use std::sync::atomic::Ordering;

    use loom::sync::atomic::AtomicU64;
    use loom::thread;

    use super::*;

    impl Word for AtomicU64 {
        fn load(&self, order: Ordering) -> u64 {
            self.load(order)
        }

        fn store(&self, value: u64, order: Ordering) {
            self.store(value, order);
        }

        fn swap(&self, value: u64, order: Ordering) -> u64 {
            self.swap(value, order)
        }

        fn replace(&self, old: u64, new: u64) -> bool {
            self.compare_exchange(old, new, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        }

        fn fence(order: Ordering) {
            loom::sync::atomic::fence(order);
        }
    }

    /// As [`AtomicU64`], but publishes without order.
    struct Careless(AtomicU64);

    impl Word for Careless {
        fn load(&self, order: Ordering) -> u64 {
            self.0.load(order)
        }

        fn store(&self, value: u64, _: Ordering) {
            self.0.store(value, Ordering::Relaxed);
        }

        fn swap(&self, value: u64, order: Ordering) -> u64 {
            self.0.swap(value, order)
        }

        fn replace(&self, old: u64, new: u64) -> bool {
            Word::replace(&self.0, old, new)
        }

        fn fence(order: Ordering) {
            loom::sync::atomic::fence(order);
        }
    }

    impl<W: Word> Word for Arc<W> {
        fn load(&self, order: Ordering) -> u64 {
            (**self).load(order)
        }

        fn store(&self, value: u64, order: Ordering) {
            (**self).store(value, order);
        }

        fn swap(&self, value: u64, order: Ordering) -> u64 {
            (**self).swap(value, order)
        }

        fn replace(&self, old: u64, new: u64) -> bool {
            (**self).replace(old, new)
        }

        fn fence(order: Ordering) {
            W::fence(order);
        }
    }

    /// Whether every interleaving ends well; the model's complaint is caught.
    fn holds(model: impl Fn() + Send + Sync + 'static) -> bool {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| builder.check(model))).is_ok()
    }

    fn passes_records<W: Word + Send + Sync + 'static>(word: fn(u64) -> W) -> bool {
        holds(move || {
            let heap = Heap::new(2, word);
            let mut consumer = Consumer::new(heap.clone());
            let writer = thread::spawn(move || {
                let mut producer = Producer::new(heap);
                for n in 1..4u64 {
                    while producer.push(&[&n.to_le_bytes()]).unwrap() != Pushed::Yes {
                        thread::yield_now();
                    }
                }
            });
            let mut record = Vec::new();
            for n in 1..4u64 {
                while !consumer.pop(&mut record).unwrap() {
                    thread::yield_now();
                }
                assert_eq!(record, n.to_le_bytes());
            }
            writer.join().unwrap();
        })
    }

    #[test]
    fn records_are_whole_in_every_interleaving() {
        assert!(passes_records(AtomicU64::new));
    }

    #[test]
    fn a_publishing_store_without_order_is_found() {
        assert!(!passes_records(|n| Careless(AtomicU64::new(n))));
    }

    /// A consumer that goes to sleep at some point, and a producer that decides by `must_ring`,
    /// which is told whether the ring looked empty before it published. Once asleep it stays so
    /// until the producer has ended: then somebody must have rung.
    fn wakes(must_ring: fn(Doorbell<'_, AtomicU64>, bool) -> bool) -> bool {
        holds(move || {
            let heap = Heap::new(4, AtomicU64::new);
            let sleeping = Arc::new(AtomicU64::new(0));
            let mut consumer = Consumer::new(heap.clone());
            let theirs = sleeping.clone();
            let writer = thread::spawn(move || {
                let mut producer = Producer::new(heap.clone());
                let mut rung = false;
                for n in 0..2u64 {
                    let was_empty = heap.consumed.load(Ordering::Relaxed) == n;
                    assert_eq!(producer.push(&[&n.to_le_bytes()]), Ok(Pushed::Yes));
                    rung |= must_ring(Doorbell(&theirs), was_empty);
                }
                rung
            });
            let mut record = Vec::new();
            let mut count = 0;
            while count < 2 {
                let doorbell = Doorbell(&*sleeping);
                doorbell.going_to_sleep();
                if !consumer.pop(&mut record).unwrap() {
                    break;
                }
                doorbell.awake();
                count += 1;
            }
            let rung = writer.join().unwrap();
            assert!(rung || count == 2, "asleep for ever");
        })
    }

    #[test]
    fn a_sleeper_is_woken_in_every_interleaving() {
        assert!(wakes(|bell, _| bell.must_ring()));
    }

    #[test]
    fn a_test_for_emptiness_before_the_doorbell_is_found() {
        assert!(!wakes(|bell, was_empty| was_empty && bell.must_ring()));
    }

    /// As [`wakes`], by words that only their owners write: the waker must have rung for the very
    /// round that the sleeper sleeps in at last.
    fn wakes_by_rounds(must_ring: fn(&mut Bell, &AtomicU64, bool) -> bool) -> bool {
        holds(move || {
            let heap = Heap::new(4, AtomicU64::new);
            let round = Arc::new(AtomicU64::new(0));
            let mut consumer = Consumer::new(heap.clone());
            let theirs = round.clone();
            let writer = thread::spawn(move || {
                let (mut producer, mut bell) = (Producer::new(heap.clone()), Bell::default());
                let mut rung = 0;
                for n in 0..2u64 {
                    let was_empty = heap.consumed.load(Ordering::Relaxed) == n;
                    assert_eq!(producer.push(&[&n.to_le_bytes()]), Ok(Pushed::Yes));
                    if must_ring(&mut bell, &theirs, was_empty) {
                        rung = theirs.load(Ordering::Relaxed);
                    }
                }
                rung
            });
            let (mut record, mut count, mut sleeper) = (Vec::new(), 0, Sleeper::default());
            while count < 2 {
                sleeper.going_to_sleep(&*round);
                if !consumer.pop(&mut record).unwrap() {
                    break;
                }
                sleeper.awake(&*round);
                count += 1;
            }
            let rung = writer.join().unwrap();
            let round = round.load(Ordering::Relaxed);
            assert!(count == 2 || rung == round, "asleep for ever in round {round}");
        })
    }

    #[test]
    fn a_sleeper_that_counts_its_rounds_is_woken_in_every_interleaving() {
        assert!(wakes_by_rounds(|bell, word, _| bell.must_ring(word)));
    }

    #[test]
    fn a_test_for_emptiness_before_the_bell_of_rounds_is_found() {
        assert!(!wakes_by_rounds(|bell, word, was_empty| was_empty && bell.must_ring(word)));
    }

    #[test]
    fn a_record_is_claimed_or_revoked_and_never_both() {
        assert!(holds(|| {
            let word = Arc::new(AtomicU64::new(0));
            Claim(&*word).offer(7);
            let theirs = word.clone();
            let worker = thread::spawn(move || Claim(&*theirs).claim(7));
            let revoked = Claim(&*word).revoke(7);
            assert!(revoked != worker.join().unwrap());
            assert!(!Claim(&*word).claim(7) && !Claim(&*word).revoke(7));
            Claim(&*word).offer(8);
            assert!(!Claim(&*word).revoke(7), "a late hand");
            assert!(Claim(&*word).claim(8));
        }));
    }

    /// As for one thread.
    fn mortal(life: &Arc<Life>) -> impl Fn(u64) -> Mortal<AtomicU64> {
        super::mortal(life.clone(), AtomicU64::new)
    }

    #[test]
    fn a_producer_that_dies_at_any_store_is_read_to_the_last_record_in_every_interleaving() {
        // A record of one word is three stores: its length, the word, and what publishes it.
        for stores in 0..=9 {
            assert!(holds(move || {
                let life = Life::of(stores);
                let heap = Heap::of(2, mortal(&life), mortal(&immortal()));
                let mut consumer = Consumer::new(heap.clone());
                let producer = thread::spawn(move || {
                    let mut producer = Producer::new(heap);
                    for n in 1..4u64 {
                        if producer.push(&[&n.to_le_bytes()]).unwrap() != Pushed::Yes {
                            break;
                        }
                    }
                });
                let (mut record, mut count) = (Vec::new(), 0);
                let mut take = || {
                    let there = consumer.pop(&mut record).unwrap();
                    count += u64::from(there);
                    assert!(!there || record == count.to_le_bytes(), "half a record");
                    there
                };
                for _ in 0..2 {
                    take();
                }
                // Its death is told.
                producer.join().unwrap();
                while take() {}
                assert_eq!(count, life.made() / 3, "of so many published");
            }));
        }
    }

    #[test]
    fn a_consumer_that_dies_at_any_store_gives_back_what_it_had_read_in_every_interleaving() {
        for stores in 0..=3 {
            assert!(holds(move || {
                let life = Life::of(stores);
                let heap = Heap::of(2, mortal(&immortal()), mortal(&life));
                let mut producer = Producer::new(heap.clone());
                let consumer = thread::spawn(move || {
                    let (mut consumer, mut record) = (Consumer::new(heap), Vec::new());
                    while !life.is_over() && consumer.pop(&mut record).unwrap() {}
                    life.made()
                });
                let mut pushed = 0;
                for n in 1..5u64 {
                    pushed += u64::from(producer.push(&[&n.to_le_bytes()]) == Ok(Pushed::Yes));
                }
                let consumed = consumer.join().unwrap();
                assert_eq!(producer.look(), Ok(consumed));
                assert!(pushed <= 2 + consumed, "a record over one that was not read");
            }));
        }
    }

    /// What became of a task whose worker died, by all that the parent can see.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Fate {
        Answered,
        /// It never began: another worker may run it.
        TakenBack,
        /// There is no answer, and its worker may have begun: the status tells.
        Claimed,
    }

    /// A worker takes two tasks and dies at some store; the parent wants the second one back, at any
    /// time, and looks at what there is when the death was told. Whether each has the right fate.
    fn has_one_fate(stores: u64, claims_first: bool) -> bool {
        holds(move || {
            let life = Life::of(stores);
            let down = Heap::of(2, mortal(&immortal()), mortal(&life));
            let up = Heap::of(2, mortal(&life), mortal(&immortal()));
            let claims = [1, 2].map(|_| Arc::new(AtomicU64::new(0)));
            let (mut tasks, mut answers) = (Producer::new(down.clone()), Consumer::new(up.clone()));
            for (n, claim) in (0..2u64).zip(&claims) {
                Claim(&**claim).offer(n);
                assert_eq!(tasks.push(&[&n.to_le_bytes()]), Ok(Pushed::Yes));
            }
            let theirs = claims.clone();
            let worker = thread::spawn(move || {
                let (mut tasks, mut answers) = (Consumer::new(down), Producer::new(up));
                let (mut record, mut ran) = (Vec::new(), [false; 2]);
                for n in 0..2u64 {
                    assert!(tasks.pop(&mut record).unwrap());
                    let at = usize::try_from(n).unwrap();
                    let word = Mortal { word: theirs[at].clone(), life: life.clone() };
                    ran[at] = !life.is_over() && (!claims_first || Claim(&word).claim(n));
                    if ran[at] {
                        answers.push(&[&n.to_le_bytes()]).unwrap();
                        let _too_late = claims_first || Claim(&word).claim(n);
                    }
                }
                ran
            });
            let is_cancelled = Claim(&*claims[1]).revoke(1);
            let ran = worker.join().unwrap();
            let mut fates = [None; 2];
            let mut record = Vec::new();
            while answers.pop(&mut record).unwrap() {
                let number = u64::from_le_bytes(record.as_slice().try_into().unwrap());
                let fate = &mut fates[usize::try_from(number).unwrap()];
                assert_eq!(fate.replace(Fate::Answered), None, "twice");
            }
            let seen = fates.into_iter().zip(ran);
            for ((n, claim), (answered, ran)) in (0..2u64).zip(&claims).zip(seen) {
                let was_revoked = is_cancelled && n == 1;
                let is_mine = was_revoked || Claim(&**claim).revoke(n);
                let without_answer = if is_mine { Fate::TakenBack } else { Fate::Claimed };
                let fate = answered.unwrap_or(without_answer);
                assert_eq!(ran, fate != Fate::TakenBack, "task {n}: {fate:?}");
                assert!(!was_revoked || fate == Fate::TakenBack, "cancelled, and answered");
            }
        })
    }

    #[test]
    fn a_task_is_answered_taken_back_or_claimed_whatever_store_its_worker_dies_at() {
        // For each task: its record is read, the claim, and an answer of three stores.
        for stores in 0..=10 {
            assert!(has_one_fate(stores, true), "life of {stores} stores");
        }
    }

    #[test]
    fn a_worker_that_runs_a_task_before_it_claims_it_is_found() {
        assert!(!has_one_fate(u64::MAX, false));
    }
}
