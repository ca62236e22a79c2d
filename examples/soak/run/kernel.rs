//! What the kernel knows of this process and of its workers.

use std::fs;
use std::time::{Duration, Instant};

/// In the environment of workers and of all that they start.
pub(crate) const MARK: &str = "SOAK_MARK";

/// Descriptors and maps of shared memory.
pub(crate) fn belongings() -> [i64; 2] {
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let shared = maps.lines().filter(|line| line.contains("memfd:")).count();
    let fds = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    [fds, shared].map(|count| i64::try_from(count).unwrap_or(i64::MAX))
}

/// Kibibytes of memory of its own, and descriptors.
pub(crate) fn size() -> [u64; 2] {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let anon = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
    let fds = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    [anon.unwrap_or(0), fds as u64]
}

/// What there is when the kernel has done what it does later.
pub(crate) fn settled(before: [i64; 2]) -> [i64; 2] {
    let deadline = Instant::now() + Duration::from_secs(5);
    while belongings() != before && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
    belongings()
}

/// Processes that carry the mark, be it deep below, and children that nobody has reaped.
pub(crate) fn left(mark: &str) -> u64 {
    let deadline = Instant::now() + Duration::from_secs(5);
    while living(mark) + zombies() > 0 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    living(mark) + zombies()
}

/// How many workers there are too many or too few, when there is no change any more.
pub(crate) fn miscount(mark: &str, expected: u64) -> u64 {
    const LOOKS: u32 = 10;
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut right = 0;
    while right < LOOKS && Instant::now() < deadline {
        right = if living(mark) == expected { right + 1 } else { 0 };
        std::thread::sleep(Duration::from_millis(5));
    }
    if right == LOOKS { 0 } else { living(mark).abs_diff(expected).max(1) }
}

fn living(mark: &str) -> u64 {
    let word = format!("{MARK}={mark}");
    let marked = processes().filter(|entry| {
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        environment.split(|&byte| byte == 0).any(|found| found == word.as_bytes())
    });
    marked.count() as u64
}

/// They have no environment any more.
fn zombies() -> u64 {
    let own = format!(" Z {} ", std::process::id());
    let stat = |entry: fs::DirEntry| fs::read_to_string(entry.path().join("stat"));
    processes().filter_map(|entry| stat(entry).ok()).filter(|stat| stat.contains(&own)).count()
        as u64
}

fn processes() -> impl Iterator<Item = fs::DirEntry> {
    let is_number =
        |entry: &fs::DirEntry| entry.file_name().to_string_lossy().parse::<u32>().is_ok();
    fs::read_dir("/proc").into_iter().flatten().flatten().filter(is_number)
}

/// Files with this process's number that may be the library's: there should never be any.
pub(crate) fn names() -> u64 {
    let folders = ["/dev/shm".into(), std::env::temp_dir()];
    let entries = folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let own = std::process::id().to_string();
    names.filter(|name| name.contains("pannier") && name.contains(&own)).count() as u64
}
