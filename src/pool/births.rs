//! How the pool's thread comes by workers: it starts them, or has its fork server make them.
//!
//! Promises: each worker that is wanted is started or told to have failed, by a deadline; no call
//! waits for the fork server, and one that dies is replaced without a worker noticing.
//! Does not know: why a worker is wanted.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use super::core::Source;
use super::error::{StartFailed, StartFailure};
use super::inner::Inner;
use super::once;
use super::peer::{Peer, START_DEADLINE};
use super::scheduler::{Event, WorkerId};
use super::start::CALLING;
use super::stderr::StderrTail;
use crate::channel::{Line, ParentEnd, StatusReader};
use crate::error::{Error, Result};
use crate::process::{self, ForkServer, Hello, News, Program, Started, is_gone};
use crate::sys::clone::MayFork;
use crate::sys::fault::fault;
use crate::sys::host;
use crate::sys::socket::{Socket, Wait};

/// What the pool's thread starts workers with.
#[derive(Debug)]
pub(super) struct Births {
    program: Program,
    forks: Option<Forks>,
}

/// A fork server, and the workers that it is to make.
#[derive(Debug, Default)]
struct Forks {
    preload: Option<Vec<u8>>,
    server: Option<Server>,
    /// Why there cannot be another server: the one that there was is dead.
    lost: Option<StartFailed>,
    waiting: VecDeque<Birth>,
    /// The one that the server was asked for.
    asked: Option<Birth>,
}

/// A worker that is wanted.
#[derive(Clone, Copy, Debug)]
struct Birth {
    worker: WorkerId,
    deadline: Instant,
    /// A server has died of it already, or while it was at it.
    tried: bool,
}

#[derive(Debug)]
struct Server {
    process: ForkServer,
    stderr: StderrTail,
    /// It has made workers, or could have.
    was_ready: bool,
    /// What is wrong with it, when that is known before its death.
    unfit: Option<StartFailure>,
    killed: bool,
    /// It is no copy of a program that has begun, so another can take its place.
    is_replaceable: bool,
    is_watched: bool,
}

impl Births {
    pub(super) fn by_spawn(program: Program) -> Self {
        Births { program, forks: None }
    }

    /// `preload` is what the server is to run first.
    pub(super) fn by_fork_server(program: Program, preload: Option<Vec<u8>>) -> Self {
        Births { program, forks: Some(Forks { preload, ..Forks::default() }) }
    }

    /// Forks this process here and now, for want of threads, and has the workers made by the copy.
    pub(super) fn by_copy(program: Program, promise: &MayFork) -> Result<Self> {
        let count = host::thread_count()?;
        if count != 1 {
            return Err(Error::StartFailed(StartFailed::before_birth(StartFailure::Threads {
                count,
            })));
        }
        let made = ForkServer::copy(&program, CALLING, promise)?;
        let server = Some(Server { is_replaceable: false, ..Server::new(made)? });
        Ok(Births { program, forks: Some(Forks { server, ..Forks::default() }) })
    }

    /// Starts a process for a slot, or sees to it that one will be.
    pub(super) fn start(&mut self, inner: &Inner, worker: WorkerId) {
        fault!("parent.before_start");
        let Some(forks) = &mut self.forks else {
            return match process::start(&mut self.program) {
                Ok(started) => settle(inner, worker, started),
                Err(error) => fail(inner, worker, no_process(&error)),
            };
        };
        let deadline = Instant::now() + START_DEADLINE;
        forks.waiting.push_back(Birth { worker, deadline, tried: false });
        self.attend(inner);
    }

    /// Sees whether workers are late, or not wanted any more.
    pub(super) fn check(&mut self, inner: &Inner) {
        let expects = |forks: &Forks| forks.asked.is_some() || !forks.waiting.is_empty();
        if self.forks.as_ref().is_some_and(expects) {
            self.attend(inner);
        }
    }

    /// Does what there is to do about the fork server.
    pub(super) fn attend(&mut self, inner: &Inner) {
        let Some(forks) = &mut self.forks else { return };
        forks.drop_unwanted(inner);
        forks.drop_overdue(inner);
        loop {
            let Some(server) = &mut forks.server else {
                if forks.waiting.is_empty() {
                    return;
                }
                forks.start_server(inner, &mut self.program);
                continue;
            };
            if let Err(error) = server.watch(inner) {
                return forks.fail_all(inner, &no_process(&error));
            }
            if !server.stderr.read() {
                inner.poller.remove(&server.stderr);
            }
            if let Some(news) = server.process.news() {
                forks.hear(inner, news);
            } else if server.process.has_ended() {
                forks.bury(inner);
            } else if !server.process.is_ready() || !forks.ask(inner) {
                return;
            }
        }
    }

    /// When the fork server is given up, if it says nothing until then.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let forks = self.forks.as_ref()?;
        let is_over = forks.server.as_ref().is_some_and(|server| server.killed);
        let asked = forks.asked.iter().filter(|_| !is_over);
        forks.waiting.iter().chain(asked).map(|birth| birth.deadline).min()
    }
}

impl Forks {
    fn start_server(&mut self, inner: &Inner, program: &mut Program) {
        if let Some(lost) = self.lost.clone() {
            return self.fail_all(inner, &lost);
        }
        match ForkServer::start(program, self.preload.clone()).and_then(Server::new) {
            Ok(server) => self.server = Some(server),
            Err(error) => self.fail_all(inner, &no_process(&error)),
        }
    }

    /// Asks for the next worker; whether there is one to ask for.
    fn ask(&mut self, inner: &Inner) -> bool {
        let (Some(server), Some(birth)) = (&mut self.server, self.waiting.pop_front()) else {
            return false;
        };
        match server.process.ask() {
            Ok(()) => self.asked = Some(birth),
            Err(error) => fail(inner, birth.worker, no_process(&error)),
        }
        true
    }

    fn hear(&mut self, inner: &Inner, news: News) {
        let Some(server) = &mut self.server else { return };
        match news {
            News::Ready => {
                server.was_ready = true;
                self.give_time();
            }
            News::Stranger => server.unfit = Some(StartFailure::WrongProgram),
            News::Threads(count) => server.unfit = Some(StartFailure::Threads { count }),
            News::PreloadFailed(report) => server.unfit = Some(once::failure(&report)),
            News::Born(started) => {
                self.give_time();
                match self.asked.take() {
                    Some(birth) => settle(inner, birth.worker, started),
                    None => drop(started),
                }
            }
            News::NotBorn(error) => {
                if let Some(birth) = self.asked.take() {
                    fail(inner, birth.worker, no_process(&error));
                }
            }
        }
    }

    /// The server gets on: who waits for it has as long again, however many were before.
    fn give_time(&mut self) {
        let deadline = Instant::now() + START_DEADLINE;
        self.waiting.iter_mut().for_each(|birth| birth.deadline = deadline);
    }

    /// The server is dead. What it was asked for is found, or asked for again.
    fn bury(&mut self, inner: &Inner) {
        let Some(server) = self.server.take() else { return };
        let Server { process, mut stderr, was_ready, unfit, is_replaceable, .. } = server;
        stderr.read();
        for source in process.sources() {
            inner.poller.remove(source);
        }
        inner.poller.remove(&stderr);
        let (status, unheard) = process.bury();
        let usual = if is_replaceable { StartFailure::Exited } else { StartFailure::ServerDied };
        let cause = unfit.unwrap_or(usual);
        let failed = StartFailed { cause, status, stderr_tail: stderr.text() };
        match (self.asked.take(), unheard) {
            (Some(birth), Some(started)) => settle(inner, birth.worker, started),
            (Some(birth), None) if birth.deadline <= Instant::now() => {
                fail(inner, birth.worker, StartFailed { cause: too_late(), ..failed.clone() });
            }
            (Some(birth), None) if birth.tried => fail(inner, birth.worker, failed.clone()),
            (Some(birth), None) => self.waiting.push_front(Birth { tried: true, ..birth }),
            (None, _) => {}
        }
        if !was_ready {
            self.fail_all(inner, &failed);
        }
        // Nobody is to be started for them.
        self.drop_unwanted(inner);
        self.lost = (!is_replaceable).then_some(failed);
    }

    fn fail_all(&mut self, inner: &Inner, failed: &StartFailed) {
        for birth in self.waiting.drain(..) {
            fail(inner, birth.worker, failed.clone());
        }
    }

    /// A pool that shrinks wants some of them no more, and one at its end nobody.
    fn drop_unwanted(&mut self, inner: &Inner) {
        for birth in self.take_waiting(|birth| inner.lock().is_unwanted(birth.worker)) {
            inner.with_core(|core| {
                core.take_unwanted(birth.worker);
                core.tell(Event::StartFailed { worker: birth.worker, is_fatal: false });
            });
        }
        // Else it may come, and is ended then: the server has others to make.
        if self.asked.is_some() && inner.lock().scheduler.is_closing() {
            self.give_up_server();
        }
    }

    /// A server that keeps somebody waiting for so long is stopped, or hangs.
    fn drop_overdue(&mut self, inner: &Inner) {
        let now = Instant::now();
        let overdue = |birth: &Birth| birth.deadline <= now;
        if self.asked.iter().chain(&self.waiting).any(overdue) {
            self.give_up_server();
        }
        for birth in self.take_waiting(overdue) {
            fail(inner, birth.worker, StartFailed::before_birth(too_late()));
        }
    }

    /// Those that are so wait no more.
    fn take_waiting(&mut self, is_so: impl Fn(&Birth) -> bool) -> VecDeque<Birth> {
        let (taken, waiting) = std::mem::take(&mut self.waiting).into_iter().partition(is_so);
        self.waiting = waiting;
        taken
    }

    /// Its death tells what follows.
    fn give_up_server(&mut self) {
        if let Some(server) = self.server.as_mut().filter(|server| !server.killed) {
            server.killed = true;
            server.process.kill();
        }
    }
}

impl Server {
    fn new((process, stderr): (ForkServer, OwnedFd)) -> io::Result<Self> {
        let stderr = StderrTail::new(stderr)?;
        Ok(Server {
            process,
            stderr,
            was_ready: false,
            unfit: None,
            killed: false,
            is_replaceable: true,
            is_watched: false,
        })
    }

    /// Has the pool's thread woken by its end and its words.
    fn watch(&mut self, inner: &Inner) -> io::Result<()> {
        if !std::mem::replace(&mut self.is_watched, true) {
            let [death, socket] = self.process.sources();
            let watched = [death, socket, self.stderr.as_fd()];
            let token = Source::ForkServer.token();
            let added = watched.iter().try_for_each(|fd| inner.poller.add(fd, token));
            if added.is_err() {
                self.is_watched = false;
                watched.iter().for_each(|fd| inner.poller.remove(fd));
            }
            return added;
        }
        Ok(())
    }
}

/// Makes a worker of a process that was started for a slot.
fn settle(inner: &Inner, worker: WorkerId, started: Started) {
    let peer = match make_peer(inner, worker, started) {
        Ok(peer) => peer,
        Err(error) => return fail(inner, worker, no_process(&error)),
    };
    fault!("parent.after_start");
    inner.with_core(|core| {
        inner.counters.workers_started.add(1);
        let unwanted = core.take_unwanted(worker);
        let peer = core.peers[worker.slot].insert(peer);
        if unwanted {
            peer.kill();
        }
    });
}

/// Says that there will be no worker in a slot.
fn fail(inner: &Inner, worker: WorkerId, failed: StartFailed) {
    inner.with_core(|core| {
        core.note_failure(worker, failed);
        core.take_unwanted(worker);
        core.tell(Event::StartFailed { worker, is_fatal: false });
    });
}

fn no_process(error: &io::Error) -> StartFailed {
    StartFailed::before_birth(StartFailure::Exec(error.raw_os_error().unwrap_or(0)))
}

fn too_late() -> StartFailure {
    StartFailure::TimedOut { after: START_DEADLINE }
}

/// From here on an error drops the child, which ends it.
fn make_peer(inner: &Inner, worker: WorkerId, started: Started) -> io::Result<Peer> {
    let Started { child, socket, stderr, nonce } = started;
    let (line, [down, up]) = Line::create()?;
    let slot = u32::try_from(worker.slot).unwrap_or(u32::MAX);
    let hello = Hello::new(nonce, slot, worker.generation, inner.bells.spins());
    let hello = hello.confined(inner.confinement.clone());
    match greet(&socket, &hello, [&down, &up, &inner.pulse]) {
        // It has ended already, and its death will tell how.
        Err(gone) if is_gone(&gone) => {}
        greeted => greeted?,
    }
    let stderr = StderrTail::new(stderr)?;
    let watched = [
        (&inner.poller, child.as_fd(), Source::Death(worker)),
        (&inner.bells.sockets, socket.as_fd(), Source::Socket(worker)),
        (&inner.poller, stderr.as_fd(), Source::Stderr(worker)),
    ];
    let added = watched.iter().try_for_each(|(set, fd, source)| set.add(fd, source.token()));
    if let Err(error) = added {
        watched.iter().for_each(|(set, fd, _)| set.remove(fd));
        return Err(error);
    }
    let end = ParentEnd::new(socket, line.clone());
    Ok(Peer::new(worker, hello, (child, end), stderr, StatusReader::new(line)))
}

fn greet(socket: &Socket, hello: &Hello, memory: [&OwnedFd; 3]) -> io::Result<()> {
    let message = rmp_serde::to_vec(hello).map_err(io::Error::other)?;
    let (parent, stderr) = (host::own_pidfd()?, host::stderr_copy()?);
    let mut fds = vec![parent.as_fd(), stderr.as_fd()];
    fds.extend(memory.map(AsFd::as_fd));
    socket.send(&[&message], &fds, Wait::No)
}
