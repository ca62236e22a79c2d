//! Looking again and again for a short while, before one sleeps.
//!
//! Waking a sleeping CPU costs 20 to 45 µs, a look a few nanoseconds: worth it when the answer comes
//! at once, and a waste of a CPU when it does not.
//! Promises: as long as a wake-up costs and the bytes in flight may take, and never longer than
//! [`LONGEST`]; not at all while this thread has one CPU to run on,
//! where the other side could not go on meanwhile, nor once it has shown not to pay.
//! Does not know: what is looked for.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::sys::wait::has_several_cpus;

/// About what a wake-up costs.
const WAKE_UP: Duration = Duration::from_micros(30);
/// Bytes that the other side gets through in a nanosecond.
const BYTES_PER_NANOSECOND: u64 = 8;
/// Beyond this a wake-up is a twentieth of the wait, and not worth a CPU.
const LONGEST: Duration = Duration::from_micros(600);
/// Looks between two at the clock: about a microsecond.
const LOOKS: u32 = 32;
/// Failures in a row that are forgiven, each as long as a wake-up. So many, since two processes that
/// wake each other are put on one CPU by the kernel, and are parted only when both have wanted to run
/// for some milliseconds.
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

    /// Whether it came while looking for it. The other side is busy with `bytes` before.
    pub(crate) fn wait(&mut self, bytes: u64, is_there: impl Fn() -> bool) -> bool {
        if is_there() {
            return true;
        }
        if !self.is_worth_it() {
            return false;
        }
        let (began, longest) = (Instant::now(), budget(bytes));
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
            if began.elapsed() >= longest {
                self.credit = self.credit.saturating_sub(price(longest));
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

/// Bytes that the other side may be busy with when one waits for it.
#[derive(Debug, Default)]
pub(crate) struct InFlight(AtomicU64);

impl InFlight {
    pub(crate) fn add(&self, bytes: u64) {
        // Relaxed: a hint. Mostly there are none, and so there is nothing to write.
        if bytes > 0 {
            self.0.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    pub(crate) fn take(&self) -> u64 {
        if self.0.load(Ordering::Relaxed) == 0 { 0 } else { self.0.swap(0, Ordering::Relaxed) }
    }
}

/// How long to look at most.
fn budget(bytes: u64) -> Duration {
    (WAKE_UP + Duration::from_nanos(bytes / BYTES_PER_NANOSECOND)).min(LONGEST)
}

/// What it costs to have looked so long in vain.
fn price(longest: Duration) -> u16 {
    u16::try_from(longest.as_micros() / WAKE_UP.as_micros()).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_grows_with_the_bytes_in_flight_to_a_limit() {
        assert_eq!(budget(0), WAKE_UP);
        assert_eq!(budget(800_000), WAKE_UP + Duration::from_micros(100));
        assert_eq!(budget(u64::MAX), LONGEST);
        assert_eq!((price(budget(0)), price(LONGEST)), (1, 20));
    }

    #[test]
    fn what_never_comes_is_soon_not_looked_for() {
        let mut spin = Spin { several_cpus: true, ..Spin::new() };
        for _ in 0..MOST_CREDIT {
            assert!(!spin.wait(0, || false));
        }
        assert_eq!(spin.credit, 0);
        assert!(spin.wait(0, || true));
    }
}
