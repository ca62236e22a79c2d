//! Looking again and again for a short while, before one sleeps.
//!
//! Waking a sleeping CPU costs 20 to 45 µs, a look a few nanoseconds: worth it when the answer comes
//! at once, and a waste of a CPU when it does not.
//! Promises: never longer than [`LONGEST`]; not at all while this thread has one CPU to run on,
//! where the other side could not go on meanwhile, nor once it has shown not to pay.
//! Does not know: what is looked for.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use crate::sys::wait::has_several_cpus;

/// About what a wake-up costs.
const LONGEST: Duration = Duration::from_micros(30);
/// Looks between two at the clock: about a microsecond.
const LOOKS: u32 = 32;
/// Failures in a row that are forgiven. So many, since two processes that wake each other are put on
/// one CPU by the kernel, and are parted only when both have wanted to run for some milliseconds.
const MOST_CREDIT: u16 = 200;
/// What one success is worth.
const SUCCESS: u16 = 8;
/// After so many waits without credit there is some again: times change.
const PROBE: u16 = 4096;
const PROBE_CREDIT: u16 = 100;

/// What was learnt so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spin {
    credit: u16,
    until_probe: u16,
    several_cpus: bool,
    /// How often it came while it was looked for, and how often it did not.
    pub(crate) paid: u64,
    pub(crate) in_vain: u64,
}

impl Spin {
    pub(crate) fn new() -> Self {
        Spin {
            credit: MOST_CREDIT,
            until_probe: PROBE,
            several_cpus: has_several_cpus(),
            paid: 0,
            in_vain: 0,
        }
    }

    /// Whether it came while looking for it.
    pub(crate) fn wait(&mut self, is_there: impl Fn() -> bool) -> bool {
        if is_there() {
            return true;
        }
        if !self.is_worth_it() {
            return false;
        }
        let began = Instant::now();
        loop {
            for _ in 0..LOOKS {
                std::hint::spin_loop();
                if is_there() {
                    self.credit = (self.credit + SUCCESS).min(MOST_CREDIT);
                    self.paid += 1;
                    return true;
                }
            }
            // The other side may wait for this very CPU: the kernel likes to put a process where
            // it was woken from, and parts the two only later.
            if began.elapsed() >= Duration::from_micros(8) {
                std::thread::yield_now();
            }
            if began.elapsed() >= LONGEST {
                self.credit = self.credit.saturating_sub(1);
                self.in_vain += 1;
                // Beside the sleep that follows, asking costs nothing.
                self.several_cpus = has_several_cpus();
                return is_there();
            }
        }
    }

    /// Whether [`wait`](Self::wait) would look more than once.
    pub(crate) fn is_worth_it(&mut self) -> bool {
        if self.credit > 0 && self.several_cpus {
            return true;
        }
        self.until_probe -= 1;
        if self.until_probe > 0 {
            return false;
        }
        (self.until_probe, self.credit) = (PROBE, PROBE_CREDIT);
        self.several_cpus = has_several_cpus();
        self.several_cpus
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_comes_is_soon_not_looked_for() {
        let mut spin = Spin { several_cpus: true, ..Spin::new() };
        for _ in 0..MOST_CREDIT {
            assert!(!spin.wait(|| false));
        }
        assert_eq!(spin.credit, 0);
        assert!(spin.wait(|| true));
    }
}
