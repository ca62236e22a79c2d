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
/// Looks between two at the clock.
const LOOKS: u32 = 64;
/// Success is remembered up to so many failures.
const MOST_CREDIT: u8 = 8;
/// Without credit, one wait in so many tries all the same: times change.
const PROBE: u8 = 32;

/// What was learnt so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spin {
    credit: u8,
    until_probe: u8,
    several_cpus: bool,
}

impl Spin {
    pub(super) fn new() -> Self {
        Spin { credit: MOST_CREDIT, until_probe: PROBE, several_cpus: has_several_cpus() }
    }

    /// Whether it came while looking for it.
    pub(super) fn wait(&mut self, is_there: impl Fn() -> bool) -> bool {
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
                    self.credit = (self.credit + 2).min(MOST_CREDIT);
                    return true;
                }
            }
            if began.elapsed() >= LONGEST {
                self.credit = self.credit.saturating_sub(1);
                // Beside the sleep that follows, asking costs nothing.
                self.several_cpus = has_several_cpus();
                return false;
            }
        }
    }

    fn is_worth_it(&mut self) -> bool {
        if self.credit > 0 && self.several_cpus {
            return true;
        }
        self.until_probe -= 1;
        if self.until_probe > 0 {
            return false;
        }
        self.until_probe = PROBE;
        self.several_cpus = has_several_cpus();
        self.several_cpus
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_comes_is_soon_not_looked_for() {
        let mut spin = Spin { credit: MOST_CREDIT, until_probe: PROBE, several_cpus: true };
        for _ in 0..100 {
            assert!(!spin.wait(|| false));
        }
        assert_eq!(spin.credit, 0);
        assert!(spin.wait(|| true));
    }
}
