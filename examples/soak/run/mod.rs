//! Load, trouble, and an audit: the body of the example and of `tests/soak.rs`.

mod audit;
mod kernel;
mod ledger;
mod load;
mod tasks;
mod trouble;

use std::error::Error;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use pannier::Pool;
use serde::Serialize;

use self::audit::Audit;
use self::kernel::{MARK, belongings, settled};
use self::ledger::Ledger;
use self::load::{maps, singles};
use self::tasks::{ATTEMPTS, TIMEOUT};

/// How much is to be killed, at most for how long.
pub(crate) struct Plan {
    pub(crate) kills: u64,
    pub(crate) time: Duration,
    pub(crate) seed: u64,
}

/// How it went.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    pub(crate) submitted: u64,
    pub(crate) resolved: u64,
    /// Never resolved.
    pub(crate) lost: u64,
    /// Delivered, and run again after that; resolved as another task; or run too often.
    pub(crate) duplicated: u64,
    /// Workers killed by signal or by their own task.
    pub(crate) kills: u64,
    pub(crate) leaked_blocks: u64,
    pub(crate) leaked_fds: i64,
    pub(crate) leaked_processes: u64,
    pub(crate) leaked_maps: i64,
    pub(crate) shm_names: u64,
    /// From a kill to the error of the single task that it cost.
    pub(crate) max_error_latency_ms: f64,
    pub(crate) seconds: f64,
    pub(crate) seed: u64,
    /// Results with wrong values.
    pub(crate) wrong: u64,
    /// Any other error, a death of a worker that nobody killed, a time that was not over: there should be
    /// none.
    pub(crate) failed: u64,
    /// What the first of them was.
    pub(crate) first_failure: Option<String>,
    /// Workers too many or too few after the last changes of their number.
    pub(crate) miscounted: u64,
    pub(crate) delivered: u64,
    pub(crate) died: u64,
    pub(crate) timeouts: u64,
    /// From the end of a single task's time to its error.
    pub(crate) max_overtime_ms: f64,
    pub(crate) cancelled: u64,
    pub(crate) killed_by_handle: u64,
    pub(crate) resizes: u64,
    /// Workers that were stopped and left to the pool.
    pub(crate) stops: u64,
    /// Of this process, early and late: kibibytes of its own, descriptors.
    pub(crate) early: [u64; 2],
    pub(crate) late: [u64; 2],
}

impl Report {
    pub(crate) fn is_sound(&self) -> bool {
        let none = [self.lost, self.duplicated, self.wrong, self.failed, self.leaked_blocks];
        let left = [self.leaked_processes, self.shm_names, self.miscounted];
        none.iter().chain(&left).all(|&count| count == 0)
            && self.leaked_fds <= 0
            && self.leaked_maps <= 0
            && self.submitted == self.resolved
            && self.has_not_grown()
    }

    /// A fourth more and a constant: what differs from one moment to the next.
    fn has_not_grown(&self) -> bool {
        let [memory, fds] = self.early.map(|early| early + early / 4);
        self.late[0] <= memory + (16 << 10) && self.late[1] <= fds + 64
    }
}

/// What the threads of a run share.
pub(crate) struct Stage {
    pub(crate) pool: Pool,
    audit: Mutex<Audit>,
    over: AtomicBool,
    next: AtomicU64,
}

const WORKERS: usize = 3;

pub(crate) fn run(plan: &Plan) -> Result<Report, Box<dyn Error>> {
    // What is made once and kept is made now.
    drop(Pool::builder().workers(1).build()?);
    let (before, began) = (belongings(), Instant::now());
    let mark = format!("{}-{}", std::process::id(), plan.seed);
    let ledger = Ledger::create()?;
    let builder = Pool::builder().workers(WORKERS).attempts(ATTEMPTS).task_timeout(TIMEOUT);
    let pool = builder.env(MARK, &mark).env(ledger::PATH, ledger.path()).build()?;
    let stage = Stage {
        pool,
        audit: Mutex::new(Audit::new(ledger)),
        over: AtomicBool::new(false),
        next: AtomicU64::new(1),
    };
    let sizes = std::thread::scope(|scope| {
        scope.spawn(|| singles(&stage, plan.seed));
        scope.spawn(|| maps(&stage, plan.seed ^ 0xAAAA));
        let sizes = trouble::make(&stage, plan, began);
        stage.over.store(true, Ordering::Relaxed);
        sizes
    });
    let mut report = stage.end(&mark, &mut Random(plan.seed))?;
    (report.early, report.late) = early_and_late(&sizes);
    report.seconds = began.elapsed().as_secs_f64();
    report.seed = plan.seed;
    let after = settled(before);
    report.leaked_fds = after[0] - before[0];
    report.leaked_maps = after[1] - before[1];
    report.leaked_processes = kernel::left(&mark);
    report.shm_names = kernel::names();
    Ok(report)
}

/// The medians of the second tenth and of the last one.
fn early_and_late(sizes: &[[u64; 2]]) -> ([u64; 2], [u64; 2]) {
    let tenth = sizes.len().div_ceil(10);
    let median = |from: usize| {
        let part = sizes.iter().skip(from).take(tenth);
        [0, 1].map(|which| {
            let mut part: Vec<u64> = part.clone().map(|size| size[which]).collect();
            part.sort_unstable();
            part.get(part.len() / 2).copied().unwrap_or(0)
        })
    };
    (median(tenth), median(sizes.len() - tenth))
}

impl Stage {
    pub(crate) fn next(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    pub(crate) fn audit(&self) -> MutexGuard<'_, Audit> {
        self.audit.lock().expect("no thread of a soak panics")
    }

    /// Counts the workers, lets go of everything, and looks at every task once more.
    fn end(self, mark: &str, random: &mut Random) -> Result<Report, Box<dyn Error>> {
        let mut miscounted = 0;
        let workers = 2 + random.below(trouble::MOST);
        trouble::resize(&self, workers);
        miscounted += kernel::miscount(mark, workers);
        // Those who are to go now do not hear of it.
        trouble::stop_all(&self);
        trouble::resize(&self, 1);
        miscounted += kernel::miscount(mark, 1);
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.pool.stats().blocks_live > 0 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        let leaked_blocks = self.pool.stats().blocks_live;
        let Stage { pool, audit, .. } = self;
        drop(pool);
        // After the end of all workers, so that whatever ran too late is there.
        Ok(Report { miscounted, leaked_blocks, ..audit.into_inner()?.finish() })
    }
}

/// Numbers that look random and are the same for the same seed (SplitMix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}
