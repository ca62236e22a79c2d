//! The load: single tasks in one thread, maps in another.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use pannier::{Buffer, JoinHandle, TaskError};

use super::audit::Expected;
use super::tasks::{
    End, Job, Proof, TIMEOUT, check, echo, fill, give_back, is_filled, make, of_context, of_map,
};
use super::{Random, Stage};

/// Tasks that are not resolved at a time.
const WINDOW: usize = 48;
/// How long the last ones may take.
const PATIENCE: Duration = Duration::from_secs(60);

fn job(stage: &Stage, random: &mut Random) -> Job {
    let ends = [End::Kill, End::Abort, End::Segv, End::Exit, End::Linger, End::Stop];
    let at = usize::try_from(random.below(40)).unwrap_or(0);
    let most = 1 << random.below(18);
    let work = u32::try_from(random.below(most)).unwrap_or(0);
    let end = ends.get(at).copied().unwrap_or(End::None);
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
    let lingers = job.end.lingers();
    let short = Duration::from_millis(2 + random.below(40));
    let timeout = if lingers { short } else { TIMEOUT };
    stage.audit().open(job.number, Expected { is_single: true, timeout, lingers });
    let task = if lingers { pool.task().timeout(timeout) } else { pool.task() };
    let most = 1 << random.below(17);
    let len = usize::try_from(random.below(most)).unwrap_or(0);
    let space = |in_place: bool| {
        let space = if in_place { pool.alloc(len) } else { pannier::alloc(len) };
        fill(job.number, space.expect("there is memory"))
    };
    let flying = match random.below(5) {
        0 => {
            let text = "soak ".repeat(len / 16);
            Flying::Text(task.submit(echo, (job, text.clone())), text)
        }
        1 => Flying::Check(task.submit(check, (job, space(false)))),
        2 => Flying::Check(task.submit(check, (job, space(true)))),
        3 => Flying::Buffer(task.submit(make, (job, len)), len),
        _ => Flying::Buffer(task.submit(give_back, (job, space(random.below(2) == 0))), len),
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
            flying.push_back((number, task));
        }
        if stage.is_over() && *deadline.get_or_insert(Instant::now() + PATIENCE) < Instant::now() {
            // What has not come by now is lost.
            return;
        }
        let finished = flying.iter().position(|task| task.1.is_finished());
        let Some((number, task)) = flying.remove(finished.unwrap_or(0)) else { continue };
        match task.join(number, Duration::from_millis(1)) {
            Ok(outcome) => stage.audit().resolve(number, outcome),
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
        // Short for those that linger, long for those that do not.
        let timeout = Duration::from_millis(100 + random.below(100));
        for Job { number, end, .. } in &jobs {
            let expected = Expected { is_single: false, timeout, lingers: end.lingers() };
            stage.audit().open(*number, expected);
        }
        let numbers = jobs.iter().map(|job| job.number).collect::<Vec<_>>();
        let resolve = |number, outcome| stage.audit().resolve(number, outcome);
        if random.below(2) == 0 {
            let results = stage.pool.map(of_map, jobs).chunk_size(chunk).timeout(timeout);
            for (&number, outcome) in numbers.iter().zip(results) {
                resolve(number, outcome.map(|proof| (proof, true)));
            }
        } else {
            let len = usize::try_from(random.below(20_000)).unwrap_or(0);
            let context = fill(7, stage.pool.alloc(len).expect("there is memory"));
            let results = stage.pool.map_with(context, of_context, jobs);
            let results = results.chunk_size(chunk).timeout(timeout);
            for (&number, outcome) in numbers.iter().zip(results) {
                resolve(number, outcome);
            }
        }
    }
}
