//! What is done to the workers from outside: kills, stops, and another number of them.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::ledger::now;
use super::tasks::TIMEOUT;
use super::{Plan, Random, Stage, kernel};

/// As many workers as there are at most.
pub(crate) const MOST: u64 = 5;

/// Makes trouble until there have been enough deaths. Gives the size of this process now and then.
pub(crate) fn make(stage: &Stage, plan: &Plan, began: Instant) -> Vec<[u64; 2]> {
    let mut random = Random(plan.seed ^ 0x5555);
    // One worker at a time is stopped and left to the pool.
    let mut stopped: Option<(u32, Instant)> = None;
    let (mut sizes, mut weighed) = (Vec::new(), Instant::now());
    while stage.audit().kills() < plan.kills && began.elapsed() < plan.time {
        if weighed.elapsed() >= Duration::from_millis(200) {
            weighed = Instant::now();
            sizes.push(kernel::size());
        }
        std::thread::sleep(Duration::from_micros(random.below(6_000)));
        if random.below(20) == 0 {
            resize(stage, 1 + random.below(MOST));
        }
        let pids = stage.pool.worker_pids();
        let is_over = |at: Instant| at.elapsed() > 3 * TIMEOUT;
        stopped = stopped.filter(|&(pid, at)| pids.contains(&pid) && !is_over(at));
        let pick = usize::try_from(random.below(pids.len().max(1) as u64)).unwrap_or(0);
        let Some(&pid) = pids.get(pick).filter(|&&pid| is_game(stage, pid)) else { continue };
        if stopped.is_none() && random.below(60) == 0 && signal(pid, Signal::STOP) {
            stage.audit().stopped();
            stopped = Some((pid, Instant::now()));
        }
        if stopped.is_none_or(|(at_rest, _)| at_rest != pid) {
            shoot(stage, &mut random, pid);
        }
    }
    sizes
}

/// Most workers may have begun a task before anything happens to them. Where the machine is so busy that
/// none comes to that, and all are killed for nothing, a pool rightly gives up: it would go on for ever.
fn is_game(stage: &Stage, pid: u32) -> bool {
    pid % 8 == 0 || stage.audit().has_begun(pid)
}

pub(crate) fn resize(stage: &Stage, workers: u64) {
    stage.pool.resize(usize::try_from(workers).unwrap_or(1)).expect("at least one");
    stage.audit().counts.resizes += 1;
}

/// Stops all workers, for the pool to find out.
pub(crate) fn stop_all(stage: &Stage) {
    for pid in stage.pool.worker_pids() {
        if signal(pid, Signal::STOP) {
            stage.audit().stopped();
        }
    }
}

fn shoot(stage: &Stage, random: &mut Random, pid: u32) {
    if random.below(5) == 0 && signal(pid, Signal::STOP) {
        std::thread::sleep(Duration::from_micros(random.below(5_000)));
    }
    // Nobody hears of the death before it is written down. One that is dying counts once.
    let mut audit = stage.audit();
    let at = now();
    if signal(pid, Signal::KILL) && audit.is_fresh(pid) {
        audit.shot(pid, at);
    }
}

fn signal(pid: u32, signal: Signal) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| kill_process(pid, signal).is_ok())
}
