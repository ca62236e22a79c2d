//! What the benches of two processes share: limit probes, and what the kernel is asked.

pub(crate) mod probe;

use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_setaffinity};

pub(crate) use self::probe::{Probe, Wait};

/// Keeps this thread on one CPU.
pub(crate) fn pin(cpu: Option<usize>) {
    let Some(cpu) = cpu else { return };
    let mut cpus = CpuSet::new();
    cpus.set(cpu);
    sched_setaffinity(None, &cpus).unwrap();
}

/// How long it takes, once.
pub(crate) fn time(act: impl FnOnce()) -> Duration {
    let began = Instant::now();
    act();
    began.elapsed()
}

/// Reads a byte of each page.
pub(crate) fn touch_pages(bytes: &[u8]) {
    bytes.iter().step_by(4096).for_each(|&byte| {
        std::hint::black_box(byte);
    });
}

/// Page faults of this process so far that needed no disk.
pub(crate) fn faults() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let behind_name = stat.rsplit_once(')').unwrap().1;
    behind_name.split_whitespace().nth(7).unwrap().parse().unwrap()
}
