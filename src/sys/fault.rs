//! Fault points: steps of the protocol at which a test makes this process die, stop or dawdle.
//!
//! With the feature `fault-points`, which is for this crate's own tests, `fault!("worker.after_claim")`
//! looks into the list in the environment, `PANNIER_FAULTS`: `point:what@n`, separated by commas.
//! When the point is passed for the n-th time (the first if none is said), this process is killed
//! (`kill`), aborts (`abort`), stops until it is continued (`stop`) or sleeps for a moment (`delay`).
//! Of workers only the first in each place does so, or none would come to its work; `@0` is every
//! passage of every worker.
//! Promises: nothing is left of a point in a build without the feature.
//! Does not know: what the points mean.
#![forbid(unsafe_code)]

/// A step of the protocol that a test may end a process at.
macro_rules! fault {
    ($point:literal) => {
        #[cfg(feature = "fault-points")]
        $crate::sys::fault::pass($point);
    };
}
pub(crate) use fault;

#[cfg(feature = "fault-points")]
mod plan {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
    use std::time::Duration;

    use rustix::process::{Signal, getpid, kill_process};

    /// One entry of the list.
    struct Fault {
        point: String,
        what: String,
        count: u32,
        passed: AtomicU32,
    }

    static PLAN: OnceLock<Vec<Fault>> = OnceLock::new();
    static IS_OVER: AtomicBool = AtomicBool::new(false);

    /// In a worker: which of its place it is.
    pub(crate) fn begin(generation: u32) {
        IS_OVER.store(generation > 1, Ordering::Relaxed);
    }

    /// This process comes to a point.
    pub(crate) fn pass(point: &str) {
        let is_over = IS_OVER.load(Ordering::Relaxed);
        for fault in PLAN.get_or_init(read).iter().filter(|fault| fault.point == point) {
            let is_due = || fault.passed.fetch_add(1, Ordering::Relaxed) + 1 == fault.count;
            if fault.count == 0 || !is_over && is_due() {
                happen(&fault.what);
            }
        }
    }

    fn read() -> Vec<Fault> {
        let list = std::env::var("PANNIER_FAULTS").unwrap_or_default();
        list.split(',').filter(|entry| !entry.is_empty()).map(parse).collect()
    }

    fn parse(entry: &str) -> Fault {
        let (point, rest) = entry.split_once(':').expect("point:what in PANNIER_FAULTS");
        let (what, count) = rest.split_once('@').unwrap_or((rest, "1"));
        Fault {
            point: point.to_owned(),
            what: what.to_owned(),
            count: count.parse().expect("a number behind the @ in PANNIER_FAULTS"),
            passed: AtomicU32::new(0),
        }
    }

    fn happen(what: &str) {
        let signal = |signal| kill_process(getpid(), signal).expect("this process is there");
        match what {
            "kill" => signal(Signal::KILL),
            "abort" => std::process::abort(),
            "stop" => signal(Signal::STOP),
            "delay" => std::thread::sleep(Duration::from_millis(20)),
            other => panic!("no such fault in PANNIER_FAULTS: {other}"),
        }
    }
}
#[cfg(feature = "fault-points")]
pub(crate) use plan::{begin, pass};
