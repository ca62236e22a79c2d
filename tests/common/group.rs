//! A control group for tests of what happens beyond its limit.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A control group of version 1 below this process's, with a limit for memory; gone when dropped.
pub(crate) struct Group(pub(crate) PathBuf);

impl Group {
    pub(crate) fn new(limit: usize) -> Option<Self> {
        let group = Self::of("memory")?;
        fs::write(group.0.join("memory.limit_in_bytes"), limit.to_string()).ok()?;
        Some(group)
    }

    /// Of another kind than memory; one of each in a process.
    pub(crate) fn of(controller: &str) -> Option<Self> {
        let own = fs::read_to_string("/proc/self/cgroup").ok()?;
        let own = own.lines().find_map(|line| line.split_once(&format!(":{controller}:")))?.1;
        let parent = Path::new("/sys/fs/cgroup").join(controller).join(own.trim_start_matches('/'));
        let group = Group(parent.join(format!("pannier-{}", std::process::id())));
        fs::create_dir(&group.0).ok()?;
        Some(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The kernel needs a moment to take a process out that has ended.
        let deadline = Instant::now() + Duration::from_secs(10);
        while fs::remove_dir(&self.0).is_err() && Instant::now() < deadline {
            std::thread::yield_now();
        }
    }
}
