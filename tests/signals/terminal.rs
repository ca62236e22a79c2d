//! A pseudo-terminal with a shell on it that has one program in its foreground.
//!
//! The shell is this test program in a part. It reports what becomes of the program by a pipe, so that
//! the terminal shows what the program and its workers say, and nothing else.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::Command;

use rustix::process::{Pid, Signal, WaitOptions, kill_process_group, setsid, waitpid};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr, tcsetpgrp};

use crate::GATE;
use crate::common::eventually;
use crate::play::{PART, Play};
use crate::runner::say;

/// For the shell: the path of its terminal, and the part that its program plays.
const PATH: &str = "PANNIER_TEST_TERMINAL";
const PROGRAM: &str = "PANNIER_TEST_PROGRAM";

/// The user's side.
pub(crate) struct Terminal {
    keys: File,
    shown: String,
    shell: Play,
}

impl Terminal {
    pub(crate) fn start(part: &str, gate: &str) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let keys = openpt(flags).expect("a pseudo-terminal");
        grantpt(&keys).and_then(|()| unlockpt(&keys)).expect("it is ours");
        let path = ptsname(&keys, Vec::new()).expect("it has a name");
        let path = path.to_str().expect("a plain name").to_owned();
        rustix::io::ioctl_fionbio(&keys, true).expect("a descriptor");
        let shell = Play::start_with("shell", |command| {
            command.env(PATH, path).env(PROGRAM, part).env(GATE, gate)
        });
        Terminal { keys: keys.into(), shown: String::new(), shell }
    }

    pub(crate) fn type_keys(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).expect("the terminal takes it");
    }

    /// Until this is shown.
    pub(crate) fn wait_for(&mut self, text: &str) {
        eventually(text, || {
            self.look();
            self.shown.contains(text)
        });
    }

    /// Takes in what is shown; whether there may be more later.
    fn look(&mut self) -> bool {
        let mut space = [0; 4096];
        loop {
            match self.keys.read(&mut space) {
                Ok(len) if len > 0 => {
                    self.shown.push_str(std::str::from_utf8(&space[..len]).expect("text"));
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return true,
                // Nobody has the other side open any more: EIO.
                Ok(_) | Err(_) => return false,
            }
        }
    }

    /// What the shell says next of its program.
    pub(crate) fn report(&mut self) -> String {
        self.shell.hear().expect("the shell reports")
    }

    /// As `fg` does.
    pub(crate) fn go_on(&mut self) {
        let orders = self.shell.program.stdin.as_mut().expect("a pipe");
        orders.write_all(b"go on\n").expect("the shell listens");
    }

    /// Lets the shell go; what was shown in all, when nobody has the terminal any more.
    pub(crate) fn end(mut self) -> String {
        drop(self.shell.program.stdin.take());
        eventually("everybody has closed the terminal", || !self.look());
        self.shell.leaves_nobody();
        self.shown
    }

    /// As when its window is closed.
    pub(crate) fn hang_up(self) {
        let Terminal { keys, shell, .. } = self;
        drop(keys);
        let status = shell.leaves_nobody();
        assert_eq!(status.signal(), Some(libc::SIGHUP), "the shell's end");
    }
}

/// The part: the leader of a session with this terminal.
#[expect(clippy::zombie_processes, reason = "waits as shells do, by number")]
pub(crate) fn shell() {
    setsid().expect("it leads no group");
    let path = std::env::var(PATH).expect("a terminal");
    // The first terminal that the leader of a session opens becomes the session's.
    let terminal = File::options().read(true).write(true).open(path).expect("it is unlocked");
    let mut modes = tcgetattr(&terminal).expect("a terminal");
    modes.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&terminal, OptionalActions::Now, &modes).expect("a terminal");
    // From the background it still says who is in the foreground.
    crate::set(libc::SIGTTOU, libc::SIG_IGN);
    let copy = || terminal.try_clone().expect("a descriptor");
    let mut command = Command::new(std::env::current_exe().expect("a program"));
    command.env(PART, std::env::var(PROGRAM).expect("a part")).process_group(0);
    let program = command.stdin(copy()).stdout(copy()).stderr(copy()).spawn().expect("it starts");
    let program = Pid::from_child(&program);
    tcsetpgrp(terminal.as_fd(), program).expect("a group of this session");
    say("ready");
    let mut orders = std::io::stdin().lines();
    loop {
        let changed = waitpid(Some(program), WaitOptions::UNTRACED).expect("it is our child");
        let (_, status) = changed.expect("it was waited for");
        if status.stopped() {
            say("stopped");
            orders.next().expect("an order").expect("text");
            tcsetpgrp(terminal.as_fd(), program).expect("a group of this session");
            kill_process_group(program, Signal::CONT).expect("it is stopped");
            continue;
        }
        match (status.terminating_signal(), status.exit_status()) {
            (Some(signal), _) => say(&format!("signal {signal}")),
            (None, code) => say(&format!("code {}", code.expect("it has exited"))),
        }
        // The end of this process is one of the session too: not before the user has looked.
        assert!(orders.next().is_none());
        return;
    }
}
