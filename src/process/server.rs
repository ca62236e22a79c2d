//! The fork server's side: a process that makes workers of itself.
//!
//! It has one thread, from its start to its end, so that nothing is missing in its copies. They are
//! children of the pool's process, not of this one.
//! Promises: answers each request once; when the pool's process is gone, the workers that this one
//! made are killed with all that they started, stopped ones too.
//! Does not know: what workers do.
#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};

use serde::{Deserialize, Serialize};

use super::enter::RunOnce;
use super::handshake::{MESSAGE, Nonce};
use crate::sys::area::Area;
use crate::sys::clone::{self, Side};
use crate::sys::socket::{Received, Socket, Wait};
use crate::sys::{child, host, signal, wait};

/// From the pool to its fork server.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request {
    /// Comes first: what is to be run once, before workers are made, in a form that the floors above
    /// understand.
    Prepare(Option<Vec<u8>>),
    /// With two descriptors: the worker's socket, and where it writes until it is ready.
    Fork(Nonce),
}

/// From the fork server.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    Ready,
    /// It is not fit to be copied: so many threads were left behind.
    Threads(usize),
    /// What was to be run first failed, in the words of the floors above.
    Failed(Vec<u8>),
    /// With a descriptor for the worker.
    Born,
    /// The system's error number.
    NotBorn(i32),
}

/// What a fork server has when it is ready.
#[derive(Debug)]
pub(super) struct Control {
    pub(super) socket: Socket,
    pub(super) parent: OwnedFd,
    /// The parent's standard error, for when it is ready.
    pub(super) stderr: OwnedFd,
    /// The kernel notes there whom it has made, even if this process does not live to say so.
    pub(super) born: Area,
}

/// What a new worker is given.
#[derive(Debug)]
pub(super) struct NewBorn {
    pub(super) socket: Socket,
    pub(super) nonce: Nonce,
}

/// Serves until the pool is gone, and ends. Returns in each worker that is made.
pub(super) fn run(control: Control, run_once: RunOnce) -> NewBorn {
    let mut wards = Vec::new();
    match serve(&control, &mut wards, run_once) {
        Ok(Some(new_born)) => new_born,
        // The pool's process is gone, or this one cannot hear it any more.
        Ok(None) | Err(_) => {
            wards.iter().for_each(|ward: &OwnedFd| child::kill_stranger(ward.as_fd()));
            host::kill_own_group()
        }
    }
}

/// `None`: the pool is gone.
fn serve(
    control: &Control,
    wards: &mut Vec<OwnedFd>,
    run_once: RunOnce,
) -> io::Result<Option<NewBorn>> {
    let mut space = vec![0; MESSAGE];
    loop {
        let [_, parent_is_dead] = wait::either([control.socket.as_fd(), control.parent.as_fd()])?;
        if parent_is_dead {
            return Ok(None);
        }
        let (len, fds) = match control.socket.recv(&mut space, Wait::No)? {
            Received::Message(len, fds) => (len, fds),
            Received::Empty => continue,
            Received::Closed => return Ok(None),
        };
        let request = rmp_serde::from_slice(&space[..len]).map_err(io::Error::other)?;
        let reply = match request {
            Request::Prepare(first) => prepare(control, first.as_deref(), run_once)?,
            Request::Fork(nonce) => match fork(control, nonce, fds) {
                Ok(Fork::Here(new_born)) => return Ok(Some(new_born)),
                Ok(Fork::There(ward)) => {
                    // Those that have ended have left nobody behind: the pool sees to that.
                    wards.retain(|ward| !wait::is_readable(ward));
                    wards.push(ward);
                    say(&control.socket, &Reply::Born, wards.last())?;
                    continue;
                }
                Err(error) => Reply::NotBorn(error.raw_os_error().unwrap_or(0)),
            },
        };
        say(&control.socket, &reply, None)?;
    }
}

fn prepare(control: &Control, first: Option<&[u8]>, run_once: RunOnce) -> io::Result<Reply> {
    if let Some(Err(failure)) = first.map(run_once) {
        return Ok(Reply::Failed(failure));
    }
    let count = host::thread_count()?;
    if count > 1 {
        return Ok(Reply::Threads(count));
    }
    // Else each copy would write it once more.
    let _nobody_listens = io::stdout().flush();
    host::replace_stderr(&control.stderr)?;
    // Until here its parent's end ended it at once; from now on it has workers to look after first.
    signal::wake_with_parent()?;
    Ok(Reply::Ready)
}

/// In which process this is.
enum Fork {
    Here(NewBorn),
    There(OwnedFd),
}

fn fork(control: &Control, nonce: Nonce, fds: Vec<OwnedFd>) -> io::Result<Fork> {
    let [socket, stderr] =
        <[OwnedFd; 2]>::try_from(fds).map_err(|_| io::ErrorKind::InvalidInput)?;
    let socket = Socket::from_fd(socket)?;
    match clone::sibling(control.born.bell())? {
        Side::Original(ward) => Ok(Fork::There(ward)),
        Side::Copy => {
            if host::replace_stderr(&stderr).is_err() {
                host::kill_own_group();
            }
            Ok(Fork::Here(NewBorn { socket, nonce }))
        }
    }
}

fn say(socket: &Socket, reply: &Reply, ward: Option<&OwnedFd>) -> io::Result<()> {
    let message = rmp_serde::to_vec(reply).map_err(io::Error::other)?;
    let fds: Vec<_> = ward.into_iter().map(AsFd::as_fd).collect();
    socket.send(&[&message], &fds, Wait::Yes)
}
