//! A control group for tests of what happens beyond its limit.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A control group of version 1 below this process's, with a limit for memory; gone when dropped.
pub(crate) struct Group(pub(crate) PathBuf);

impl Group {
    pub(crate) fn new(limit: usize) -> Option<Self> {
        let group = Self::of("memory")?;
        fs::write(group.0.join("memory.limit_in_bytes"), limit.to_string()).ok()?;
        Some(group)
    }

    /// Of another kind than memory.
    pub(crate) fn of(controller: &str) -> Option<Self> {
        let own = fs::read_to_string("/proc/self/cgroup").ok()?;
        let own = own.lines().find_map(|line| line.split_once(&format!(":{controller}:")))?.1;
        let parent = Path::new("/sys/fs/cgroup").join(controller).join(own.trim_start_matches('/'));
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let group = Group(parent.join(format!("pannier-{}-{count}", std::process::id())));
        fs::create_dir(&group.0).ok()?;
        Some(group)
    }

    /// Puts a process in.
    pub(crate) fn take(&self, pid: u32) {
        self.write("cgroup.procs", &pid.to_string());
    }

    /// Puts one thread of a process in.
    pub(crate) fn take_thread(&self, thread: u32) {
        self.write("tasks", &thread.to_string());
    }

    pub(crate) fn write(&self, file: &str, value: &str) {
        fs::write(self.0.join(file), value).expect("a group of our own");
    }

    pub(crate) fn read(&self, file: &str) -> String {
        fs::read_to_string(self.0.join(file)).expect("a group of our own").trim().to_owned()
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
