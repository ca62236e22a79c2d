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
use std::process::{Command, Stdio};

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
#[derive(Clone, Debug, Default)]
pub(crate) struct Program {
    pub(crate) clear_env: bool,
    /// In order; `None` removes.
    pub(crate) env: Vec<(OsString, Option<OsString>)>,
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

/// Starts a child from the calling thread, whose end will end the child (prctl(2), PDEATHSIG).
pub(crate) fn start(program: &Program) -> io::Result<Started> {
    let (ours, theirs) = Socket::pair()?;
    let nonce = fresh_nonce()?;
    let mut command = Command::new(host::program());
    if program.clear_env {
        command.env_clear();
    }
    for (key, value) in &program.env {
        match value {
            Some(value) => command.env(key, value),
            None => command.env_remove(key),
        };
    }
    // Arguments would mean something to the program before it comes to `init`.
    command.arg0("pannier-worker").env(MARKER, format!("{} {nonce}", std::process::id()));
    command.env(DEPTH, depth().saturating_add(1).to_string());
    command.stdin(theirs.into_fd()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn()?;
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
    Ok(Started { child, socket: ours, stderr, nonce })
}

fn fresh_nonce() -> io::Result<Nonce> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(u64::from_le_bytes(bytes))
}
