//! A worker is killed under a hundred tasks (T10): what it costs, and how soon that is known.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use pannier::{JoinHandle, Pool, TaskError};
use rustix::process::{Signal, getpid, kill_process};
use rustix::time::{ClockId, clock_gettime};

use crate::contest::{Times, at_least, at_most, show_times};

pub(crate) const ROWS: &[crate::Row] = &[("deaths: a worker killed under 100 tasks", deaths)];

const TASKS: u32 = 100;
const ROUNDS: usize = 300;
/// The task that kills its worker.
const DOOMED: u32 = 57;

/// Of every process on this machine.
fn now() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap())
}

/// Tells when, and dies; the first time, or each time.
fn die((number, attempts, name): (u32, u32, String)) -> u32 {
    let attempt = pannier::worker().unwrap().attempt;
    if number == DOOMED && attempt <= attempts {
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::unbound().unwrap();
        socket.connect_addr(&address).unwrap();
        socket.send(&now().as_nanos().to_le_bytes()).unwrap();
        kill_process(getpid(), Signal::KILL).unwrap();
    }
    number
}

/// What came of each round.
#[derive(Default)]
struct Taken {
    errors: Vec<Duration>,
    replaced: Vec<Duration>,
    results: Vec<u32>,
}

fn deaths(name: &str) {
    let pool = |attempts| Pool::builder().workers(2).attempts(attempts).build().unwrap();
    let once = rounds(&pool(1), 1);
    let twice = rounds(&pool(2), 1);
    let least = |taken: &Taken| f64::from(*taken.results.iter().min().unwrap());
    let (errors, replaced) = (
        Times::new("from the kill to the error", once.errors.clone()),
        Times::new("from the kill to all workers ready", once.replaced.clone()),
    );
    let (error, whole) = (errors.median(), replaced.median());
    show_times(name, &[errors, replaced]);
    at_least("T10", "results with one attempt, fewest", least(&once), f64::from(TASKS - 1));
    at_least("T10", "results with two attempts, fewest", least(&twice), f64::from(TASKS));
    at_most("T10", "ms to the error, median", error.as_secs_f64() * 1e3, 2.0);
    at_most("T10", "ms to the replacement, median", whole.as_secs_f64() * 1e3, 10.0);
}

fn rounds(pool: &Pool, attempts: u32) -> Taken {
    let name = format!("pannier-deaths-{}-{}", std::process::id(), now().as_nanos());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let told = UnixDatagram::bind_addr(&address).unwrap();
    let mut taken = Taken::default();
    for _ in 0..ROUNDS {
        let before = pool.stats().workers_started;
        let submit = |number| pool.submit(die, (number, attempts, name.clone()));
        let mut handles: Vec<Option<JoinHandle<u32>>> = (0..TASKS).map(submit).map(Some).collect();
        let doomed = handles[DOOMED as usize].take().unwrap().join();
        let after = now();
        let mut bytes = [0; 16];
        told.recv(&mut bytes).unwrap();
        let killed = Duration::from_nanos(u64::try_from(u128::from_le_bytes(bytes)).unwrap());
        if matches!(doomed, Err(TaskError::WorkerDied(_))) {
            taken.errors.push(after - killed);
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        while pool.stats().workers_started == before || pool.worker_pids().len() < 2 {
            assert!(Instant::now() < deadline, "the worker is not replaced");
            std::thread::yield_now();
        }
        taken.replaced.push(now() - killed);
        let others = handles.into_iter().flatten().filter_map(|handle| handle.join().ok()).count();
        taken.results.push(u32::try_from(others).unwrap() + u32::from(doomed.is_ok()));
    }
    taken
}
