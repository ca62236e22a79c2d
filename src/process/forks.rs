//! The pool's side of a fork server.
//!
//! Promises: no call waits; one worker is asked for at a time, so that it can be found whenever the
//! server dies; a server that is dropped is ended, and a worker of its that nobody heard of too.
//! Does not know: when a worker is wanted, and what follows when the server dies.
#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering;

use super::enter::{CANNOT_START, Calling, take_up_as_copy};
use super::handshake::{Hello, MESSAGE, Nonce, Welcome, fits};
use super::server::{NewBorn, Reply, Request};
use super::start::{Cradle, Program, Started, start};
use crate::sys::area::Area;
use crate::sys::child::{Child, ExitStatus};
use crate::sys::clone::{self, MayFork, Side};
use crate::sys::host;
use crate::sys::socket::{Received, Socket, Wait};

/// A process that makes workers of itself.
#[derive(Debug)]
pub(crate) struct ForkServer {
    child: Child,
    socket: Socket,
    stage: Stage,
    /// The number of the last worker that it made; the kernel writes it.
    born: Area,
}

#[derive(Debug)]
enum Stage {
    /// It has not answered the handshake yet.
    Greeted(Hello),
    /// It runs what is to be run first.
    Preparing,
    Ready,
    /// It was asked for a worker.
    Asked(Unborn),
    /// It is on its way out.
    Lost,
}

/// What is known of a worker before it is born.
#[derive(Debug)]
struct Unborn {
    nonce: Nonce,
    socket: Socket,
    stderr: OwnedFd,
}

/// What a fork server says.
#[derive(Debug)]
pub(crate) enum News {
    /// It can be asked for workers.
    Ready,
    /// It is another program, or talks like one.
    Stranger,
    /// So many threads were left behind where there must be one.
    Threads(usize),
    /// What was to be run first failed, in the words of the floors above.
    PreloadFailed(Vec<u8>),
    /// The worker that it was asked for.
    Born(Started),
    /// There is no worker, by an error of the system.
    NotBorn(io::Error),
}

impl ForkServer {
    /// Starts a server from the calling thread, which becomes the parent of its workers; and where it
    /// writes until it is ready.
    pub(crate) fn start(
        program: &mut Program,
        preload: Option<Vec<u8>>,
    ) -> io::Result<(Self, OwnedFd)> {
        let Started { child, socket, stderr, nonce } = start(program)?;
        let server = ForkServer::greet(child, socket, nonce, preload)?;
        Ok((server, stderr))
    }

    /// Makes this process's copy a server, with all that this process has.
    pub(crate) fn copy(
        program: &Program,
        calling: Calling,
        promise: &MayFork,
    ) -> io::Result<(Self, OwnedFd)> {
        let Cradle { nonce, ours, theirs } = Cradle::new()?;
        // Else each copy would write it once more.
        io::stdout().flush()?;
        let (pid, pidfd) = match clone::child(promise)? {
            (pid, Side::Original(pidfd)) => (pid, pidfd),
            (_, Side::Copy) => {
                drop(ours);
                become_server(program, theirs, nonce, calling)
            }
        };
        let child = Child::from_pidfd(pid, pidfd).ok_or(rustix::io::Errno::CHILD)?;
        let (socket, stderr) = ours;
        Ok((ForkServer::greet(child, socket, nonce, None)?, stderr))
    }

    fn greet(
        child: Child,
        socket: Socket,
        nonce: Nonce,
        preload: Option<Vec<u8>>,
    ) -> io::Result<Self> {
        let born_fd = Area::create("pannier-born", 0)?;
        let born = Area::attach(&born_fd, 0)?;
        let hello = Hello::to_server(nonce);
        let (parent, stderr) = (host::own_pidfd()?, host::stderr_copy()?);
        let stage = Stage::Greeted(hello.clone());
        let server = ForkServer { child, socket, stage, born };
        server.say(&hello, &[parent.as_fd(), stderr.as_fd(), born_fd.as_fd()])?;
        server.say(&Request::Prepare(preload), &[])?;
        Ok(server)
    }

    /// Whether it waits for a question.
    pub(crate) fn is_ready(&self) -> bool {
        matches!(self.stage, Stage::Ready)
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.child.has_ended()
    }

    pub(crate) fn kill(&self) {
        self.child.kill_group();
    }

    /// Asks for a worker; it is to be called only when the server [is ready](Self::is_ready).
    pub(crate) fn ask(&mut self) -> io::Result<()> {
        let Cradle { nonce, ours, theirs } = Cradle::new()?;
        let (their_socket, their_stderr) = theirs;
        self.born.bell().store(0, Ordering::Relaxed);
        self.say(&Request::Fork(nonce), &[their_socket.as_fd(), their_stderr.as_fd()])?;
        let (socket, stderr) = ours;
        self.stage = Stage::Asked(Unborn { nonce, socket, stderr });
        Ok(())
    }

    /// The next thing that it has said, if there is one.
    pub(crate) fn news(&mut self) -> Option<News> {
        let mut space = vec![0; MESSAGE];
        let (len, fds) = match self.socket.recv(&mut space, Wait::No) {
            Ok(Received::Message(len, fds)) => (len, fds),
            // Its death will tell the rest.
            Ok(Received::Empty | Received::Closed) => return None,
            Err(error) => return Some(self.lose(News::NotBorn(error))),
        };
        let message = &space[..len];
        if let Stage::Greeted(hello) = &self.stage {
            let fits = rmp_serde::from_slice::<Welcome>(message).is_ok_and(|w| fits(hello, &w));
            if !fits {
                return Some(self.lose(News::Stranger));
            }
            self.stage = Stage::Preparing;
            return self.news();
        }
        let reply = rmp_serde::from_slice(message);
        let stage = std::mem::replace(&mut self.stage, Stage::Ready);
        Some(match (stage, reply) {
            (Stage::Preparing, Ok(Reply::Ready)) => News::Ready,
            (Stage::Preparing, Ok(Reply::Threads(count))) => self.lose(News::Threads(count)),
            (Stage::Preparing, Ok(Reply::Failed(failure))) => {
                self.lose(News::PreloadFailed(failure))
            }
            (Stage::Asked(unborn), Ok(Reply::Born)) => match self.born(fds.into_iter().next()) {
                Some(child) => News::Born(unborn.started(child)),
                // Somebody else in this program has waited for it.
                None => News::NotBorn(rustix::io::Errno::CHILD.into()),
            },
            (Stage::Asked(_), Ok(Reply::NotBorn(errno))) => {
                News::NotBorn(io::Error::from_raw_os_error(errno))
            }
            (stage, _nonsense) => {
                self.stage = stage;
                self.lose(News::Stranger)
            }
        })
    }

    /// How it ended, once it has; and the worker that it had made without being able to say so.
    pub(crate) fn bury(mut self) -> (ExitStatus, Option<Started>) {
        self.child.kill_group();
        let status = self.child.exit_status();
        let stage = std::mem::replace(&mut self.stage, Stage::Lost);
        let started = match stage {
            Stage::Asked(unborn) => self.born(None).map(|child| unborn.started(child)),
            _ => None,
        };
        (status, started)
    }

    fn born(&self, pidfd: Option<OwnedFd>) -> Option<Child> {
        let pid = self.born.bell().load(Ordering::Relaxed);
        match pidfd {
            Some(pidfd) => Child::from_pidfd(pid, pidfd),
            None if pid == 0 => None,
            None => Child::adopt_if_ours(pid),
        }
    }

    fn lose(&mut self, news: News) -> News {
        // A worker that it may still make is found by its number when it is dead.
        if !matches!(self.stage, Stage::Asked(_)) {
            self.stage = Stage::Lost;
        }
        self.kill();
        news
    }

    fn say(&self, message: &impl serde::Serialize, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let message = rmp_serde::to_vec(message).map_err(io::Error::other)?;
        match self.socket.send(&[&message], fds, Wait::No) {
            // It has ended already, and its death will tell how.
            Err(gone) if is_gone(&gone) => Ok(()),
            said => said,
        }
    }

    /// What is to be waited for: its end, and its words.
    pub(crate) fn sources(&self) -> [BorrowedFd<'_>; 2] {
        [self.child.as_fd(), self.socket.as_fd()]
    }
}

/// In the copy. A panic must not reach what the program was doing.
fn become_server(
    program: &Program,
    (socket, stderr): (Socket, OwnedFd),
    nonce: Nonce,
    calling: Calling,
) -> ! {
    let _panicked = std::panic::catch_unwind(AssertUnwindSafe(|| {
        let ready = host::replace_stderr(&stderr).and_then(|()| program.set_environment());
        drop(stderr);
        if ready.is_ok() {
            take_up_as_copy(NewBorn { socket, nonce }, calling);
        }
    }));
    host::exit_as_copy(CANNOT_START)
}

impl Unborn {
    fn started(self, child: Child) -> Started {
        let Unborn { nonce, socket, stderr } = self;
        Started { child, socket, stderr, nonce }
    }
}

impl Drop for ForkServer {
    fn drop(&mut self) {
        self.child.end();
        if matches!(self.stage, Stage::Asked(_)) {
            // Dropped at once, which ends it.
            let _nobody_heard_of_it = self.born(None);
        }
    }
}

/// Whether the other side of a socket is there no more.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}
