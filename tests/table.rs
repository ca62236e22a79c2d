//! The table of mishaps: each of them, at each moment in the life of a task or of a worker. What the
//! caller sees, what becomes of the task beside it and of those behind it, what is left.
//!
//! One test for each mishap, so that they run side by side; a row is a moment. The rows of the
//! initializer, where there is no task yet, are in `table/initializer.rs`. Each case has a pool of its
//! own whose processes are marked.
//!
//! Three combinations cannot exist:
//!
//! * a stopped worker that runs its initializer, under a time limit: an initializer has none. What is
//!   tested is that such a worker keeps neither the others waiting nor the end of the pool;
//! * a stopped idle worker under a time limit: without a task there is none either. It is found out by
//!   the next task that it is sent, and by the limit of that one;
//! * a value that cannot be read or written anywhere but where values are read and written.
//!
//! When a stopped worker is ended for the time of its task, the error names neither status nor phase nor
//! attempts: it was the pool that ended it, whatever it did, and the task is not tried again.

#[expect(dead_code, reason = "each test program uses its part")]
mod common;
#[path = "table/initializer.rs"]
mod initializer;
#[path = "common/trick.rs"]
mod trick;

use std::sync::mpsc::channel;
use std::time::Duration;

use common::{DEADLINE, Gate, Marked, attempt, eventually, is_stopped, join, pass_through};
use pannier::{Buffer, BufferMut, ExitStatus, JoinHandle, Phase, Pool, TaskError};
use trick::{BALLAST, Mishap, Moment, PLANNED, Trick, perform};

pannier::premain!();

/// The rows.
const MOMENTS: [Moment; 7] = [
    Moment::Decoding,
    Moment::Running,
    Moment::FromCallback,
    Moment::Encoding,
    Moment::Dropping,
    Moment::Sending,
    Moment::Idle,
];

/// What the caller of the task sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// The mishap takes nothing from it.
    Result,
    Panicked,
    /// It cannot be read or written.
    Refused,
    Died(Phase),
    TimedOut,
    /// The result, if it was there before the end was noticed.
    ResultOrDied(Phase),
}

fn outcome(moment: Moment, mishap: Mishap) -> Outcome {
    match (mishap, moment) {
        // On a thread of its own, or in a destructor, when the result is written.
        (Mishap::Panic, Moment::Dropping | Moment::Sending | Moment::Idle) => Outcome::Result,
        (Mishap::Panic, _) => Outcome::Panicked,
        (Mishap::Error, _) => Outcome::Refused,
        (_, Moment::Idle) => Outcome::Result,
        (Mishap::Stop, _) => Outcome::TimedOut,
        (Mishap::CloseAll, Moment::Sending) => Outcome::ResultOrDied(Phase::Sending),
        _ => Outcome::Died(moment.phase()),
    }
}

#[test]
fn a_panic_costs_its_task_alone() {
    column(Mishap::Panic);
}

#[test]
fn a_panic_during_a_panic_costs_its_task_alone() {
    column(Mishap::PanicTwice);
}

#[test]
fn a_value_that_cannot_be_read_or_written_costs_its_task_alone() {
    for moment in [Moment::Decoding, Moment::Encoding] {
        case(moment, Mishap::Error);
    }
}

#[test]
fn an_exit_with_success_costs_its_task_alone() {
    column(Mishap::Exit(0));
}

#[test]
fn an_exit_with_failure_costs_its_task_alone() {
    column(Mishap::Exit(1));
}

#[test]
fn an_abort_costs_its_task_alone() {
    column(Mishap::Abort);
}

#[test]
fn a_segmentation_fault_costs_its_task_alone() {
    column(Mishap::Segv);
}

#[test]
fn a_stack_overflow_costs_its_task_alone() {
    column(Mishap::StackOverflow);
}

#[test]
fn a_failed_allocation_costs_its_task_alone() {
    column(Mishap::OutOfMemory);
}

#[test]
fn a_kill_costs_its_task_alone() {
    column(Mishap::Kill);
}

#[test]
fn a_stop_costs_its_task_alone_when_its_time_is_over() {
    column(Mishap::Stop);
}

#[test]
fn closing_all_descriptors_costs_its_task_alone() {
    column(Mishap::CloseAll);
}

fn column(mishap: Mishap) {
    for moment in MOMENTS {
        case(moment, mishap);
        if let Outcome::Died(_) = outcome(moment, mishap) {
            if moment != Moment::Sending {
                once(moment, mishap);
            }
        }
    }
}

/// Of which a waiting result takes more than is left.
const LIMIT: usize = BALLAST + (2 << 20);

/// How long a task may run whose worker is stopped: long enough for what comes before that.
const TIME: Duration = Duration::from_secs(2);

/// A task on the other worker, the one that comes to grief, and what is behind it.
struct Scene {
    name: String,
    moment: Moment,
    mishap: Mishap,
    pool: Marked,
    pids: Vec<u32>,
    data: Buffer<u64>,
    /// Without this there is memory for every result.
    kept: Option<BufferMut<u8>>,
}

impl Scene {
    fn new(moment: Moment, mishap: Mishap) -> Self {
        // Who comes after an idle worker's death pays nothing, but may have been sent to it.
        let attempts = if moment == Moment::Idle { 2 } else { 1 };
        let builder = Pool::builder().workers(2).attempts(attempts).memory_limit(LIMIT as u64);
        // What the standard library prints of an abort is long enough without.
        let pool = Marked::build(builder.env("RUST_BACKTRACE", "0"));
        let mut data = pool.alloc::<u64>(4_096).expect("a little memory");
        data.fill(7);
        let kept = (moment == Moment::Sending).then(|| pool.alloc(3 << 20).expect("memory"));
        Scene {
            name: format!("{mishap:?} while {moment:?}"),
            moment,
            mishap,
            pids: pool.worker_pids(),
            data: data.freeze(),
            kept,
            pool,
        }
    }

    /// The task that comes to grief.
    fn submit(&self, trick: Trick) -> JoinHandle<Trick> {
        let mishap = self.mishap;
        let submit = move |pool: &Pool| match mishap {
            Mishap::Stop => pool.task().timeout(TIME).submit(perform, trick),
            _ => pool.submit(perform, trick),
        };
        if self.moment != Moment::FromCallback {
            return submit(&self.pool);
        }
        let (handles, submitted) = channel();
        let pool = self.pool.weak();
        self.pool.submit(|()| (), ()).on_done(move |_| {
            let handle = submit(&pool.upgrade().expect("the test has it"));
            handles.send(handle).expect("the test waits");
        });
        submitted.recv_timeout(DEADLINE).expect("the callback is called")
    }

    /// Tasks that have nothing to do with it all.
    fn bystanders(&self) -> Vec<JoinHandle<(u64, u32)>> {
        let sum =
            |(data, from): (Buffer<u64>, usize)| (data[from..].iter().sum::<u64>(), attempt());
        (0..6).map(|from| self.pool.submit(sum, (self.data.clone(), from))).collect()
    }

    #[track_caller]
    fn are_done(&self, bystanders: Vec<JoinHandle<(u64, u32)>>) {
        for (from, handle) in (0..).zip(bystanders) {
            let sum =
                join(handle).unwrap_or_else(|error| panic!("{}: behind it: {error}", self.name));
            assert_eq!(sum, ((4_096 - from) * 7, 1), "{}", self.name);
        }
    }

    #[track_caller]
    fn sees(&self, result: Result<Trick, TaskError>, id: u64, pid: u32) {
        let name = &self.name;
        let error = match (outcome(self.moment, self.mishap), result) {
            (Outcome::Result | Outcome::ResultOrDied(_), Ok(_)) => return,
            (Outcome::Result, Err(error)) => panic!("{name}: {error:?}"),
            (wanted, Ok(_)) => panic!("{name}: a result, and not {wanted:?}"),
            (_, Err(error)) => error,
        };
        self.assert_error(&error, pid);
        let task = error.task().unwrap_or_else(|| panic!("{name}: names no task: {error}"));
        let is_named = task.id == id && task.item.is_none() && task.function.ends_with("perform");
        assert!(is_named, "{name}: {task}");
    }

    #[track_caller]
    fn assert_error(&self, error: &TaskError, pid: u32) {
        let Scene { name, moment, mishap, .. } = self;
        let wanted = outcome(*moment, *mishap);
        match (wanted, error) {
            (Outcome::Panicked, TaskError::Panicked(panicked)) => {
                assert_eq!(panicked.message, PLANNED, "{name}");
                let location = panicked.location.as_deref().unwrap_or_default();
                assert!(location.contains("tests/common/trick.rs:"), "{name}: at {location}");
            }
            (Outcome::Refused, TaskError::Decode(value) | TaskError::Encode(value)) => {
                let decodes = matches!(error, TaskError::Decode(_));
                assert_eq!(decodes, *moment == Moment::Decoding, "{name}: {error}");
                assert!(value.type_name.ends_with("Trick"), "{name}: {}", value.type_name);
                assert!(value.source.to_string().contains(PLANNED), "{name}: {}", value.source);
            }
            (Outcome::TimedOut, TaskError::TimedOut { after, .. }) => {
                assert_eq!(*after, TIME, "{name}");
            }
            (Outcome::Died(phase) | Outcome::ResultOrDied(phase), TaskError::WorkerDied(death)) => {
                assert_status(name, *mishap, death.status);
                assert_eq!((death.phase, death.attempts), (phase, 1), "{name}");
                assert_eq!((death.pid, death.generation), (pid, 1), "{name}");
            }
            (_, other) => panic!("{name}: {other:?}, and not {wanted:?}"),
        }
    }

    /// Waits until the worker is replaced, if it dies, and sees that all is well.
    #[track_caller]
    fn ends_well(mut self, pid: u32) {
        let name = self.name.clone();
        let deaths = u64::from(!self.mishap.is_survived());
        let is_hidden = self.mishap == Mishap::Stop && self.moment == Moment::Idle;
        if is_hidden {
            // Before that it could begin something, which would be what its stop costs.
            eventually("it is stopped", || is_stopped(pid));
        }
        if is_hidden || self.mishap == Mishap::CloseAll {
            // Somebody has to talk to it before it is found out.
            let submit = |number| match self.mishap {
                Mishap::Stop => self.pool.task().timeout(TIME).submit(|x: u32| x, number),
                _ => self.pool.submit(|x: u32| x, number),
            };
            eventually("the worker that answers nobody is dead", || {
                let both = [5, 6].map(submit);
                assert_eq!(both.map(|handle| join(handle).ok()), [Some(5), Some(6)], "{name}");
                self.pool.stats().workers_died == deaths
            });
        }
        if deaths > 0 {
            self.pool.is_whole_without(&[pid]);
            let neighbour = self.pids.iter().find(|&&other| other != pid);
            assert!(self.pool.worker_pids().contains(neighbour.expect("two workers")), "{name}");
        } else {
            assert_eq!(self.pool.worker_pids(), self.pids, "{name}: nobody has died");
        }
        assert_eq!(self.pool.stats().workers_died, deaths, "{name}");
        for number in 0..8_u32 {
            let next = join(self.pool.submit(|x: u32| x + 1, number));
            assert_eq!(next.ok(), Some(number + 1), "{name}");
        }
        let Scene { pool, data, kept, .. } = self;
        drop((data, kept));
        eventually("no block is in use", || pool.stats().blocks_live == 0);
        pool.end();
    }
}

#[track_caller]
fn assert_status(name: &str, mishap: Mishap, status: ExitStatus) {
    match (mishap, status) {
        (Mishap::Exit(code), status) => assert_eq!(status, ExitStatus::Exited(code), "{name}"),
        (_, ExitStatus::Signaled { signal, .. }) => {
            assert!(mishap.signals().contains(&signal), "{name}: {status}");
        }
        (_, other) => panic!("{name}: {other}"),
    }
}

/// One case: what the mishap at this moment costs.
fn case(moment: Moment, mishap: Mishap) {
    let mut scene = Scene::new(moment, mishap);
    let (beside_gate, gate) = (Gate::new(), Gate::new());
    let beside = scene.pool.submit(pass_through, beside_gate.name());
    let beside_arrival = beside_gate.arrival();
    let trick = scene.submit(Trick::new(moment, mishap).behind(gate.name()));
    let (id, arrival) = (trick.id(), gate.arrival());
    let pid = arrival.number;
    // The first two go behind the two that wait, the others stay in the queue.
    let behind = scene.bystanders();
    let result = match moment {
        Moment::Idle => {
            let result = join(trick);
            // One of them may have been sent behind the task on the other worker.
            drop(beside_arrival);
            scene.are_done(behind);
            drop(arrival);
            result
        }
        _ => {
            if moment == Moment::Sending {
                eventually("the worker waits", || scene.pool.stats().memory_waits > 0);
            }
            drop(arrival);
            if mishap.is_survived() || mishap == Mishap::CloseAll {
                drop(scene.kept.take());
            }
            let result = join(trick);
            drop(beside_arrival);
            scene.are_done(behind);
            result
        }
    };
    assert_eq!(join(beside).ok(), Some(1), "{}: the task on the other worker", scene.name);
    scene.sees(result, id, pid);
    scene.ends_well(pid);
}

/// The same in the first attempt only, when there is another.
fn once(moment: Moment, mishap: Mishap) {
    let name = format!("{mishap:?} once while {moment:?}");
    let pool = Marked::build(Pool::builder().workers(1).env("RUST_BACKTRACE", "0"));
    let trick = join(pool.submit(perform, Trick::new(moment, mishap).once()));
    assert!(trick.is_ok(), "{name}: {trick:?}");
    let stats = pool.stats();
    assert_eq!((stats.tasks_retried, stats.workers_died), (1, 1), "{name}");
    assert_eq!((stats.tasks_completed, stats.tasks_failed), (1, 0), "{name}");
    pool.end();
}
