//! Load, kills, and an audit: the body of the example and of `tests/soak.rs`.

mod ledger;
mod load;
mod tasks;

use std::collections::HashMap;
use std::error::Error;
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pannier::Pool;
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;

use self::ledger::{Ledger, now};
use self::load::{Tally, maps, singles};

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
    /// Delivered, and run again after that; or resolved as another task.
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
    pub(crate) delivered: u64,
    pub(crate) died: u64,
    pub(crate) cancelled: u64,
    pub(crate) killed_by_handle: u64,
    /// Any other error: there should be none.
    pub(crate) failed: u64,
}

impl Report {
    pub(crate) fn is_sound(&self) -> bool {
        let none = [self.lost, self.duplicated, self.wrong, self.failed, self.leaked_blocks];
        let left = [self.leaked_processes, self.shm_names];
        none.iter().chain(&left).all(|&count| count == 0)
            && self.leaked_fds <= 0
            && self.leaked_maps <= 0
            && self.submitted == self.resolved
    }
}

/// What the threads of a run share.
pub(crate) struct Stage {
    pub(crate) pool: Pool,
    pub(crate) ledger: Ledger,
    pub(crate) tally: Mutex<Tally>,
    pub(crate) over: AtomicBool,
    next: AtomicU64,
    /// Workers that were killed from outside, and when.
    shots: AtomicU64,
    shot: Mutex<HashMap<u32, Duration>>,
}

const WORKERS: usize = 3;
pub(crate) const ATTEMPTS: u32 = 2;
/// In the environment of workers and of all that they start.
const MARK: &str = "SOAK_MARK";

pub(crate) fn run(plan: &Plan) -> Result<Report, Box<dyn Error>> {
    // What is made once and kept is made now.
    drop(Pool::builder().workers(1).build()?);
    let (before, began) = (belongings(), Instant::now());
    let mark = format!("{}-{}", std::process::id(), plan.seed);
    let ledger = Ledger::create()?;
    let builder = Pool::builder().workers(WORKERS).attempts(ATTEMPTS);
    let pool = builder.env(MARK, &mark).env(ledger::PATH, ledger.path()).build()?;
    let stage = Stage {
        pool,
        ledger,
        tally: Mutex::default(),
        over: AtomicBool::new(false),
        next: AtomicU64::new(1),
        shots: AtomicU64::new(0),
        shot: Mutex::default(),
    };
    std::thread::scope(|scope| {
        scope.spawn(|| singles(&stage, plan.seed));
        scope.spawn(|| maps(&stage, plan.seed ^ 0xAAAA));
        shoot(&stage, plan, began);
        stage.over.store(true, Ordering::Relaxed);
    });
    let mut report = stage.end()?;
    report.seconds = began.elapsed().as_secs_f64();
    report.seed = plan.seed;
    let after = settled(before);
    report.leaked_fds = after[0] - before[0];
    report.leaked_maps = after[1] - before[1];
    report.leaked_processes = processes(&format!("{MARK}={mark}"));
    report.shm_names = names();
    Ok(report)
}

/// Kills workers from outside until there have been enough deaths.
fn shoot(stage: &Stage, plan: &Plan, began: Instant) {
    let mut random = Random(plan.seed ^ 0x5555);
    while stage.kills() < plan.kills && began.elapsed() < plan.time {
        std::thread::sleep(Duration::from_micros(random.below(6_000)));
        let pids = stage.pool.worker_pids();
        let pick = usize::try_from(random.below(pids.len().max(1) as u64)).unwrap_or(0);
        let Some(&pid) = pids.get(pick) else { continue };
        if random.below(5) == 0 && signal(pid, Signal::STOP) {
            std::thread::sleep(Duration::from_micros(random.below(5_000)));
        }
        let at = now();
        let mut shot = stage.shot.lock().expect("no thread of a soak panics");
        // One that is dying counts once. Numbers are used again, but not so soon.
        let is_fresh = shot.get(&pid).is_none_or(|&last| at > last + Duration::from_secs(1));
        if signal(pid, Signal::KILL) && is_fresh {
            shot.insert(pid, at);
            stage.shots.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn signal(pid: u32, signal: Signal) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| kill_process(pid, signal).is_ok())
}

impl Stage {
    pub(crate) fn next(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// When a worker was killed.
    pub(crate) fn death_of(&self, pid: u32) -> Option<Duration> {
        let shot = self.shot.lock().expect("no thread of a soak panics");
        shot.get(&pid).copied().or_else(|| self.ledger.death_of(pid))
    }

    fn kills(&self) -> u64 {
        self.shots.load(Ordering::Relaxed) + self.ledger.suicides()
    }

    /// Lets go of everything, and looks at every task once more.
    fn end(self) -> Result<Report, Box<dyn Error>> {
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.pool.stats().blocks_live > 0 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        let mut report = Report {
            leaked_blocks: self.pool.stats().blocks_live,
            kills: self.kills(),
            submitted: self.next.load(Ordering::Relaxed) - 1,
            ..Report::default()
        };
        let Stage { pool, ledger, tally, .. } = self;
        drop(pool);
        // After the end of all workers, so that whatever ran too late is there.
        tally.into_inner()?.audit(&ledger, &mut report);
        Ok(report)
    }
}

/// Descriptors and maps of shared memory.
fn belongings() -> [i64; 2] {
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let shared = maps.lines().filter(|line| line.contains("memfd:")).count();
    let fds = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    [fds, shared].map(|count| i64::try_from(count).unwrap_or(i64::MAX))
}

/// What there is when the kernel has done what it does later.
fn settled(before: [i64; 2]) -> [i64; 2] {
    let deadline = Instant::now() + Duration::from_secs(5);
    while belongings() != before && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
    belongings()
}

/// Processes that carry the mark, be it deep below.
fn processes(mark: &str) -> u64 {
    let living = || {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let marked = entries.filter(|entry| {
            let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
            environment.split(|&byte| byte == 0).any(|word| word == mark.as_bytes())
        });
        marked.count() as u64
    };
    let deadline = Instant::now() + Duration::from_secs(5);
    while living() > 0 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    living()
}

/// Files with this process's number that may be the library's: there should never be any.
fn names() -> u64 {
    let folders = ["/dev/shm".into(), std::env::temp_dir()];
    let entries = folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let own = std::process::id().to_string();
    names.filter(|name| name.contains("pannier") && name.contains(&own)).count() as u64
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
