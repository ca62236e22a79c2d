//! Starting a worker: this program again, with a socket as its standard input.
//!
//! Promises: `Command` stays on its fast path (no code of ours runs between fork and exec), the
//! child leads a process group of its own, and its standard error is a pipe until it is ready.
//! Does not know: whether the child will answer.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{self, Command, Stdio};

use super::handshake::Nonce;
use crate::sys::child::Child;
use crate::sys::host;
use crate::sys::socket::Socket;

/// In the environment of a worker until it has started: who started it, and the number of its
/// handshake.
pub(super) const MARKER: &str = "PANNIER_WORKER";
/// In the environment of a worker and of all that it starts: how deep pools are nested.
const DEPTH: &str = "PANNIER_DEPTH";

/// What workers are started as.
#[derive(Debug, Default)]
pub(crate) struct Program {
    /// Instead of this program.
    pub(crate) command: Option<Command>,
    pub(crate) clear_env: bool,
    /// In order; `None` removes.
    pub(crate) env: Vec<(OsString, Option<OsString>)>,
}

impl Program {
    /// Changes the environment of a process that is a copy of the program.
    pub(super) fn set_environment(&self) -> io::Result<()> {
        let depth = depth().saturating_add(1).to_string();
        if self.clear_env {
            for (name, _) in std::env::vars_os() {
                host::set_env_alone(&name, None)?;
            }
        }
        for (name, value) in &self.env {
            host::set_env_alone(name, value.as_deref())?;
        }
        host::set_env_alone(DEPTH.as_ref(), Some(depth.as_ref()))
    }
}

/// A child that may become a worker.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) child: Child,
    pub(crate) socket: Socket,
    /// What it writes to standard error, until it is ready.
    pub(crate) stderr: OwnedFd,
    pub(crate) nonce: Nonce,
}

/// The number of the handshake, if this process was started as a worker and has not become one yet.
///
/// A worker that has threads before `init` cannot take the marker out of its environment, so what it
/// starts inherits that. It has another parent than the one that is named, and no socket as standard
/// input; a worker whose parent has just died still has the socket.
pub(super) fn marker() -> Option<Option<Nonce>> {
    let marker = std::env::var(MARKER).ok()?;
    let (parent, nonce) = marker.split_once(' ').unwrap_or_default();
    let is_child = parent.parse() == Ok(std::os::unix::process::parent_id());
    (is_child || Socket::is_behind(rustix::stdio::stdin())).then(|| nonce.parse().ok())
}

/// How many pools this process lies inside of.
pub(crate) fn depth() -> u32 {
    std::env::var(DEPTH).ok().and_then(|depth| depth.parse().ok()).unwrap_or(0)
}

/// What a child that is born some other way needs to become a worker: its socket, and where it writes
/// until it is ready.
pub(super) struct Cradle {
    pub(super) nonce: Nonce,
    pub(super) ours: (Socket, OwnedFd),
    pub(super) theirs: (Socket, OwnedFd),
}

impl Cradle {
    pub(super) fn new() -> io::Result<Self> {
        let (socket, their_socket) = Socket::pair()?;
        let (stderr, their_stderr) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let (ours, theirs) = ((socket, stderr), (their_socket, their_stderr));
        Ok(Cradle { nonce: fresh_nonce()?, ours, theirs })
    }
}

/// Starts a child from the calling thread, whose end will end the child (prctl(2), PDEATHSIG).
pub(crate) fn start(program: &mut Program) -> io::Result<Started> {
    let (ours, theirs) = Socket::pair()?;
    let nonce = fresh_nonce()?;
    let mut this_program;
    let command = match &mut program.command {
        Some(command) => command,
        None => {
            this_program = Command::new(host::program());
            // Arguments would mean something to the program before it comes to `init`.
            this_program.arg0("pannier-worker")
        }
    };
    if program.clear_env {
        command.env_clear();
    }
    for (key, value) in &program.env {
        match value {
            Some(value) => command.env(key, value),
            None => command.env_remove(key),
        };
    }
    command.env(MARKER, format!("{} {nonce}", std::process::id()));
    command.env(DEPTH, depth().saturating_add(1).to_string());
    command.stdin(theirs.into_fd()).stderr(Stdio::piped()).process_group(0);
    let spawned = command.spawn();
    // A command that is kept would keep the child's end open here.
    command.stdin(Stdio::null());
    adopt(spawned?, ours, nonce)
}

fn adopt(mut child: process::Child, socket: Socket, nonce: Nonce) -> io::Result<Started> {
    let stderr = child.stderr.take().map(OwnedFd::from);
    let child = match Child::adopt(child.id()) {
        Ok(adopted) => adopted,
        Err(error) => {
            // Ours, and nobody has waited for it: `std` may end it by its number.
            let _gone = child.kill().and_then(|()| child.wait());
            return Err(error);
        }
    };
    let stderr = stderr.ok_or(rustix::io::Errno::BADF)?;
    Ok(Started { child, socket, stderr, nonce })
}

fn fresh_nonce() -> io::Result<Nonce> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(u64::from_le_bytes(bytes))
}
