//! Waiting for results: whoever waits drives the pool meanwhile.
//!
//! Answers arrive in rings, and a bell in a worker's socket says so to whoever sleeps. All sockets are
//! in one set; that set is part of what the pool's own thread waits for. A thread that joins a task
//! takes the driver's seat if it is free: it looks at the rings itself for a while, then takes the set
//! over and sleeps on it, so that an answer costs one wake-up and not two.
//!
//! ```text
//!            ┌─ seat taken: sleep until the answer is given ─────────────────┐
//!   join ────┤                                                               ├─ answer
//!            └─ seat free: watch (no bells) ─ rest (bells) ─ sleep on them ──┘
//! ```
//!
//! Promises: behind every look at the rings either somebody watches or the next answer rings, and
//! somebody sleeps on the bells; the seat is given up however its holder leaves.
//! Does not know: deaths, deadlines and starts; they are the pool's thread's.
#![forbid(unsafe_code)]

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::core::{Core, Source};
use super::initializer::welcome;
use super::inner::Inner;
use super::peer::Answer;
use super::pending::Pending;
use super::scheduler::{Event, WorkerId};
use crate::channel::{Heard, InFlight, Spin};
use crate::sys::poller::{Interest, Poller, Waker};

/// The bells of all workers, and who listens to them.
#[derive(Debug)]
pub(super) struct Bells {
    pub(super) sockets: Poller,
    /// Wakes a driver whose answer another thread has given.
    nudge: Waker,
    seat: AtomicBool,
    /// What drivers have learnt of looking before sleeping; `None`: no CPU is left for that.
    spin: Option<Mutex<Spin>>,
    /// Bytes of the results that came since somebody last looked.
    pub(super) results: InFlight,
}

impl Bells {
    pub(super) fn new(spins: bool) -> io::Result<Self> {
        let (sockets, nudge) = (Poller::new()?, Waker::new()?);
        sockets.add(&nudge, Source::Wake.token())?;
        let spin = spins.then(|| Mutex::new(Spin::new()));
        let (seat, results) = (AtomicBool::new(false), InFlight::default());
        Ok(Bells { sockets, nudge, seat, spin, results })
    }

    /// How often looking before sleeping paid, and how often it did not.
    pub(super) fn spun(&self) -> (u64, u64) {
        let spin =
            self.spin.as_ref().map(|spin| spin.lock().unwrap_or_else(PoisonError::into_inner));
        spin.map_or((0, 0), |spin| (spin.paid, spin.in_vain))
    }

    /// Whether workers and drivers have CPUs to look for messages on.
    pub(super) fn spins(&self) -> bool {
        self.spin.is_some()
    }
}

impl Inner {
    /// Waits until a payload has answers, until `deadline` if there is one; whether there are any.
    pub(crate) fn wait(&self, pending: &Pending, deadline: Option<Instant>) -> bool {
        if pending.has_answers() {
            return true;
        }
        match Seat::take(self) {
            Some(seat) => seat.drive(pending, deadline),
            None => pending.wait(deadline),
        }
    }

    /// Deals with the sockets that are ready, and with what has been published.
    pub(super) fn hear(&self, tokens: &[u64]) {
        for &token in tokens {
            match Source::from_token(token) {
                Source::Socket(worker) => self.with_core(|core| hear(core, self, worker)),
                _nudged => self.bells.nudge.drain(),
            }
        }
        self.take_in();
    }

    /// Takes in what workers have published.
    pub(super) fn take_in(&self) {
        self.with_core(|core| core.scan(self));
    }

    /// Hears the bells in place of a driver, if there is none. For the pool's thread.
    pub(super) fn hear_for_all(&self, tokens: &mut Vec<u64>) -> io::Result<()> {
        // With the seat: a driver that sleeps might be nudged, and the nudge taken away here.
        let Some(_seat) = Seat::take(self) else { return Ok(()) };
        self.bells.sockets.wait(tokens, Some(Duration::ZERO))?;
        self.hear(tokens);
        Ok(())
    }

    /// For a driver that sleeps.
    pub(super) fn nudge(&self) {
        self.bells.nudge.wake();
    }

    /// Takes in what workers have published, if they have.
    fn look(&self) {
        if self.lock().has_answers() {
            self.take_in();
        }
    }
}

/// The driver's seat, while one thread has it.
struct Seat<'p> {
    pool: &'p Inner,
    /// The bells are this thread's, and not the pool's thread's.
    listens: bool,
}

impl<'p> Seat<'p> {
    fn take(pool: &'p Inner) -> Option<Self> {
        let taken = pool.bells.seat.swap(true, Ordering::Acquire);
        // Made only if it is this thread's: dropping one gives the seat up, whoever has it.
        (!taken).then(|| Seat { pool, listens: false })
    }

    fn drive(mut self, pending: &Pending, deadline: Option<Instant>) -> bool {
        if self.watch(pending) {
            return true;
        }
        let slept = self.sleep(pending, deadline);
        let pool = self.pool;
        drop(self);
        match slept {
            Ok(there) => there,
            Err(_without_epoll) => {
                // Then the pool's thread will fail too, and answer everything.
                pool.waker.wake();
                pending.wait(deadline)
            }
        }
    }

    /// Looks for the answer for a while, if that has shown to pay.
    fn watch(&self, pending: &Pending) -> bool {
        let Some(spin) = &self.pool.bells.spin else { return false };
        let mut spin = spin.lock().unwrap_or_else(PoisonError::into_inner);
        if !spin.is_worth_it() {
            return false;
        }
        self.pool.lock().begin_watch();
        // What goes keeps the workers busy, and what comes may be as large as the last.
        let bytes = pending.bytes.saturating_add(self.pool.bells.results.take());
        let there = spin.wait(bytes, || {
            self.pool.look();
            pending.has_answers()
        });
        self.pool.with_core(|core| {
            core.end_watch();
            core.scan(self.pool);
        });
        there || pending.has_answers()
    }

    /// Sleeps on the bells until there are answers.
    fn sleep(&mut self, pending: &Pending, deadline: Option<Instant>) -> io::Result<bool> {
        self.listen()?;
        let mut tokens = Vec::new();
        while pending.begin_drive() {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let waited = self.pool.bells.sockets.wait(&mut tokens, left);
            pending.end_drive();
            self.pool.counters.sleeps.add(1);
            waited?;
            self.pool.hear(&tokens);
            let over = left.is_some_and(|left| left.is_zero());
            if over && !pending.has_answers() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// From now on the bells do not wake the pool's thread.
    fn listen(&mut self) -> io::Result<()> {
        self.listens = true;
        self.pool.watch_bells(Interest::Nothing)
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        if self.listens {
            // It fails only without epoll, and then the pool's thread is at its end.
            let _without = self.pool.watch_bells(Interest::Read);
        }
        self.pool.bells.seat.store(false, Ordering::Release);
    }
}

/// Deals with a socket that is ready.
fn hear(core: &mut Core, inner: &Inner, worker: WorkerId) {
    let Some(peer) = core.peer(worker) else { return };
    match peer.finish_handshake() {
        Some(Answer::NotYet) => return,
        Some(Answer::Ready) => return welcome(core, inner, worker),
        Some(Answer::Unfit) => {
            inner.bells.sockets.remove(&peer.end);
            return peer.kill();
        }
        None => {}
    }
    if !matches!(peer.end.listen(), Ok(Heard::Bell)) {
        // It would be reported for ever. What the worker publishes until its death counts.
        inner.bells.sockets.remove(&peer.end);
        peer.leaves();
        return core.tell(Event::WorkerSuspect { worker });
    }
    let sent = peer.flush();
    core.after_send(inner, worker, sent);
}
