//! Random histories of a pool, each checked against an independent oracle at every step.
//!
//! A history is made from a seed alone: `SCHEDULER_SIM_SEED=<seed> cargo test --lib sim` replays the
//! one that a failure names. Three parties take part: the machine under test, a `World` of model
//! processes that run, die and talk nonsense, and an `Oracle` that knows the rules in their naive
//! form (lists that are searched, items that are counted) and checks every answer and every action.
//!
//! Each `Plant` is a bug that can be switched on. The last tests show that the same histories find
//! every one of them: what proves the machine has itself been proven.
#![forbid(unsafe_code)]

mod alone;
mod oracle;
mod random;
mod time;
mod turnover;
mod world;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use world::World;

const HISTORIES: u64 = 10_000;

/// A bug on purpose. All are in the machine but the last, which is in the world's ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plant {
    /// The task behind the running one is not put back when the worker dies.
    LostRequeue,
    /// Tasks of a dead worker go to the end of the queue.
    RequeueAtBack,
    /// A task that completes after it was killed is resolved twice.
    DoubleResult,
    /// Events of former workers are taken for the present one's.
    StaleGeneration,
    /// A death with nobody to blame is charged to the first task.
    BystanderCharged,
    /// What lies behind the blamed item is lost.
    SplitForgetsTail,
    /// All places of each worker but the first are never used.
    CreditForgotten,
    /// A condemned worker is sent work.
    SentToCondemned,
    /// An attempt is counted twice.
    ChargedTwice,
    /// A task that was taken back is not queued again.
    RevokedLost,
    /// A slot that has backed off is forgotten.
    TimeoutLost,
    /// Who leaves does not wait for its successor.
    LeftTooEarly,
    /// A task that runs too long is not ended.
    OverdueForgiven,
    /// Tasks that are run alone, each by itself, are run beside each other.
    AloneTogether,
    /// Others are sent behind what runs alone.
    AloneBeforeOthers,
    /// The dead worker's holds are kept.
    HoldNotReleased,
}

/// How often each noteworthy thing happened.
pub(super) type Coverage = BTreeMap<&'static str, u64>;

/// Plays one history to its end. Panics where machine and oracle disagree.
fn play(seed: u64, plant: Option<Plant>, coverage: &mut Coverage) {
    let mut world = World::new(seed, plant);
    world.live();
    world.heal();
    world.close();
    for (what, times) in world.coverage() {
        *coverage.entry(what).or_default() += times;
    }
}

/// As many as `SCHEDULER_SIM_HISTORIES` says.
fn histories() -> u64 {
    let wanted = std::env::var("SCHEDULER_SIM_HISTORIES");
    wanted.map_or(HISTORIES, |wanted| wanted.parse().expect("the number of histories"))
}

fn complaint(seed: u64, plant: Option<Plant>) -> Option<String> {
    let played = catch_unwind(AssertUnwindSafe(|| play(seed, plant, &mut Coverage::new())));
    let panic = played.err()?;
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
}

/// The first complaint about a planted bug, within the histories that the sound machine passes.
#[track_caller]
fn assert_caught(plant: Plant, by: &str) {
    let caught = (0..HISTORIES).find_map(|seed| complaint(seed, Some(plant)));
    let caught = caught.unwrap_or_else(|| panic!("{plant:?} lived through {HISTORIES} histories"));
    assert!(caught.contains(by), "{plant:?} was caught by {caught:?}, not by {by:?}");
}

#[test]
fn every_task_is_resolved_exactly_once_in_ten_thousand_histories() {
    let mut coverage = Coverage::new();
    let seeds = match std::env::var("SCHEDULER_SIM_SEED") {
        Ok(seed) => {
            let seed = seed.parse().expect("the seed is a number");
            seed..seed + 1
        }
        Err(_) => 0..histories(),
    };
    let is_replay = seeds.end - seeds.start == 1;
    for seed in seeds {
        let played = catch_unwind(AssertUnwindSafe(|| play(seed, None, &mut coverage)));
        assert!(played.is_ok(), "replay with SCHEDULER_SIM_SEED={seed}");
    }
    println!("{coverage:#?}");
    for what in oracle::NOTEWORTHY {
        let times = coverage.get(what).copied().unwrap_or(0);
        assert!(is_replay || times >= 100, "{what:?} happened only {times} times");
    }
}

#[test]
fn a_history_replays_from_its_seed() {
    let (mut once, mut again) = (Coverage::new(), Coverage::new());
    play(7, None, &mut once);
    play(7, None, &mut again);
    assert_eq!(once, again);
}

#[test]
fn a_lost_requeue_is_caught() {
    assert_caught(Plant::LostRequeue, "a sent task is in one worker's list");
}

#[test]
fn a_requeue_at_the_wrong_end_is_caught() {
    assert_caught(Plant::RequeueAtBack, "oracle: the first of the queue is sent");
}

#[test]
fn a_result_after_a_result_is_caught() {
    assert_caught(Plant::DoubleResult, "oracle: resolved without reason");
}

#[test]
fn an_event_of_a_former_generation_is_caught() {
    assert_caught(Plant::StaleGeneration, "oracle: ");
}

#[test]
fn a_charged_bystander_is_caught() {
    assert_caught(Plant::BystanderCharged, "oracle: ");
}

#[test]
fn a_lost_part_of_a_chunk_is_caught() {
    assert_caught(Plant::SplitForgetsTail, "oracle: a split has the parts that the item leaves");
}

#[test]
fn credit_that_is_never_used_is_caught() {
    assert_caught(Plant::CreditForgotten, "oracle: work waits beside credit");
}

#[test]
fn work_for_a_condemned_worker_is_caught() {
    assert_caught(Plant::SentToCondemned, "a worker gets nothing unless it is ready");
}

#[test]
fn an_attempt_counted_twice_is_caught() {
    assert_caught(Plant::ChargedTwice, "an attempt is counted once");
}

#[test]
fn a_task_that_is_taken_back_and_lost_is_caught() {
    assert_caught(Plant::RevokedLost, "a sent task is in one worker's list");
}

#[test]
fn a_lost_timeout_is_caught() {
    assert_caught(Plant::TimeoutLost, "oracle: ");
}

#[test]
fn a_worker_that_leaves_before_its_successor_is_ready_is_caught() {
    assert_caught(Plant::LeftTooEarly, "oracle: ");
}

#[test]
fn a_task_that_runs_too_long_is_caught() {
    assert_caught(Plant::OverdueForgiven, "oracle: ");
}

#[test]
fn two_tasks_that_are_run_alone_at_once_are_caught() {
    assert_caught(Plant::AloneTogether, "oracle: one task is run alone at a time");
}

#[test]
fn a_task_behind_one_that_is_run_alone_is_caught() {
    assert_caught(Plant::AloneBeforeOthers, "oracle: nothing is sent behind what runs alone");
}

#[test]
fn a_hold_that_is_not_released_is_caught() {
    assert_caught(Plant::HoldNotReleased, "oracle: a hold is left");
}
