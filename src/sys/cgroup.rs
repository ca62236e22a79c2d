//! How much memory the control groups of this process have left (cgroups(7), versions 1 and 2), and
//! the machine, which is the outermost of them.
//!
//! Beyond a limit the kernel does not refuse memory, it kills: so one must ask before.
//! Promises: the least of what all ancestors have left; file cache counts as free, because the
//! kernel gives it up first.
//! Does not know: what others in the same groups are about to take; it keeps a reserve for them.
#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};

/// What is left alone, as a part of the limit: pages that the rest of the program will want.
const RESERVE: u64 = 32;

/// Bytes that may be taken now; `None` where nothing can be learnt of a limit.
pub(crate) fn headroom() -> Option<u64> {
    let read = |path| fs::read_to_string(path).ok();
    let of_groups =
        read("/proc/self/cgroup").and_then(|own| headroom_in(Path::new("/sys/fs/cgroup"), &own));
    let of_machine = read("/proc/meminfo").and_then(|facts| machine_left(&facts));
    of_groups.into_iter().chain(of_machine).min()
}

/// By /proc/meminfo: what the kernel thinks it can give without killing anybody.
fn machine_left(meminfo: &str) -> Option<u64> {
    let bytes = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().trim_end_matches(" kB").parse::<u64>().ok()?.checked_mul(1024)
    };
    let free = bytes("MemAvailable:")?.saturating_add(bytes("SwapFree:").unwrap_or(0));
    Some(free.saturating_sub(bytes("MemTotal:")? / RESERVE))
}

fn headroom_in(root: &Path, groups: &str) -> Option<u64> {
    groups.lines().filter_map(|line| Group::of_line(root, line)).flat_map(Group::left).min()
}

/// The group of this process in one hierarchy that counts memory.
struct Group {
    root: PathBuf,
    path: PathBuf,
    files: &'static Files,
}

/// What the files of a version are called.
struct Files {
    /// Beyond the first the kernel kills; beyond others it brings everything almost to a halt.
    limits: &'static [&'static str],
    usage: &'static str,
    /// Lines of memory.stat that count file cache, descendants included.
    cache: [&'static str; 2],
}

const VERSION_1: Files = Files {
    limits: &["memory.limit_in_bytes"],
    usage: "memory.usage_in_bytes",
    cache: ["total_inactive_file ", "total_active_file "],
};

const VERSION_2: Files = Files {
    limits: &["memory.max", "memory.high"],
    usage: "memory.current",
    cache: ["inactive_file ", "active_file "],
};

impl Group {
    /// Of a line of /proc/self/cgroup: hierarchy, controllers, path.
    fn of_line(root: &Path, line: &str) -> Option<Self> {
        let mut fields = line.splitn(3, ':');
        let (hierarchy, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let path = PathBuf::from(path.trim_start_matches('/'));
        if hierarchy == "0" {
            // Beside version 1 it is mounted one level below.
            let beside = root.join("unified");
            let root = if beside.is_dir() { beside } else { root.to_owned() };
            return Some(Group { root, path, files: &VERSION_2 });
        }
        let counts_memory = controllers.split(',').any(|controller| controller == "memory");
        counts_memory.then(|| Group { root: root.join("memory"), path, files: &VERSION_1 })
    }

    /// What the group and each of its ancestors have left. In a container the path may be that of
    /// the host, which is not to be seen; the root that is, is the container's own.
    fn left(self) -> Vec<u64> {
        let Group { root, path, files } = self;
        path.ancestors().filter_map(|path| left_in(&root.join(path), files)).collect()
    }
}

fn left_in(group: &Path, files: &Files) -> Option<u64> {
    let read = |name: &str| fs::read_to_string(group.join(name)).ok();
    let number = |name: &str| read(name)?.trim().parse::<u64>().ok();
    // "max", or a number beyond all memory, is no limit.
    let limits = files.limits.iter().filter_map(|name| number(name));
    let limit = limits.filter(|&limit| limit < 1 << 60).min()?;
    // A limit holds also where the usage is not to be seen.
    let usage = number(files.usage).unwrap_or(0);
    let stat = read("memory.stat").unwrap_or_default();
    let lines = stat.lines().filter_map(|line| {
        let count = files.cache.iter().find_map(|name| line.strip_prefix(name))?;
        count.trim().parse::<u64>().ok()
    });
    let cache: u64 = lines.sum();
    Some(limit.saturating_sub(usage.saturating_sub(cache)).saturating_sub(limit / RESERVE))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A made-up tree under the temporary folder, gone when dropped.
    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str, files: &[(&str, &str)]) -> Self {
            let root = std::env::temp_dir().join(format!("pannier-{name}-{}", std::process::id()));
            for (path, contents) in files {
                let path = root.join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, contents).unwrap();
            }
            Tree(root)
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn the_tightest_ancestor_decides() {
        let tree = Tree::new(
            "v2",
            &[
                ("memory.max", "max\n"),
                ("memory.current", "9000\n"),
                ("a/memory.max", "3200\n"),
                ("a/memory.current", "2000\n"),
                ("a/memory.stat", "anon 7\ninactive_file 300\nactive_file 200\nshmem 900\n"),
                ("a/b/memory.max", "100000\n"),
                ("a/b/memory.current", "10\n"),
            ],
        );
        assert_eq!(headroom_in(&tree.0, "0::/a/b\n"), Some(3200 - (2000 - 500) - 100));
        assert_eq!(headroom_in(&tree.0, "0::/\n"), None);
    }

    #[test]
    fn version_1_is_understood_and_may_lie_beside_version_2() {
        let tree = Tree::new(
            "v1",
            &[
                ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
                ("memory/memory.usage_in_bytes", "5\n"),
                ("memory/x/memory.limit_in_bytes", "6400\n"),
                ("memory/x/memory.usage_in_bytes", "1000\n"),
                (
                    "memory/x/memory.stat",
                    "total_inactive_file 400\ntotal_active_file 0\ncache 900\n",
                ),
            ],
        );
        let groups = "4:memory:/x\n3:cpu,cpuacct:/y\n0::/\n";
        assert_eq!(headroom_in(&tree.0, groups), Some(6400 - 600 - 200));
    }

    #[test]
    fn a_path_that_is_not_to_be_seen_leaves_the_root_that_is() {
        let tree = Tree::new("ns", &[("memory.max", "3200\n"), ("memory.current", "200\n")]);
        assert_eq!(headroom_in(&tree.0, "0::/docker/abc\n"), Some(2900));
    }

    #[test]
    fn every_group_between_this_one_and_the_root_counts_in_both_versions() {
        let tree = Tree::new(
            "nested",
            &[
                ("memory.max", "max\n"),
                ("a/memory.max", "64000\n"),
                ("a/memory.current", "10000\n"),
                ("a/b/memory.max", "max\n"),
                ("a/b/memory.current", "10000\n"),
                ("a/b/c/memory.max", "640000\n"),
                ("a/b/c/memory.current", "9000\n"),
                ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
                ("memory/x/memory.limit_in_bytes", "32000\n"),
                ("memory/x/memory.usage_in_bytes", "1000\n"),
                ("memory/x/y/memory.limit_in_bytes", "9223372036854771712\n"),
                ("memory/x/y/memory.usage_in_bytes", "500\n"),
            ],
        );
        assert_eq!(headroom_in(&tree.0, "0::/a/b/c\n"), Some(64_000 - 10_000 - 2_000));
        assert_eq!(headroom_in(&tree.0, "7:cpu,memory:/x/y\n"), Some(32_000 - 1_000 - 1_000));
        let both = "7:memory:/x/y\n0::/a/b/c\n";
        assert_eq!(headroom_in(&tree.0, both), Some(32_000 - 1_000 - 1_000));
        assert_eq!(headroom_in(&tree.0, "0::/a/b/gone\n"), Some(64_000 - 10_000 - 2_000));
    }

    #[test]
    fn a_limit_that_slows_down_counts_as_one_that_kills() {
        let tree = Tree::new(
            "high",
            &[
                ("unified/a/memory.max", "64000\n"),
                ("unified/a/memory.high", "32000\n"),
                ("unified/a/memory.current", "1000\n"),
                ("unified/b/memory.high", "max\n"),
            ],
        );
        assert_eq!(headroom_in(&tree.0, "0::/a\n"), Some(32_000 - 1_000 - 1_000));
        assert_eq!(headroom_in(&tree.0, "0::/b\n"), None);
    }

    #[test]
    fn files_that_are_missing_or_garbled_take_nothing_from_those_that_are_there() {
        let tree = Tree::new(
            "missing",
            &[
                ("memory.current", "77\n"),
                ("a/memory.max", "6400\n"),
                ("a/b/memory.max", "many\n"),
                ("a/b/memory.current", "5\n"),
                ("a/b/c/memory.max", "3200\n"),
                ("a/b/c/memory.current", "100\n"),
                ("a/b/c/memory.stat", "inactive_file\nactive_file x\n"),
            ],
        );
        assert_eq!(headroom_in(&tree.0, "0::/\n"), None);
        assert_eq!(headroom_in(&tree.0, "0::/a/b\n"), Some(6400 - 200));
        assert_eq!(headroom_in(&tree.0, "0::/a/b/c\n"), Some(3200 - 100 - 100));
        assert_eq!(headroom_in(&tree.0.join("not there"), "0::/a\n3:memory:/a\n"), None);
    }

    #[test]
    fn the_machine_is_the_outermost_group() {
        let facts = "MemTotal:  32 kB\nMemFree: 1 kB\nMemAvailable:   20 kB\nSwapFree:  4 kB\n";
        assert_eq!(machine_left(facts), Some((20 + 4 - 1) * 1024));
        assert_eq!(machine_left("MemTotal: 32 kB\n"), None);
        assert!(headroom().is_some(), "of this machine something is known");
    }

    #[test]
    fn a_group_beyond_its_limit_has_nothing_left() {
        let tree = Tree::new("full", &[("memory.max", "3200\n"), ("memory.current", "5000\n")]);
        assert_eq!(headroom_in(&tree.0, "0::/\n"), Some(0));
        assert_eq!(headroom_in(&tree.0, "nonsense"), None);
    }
}
