//! The start of a worker: [`enter`] returns in every other process.
//!
//! Promises: a process that was started as a worker never goes on as the program; when it cannot
//! become a worker it exits with a code that says why. A fork server comes in the same way, and so do
//! the workers that it makes.
//! Does not know: what a worker does; it is given a [`Duty`].
#![forbid(unsafe_code)]

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::handshake::{Hello, MESSAGE, Nonce, Role, Welcome, fits};
use super::server::{self, Control, NewBorn};
use super::start::{MARKER, marker};
use crate::sys::area::Area;
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

/// What the floors above do in the processes that are started for them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Calling {
    /// In a worker.
    pub(crate) serve: fn(Duty) -> !,
    /// In a fork server before it makes workers, and in a worker that is confined.
    pub(crate) run_once: RunOnce,
}

/// Runs a function of the program's; what is wrong with it is told in the same language.
pub(crate) type RunOnce = fn(&[u8]) -> Result<(), Vec<u8>>;

/// Whether [`enter`] has run in this process, so that a worker started from it will find its way.
pub(crate) fn is_initialised() -> bool {
    INITIALISED.load(Ordering::Relaxed)
}

/// In a worker: takes up its duty, and never returns. Else: notes that it has run.
pub(crate) fn enter(calling: Calling) {
    if INITIALISED.swap(true, Ordering::Relaxed) {
        return;
    }
    let Some(nonce) = take_marker() else { return };
    let socket = host::take_stdin().ok().and_then(|fd| Socket::from_fd(fd).ok());
    match socket {
        Some(socket) => take_up(NewBorn { socket, nonce }, calling),
        None => std::process::exit(CANNOT_START),
    }
}

/// In a copy of a program that has begun: makes it what the parent says, for good. Nothing of the
/// program's own goes on there.
pub(super) fn take_up_as_copy(new_born: NewBorn, calling: Calling) -> ! {
    IS_COPY.store(true, Ordering::Relaxed);
    // Also the standard input is the program's.
    let _closed_here = host::take_stdin().map(drop);
    take_up(new_born, calling)
}

/// The end of a worker that has nothing left to do: what the program registered for its end runs,
/// unless it is the end of another process.
pub(crate) fn end() -> ! {
    finish(0)
}

fn finish(code: i32) -> ! {
    if IS_COPY.load(Ordering::Relaxed) {
        host::exit_as_copy(code);
    }
    std::process::exit(code)
}

/// Becomes what the parent says, be it by way of a fork server, for good.
pub(super) fn take_up(new_born: NewBorn, calling: Calling) -> ! {
    // Standard error is a pipe to the parent still; the exit code says what a text would.
    let mut part = prepare(new_born, calling.run_once);
    if let Some(Part::ForkServer(control)) = part {
        part = prepare(server::run(control, calling.run_once), calling.run_once);
    }
    match part {
        Some(Part::Worker(duty)) => (calling.serve)(duty),
        Some(Part::ForkServer(_)) | None => finish(CANNOT_START),
    }
}

static INITIALISED: AtomicBool = AtomicBool::new(false);
/// This process was copied from one that is none of this library's, with all that it had.
static IS_COPY: AtomicBool = AtomicBool::new(false);

/// The exit code of a process that was started as a worker and is not fit to be one.
pub(super) const CANNOT_START: i32 = 113;

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

/// What the parent wants of this process.
enum Part {
    Worker(Duty),
    ForkServer(Control),
}

/// Makes this process what the parent wants: its group, its signals, its parent.
fn prepare(NewBorn { socket, nonce }: NewBorn, run_once: RunOnce) -> Option<Part> {
    signal::reset();
    host::lead_group().ok()?;
    signal::end_with_parent().ok()?;
    host::be_killed_first();
    let (hello, fds) = hear(&socket)?;
    let mut fds = fds.into_iter();
    let (parent, stderr) = (fds.next()?, fds.next()?);
    match hello.role {
        Role::Worker => {
            #[cfg(feature = "fault-points")]
            crate::sys::fault::begin(hello.generation);
            fault!("worker.after_hello");
            let obstacle = confine(&hello, run_once)?.err();
            end_when_dead(parent)?;
            #[cfg(feature = "testing")]
            if let Some(chaos) = super::chaos::Chaos::of_worker() {
                chaos.at_start(hello.slot, hello.generation);
            }
            let memory = [fds.next()?, fds.next()?, fds.next()?];
            answer(&socket, &hello, Welcome::to(nonce, obstacle))?;
            fault!("worker.after_welcome");
            host::replace_stderr(&stderr).ok()?;
            Some(Part::Worker(Duty { socket, memory, hello }))
        }
        Role::ForkServer => {
            let born = Area::attach(fds.next()?, 0).ok()?;
            answer(&socket, &hello, Welcome::to(nonce, None))?;
            Some(Part::ForkServer(Control { socket, parent, stderr, born }))
        }
    }
}

fn hear(socket: &Socket) -> Option<(Hello, Vec<OwnedFd>)> {
    use std::os::fd::AsFd;
    host::wait_readable(socket.as_fd(), PATIENCE).ok()?.then_some(())?;
    let mut space = vec![0; MESSAGE];
    match socket.recv(&mut space, Wait::No).ok()? {
        Received::Message(len, fds) => Some((rmp_serde::from_slice(&space[..len]).ok()?, fds)),
        Received::Empty | Received::Closed => None,
    }
}

/// Says what this process is; `None` if it is not what the parent wants. The parent looks too, and
/// knows then what it is instead.
fn answer(socket: &Socket, hello: &Hello, welcome: Welcome) -> Option<()> {
    let message = rmp_serde::to_vec(&welcome).ok()?;
    socket.send(&[&message], &[], Wait::Yes).ok()?;
    (fits(hello, &welcome) && welcome.obstacle.is_none()).then_some(())
}

/// Gives up what is to be given up. This process has no thread yet that would keep it. `None`: it cannot
/// be done; an error: what was to be run then failed.
fn confine(hello: &Hello, run_once: RunOnce) -> Option<Result<(), Vec<u8>>> {
    let Some(confinement) = &hello.confinement else { return Some(Ok(())) };
    confinement.take_effect().ok()?;
    Some(confinement.then.as_deref().map_or(Ok(()), run_once))
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
