//! What the kernel says that this process and its children hold.
//!
//! It shares nothing with the library's own counters, which are kept beside it only to be compared.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

/// What was held at one moment. Of the children the one that holds most counts, where it is not memory.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Sample {
    pub(crate) frames: u64,
    pub(crate) seconds: f64,
    pub(crate) fds: u64,
    pub(crate) child_fds: u64,
    pub(crate) maps: u64,
    pub(crate) child_maps: u64,
    pub(crate) threads: u64,
    pub(crate) rss_kib: u64,
    pub(crate) child_rss_kib: u64,
    /// Of all processes, each shared page counted once.
    pub(crate) pss_kib: u64,
    /// Pages of shared memory behind descriptors of any of the processes.
    pub(crate) shared_kib: u64,
    pub(crate) names: u64,
    /// By the library.
    pub(crate) blocks: u64,
    pub(crate) segments: u64,
    pub(crate) segment_kib: u64,
}

/// A figure that must not grow: its name, where it is, and what it may grow by beside a twentieth.
type Series = (&'static str, fn(&Sample) -> u64, u64);

const SERIES: [Series; 13] = [
    ("descriptors", |s| s.fds, 8),
    ("descriptors, a child", |s| s.child_fds, 8),
    ("maps", |s| s.maps, 16),
    ("maps, a child", |s| s.child_maps, 16),
    ("threads", |s| s.threads, 0),
    ("VmRSS, KiB", |s| s.rss_kib, MEMORY),
    ("VmRSS, KiB, a child", |s| s.child_rss_kib, MEMORY),
    ("PSS of all, KiB", |s| s.pss_kib, MEMORY),
    ("shared memory, KiB", |s| s.shared_kib, MEMORY),
    ("names in /dev/shm, temp", |s| s.names, 0),
    ("blocks live", |s| s.blocks, 64),
    ("segments", |s| s.segments, 8),
    ("segments, KiB", |s| s.segment_kib, MEMORY),
];
/// In KiB: one large buffer more or less, by chance.
const MEMORY: u64 = 16 << 10;

/// How a figure went: medians of the first and of the last tenth after the warm-up.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Course {
    pub(crate) name: &'static str,
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) most: u64,
    pub(crate) is_flat: bool,
}

impl Course {
    fn of((name, figure, slack): Series, samples: &[Sample]) -> Self {
        let tenth = (samples.len() / 10).max(1);
        let median = |samples: &[Sample]| {
            let mut figures: Vec<u64> = samples.iter().map(figure).collect();
            figures.sort_unstable();
            figures.get(figures.len() / 2).copied().unwrap_or_default()
        };
        let warm = &samples[tenth.min(samples.len())..];
        let first = median(&warm[..tenth.min(warm.len())]);
        let last = median(&warm[warm.len() - tenth.min(warm.len())..]);
        let most = warm.iter().map(figure).max().unwrap_or_default();
        Course { name, first, last, most, is_flat: last <= first + first / 20 + slack }
    }
}

/// Each figure's course over the samples; the first tenth of them is the warm-up.
///
/// Flat is one whose median in the last tenth is at most a twentieth and a small constant above that
/// of the first tenth after the warm-up.
pub(crate) fn courses(samples: &[Sample]) -> Vec<Course> {
    SERIES.iter().map(|&series| Course::of(series, samples)).collect()
}

/// Looks at this process and its children.
pub(crate) struct Audit {
    /// Names that others had made before.
    strange: BTreeSet<String>,
    own: u32,
}

impl Audit {
    pub(crate) fn begin() -> Self {
        let own = std::process::id();
        Audit { strange: names(&[own]), own }
    }

    /// A sample, but for what the library says of itself.
    pub(crate) fn sample(&self, frames: u64, after: Duration) -> Sample {
        let children = children(self.own);
        let most = |of: fn(u32) -> u64| children.iter().map(|&pid| of(pid)).max().unwrap_or(0);
        let all: Vec<u32> = children.iter().copied().chain([self.own]).collect();
        Sample {
            frames,
            seconds: after.as_secs_f64(),
            fds: entries(self.own, "fd"),
            child_fds: most(|pid| entries(pid, "fd")),
            maps: maps(self.own),
            child_maps: most(maps),
            threads: entries(self.own, "task"),
            rss_kib: kib(self.own, "status", "VmRSS:"),
            child_rss_kib: most(|pid| kib(pid, "status", "VmRSS:")),
            pss_kib: all.iter().map(|&pid| kib(pid, "smaps_rollup", "Pss:")).sum(),
            shared_kib: shared_bytes(&all) >> 10,
            names: names(&all).difference(&self.strange).count() as u64,
            ..Sample::default()
        }
    }
}

/// What this process has when nothing is at work: descriptors, maps of shared memory, children.
pub(crate) fn belongings() -> [u64; 3] {
    let own = std::process::id();
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let shared = maps.lines().filter(|line| line.contains("memfd:")).count() as u64;
    [entries(own, "fd"), shared, children(own).len() as u64]
}

/// A process that has ended meanwhile has nothing.
fn entries(pid: u32, directory: &str) -> u64 {
    fs::read_dir(format!("/proc/{pid}/{directory}")).map_or(0, |entries| entries.count() as u64)
}

fn maps(pid: u32) -> u64 {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    maps.lines().count() as u64
}

fn kib(pid: u32, file: &str, field: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.unwrap_or_default()
}

/// The processes that this one has started.
fn children(own: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{own}/task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let parse = |list: String| -> Vec<u32> {
        list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
    };
    lists.flat_map(parse).collect()
}

/// Each memory object counts once, however many have it open.
fn shared_bytes(pids: &[u32]) -> u64 {
    let folders = pids.iter().filter_map(|pid| fs::read_dir(format!("/proc/{pid}/fd")).ok());
    let is_memory = |path: &PathBuf| {
        fs::read_link(path).is_ok_and(|target| target.to_string_lossy().contains("memfd:"))
    };
    let paths = folders.flatten().flatten().map(|entry| entry.path()).filter(is_memory);
    let objects: BTreeSet<(u64, u64)> =
        paths.filter_map(|path| fs::metadata(path).ok()).map(|m| (m.ino(), m.blocks())).collect();
    objects.iter().map(|(_, blocks)| blocks * 512).sum()
}

/// Names that may be the library's: there should never be any. What carries the number of another
/// living process is that one's.
fn names(own: &[u32]) -> BTreeSet<String> {
    let folders = [PathBuf::from("/dev/shm"), std::env::temp_dir()];
    let entries = folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
    let is_others = |name: &str| {
        let mut numbers = name.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok());
        numbers.any(|pid| !own.contains(&pid) && Path::new(&format!("/proc/{pid}")).exists())
    };
    let names = entries.map(|entry| entry.path().to_string_lossy().into_owned());
    names.filter(|name| name.contains("pannier") && !is_others(name)).collect()
}
