//! Who sleeps, and who has to wake him, by words that have one writer each.
//!
//! A sleeper counts the rounds of his sleep in a word of his own: odd while he sleeps. A waker
//! remembers for which round it has rung, so it rings once for each sleep, and needs no right to
//! write to the word.
//!
//! ```text
//!   sleeper   round += 1 (odd), fence, last look, sleep … round += 1 (even)
//!   waker     publish, fence, look at the round: odd and not rung for yet? ring
//! ```
//!
//! The two fences order "I sleep" against "it is there", so at least one side sees the other.
//! Whether there was something before is never asked: the answer would be old.
//! Promises: whoever went to sleep so is rung for what was published before or after; a waker rings
//! at most once for one look, whatever the word says.
//! Does not know: what a ring is made of.
#![forbid(unsafe_code)]

use std::sync::atomic::Ordering;

use super::ring::Word;

/// The sleeper's side of a word that is zero at first.
#[derive(Debug, Default)]
pub(crate) struct Sleeper {
    /// As in the word, which is for others.
    round: u64,
}

impl Sleeper {
    /// Before the last look. Each call begins a round, for which the waker rings again: whoever wakes
    /// and finds too little may go on sleeping.
    pub(crate) fn going_to_sleep<W: Word>(&mut self, word: &W) {
        self.awake(word);
        self.next(word);
        W::fence(Ordering::SeqCst);
    }

    /// Behind it, when there was something, and after waking.
    pub(crate) fn awake<W: Word>(&mut self, word: &W) {
        if self.is_asleep() {
            self.next(word);
        }
    }

    fn is_asleep(&self) -> bool {
        self.round % 2 == 1
    }

    fn next<W: Word>(&mut self, word: &W) {
        self.round += 1;
        word.store(self.round, Ordering::Relaxed);
    }
}

/// The waker's side.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    /// The last round that was rung for.
    rung: u64,
}

impl Bell {
    /// After publishing: whether the sleeper has to be woken.
    pub(crate) fn must_ring<W: Word>(&mut self, word: &W) -> bool {
        W::fence(Ordering::SeqCst);
        let round = word.load(Ordering::Relaxed);
        round % 2 == 1 && std::mem::replace(&mut self.rung, round) != round
    }
}
