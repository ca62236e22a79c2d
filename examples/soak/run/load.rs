//! The load: single tasks in one thread, maps in another; and what each task came to.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use pannier::{Buffer, JoinHandle, TaskError};

use super::ledger::{Ledger, now};
use super::tasks::{
    End, Job, Proof, check, echo, fill, give_back, is_filled, make, of_context, of_map,
};
use super::{ATTEMPTS, Random, Report, Stage};

/// What became of the tasks.
#[derive(Default)]
pub(crate) struct Tally {
    /// How often each was resolved.
    resolved: HashMap<u64, u32>,
    /// Who ran those that were delivered.
    delivered: Vec<Proof>,
    counts: Report,
    /// Tasks that were run alone: they begin no more often than they may.
    single: Vec<u64>,
}

impl Tally {
    fn resolve(&mut self, stage: &Stage, number: u64, outcome: Result<(Proof, bool), TaskError>) {
        *self.resolved.entry(number).or_default() += 1;
        let counts = &mut self.counts;
        match outcome {
            Ok((proof, is_right)) => {
                counts.duplicated += u64::from(proof.number != number);
                counts.wrong += u64::from(!is_right);
                self.delivered.push(proof);
            }
            Err(TaskError::WorkerDied(death)) => {
                counts.died += 1;
                // Items of a map are seen in their order, so late.
                let is_item = death.task.item.is_some();
                if let Some(died) = stage.death_of(death.pid).filter(|_| !is_item) {
                    let latency = now().saturating_sub(died).as_secs_f64() * 1e3;
                    counts.max_error_latency_ms = counts.max_error_latency_ms.max(latency);
                }
            }
            Err(TaskError::Cancelled) => counts.cancelled += 1,
            Err(TaskError::Killed) => counts.killed_by_handle += 1,
            Err(_) => counts.failed += 1,
        }
    }

    /// Against what the tasks themselves have written.
    pub(crate) fn audit(self, ledger: &Ledger, report: &mut Report) {
        let Tally { resolved, delivered, counts, single } = self;
        report.resolved = resolved.len() as u64;
        report.lost = report.submitted - report.resolved.min(report.submitted);
        let twice = resolved.values().filter(|&&times| times != 1).count();
        // Nothing ran a task again after the run whose result was delivered.
        let is_last =
            |proof: &Proof| ledger.last(proof.number).is_some_and(|l| l.0.pid == proof.pid);
        let again = delivered.iter().filter(|proof| !is_last(proof)).count();
        let too_often = |&number: &u64| {
            ledger
                .last(number)
                .is_some_and(|(last, runs)| runs > last.attempt || last.attempt > ATTEMPTS)
        };
        let often = single.iter().filter(|number| too_often(number)).count();
        report.duplicated = counts.duplicated + (twice + again + often) as u64;
        report.delivered = delivered.len() as u64;
        report.max_error_latency_ms = counts.max_error_latency_ms;
        (report.wrong, report.died, report.failed) = (counts.wrong, counts.died, counts.failed);
        (report.cancelled, report.killed_by_handle) = (counts.cancelled, counts.killed_by_handle);
    }
}

/// Tasks that are not resolved at a time.
const WINDOW: usize = 48;
/// How long the last ones may take.
const PATIENCE: Duration = Duration::from_secs(60);

fn job(stage: &Stage, random: &mut Random) -> Job {
    let ends = [End::Kill, End::Abort, End::Segv, End::Exit];
    let end = match random.below(40) {
        at @ 0..4 => ends[usize::try_from(at).unwrap_or(0)],
        _ => End::None,
    };
    let most = 1 << random.below(18);
    let work = u32::try_from(random.below(most)).unwrap_or(0);
    Job { number: stage.next(), end, always: random.below(3) == 0, work }
}

/// A task that is not resolved.
enum Flying {
    Text(JoinHandle<(Proof, String)>, String),
    Check(JoinHandle<(Proof, bool)>),
    Buffer(JoinHandle<(Proof, Buffer<u64>)>, usize),
}

impl Flying {
    fn is_finished(&self) -> bool {
        match self {
            Flying::Text(handle, _) => handle.is_finished(),
            Flying::Check(handle) => handle.is_finished(),
            Flying::Buffer(handle, _) => handle.is_finished(),
        }
    }

    /// Withdraws it if it has not begun, or kills it.
    fn disturb(&self, kills: bool) {
        match (self, kills) {
            (Flying::Text(handle, _), true) => handle.kill(),
            (Flying::Check(handle), true) => handle.kill(),
            (Flying::Buffer(handle, _), true) => handle.kill(),
            (Flying::Text(handle, _), false) => _ = handle.cancel(),
            (Flying::Check(handle), false) => _ = handle.cancel(),
            (Flying::Buffer(handle, _), false) => _ = handle.cancel(),
        }
    }

    /// The outcome, and whether its value is right; itself, if there is none in time.
    fn join(
        self,
        number: u64,
        patience: Duration,
    ) -> Result<Result<(Proof, bool), TaskError>, Self> {
        match self {
            Flying::Text(mut handle, text) => match handle.join_timeout(patience) {
                Some(outcome) => Ok(outcome.map(|(proof, back)| (proof, back == text))),
                None => Err(Flying::Text(handle, text)),
            },
            Flying::Check(mut handle) => handle.join_timeout(patience).ok_or(Flying::Check(handle)),
            Flying::Buffer(mut handle, len) => match handle.join_timeout(patience) {
                Some(outcome) => Ok(outcome.map(|(proof, items)| {
                    (proof, items.len() == len && is_filled(number, &items))
                })),
                None => Err(Flying::Buffer(handle, len)),
            },
        }
    }
}

fn submit(stage: &Stage, random: &mut Random) -> (u64, Flying) {
    let (pool, job) = (&stage.pool, job(stage, random));
    let most = 1 << random.below(17);
    let len = usize::try_from(random.below(most)).unwrap_or(0);
    let space = |in_place: bool| {
        let space = if in_place { pool.alloc(len) } else { pannier::alloc(len) };
        fill(job.number, space.expect("there is memory"))
    };
    let flying = match random.below(5) {
        0 => {
            let text = "soak ".repeat(len / 16);
            Flying::Text(pool.submit(echo, (job, text.clone())), text)
        }
        1 => Flying::Check(pool.submit(check, (job, space(false)))),
        2 => Flying::Check(pool.submit(check, (job, space(true)))),
        3 => Flying::Buffer(pool.submit(make, (job, len)), len),
        _ => Flying::Buffer(pool.submit(give_back, (job, space(random.below(2) == 0))), len),
    };
    (job.number, flying)
}

/// Submits, cancels, kills and joins, until it is over and everything is resolved.
pub(crate) fn singles(stage: &Stage, seed: u64) {
    let mut random = Random(seed);
    let mut flying: VecDeque<(u64, Flying)> = VecDeque::new();
    let mut deadline = None;
    while !stage.is_over() || !flying.is_empty() {
        while flying.len() < WINDOW && !stage.is_over() {
            let (number, task) = submit(stage, &mut random);
            if random.below(30) == 0 {
                task.disturb(random.below(4) == 0);
            }
            stage.tally.lock().expect("no thread of a soak panics").single.push(number);
            flying.push_back((number, task));
        }
        if stage.is_over() && *deadline.get_or_insert(Instant::now() + PATIENCE) < Instant::now() {
            // What has not come by now is lost.
            return;
        }
        let finished = flying.iter().position(|task| task.1.is_finished());
        let Some((number, task)) = flying.remove(finished.unwrap_or(0)) else { continue };
        match task.join(number, Duration::from_millis(1)) {
            Ok(outcome) => {
                let mut tally = stage.tally.lock().expect("no thread of a soak panics");
                tally.resolve(stage, number, outcome);
            }
            Err(task) => flying.push_front((number, task)),
        }
    }
}

/// Maps in chunks, with and without a context, until it is over.
pub(crate) fn maps(stage: &Stage, seed: u64) {
    let mut random = Random(seed);
    while !stage.is_over() {
        let jobs: Vec<Job> = (0..200).map(|_| job(stage, &mut random)).collect();
        let chunk = 1 + usize::try_from(random.below(30)).unwrap_or(0);
        let numbers = jobs.iter().map(|job| job.number).collect::<Vec<_>>();
        let resolve = |number, outcome| {
            stage.tally.lock().expect("no thread of a soak panics").resolve(stage, number, outcome);
        };
        if random.below(2) == 0 {
            let results = stage.pool.map(of_map, jobs).chunk_size(chunk);
            for (&number, outcome) in numbers.iter().zip(results) {
                resolve(number, outcome.map(|proof| (proof, true)));
            }
        } else {
            let len = usize::try_from(random.below(20_000)).unwrap_or(0);
            let context = fill(7, stage.pool.alloc(len).expect("there is memory"));
            let results = stage.pool.map_with(context, of_context, jobs).chunk_size(chunk);
            for (&number, outcome) in numbers.iter().zip(results) {
                resolve(number, outcome);
            }
        }
    }
}
