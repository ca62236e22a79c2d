//! The pool's own thread: it starts workers, hears them, and sees them die.
//!
//! It lives as long as the pool, because a worker ends with the thread that started it (prctl(2),
//! PDEATHSIG). No user code runs on it but wakers, outside of all locks.
//! Promises: what a dead worker had sent is read before its death is told; a pidfd is the truth of
//! death, everything else a hint; a bug that ends this thread answers every waiting task.
//! Does not know: the rules of what follows; the scheduler does.
#![forbid(unsafe_code)]

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::births::Births;
use super::core::{Core, Obituary, Source};
use super::error::{StartFailed, StartFailure};
use super::inner::Inner;
use super::peer::{Peer, Stage};
use super::quarantine;
use super::receive;
use super::scheduler::{Blame, Event, TaskId, WorkerId};
use crate::channel::{Phase, Progress};
use crate::shm::IDLE;
use crate::sys::child::ExitStatus;
use crate::sys::fault::fault;
use crate::sys::host;

/// Starts the pool's thread, which alone has to do with the birth of workers.
pub(super) fn start(inner: &Arc<Inner>, births: Births) -> io::Result<()> {
    inner.poller.add(&inner.waker, Source::Wake.token())?;
    inner.poller.add(&inner.bells.sockets, Source::Bells.token())?;
    let pool = inner.clone();
    let thread = std::thread::Builder::new().name("pannier-pool".into());
    inner.set_thread(thread.spawn(move || run(&pool, births))?);
    Ok(())
}

fn run(inner: &Inner, births: Births) {
    let outcome = crate::task::catch(|| supervise(inner, births));
    if !matches!(outcome, Ok(Ok(()))) {
        // A bug, or a kernel without epoll: nobody will hear the workers again.
        inner.abandon();
    }
    inner.close();
    inner.call_wakers();
}

fn supervise(inner: &Inner, mut births: Births) -> io::Result<()> {
    let (mut tokens, mut weighed) = (Vec::new(), Instant::now());
    // Perform what the scheduler asks for from the first moment on.
    inner.with_core(|_| ());
    loop {
        for worker in inner.with_core(Core::take_starts) {
            births.start(inner, worker);
            // A start takes a while, and there may be many: nobody waits for all of them.
            inner.hear_for_all(&mut tokens)?;
        }
        births.check(inner);
        inner.grant_wants();
        let (timeout, over) = {
            let mut core = inner.lock();
            let timeout = next_timeout(inner, &core, &births);
            core.wakes_at = core.now().saturating_add(timeout);
            if core.waits_for_the_undying() {
                inner.changed.notify_all();
            }
            (timeout, core.is_closed() || core.is_over())
        };
        if over {
            return Ok(());
        }
        inner.poller.wait(&mut tokens, Some(timeout))?;
        inner.lock().wakes_at = Duration::ZERO;
        for &token in &tokens {
            handle(inner, &mut births, Source::from_token(token))?;
        }
        if inner.lock().is_unheard() {
            inner.take_in();
        }
        inner.with_core(|core| {
            let now = core.now();
            if core.scheduler.poll_timeout().is_some_and(|at| at <= now) {
                // What has been published in time counts.
                core.scan(inner);
            }
            core.scheduler.handle_timeout(now);
            check_deadlines(core);
            quarantine::check(core, inner);
        });
        inner.call_wakers();
        inner.memory.trim_idle();
        retire_the_large(inner, &mut weighed);
    }
}

/// Has workers replaced that use more memory than they may.
fn retire_the_large(inner: &Inner, weighed: &mut Instant) {
    let Some(limit) = inner.max_worker_memory.filter(|_| weighed.elapsed() >= WEIGH) else {
        return;
    };
    *weighed = Instant::now();
    let workers: Vec<(WorkerId, u32)> = {
        let core = inner.lock();
        let ready = core.peers.iter().flatten().filter(|peer| peer.is_ready());
        ready.map(|peer| (peer.worker, peer.child.id())).collect()
    };
    // Without the lock. Who dies meanwhile is nobody.
    let is_large = |pid| host::private_memory(pid).is_some_and(|bytes| bytes > limit);
    for (worker, _) in workers.into_iter().filter(|&(_, pid)| is_large(pid)) {
        inner.with_core(|core| core.scheduler.retire(worker));
    }
}

/// How often workers are weighed.
const WEIGH: Duration = Duration::from_millis(100);

fn next_timeout(inner: &Inner, core: &Core, births: &Births) -> Duration {
    if core.has_orders() {
        return Duration::ZERO;
    }
    let due = core.scheduler.poll_timeout().map(|at| at.saturating_sub(core.now()));
    let deadlines = [core.start_deadline(), births.deadline(), core.gives_up_at];
    let deadline = deadlines.into_iter().flatten().min();
    let deadline = deadline.map(|at| at.saturating_duration_since(Instant::now()));
    // Memory that became idle meanwhile is given back.
    let is_busy = core.scheduler.queued() + core.scheduler.sent() > 0;
    let weigh = inner.max_worker_memory.map(|_| if is_busy { WEIGH } else { WEIGH * 10 });
    [due, deadline, weigh].into_iter().flatten().min().map_or(IDLE, |earliest| earliest.min(IDLE))
}

fn check_deadlines(core: &mut Core) {
    let now = Instant::now();
    for peer in core.peers.iter_mut().flatten() {
        peer.check_deadline(now);
    }
}

fn handle(inner: &Inner, births: &mut Births, source: Source) -> io::Result<()> {
    match source {
        Source::Wake => {
            inner.waker.drain();
            forget_contexts(inner);
            if inner.memory.take_freed() {
                inner.turn_over();
            }
        }
        Source::Bells => inner.hear_for_all(&mut Vec::new())?,
        Source::ForkServer => births.attend(inner),
        Source::Socket(_) => unreachable!("sockets are in the set of bells"),
        Source::Death(worker) => inner.with_core(|core| bury(core, inner, worker)),
        Source::Stderr(worker) => inner.with_core(|core| {
            let Some(peer) = core.peer(worker) else { return };
            if !peer.stderr.read() {
                inner.poller.remove(&peer.stderr);
            }
        }),
    }
    Ok(())
}

/// A worker is dead: reads what it left, and tells the scheduler.
fn bury(core: &mut Core, inner: &Inner, worker: WorkerId) {
    if core.peer(worker).is_none() {
        return quarantine::release(core, inner, worker);
    }
    // Unless it has talked nonsense before. Once takes in all that its ring holds; what comes then is
    // from somebody who got away from it, and would come for ever.
    let _by_others = receive::some(core, inner, worker.slot);
    let Some(mut peer) = core.peers[worker.slot].take() else { return };
    fault!("parent.during_bury");
    let status = lay_to_rest(inner, &mut peer);
    inner.memory.forget_worker(peer.slot(), worker.generation);
    part(core, inner, &mut peer, status);
}

/// Reaps a process that is dead.
pub(super) fn lay_to_rest(inner: &Inner, peer: &mut Peer) -> ExitStatus {
    // What it left behind in its group goes too, before the number of the group is given up.
    peer.child.kill_group();
    let status = peer.child.exit_status();
    inner.poller.remove(&peer.child);
    status
}

/// Has no more to do with a worker, and tells the scheduler that it died.
pub(super) fn part(core: &mut Core, inner: &Inner, peer: &mut Peer, status: ExitStatus) {
    let worker = peer.worker;
    peer.stderr.read();
    inner.bells.sockets.remove(&peer.end);
    inner.poller.remove(&peer.stderr);
    inner.counters.bells_rung.add(peer.end.rung());
    inner.forget_wants(core, worker);
    fault!("parent.after_bury");
    let was_ready = matches!(peer.stage, Stage::Ready | Stage::Killed);
    if !was_ready {
        let cause = match std::mem::replace(&mut peer.stage, Stage::Killed) {
            Stage::Unfit(cause) => cause,
            Stage::Initialising { .. } => StartFailure::InitializerDied,
            _ => StartFailure::Exited,
        };
        let is_fatal = matches!(
            cause,
            StartFailure::Initializer(_)
                | StartFailure::InitializerFailed(_)
                | StartFailure::InitializerDied
        );
        let stderr_tail = peer.stderr.text();
        core.note_failure(worker, StartFailed { cause, status, stderr_tail });
        return core.tell(Event::StartFailed { worker, is_fatal });
    }
    if !core.scheduler.is_closing() {
        inner.counters.workers_died.add(1);
    }
    let progress = peer.status.read();
    let oom_suspected = suspect_oom(peer, status);
    let blame = |Progress { task, item, .. }| Blame {
        task: TaskId(task),
        item,
        retry_alone: oom_suspected,
    };
    let blame = peer.accuse(progress.map(blame));
    core.obituary = Some(Obituary {
        pid: peer.child.id(),
        generation: worker.generation,
        status,
        oom_suspected,
        phase: progress.map_or(Phase::Idle, |progress| progress.phase),
        sent: std::mem::take(&mut peer.sent).into(),
    });
    let was_broken = core.scheduler.is_broken();
    core.tell(Event::WorkerDied { worker, blame });
    let breaks = core.scheduler.is_broken() && !was_broken;
    if let Some(deaths) = core.scheduler.too_many_fruitless_deaths().filter(|_| breaks) {
        let cause = StartFailure::NoProgress { deaths };
        core.last_failure = Some(StartFailed { cause, status, stderr_tail: None });
    }
}

/// Whether a worker that was killed, and not by us, may have been killed for want of memory.
fn suspect_oom(peer: &Peer, status: ExitStatus) -> bool {
    let killed = matches!(status, ExitStatus::Signaled { signal: libc::SIGKILL, .. });
    let before_and_now = peer.oom_kills_before.zip(host::oom_kills());
    killed && !peer.died_by_us() && before_and_now.is_some_and(|(before, now)| now > before)
}

fn forget_contexts(inner: &Inner) {
    let _giving = inner.giving();
    for context in inner.take_forgotten() {
        inner.with_core(|core| {
            for slot in 0..core.peers.len() {
                let Some(peer) = core.peers[slot].as_mut().filter(|peer| peer.is_ready()) else {
                    continue;
                };
                let (worker, sent) = (peer.worker, peer.forget(context));
                core.after_send(inner, worker, sent);
            }
        });
    }
}
