//! What becomes of each task, by what its runs have written and by what its handle says.
//!
//! A task that is over is looked at once more a while later, and then forgotten; a run that is written
//! down after that is one too many.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use pannier::TaskError;

use super::Report;
use super::ledger::{Ledger, Record, now};
use super::tasks::{ATTEMPTS, Proof};

/// A task that is over may have written down so long what it does.
const GRACE: Duration = Duration::from_secs(5);
/// For so long it is known who was killed.
const MEMORY: Duration = Duration::from_secs(60);

/// What is expected of a task.
#[derive(Clone, Copy)]
pub(crate) struct Expected {
    /// It runs alone, so it begins no more often than it may.
    pub(crate) is_single: bool,
    /// How long it may run.
    pub(crate) timeout: Duration,
    /// It may run for longer, on purpose.
    pub(crate) lingers: bool,
}

/// How a task ended.
#[derive(Clone, Copy)]
enum Outcome {
    Delivered { proof: Proof, is_right: bool },
    Died { pid: u32 },
    TimedOut { after: Duration },
    Cancelled,
    Killed,
    Failed,
}

impl Outcome {
    fn of(outcome: &Result<(Proof, bool), TaskError>) -> Self {
        match outcome {
            &Ok((proof, is_right)) => Outcome::Delivered { proof, is_right },
            Err(TaskError::WorkerDied(death)) => Outcome::Died { pid: death.pid },
            &Err(TaskError::TimedOut { after, .. }) => Outcome::TimedOut { after },
            Err(TaskError::Cancelled) => Outcome::Cancelled,
            Err(TaskError::Killed) => Outcome::Killed,
            Err(_) => Outcome::Failed,
        }
    }
}

/// A task that is looked after.
struct Case {
    expected: Expected,
    runs: Vec<Record>,
    ended: Option<(Duration, Outcome)>,
}

/// All tasks, and who was killed.
pub(crate) struct Audit {
    ledger: Ledger,
    cases: BTreeMap<u64, Case>,
    submitted: u64,
    /// Workers that were killed from outside or by their own task, and when.
    deaths: HashMap<u32, Duration>,
    /// Workers that have begun a task, and when that was last.
    begun: HashMap<u32, Duration>,
    /// Workers that the pool has killed for the sake of a task, and when.
    ended_by_pool: HashMap<u32, Duration>,
    last_stop: Option<Duration>,
    swept: Duration,
    pub(crate) counts: Report,
}

impl Audit {
    pub(crate) fn new(ledger: Ledger) -> Self {
        Audit {
            ledger,
            cases: BTreeMap::new(),
            submitted: 0,
            deaths: HashMap::new(),
            begun: HashMap::new(),
            ended_by_pool: HashMap::new(),
            last_stop: None,
            swept: now(),
            counts: Report::default(),
        }
    }

    /// A task that is about to be submitted.
    pub(crate) fn open(&mut self, number: u64, expected: Expected) {
        self.submitted += 1;
        self.cases.insert(number, Case { expected, runs: Vec::new(), ended: None });
    }

    /// Whether a worker was not killed a moment ago. Numbers are used again, but not so soon.
    pub(crate) fn is_fresh(&self, pid: u32) -> bool {
        self.deaths.get(&pid).is_none_or(|&last| now() > last + Duration::from_secs(1))
    }

    /// Whether a worker has begun a task since it was started.
    pub(crate) fn has_begun(&self, pid: u32) -> bool {
        self.begun.contains_key(&pid)
    }

    /// A worker was killed from outside, at that time.
    pub(crate) fn shot(&mut self, pid: u32, at: Duration) {
        self.begun.remove(&pid);
        self.deaths.insert(pid, at);
        self.counts.kills += 1;
    }

    /// A worker was stopped, and is left to the pool.
    pub(crate) fn stopped(&mut self) {
        self.last_stop = Some(now());
        self.counts.stops += 1;
    }

    pub(crate) fn kills(&mut self) -> u64 {
        self.read();
        self.counts.kills
    }

    /// A task is over.
    pub(crate) fn resolve(&mut self, number: u64, outcome: Result<(Proof, bool), TaskError>) {
        self.read();
        let at = now();
        let Some(case) = self.cases.get_mut(&number).filter(|case| case.ended.is_none()) else {
            // A second time.
            self.counts.duplicated += 1;
            return;
        };
        let ended = Outcome::of(&outcome);
        if let (Outcome::Failed, Err(error)) = (ended, &outcome) {
            self.counts.first_failure.get_or_insert_with(|| error.to_string());
        }
        case.ended = Some((at, ended));
        self.counts.resolved += 1;
        let last = case.runs.last().copied();
        match (ended, last) {
            // Items of a map are seen in their order, so late.
            (Outcome::Died { pid }, _) if case.expected.is_single => {
                if let Some(&died) = self.deaths.get(&pid) {
                    longest(&mut self.counts.max_error_latency_ms, at.saturating_sub(died));
                }
            }
            (Outcome::TimedOut { after }, Some(run)) => {
                self.ended_by_pool.insert(run.pid, at);
                if case.expected.is_single {
                    longest(&mut self.counts.max_overtime_ms, at.saturating_sub(run.began + after));
                }
            }
            (Outcome::Killed, Some(run)) => _ = self.ended_by_pool.insert(run.pid, at),
            _ => {}
        }
        self.sweep(at);
    }

    /// After the end of all workers: what is left of the tasks.
    pub(crate) fn finish(mut self) -> Report {
        self.read();
        for (_, case) in std::mem::take(&mut self.cases) {
            self.close(&case);
        }
        Report {
            submitted: self.submitted,
            lost: self.submitted - self.counts.resolved,
            ..self.counts
        }
    }

    fn read(&mut self) {
        for record in self.ledger.take() {
            self.begun.insert(record.pid, record.began);
            if record.dies {
                self.deaths.insert(record.pid, record.began);
                self.counts.kills += 1;
            }
            match self.cases.get_mut(&record.number) {
                Some(case) => case.runs.push(record),
                // It was over for long.
                None => self.counts.duplicated += 1,
            }
        }
    }

    /// Forgets what has been over for long enough.
    fn sweep(&mut self, at: Duration) {
        if at < self.swept + Duration::from_secs(1) {
            return;
        }
        self.swept = at;
        let is_old = |case: &Case| case.ended.is_some_and(|(ended, _)| ended + GRACE < at);
        let (old, young) = std::mem::take(&mut self.cases).into_iter().partition(|c| is_old(&c.1));
        self.cases = young;
        let old: BTreeMap<u64, Case> = old;
        old.values().for_each(|case| self.close(case));
        self.deaths.retain(|_, &mut died| died + MEMORY > at);
        self.begun.retain(|_, &mut began| began + MEMORY > at);
        self.ended_by_pool.retain(|_, &mut ended| ended + MEMORY > at);
    }

    /// The verdict.
    fn close(&mut self, case: &Case) {
        let Some((at, outcome)) = case.ended else { return };
        // What was killed may begin still: its worker is dead before it has done anything.
        let is_over = !matches!(outcome, Outcome::Killed);
        let late = is_over && case.runs.iter().any(|run| run.began > at);
        let too_often = case.expected.is_single && self.is_too_often(&case.runs);
        self.counts.duplicated += u64::from(late) + u64::from(too_often);
        match outcome {
            Outcome::Delivered { proof, is_right } => {
                // Nothing ran the task again after the run whose result was delivered.
                let is_last = |run: &Record| (run.number, run.pid) == (proof.number, proof.pid);
                self.counts.duplicated += u64::from(!case.runs.last().is_some_and(is_last));
                self.counts.wrong += u64::from(!is_right);
                self.counts.delivered += 1;
            }
            Outcome::Died { pid } => {
                self.counts.died += 1;
                if !self.deaths.contains_key(&pid) {
                    self.fail(|| format!("worker {pid} died, and nobody had killed it"));
                }
            }
            Outcome::TimedOut { after } => {
                self.counts.timeouts += 1;
                if after != case.expected.timeout || !self.may_time_out(case, at) {
                    let runs: Vec<_> = case.runs.iter().map(|run| (run.pid, run.began)).collect();
                    self.fail(|| {
                        format!("after {after:?} it timed out at {at:?}, begun: {runs:?}")
                    });
                }
            }
            Outcome::Cancelled => self.counts.cancelled += 1,
            Outcome::Killed => self.counts.killed_by_handle += 1,
            Outcome::Failed => self.counts.failed += 1,
        }
    }

    fn fail(&mut self, why: impl FnOnce() -> String) {
        self.counts.failed += 1;
        self.counts.first_failure.get_or_insert_with(why);
    }

    /// Whether the task had that many runs with a death that it should have been charged with.
    fn is_too_often(&self, runs: &[Record]) -> bool {
        let Some((last, before)) = runs.split_last() else { return false };
        // The pool may kill a worker for another task, and then nobody pays.
        let is_charged =
            |pid| self.deaths.contains_key(&pid) && !self.ended_by_pool.contains_key(&pid);
        let charged = before.iter().filter(|run| is_charged(run.pid)).count();
        charged as u64 >= last.attempt.into() || last.attempt > ATTEMPTS
    }

    /// Whether the time of a task can have been over at that moment.
    fn may_time_out(&self, case: &Case, at: Duration) -> bool {
        let Expected { lingers, timeout, is_single, .. } = case.expected;
        // It counts from when the worker was to begin, which is a little earlier.
        let has_run_long = |run: &Record| run.began + timeout / 2 < at;
        // Items of a map are seen in their order, so late.
        let is_near = |stop| !is_single || at < stop + 3 * timeout;
        lingers
            || case.runs.last().is_some_and(has_run_long)
            // A stopped worker had it, and wrote nothing.
            || self.last_stop.is_some_and(is_near)
    }
}

fn longest(most_ms: &mut f64, took: Duration) {
    *most_ms = most_ms.max(took.as_secs_f64() * 1e3);
}
