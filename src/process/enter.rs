//! The start of a worker: [`enter`] returns in every other process.
//!
//! Promises: a process that was started as a worker never goes on as the program; when it cannot
//! become a worker it exits with a code that says why.
//! Does not know: what a worker does; it is given a [`Duty`].
#![forbid(unsafe_code)]

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::handshake::{Hello, Nonce, Welcome, fits};
use super::start::{MARKER, marker};
use crate::sys::fault::fault;
use crate::sys::socket::{Received, Socket, Wait};
use crate::sys::{host, signal};

/// What a worker has when it is ready.
#[derive(Debug)]
pub(crate) struct Duty {
    pub(crate) socket: Socket,
    /// The parent's ring, this worker's, and the pulse.
    pub(crate) memory: [OwnedFd; 3],
    pub(crate) hello: Hello,
}

/// Whether [`enter`] has run in this process, so that a worker started from it will find its way.
pub(crate) fn is_initialised() -> bool {
    INITIALISED.load(Ordering::Relaxed)
}

/// In a worker: takes up its duty with `serve`, which never returns. Else: notes that it has run.
pub(crate) fn enter(serve: fn(Duty) -> !) {
    if INITIALISED.swap(true, Ordering::Relaxed) {
        return;
    }
    let Some(nonce) = take_marker() else { return };
    // Standard error is a pipe to the parent still; the exit code says what a text would.
    match prepare(nonce) {
        Some(duty) => serve(duty),
        None => std::process::exit(CANNOT_START),
    }
}

static INITIALISED: AtomicBool = AtomicBool::new(false);

/// The exit code of a process that was started as a worker and is not fit to be one.
const CANNOT_START: i32 = 113;

/// How long the parent's first words may take; it has sent them before the worker runs.
const PATIENCE: Duration = Duration::from_secs(30);

/// The handshake's number, if this process was started as a worker.
fn take_marker() -> Option<Nonce> {
    let nonce = marker()?;
    // Threads that a library started before `main` may be reading the environment. Then it stays, and
    // what this worker starts knows that it is not meant.
    let _stays = host::take_env_alone(MARKER);
    nonce.or_else(|| std::process::exit(CANNOT_START))
}

/// Makes this process a worker: its socket, its signals, its parent.
fn prepare(nonce: Nonce) -> Option<Duty> {
    let socket = Socket::from_fd(host::take_stdin().ok()?).ok()?;
    signal::reset();
    host::lead_group().ok()?;
    signal::end_with_parent().ok()?;
    let (hello, fds) = hear(&socket)?;
    #[cfg(feature = "fault-points")]
    crate::sys::fault::begin(hello.generation);
    fault!("worker.after_hello");
    let [parent, stderr, down, up, pulse] = <[OwnedFd; 5]>::try_from(fds).ok()?;
    end_when_dead(parent)?;
    #[cfg(feature = "testing")]
    if let Some(chaos) = super::chaos::Chaos::of_worker() {
        chaos.at_start(hello.slot, hello.generation);
    }
    let welcome = Welcome::to(nonce);
    answer(&socket, &welcome)?;
    fault!("worker.after_welcome");
    // The parent looks at the answer too, and knows then what this process is instead.
    fits(&hello, &welcome).then_some(())?;
    host::replace_stderr(&stderr).ok()?;
    Some(Duty { socket, memory: [down, up, pulse], hello })
}

fn hear(socket: &Socket) -> Option<(Hello, Vec<OwnedFd>)> {
    use std::os::fd::AsFd;
    host::wait_readable(socket.as_fd(), PATIENCE).ok()?.then_some(())?;
    let mut space = [0; 512];
    match socket.recv(&mut space, Wait::No).ok()? {
        Received::Message(len, fds) => Some((rmp_serde::from_slice(&space[..len]).ok()?, fds)),
        Received::Empty | Received::Closed => None,
    }
}

fn answer(socket: &Socket, welcome: &Welcome) -> Option<()> {
    let message = rmp_serde::to_vec(welcome).ok()?;
    socket.send(&[&message], &[], Wait::Yes).ok()
}

/// Starts the thread that ends this worker with its parent, whatever the task is doing.
///
/// The signal that the kernel sends at the parent's death does the same; a task may block or
/// replace that one.
fn end_when_dead(parent: OwnedFd) -> Option<()> {
    use std::os::fd::AsFd;
    let watch = move || {
        // An error cannot be waited out: without its parent in sight a worker does not go on.
        let _dead_or_blind = host::wait_for_death(parent.as_fd());
        host::kill_own_group();
    };
    let thread = std::thread::Builder::new().name("pannier-watch".into()).stack_size(64 << 10);
    thread.spawn(watch).ok().map(|_never_joined| ())
}
