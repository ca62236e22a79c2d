//! Programs that a test starts, and what they must not leave.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// For what takes a second at most; the machine may be busy.
const DEADLINE: Duration = Duration::from_secs(60);

/// A variable that a program of a test and all its children have in their environment.
const MARK: &str = "PANNIER_INTEROP_TEST";

/// One test at a time, with a folder of its own for temporary files.
pub(crate) struct Place {
    folder: PathBuf,
    mark: String,
    descriptors: usize,
    memory: Vec<String>,
    _alone: MutexGuard<'static, ()>,
}

impl Place {
    pub(crate) fn new() -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let mark = format!("{}-{count}", std::process::id());
        let folder = std::env::temp_dir().join(format!("pannier-interop-{mark}"));
        fs::create_dir(&folder).unwrap();
        let (descriptors, memory) = (names("/proc/self/fd").len(), named_memory());
        Place { folder, mark, descriptors, memory, _alone: alone }
    }

    /// Starts an example of this package.
    pub(crate) fn start(&self, example: &str, arguments: &[&str]) -> Program {
        let mut command = Command::new(built(example));
        command.args(arguments).env("TMPDIR", &self.folder).env(MARK, &self.mark);
        Program::start(command.stdin(Stdio::null()).stdout(Stdio::piped()))
    }

    /// All that a program prints, which ends well.
    pub(crate) fn run(&self, example: &str) -> Vec<String> {
        self.start(example, &[]).ends_well()
    }

    /// Removes what a program that was killed could not.
    pub(crate) fn sweep(&self) {
        for name in names(&self.folder) {
            fs::remove_dir_all(self.folder.join(name)).unwrap();
        }
    }

    /// Neither processes, files, named memory nor descriptors of this process's.
    pub(crate) fn is_as_before(&self) {
        let mark = format!("{MARK}={}", self.mark);
        let until = Instant::now() + DEADLINE;
        loop {
            // Workers of a pool may end a moment after their parent.
            let left = names("/proc").into_iter().find(|pid| environment(pid).contains(&mark));
            let Some(pid) = left else { break };
            assert!(Instant::now() < until, "process {pid} is left");
            std::thread::yield_now();
        }
        assert_eq!(names(&self.folder), [""; 0], "files are left");
        assert_eq!(named_memory(), self.memory, "named memory is left");
        assert_eq!(names("/proc/self/fd").len(), self.descriptors, "descriptors are left");
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _not_there = fs::remove_dir_all(&self.folder);
    }
}

/// A running program, killed if a test does not get to its end.
pub(crate) struct Program {
    process: OwnedFd,
    lines: Receiver<String>,
    ended: Receiver<ExitStatus>,
}

impl Program {
    fn start(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let process = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let ((line, lines), (end, ended)) = (mpsc::channel(), mpsc::channel());
        std::thread::spawn(move || {
            for text in out.lines() {
                let _nobody_reads_on = line.send(text.unwrap());
            }
            drop(line);
            end.send(child.wait().unwrap())
        });
        Program { process, lines, ended }
    }

    /// The next line that it prints.
    pub(crate) fn line(&self) -> String {
        self.lines.recv_timeout(DEADLINE).expect("the program prints a line in time")
    }

    /// What else it prints until it ends, and how.
    pub(crate) fn ends(self) -> (Vec<String>, ExitStatus) {
        let status = self.ended.recv_timeout(DEADLINE).expect("the program ends in time");
        (self.lines.iter().collect(), status)
    }

    pub(crate) fn ends_well(self) -> Vec<String> {
        let (lines, status) = self.ends();
        assert!(status.success(), "the program ended with {status}, after {lines:#?}");
        lines
    }

    pub(crate) fn kill(&self) {
        pidfd_send_signal(&self.process, Signal::KILL).unwrap();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ended_already = pidfd_send_signal(&self.process, Signal::KILL);
        // Where the test has not asked, its thread sees to the rest.
        let _asked_already = self.ended.recv_timeout(DEADLINE);
    }
}

/// Where cargo has put an example of this package.
fn built(example: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let path = tests.parent().and_then(Path::parent).unwrap().join("examples").join(example);
    assert!(path.exists(), "{example} is not built: `cargo test -p pannier-interop` does it");
    path
}

fn names(folder: impl AsRef<Path>) -> Vec<String> {
    // Some systems have no /dev/shm.
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
}

fn named_memory() -> Vec<String> {
    names("/dev/shm").into_iter().filter(|name| name.contains("pannier")).collect()
}

fn environment(pid: &str) -> String {
    let bytes = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}
