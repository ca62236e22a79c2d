//! Deaths, delays and failed starts on purpose, so that people can see whether *their* tasks stand being
//! run twice.
//!
//! Promises: what happens to a task follows from the seed, the task's number in its pool and the attempt
//! alone, so a run can be repeated whatever the processors do meanwhile; without a plan nothing happens.
//! Does not know: tasks.
#![forbid(unsafe_code)]

use std::str::FromStr;
use std::time::Duration;

use crate::sys::host;

/// What goes wrong in the workers of a pool, and how often: for
/// [`PoolBuilder::chaos`](crate::PoolBuilder::chaos).
///
/// The same seed makes the same tasks fail at the same attempts, if they are submitted in the same order.
/// The chunks of a map depend on how long items take, unless its `chunk_size` is 1. Probabilities are
/// between 0 and 1.
///
/// # Examples
///
/// ```
/// # pannier::premain!();
/// use pannier::{Chaos, Pool};
///
/// let chaos = Chaos::seeded(7).kill(0.05);
/// let pool = Pool::builder().workers(2).attempts(20).chaos(chaos).build()?;
/// let squares: Result<Vec<u32>, _> = pool.map(|n: u32| n * n, 0..200).chunk_size(4).collect();
/// assert_eq!(squares?[199], 199 * 199);
/// assert!(pool.stats().workers_died > 0);
/// # Ok::<(), pannier::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use = "a plan does nothing before it is given to a pool"]
pub struct Chaos {
    seed: u64,
    kill: f64,
    delay: f64,
    delay_micros: u64,
    fail_start: f64,
}

/// In the environment of the workers.
pub(crate) const PLAN: &str = "PANNIER_CHAOS";

impl Chaos {
    /// A plan in which nothing goes wrong yet.
    ///
    /// # Examples
    ///
    /// See [`Chaos`].
    pub fn seeded(seed: u64) -> Self {
        Chaos { seed, kill: 0.0, delay: 0.0, delay_micros: 0, fail_start: 0.0 }
    }

    /// How likely a worker is killed (SIGKILL) by a task: half of the times before it has run, half of the
    /// times when its result is there and not sent.
    ///
    /// # Examples
    ///
    /// See [`Chaos`].
    pub fn kill(mut self, probability: f64) -> Self {
        self.kill = probability.clamp(0.0, 1.0);
        self
    }

    /// How likely a task has to wait before it runs, and how long at most.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// let chaos = pannier::Chaos::seeded(1).delay(0.1, Duration::from_millis(5));
    /// ```
    pub fn delay(mut self, probability: f64, at_most: Duration) -> Self {
        self.delay = probability.clamp(0.0, 1.0);
        self.delay_micros = u64::try_from(at_most.as_micros()).unwrap_or(u64::MAX);
        self
    }

    /// How likely a worker fails to start. The first of each place does start, so that there is a pool.
    ///
    /// # Examples
    ///
    /// ```
    /// let chaos = pannier::Chaos::seeded(1).kill(0.1).fail_start(0.3);
    /// ```
    pub fn fail_start(mut self, probability: f64) -> Self {
        self.fail_start = probability.clamp(0.0, 1.0);
        self
    }

    /// For the environment.
    pub(crate) fn to_text(self) -> String {
        let Chaos { seed, kill, delay, delay_micros, fail_start } = self;
        format!("{seed} {kill} {delay} {delay_micros} {fail_start}")
    }

    /// The plan that this worker was started with.
    pub(crate) fn of_worker() -> Option<Self> {
        std::env::var(PLAN).ok()?.parse().ok()
    }

    /// Ends this process if its start is to fail.
    pub(crate) fn at_start(self, slot: u32, generation: u32) {
        if generation > 1 && self.chance(1, u64::from(slot), generation) < self.fail_start {
            std::process::exit(CHOSEN);
        }
    }

    /// Before a task.
    pub(crate) fn before(self, task: u64, attempt: u32) {
        if self.chance(2, task, attempt) < self.delay {
            let part = self.chance(3, task, attempt);
            std::thread::sleep(Duration::from_micros(self.delay_micros).mul_f64(part));
        }
        self.strike(task, attempt, false);
    }

    /// Between a task and its result.
    pub(crate) fn after(self, task: u64, attempt: u32) {
        self.strike(task, attempt, true);
    }

    fn strike(self, task: u64, attempt: u32, is_over: bool) {
        let is_late = self.chance(5, task, attempt) < 0.5;
        if self.chance(4, task, attempt) < self.kill && is_late == is_over {
            host::kill_own_group();
        }
    }

    /// A number from 0 to 1 that these alone decide (splitmix64, Steele et al. 2014).
    fn chance(self, what: u64, task: u64, attempt: u32) -> f64 {
        let mut state = self.seed;
        let mut mixed = 0;
        for part in [what, task, u64::from(attempt)] {
            state = (state ^ part).wrapping_add(0x9E37_79B9_7F4A_7C15);
            mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            mixed ^= mixed >> 31;
            state = mixed;
        }
        // 53 bits, which a float holds exactly.
        (mixed >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// The exit code of a worker that was chosen not to start.
const CHOSEN: i32 = 114;

impl FromStr for Chaos {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut words = text.split(' ');
        let mut next = || words.next().ok_or(());
        Ok(Chaos {
            seed: next()?.parse().map_err(|_| ())?,
            kill: next()?.parse().map_err(|_| ())?,
            delay: next()?.parse().map_err(|_| ())?,
            delay_micros: next()?.parse().map_err(|_| ())?,
            fail_start: next()?.parse().map_err(|_| ())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_comes_through_the_environment_as_it_was() {
        let plan = Chaos::seeded(7).kill(0.1).delay(0.25, Duration::from_millis(3)).fail_start(1.0);
        assert_eq!(plan.to_text().parse(), Ok(plan));
        assert_eq!("7 0.1".parse::<Chaos>(), Err(()));
    }

    #[test]
    fn chances_are_as_likely_as_they_say_and_differ_by_task_attempt_and_seed() {
        let plan = Chaos::seeded(7);
        let below = |limit| (0..10_000).filter(|&task| plan.chance(4, task, 1) < limit).count();
        assert!((900..1_100).contains(&below(0.1)), "{}", below(0.1));
        assert_eq!(below(0.0), 0);
        assert_eq!(below(1.0), 10_000);
        assert_ne!(plan.chance(4, 1, 1), plan.chance(4, 1, 2));
        assert_ne!(plan.chance(4, 1, 1), Chaos::seeded(8).chance(4, 1, 1));
        assert_eq!(plan.chance(4, 1, 1), Chaos::seeded(7).chance(4, 1, 1));
    }
}
