//! This program again, for one test, in a process of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// In the child: which test it runs.
const CHILD: &str = "PANNIER_TEST_CHILD";
/// In the child: what the test was told by its parent.
const TOLD: &str = "PANNIER_TEST_TOLD";

/// What a test does in its child; `None` in the parent.
pub(crate) fn told(test: &str) -> Option<String> {
    let is_child = std::env::var(CHILD).is_ok_and(|name| name == test);
    is_child.then(|| std::env::var(TOLD).unwrap_or_default())
}

/// The command that runs one test of this program in a child.
pub(crate) fn command(test: &str, tell: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program has a file"));
    command.args(arguments(test)).env(CHILD, test).env(TOLD, tell);
    command
}

/// As `command`, after a shell script in a mount namespace of its own; `$0` is `tell`.
pub(crate) fn command_in_namespace(test: &str, script: &str, tell: &Path) -> Option<Command> {
    let flags = ["-m", "-rm"].into_iter().find(|flags| {
        let trial =
            Command::new("unshare").args([flags, "mount", "-t", "tmpfs", "none", "/mnt"]).output();
        trial.is_ok_and(|output| output.status.success())
    })?;
    let mut command = Command::new("unshare");
    command.args([flags, "sh", "-c", &format!("{script} && exec \"$@\"")]).arg(tell);
    command.arg(std::env::current_exe().expect("this program has a file"));
    command.args(arguments(test)).env(CHILD, test).env(TOLD, tell);
    Some(command)
}

fn arguments(test: &str) -> [&str; 4] {
    [test, "--exact", "--nocapture", "--test-threads=1"]
}

/// Runs it, and sees that the one test was run and passed.
#[track_caller]
pub(crate) fn passes(mut command: Command) {
    let Output { status, stdout, stderr } = command.output().expect("the child starts");
    let (out, err) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success() && out.contains("1 passed"), "{status}\n{out}\n{err}");
}

/// Runs the test in a child, where `act` is what it does.
#[track_caller]
pub(crate) fn in_child(test: &str, act: impl FnOnce()) {
    match told(test) {
        Some(_) => act(),
        None => passes(command(test, "")),
    }
}

/// Says that a test cannot be made here: fine at home, not where everything must run.
#[track_caller]
pub(crate) fn skip(why: &str) {
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "not to be tested here: {why}");
}

/// A folder of a test's own; gone when dropped, and empty by then.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        // On the disk that has this program, where the temporary folder may be memory.
        let disk = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let path = disk.join(format!("pannier-{name}-{}", std::process::id()));
        std::fs::create_dir(&path).expect("a folder of our own");
        Folder(path)
    }
}

impl AsRef<Path> for Folder {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _gone = std::fs::remove_dir_all(&self.0);
        } else {
            // Not with what is in it: nothing may be.
            std::fs::remove_dir(&self.0).expect("nothing is left in the folder");
        }
    }
}
