//! The rules by example: one short story each. Completeness is the simulation's business.
#![forbid(unsafe_code)]

use std::time::Duration;

use super::*;

const NOW: Duration = Duration::ZERO;

fn config(workers: usize) -> Config {
    let backoff = Backoff { first: Duration::from_millis(10), max: Duration::from_millis(40) };
    let hang = Duration::from_secs(10);
    let (max_items, idle) = (None, None);
    let (max_start_failures, max_fruitless_deaths) = (5, 3);
    Config { workers, max_items, idle, max_start_failures, max_fruitless_deaths, backoff, hang }
}

fn calls(count: u32, attempts: u32) -> TaskSpec {
    TaskSpec { payload: 1, first: 0, count, attempts, timeout: None }
}

fn blamed(task: TaskId, item: u32) -> Blame {
    Blame { task, item, retry_alone: false }
}

fn drain(pool: &mut Scheduler) -> Vec<Action> {
    std::iter::from_fn(|| pool.poll_action()).collect()
}

/// Starts what wants to be started; the workers, in the order of their slots.
fn start_all(pool: &mut Scheduler) -> Vec<WorkerId> {
    let mut started = Vec::new();
    for action in drain(pool) {
        if let Action::Start { worker } = action {
            pool.handle_event(Event::WorkerReady { worker }, NOW);
            started.push(worker);
        }
    }
    started
}

/// A pool of one worker and this task running on it.
fn running(spec: TaskSpec) -> (Scheduler, WorkerId, TaskId) {
    let mut pool = Scheduler::new(config(1));
    let worker = start_all(&mut pool)[0];
    let task = pool.submit(spec).unwrap();
    assert_eq!(drain(&mut pool), [Action::Send { worker, task, attempt: 1, spec }]);
    (pool, worker, task)
}

/// A task that is long enough for the least credit.
const RUN: Duration = Duration::from_millis(1);

#[test]
fn every_worker_gets_one_task_before_any_gets_a_second() {
    let mut pool = Scheduler::new(config(3));
    start_all(&mut pool);
    for _ in 0..7 {
        pool.submit(calls(1, 1)).unwrap();
    }
    let slot = |action: &Action| match action {
        Action::Send { worker, .. } => worker.slot,
        other => panic!("{other:?}"),
    };
    let slots: Vec<_> = drain(&mut pool).iter().map(slot).collect();
    assert_eq!(slots, [0, 1, 2, 0, 1, 2]);
    assert_eq!((pool.queued(), pool.sent()), (1, 6));
}

#[test]
fn a_blamed_task_runs_again_until_its_attempts_are_used_up() {
    let spec = calls(1, 2);
    let (mut pool, worker, task) = running(spec);
    let blame = Some(blamed(task, 0));
    pool.handle_event(Event::WorkerDied { worker, blame }, NOW);

    let worker = start_all(&mut pool)[0];
    assert_eq!(drain(&mut pool), [Action::Send { worker, task, attempt: 2, spec }]);
    pool.handle_event(Event::WorkerDied { worker, blame }, NOW);
    let resolution = Resolution::WorkerDied { worker, attempts: 2 };
    assert_eq!(pool.poll_action(), Some(Action::Resolve { task, spec, resolution }));
}

#[test]
fn a_death_within_a_chunk_costs_the_blamed_item_only() {
    let (mut pool, worker, from) = running(calls(10, 1));
    let blame = Some(blamed(from, 3));
    pool.handle_event(Event::WorkerDied { worker, blame }, NOW);

    let Some(Action::Split(split)) = pool.poll_action() else { panic!("a chunk is split") };
    let spec = TaskSpec { first: 3, ..calls(1, 1) };
    let resolution = Resolution::WorkerDied { worker, attempts: 1 };
    let resolve = Action::Resolve { task: split.blamed, spec, resolution };
    assert_eq!(pool.poll_action(), Some(resolve));

    let worker = start_all(&mut pool)[0];
    let send = |task: Option<TaskId>, spec| {
        let task = task.expect("the part is not empty");
        Action::Send { worker, task, attempt: 1, spec }
    };
    let before = send(split.before, TaskSpec { first: 0, ..calls(3, 1) });
    let after = send(split.after, TaskSpec { first: 4, ..calls(6, 1) });
    assert_eq!(drain(&mut pool), [before, after]);
}

/// Kills a worker for want of memory, by what a task did.
fn starve(pool: &mut Scheduler, worker: WorkerId, task: TaskId) {
    let blame = Some(Blame { retry_alone: true, ..blamed(task, 0) });
    pool.handle_event(Event::WorkerDied { worker, blame }, NOW);
}

fn sends(actions: &[Action]) -> Vec<(TaskId, WorkerId)> {
    let send = |action: &Action| match *action {
        Action::Send { task, worker, .. } => Some((task, worker)),
        _ => None,
    };
    actions.iter().filter_map(send).collect()
}

#[test]
fn what_seems_to_have_wanted_too_much_memory_is_retried_alone_and_the_others_go_on() {
    let mut pool = Scheduler::new(config(2));
    let workers = start_all(&mut pool);
    let hogs = [0, 1].map(|_| pool.submit(calls(1, 2)).unwrap());
    drain(&mut pool);
    let others: Vec<_> = (0..6).map(|_| pool.submit(calls(1, 1)).unwrap()).collect();
    for (&worker, hog) in workers.iter().zip(hogs) {
        starve(&mut pool, worker, hog);
    }
    let workers = start_all(&mut pool);
    let [first, second] = workers[..] else { panic!("{workers:?}") };
    // One hog has a worker of its own. What is left of the credit is the other's.
    let sent = sends(&drain(&mut pool));
    assert_eq!(sent, [(hogs[0], first), (others[0], second), (others[1], second)]);

    assert_eq!(pool.complete(first, hogs[0], RUN), Delivery::Deliver);
    assert_eq!(sends(&drain(&mut pool)), [(hogs[1], first)]);
    assert_eq!(pool.complete(first, hogs[1], RUN), Delivery::Deliver);
    assert_eq!(sends(&drain(&mut pool)), [(others[2], first), (others[3], first)]);
}

#[test]
fn what_is_run_alone_waits_for_a_worker_without_work_and_nothing_is_sent_before_it() {
    let mut pool = Scheduler::new(config(2));
    let workers = start_all(&mut pool);
    let tasks: Vec<_> = (0..6).map(|_| pool.submit(calls(1, 2)).unwrap()).collect();
    drain(&mut pool);
    starve(&mut pool, workers[0], tasks[0]);
    // The other worker has two tasks, and then one: it is sent no third.
    assert_eq!(sends(&drain(&mut pool)), []);
    assert_eq!(pool.complete(workers[1], tasks[1], RUN), Delivery::Deliver);
    assert_eq!(sends(&drain(&mut pool)), []);
    assert_eq!(pool.complete(workers[1], tasks[3], RUN), Delivery::Deliver);
    assert_eq!(sends(&drain(&mut pool)), [(tasks[0], workers[1])]);
}

#[test]
fn a_kill_takes_the_worker_and_no_other_task() {
    let spec = calls(1, 1);
    let (mut pool, worker, task) = running(spec);
    let bystander = pool.submit(spec).unwrap();
    drain(&mut pool);
    pool.kill(task);
    assert_eq!(drain(&mut pool), [Action::KillWorker { worker }]);

    // The worker had come to the bystander before it died: still nobody's fault.
    let blame = Some(blamed(bystander, 0));
    pool.handle_event(Event::WorkerDied { worker, blame }, NOW);
    let resolve = Action::Resolve { task, spec, resolution: Resolution::Killed };
    assert_eq!(pool.poll_action(), Some(resolve));
    let worker = start_all(&mut pool)[0];
    let send = Action::Send { worker, task: bystander, attempt: 1, spec };
    assert_eq!(drain(&mut pool), [send]);
}

#[test]
fn a_completion_beats_a_kill_that_came_too_late() {
    let (mut pool, worker, task) = running(calls(1, 1));
    pool.kill(task);
    assert_eq!(pool.complete(worker, task, RUN), Delivery::Deliver);
    pool.handle_event(Event::WorkerDied { worker, blame: None }, NOW);
    assert!(!drain(&mut pool).iter().any(|action| matches!(action, Action::Resolve { .. })));
}

#[test]
fn a_task_killed_behind_another_dies_when_its_turn_comes() {
    let spec = calls(1, 1);
    let (mut pool, worker, task) = running(spec);
    let next = pool.submit(spec).unwrap();
    drain(&mut pool);
    pool.kill(next);
    let resolve = Action::Resolve { task: next, spec, resolution: Resolution::Killed };
    assert_eq!(drain(&mut pool), [resolve]);
    assert_eq!(pool.complete(worker, task, RUN), Delivery::Deliver);
    assert_eq!(drain(&mut pool), [Action::KillWorker { worker }]);
    assert_eq!(pool.complete(worker, next, RUN), Delivery::Discard);
}

#[test]
fn failed_starts_back_off_and_then_break_the_pool() {
    let mut pool = Scheduler::new(config(1));
    let spec = calls(1, 1);
    let task = pool.submit(spec).unwrap();
    let mut now = NOW;
    let mut waited = Vec::new();
    while let Some(Action::Start { worker }) = pool.poll_action() {
        pool.handle_event(Event::StartFailed { worker, is_fatal: false }, now);
        if let Some(until) = pool.poll_timeout() {
            waited.push((until - now).as_millis());
            now = until;
            pool.handle_timeout(now);
        }
    }
    assert_eq!(waited, [10, 20, 40, 40]);
    assert!(pool.is_broken());
    assert!(pool.is_closed(), "{task:?} was resolved by the poll that ended the loop");
    assert_eq!(pool.submit(spec), Err(Refused::Broken));
}

/// Its initializer was cut short, which says nothing about the others.
#[test]
fn a_worker_that_is_ended_before_it_is_ready_breaks_nothing() {
    let mut pool = Scheduler::new(config(2));
    let workers: Vec<_> = (0..2)
        .map(|_| match pool.poll_action() {
            Some(Action::Start { worker }) => worker,
            other => panic!("{other:?}"),
        })
        .collect();
    pool.resize(1);
    assert_eq!(drain(&mut pool), [Action::StopWorker { worker: workers[1] }]);
    pool.handle_event(Event::StartFailed { worker: workers[1], is_fatal: true }, NOW);
    assert!(!pool.is_broken());

    pool.handle_event(Event::StartFailed { worker: workers[0], is_fatal: true }, NOW);
    assert!(pool.is_broken());
}

/// It is stopped, or what it runs at its end hangs.
#[test]
fn a_worker_that_does_not_end_when_it_is_asked_to_is_killed() {
    let mut pool = Scheduler::new(config(2));
    let worker = start_all(&mut pool)[1];
    pool.resize(1);
    assert_eq!(drain(&mut pool), [Action::StopWorker { worker }]);
    let due = pool.poll_timeout().expect("its time ends");
    pool.handle_timeout(due - Duration::from_nanos(1));
    assert_eq!(drain(&mut pool), []);
    pool.handle_timeout(due);
    assert_eq!(drain(&mut pool), [Action::KillWorker { worker }]);
    pool.handle_event(Event::WorkerDied { worker, blame: None }, due);
    assert_eq!((drain(&mut pool), pool.poll_timeout()), (vec![], None));
}

#[test]
fn a_worker_that_dies_idle_is_replaced_at_once_but_not_again_and_again() {
    let mut pool = Scheduler::new(config(1));
    let mut delays = Vec::new();
    let mut now = NOW;
    for _ in 0..4 {
        let worker = start_all(&mut pool)[0];
        pool.handle_event(Event::WorkerDied { worker, blame: None }, now);
        let until = pool.poll_timeout().unwrap_or(now);
        delays.push((until - now).as_millis());
        now = until;
        pool.handle_timeout(now);
    }
    assert_eq!(delays, [0, 10, 20, 40]);
    assert!(!pool.is_broken());
}

#[test]
fn a_graceful_shutdown_finishes_the_queue_even_when_workers_die() {
    let (mut pool, worker, task) = running(calls(1, 2));
    pool.shutdown(Shutdown::Graceful);
    assert_eq!(pool.submit(calls(1, 1)), Err(Refused::ShutDown));
    let blame = Some(blamed(task, 0));
    pool.handle_event(Event::WorkerDied { worker, blame }, NOW);

    let worker = start_all(&mut pool)[0];
    drain(&mut pool);
    assert_eq!(pool.complete(worker, task, RUN), Delivery::Deliver);
    assert_eq!(drain(&mut pool), [Action::StopWorker { worker }]);
    assert!(!pool.is_closed());
    pool.handle_event(Event::WorkerDied { worker, blame: None }, NOW);
    assert!(pool.is_closed());
}

/// Would take hours if a queued task were looked for.
#[test]
fn a_cancelled_task_is_not_searched_for() {
    let mut pool = Scheduler::new(config(1));
    let tasks: Vec<_> = (0..200_000).map(|_| pool.submit(calls(1, 1)).unwrap()).collect();
    let (early, late) = tasks.split_at(tasks.len() / 2);
    for (&early, &late) in early.iter().rev().zip(late) {
        assert!(pool.cancel(early));
        assert!(pool.cancel(late));
    }
    assert_eq!(pool.queued(), 0);
}
/// Its last task is asked back since its place is closed, and killed before anybody asks.
#[test]
fn a_task_that_was_killed_is_not_asked_back() {
    let mut pool = Scheduler::new(config(2));
    start_all(&mut pool);
    let tasks: Vec<_> = (0..4).map(|_| pool.submit(calls(1, 1)).unwrap()).collect();
    drain(&mut pool);
    pool.resize(1);
    pool.kill(tasks[3]);
    let is_question = |action: &Action| matches!(action, Action::Revoke { .. });
    assert!(!drain(&mut pool).iter().any(is_question));
}
