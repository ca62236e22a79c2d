//! One direction of a connection: records from one producer to one consumer, through shared words.
//!
//! The memory is written by one side only, but for the word that says how far the other has read,
//! which is that side's. A record is a length and its bytes, from a multiple of 64 bytes on; it
//! exists from the one store that publishes it, so a producer that dies leaves nothing half-done.
//! Every access is atomic: a peer that writes while it is read can make nonsense, and no undefined
//! behaviour. What is read is copied to private memory before anybody looks at it.
//!
//! Promises: a record that was published arrives once, whole and in order; a cursor or length that
//! cannot be is [`Broken`]; a consumer that goes to sleep by [`Doorbell`] is woken for what was
//! published before or after.
//! Does not know: where the words are, what the records mean, how one sleeps.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering};

/// A word that two processes see. The standard one, or that of a model.
pub(crate) trait Word {
    fn load(&self, order: Ordering) -> u64;
    fn store(&self, value: u64, order: Ordering);
    fn swap(&self, value: u64, order: Ordering) -> u64;
    fn replace(&self, old: u64, new: u64) -> bool;
    fn fence(order: Ordering);
}

/// The words of one ring.
pub(crate) trait Memory {
    type Word: Word;

    /// The records' place, a power of two of [`LINE`]s; written by the producer.
    fn lines(&self) -> &[Self::Word];
    /// Lines that were published so far; written by the producer.
    fn published(&self) -> &Self::Word;
    /// Lines that were consumed so far; written by the consumer.
    fn consumed(&self) -> &Self::Word;
}

/// The peer has written what cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Broken;

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    Yes,
    /// There is no room now.
    Full,
    /// There never will be.
    TooLong,
}

/// Words of a line: records begin at multiples of 64 bytes, so two of them share no cache line.
pub(crate) const LINE: usize = 8;
const WORD: usize = 8;

/// The writing end.
#[derive(Debug)]
pub(crate) struct Producer<M> {
    memory: M,
    lines: u64,
    /// Its own copy: what stands in the memory is for the consumer.
    published: u64,
    /// The last that was seen of the consumer's.
    consumed: u64,
}

impl<M: Memory> Producer<M> {
    /// The first and only producer of this memory, which is zeros.
    pub(crate) fn new(memory: M) -> Self {
        let lines = lines_of(&memory);
        Producer { memory, lines, published: 0, consumed: 0 }
    }

    /// Lines that were published so far.
    pub(crate) fn position(&self) -> u64 {
        self.published
    }

    /// Lines that the consumer has let go of.
    pub(crate) fn look(&mut self) -> Result<u64, Broken> {
        // An acquire, which pairs with the consumer's store, so that its reads of these lines are
        // over before they are written again. As a fence: on memory that is mapped read-only the
        // language permits only relaxed loads.
        let consumed = self.memory.consumed().load(Ordering::Relaxed);
        M::Word::fence(Ordering::Acquire);
        if consumed < self.consumed || consumed > self.published {
            return Err(Broken);
        }
        self.consumed = consumed;
        Ok(consumed)
    }

    /// What would become of a record of so many bytes.
    pub(crate) fn room(&mut self, len: usize) -> Result<Pushed, Broken> {
        let Some(needed) = record_lines(len).filter(|&needed| needed <= self.lines) else {
            return Ok(Pushed::TooLong);
        };
        let end = self.published + needed;
        let fits = end - self.consumed <= self.lines || end - self.look()? <= self.lines;
        Ok(if fits { Pushed::Yes } else { Pushed::Full })
    }

    /// Publishes one record, made of these parts laid end to end.
    pub(crate) fn push(&mut self, parts: &[&[u8]]) -> Result<Pushed, Broken> {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        let room = self.room(len)?;
        let Some(needed) = record_lines(len).filter(|_| room == Pushed::Yes) else {
            return Ok(room);
        };
        let mut place = Place::new(self.memory.lines(), self.published);
        place.put(wide(len));
        place.put_bytes(parts);
        self.published += needed;
        // Release: whoever sees this sees the record.
        self.memory.published().store(self.published, Ordering::Release);
        Ok(Pushed::Yes)
    }
}

/// The reading end.
#[derive(Debug)]
pub(crate) struct Consumer<M> {
    memory: M,
    lines: u64,
    consumed: u64,
    published: u64,
}

impl<M: Memory> Consumer<M> {
    /// The first and only consumer of this memory.
    pub(crate) fn new(memory: M) -> Self {
        let lines = lines_of(&memory);
        Consumer { memory, lines, consumed: 0, published: 0 }
    }

    /// Lines that were consumed so far.
    pub(crate) fn position(&self) -> u64 {
        self.consumed
    }

    /// Copies the next record to `record`; false when there is none yet.
    pub(crate) fn pop(&mut self, record: &mut Vec<u8>) -> Result<bool, Broken> {
        if self.consumed == self.published && !self.look()? {
            return Ok(false);
        }
        let mut place = Place::new(self.memory.lines(), self.consumed);
        let len = usize::try_from(place.get()).map_err(|_| Broken)?;
        let taken = record_lines(len).ok_or(Broken)?;
        if taken > self.published - self.consumed {
            return Err(Broken);
        }
        place.get_bytes(len, record);
        self.consumed += taken;
        // Release: the reads above are over before the producer may write there again.
        self.memory.consumed().store(self.consumed, Ordering::Release);
        Ok(true)
    }

    /// Whether more was published than was seen.
    fn look(&mut self) -> Result<bool, Broken> {
        // As in the producer.
        let published = self.memory.published().load(Ordering::Relaxed);
        M::Word::fence(Ordering::Acquire);
        let ahead = published.checked_sub(self.published).ok_or(Broken)?;
        if ahead > self.lines {
            return Err(Broken);
        }
        self.published = published;
        Ok(ahead > 0)
    }
}

/// Wakes a sleeper and nobody else, through one word that both sides write.
///
/// The sleeper says so, looks once more, and only then sleeps; the waker publishes first and asks
/// then. The two fences order "I sleep" against "it is there", so at least one side sees the other.
/// Whether the ring was empty before is never asked: the answer would be old.
pub(crate) struct Doorbell<'w, W>(pub(crate) &'w W);

impl<W: Word> Doorbell<'_, W> {
    /// Before the last look.
    pub(crate) fn going_to_sleep(&self) {
        self.going_to_sleep_as(ASLEEP);
    }

    /// The same, in one of several ways to sleep, which are numbers above zero.
    pub(crate) fn going_to_sleep_as(&self, way: u64) {
        self.0.store(way, Ordering::Relaxed);
        W::fence(Ordering::SeqCst);
    }

    /// Behind it, when there was something, and after waking.
    pub(crate) fn awake(&self) {
        self.0.store(AWAKE, Ordering::Relaxed);
    }

    /// After publishing: whether the peer has to be woken. Only one of several wakers is told so.
    pub(crate) fn must_ring(&self) -> bool {
        self.sleeper().is_some()
    }

    /// The same, and in which way the peer sleeps.
    pub(crate) fn sleeper(&self) -> Option<u64> {
        W::fence(Ordering::SeqCst);
        if self.0.load(Ordering::Relaxed) == AWAKE {
            return None;
        }
        Some(self.0.swap(AWAKE, Ordering::Relaxed)).filter(|&way| way != AWAKE)
    }
}

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
        std::sync::atomic::fence(order);
    }
}

/// A place in the ring, word by word.
struct Place<'m, W> {
    words: &'m [W],
    at: usize,
}

impl<'m, W: Word> Place<'m, W> {
    fn new(words: &'m [W], line: u64) -> Self {
        let mask = wide(words.len() / LINE).wrapping_sub(1);
        // Below the number of lines, which is in memory.
        let line = usize::try_from(line & mask).unwrap_or(0);
        Place { words, at: line * LINE }
    }

    /// The next words: up to the end of the ring, and from its beginning on.
    fn next(&mut self, count: usize) -> [&'m [W]; 2] {
        let before_end = count.min(self.words.len() - self.at);
        let runs = [&self.words[self.at..self.at + before_end], &self.words[..count - before_end]];
        self.at = (self.at + count) & (self.words.len() - 1);
        runs
    }

    fn next_word(&mut self) -> &'m W {
        let word = &self.words[self.at];
        self.at = (self.at + 1) & (self.words.len() - 1);
        word
    }

    fn put(&mut self, value: u64) {
        self.next_word().store(value, Ordering::Relaxed);
    }

    fn get(&mut self) -> u64 {
        self.next_word().load(Ordering::Relaxed)
    }

    /// Whole words.
    fn put_words(&mut self, bytes: &[u8]) {
        let runs = self.next(bytes.len() / WORD);
        let (now, wrapped) = bytes.split_at(runs[0].len() * WORD);
        for (words, bytes) in runs.into_iter().zip([now, wrapped]) {
            for (word, bytes) in words.iter().zip(bytes.chunks_exact(WORD)) {
                let value = bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
                word.store(value, Ordering::Relaxed);
            }
        }
    }

    fn put_bytes(&mut self, parts: &[&[u8]]) {
        let (mut pending, mut filled) = ([0; WORD], 0);
        for part in parts {
            let mut rest = *part;
            if filled > 0 {
                let (head, behind) = part.split_at(part.len().min(WORD - filled));
                pending[filled..filled + head.len()].copy_from_slice(head);
                (filled, rest) = (filled + head.len(), behind);
                if filled < WORD {
                    continue;
                }
                self.put(u64::from_le_bytes(pending));
            }
            let (whole, tail) = rest.split_at(rest.len() - rest.len() % WORD);
            self.put_words(whole);
            pending[..tail.len()].copy_from_slice(tail);
            filled = tail.len();
        }
        if filled > 0 {
            pending[filled..].fill(0);
            self.put(u64::from_le_bytes(pending));
        }
    }

    fn get_bytes(&mut self, len: usize, bytes: &mut Vec<u8>) {
        let whole = len.next_multiple_of(WORD);
        bytes.resize(whole, 0);
        let runs = self.next(whole / WORD);
        let (now, wrapped) = bytes.split_at_mut(runs[0].len() * WORD);
        for (words, bytes) in runs.into_iter().zip([now, wrapped]) {
            for (word, bytes) in words.iter().zip(bytes.chunks_exact_mut(WORD)) {
                bytes.copy_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
            }
        }
        bytes.truncate(len);
    }
}

const AWAKE: u64 = 0;
const ASLEEP: u64 = 1;

/// Lines of a record with so many bytes, its length included; `None` if that is no number.
fn record_lines(len: usize) -> Option<u64> {
    let words = len.div_ceil(WORD).checked_add(1)?;
    Some(wide(words.div_ceil(LINE)))
}

fn lines_of(memory: &impl Memory) -> u64 {
    let lines = memory.lines().len() / LINE;
    assert!(lines.is_power_of_two(), "a ring has a power of two of lines");
    wide(lines)
}

fn wide(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
