//! The signals of a worker: what it inherited is undone, and SIGTERM or SIGHUP ends it with its group.
//!
//! Promises: the handler does only what signal-safety(7) allows; a process that a worker forked and
//! that inherited the handler dies alone.
//! Does not know: when a worker should end.
#![expect(unsafe_code, reason = "signal dispositions")]

use std::io;
use std::sync::atomic::{AtomicI32, Ordering};

use rustix::process::{Signal, getpid, set_parent_process_death_signal};

/// The worker whose group the handler may kill.
static LEADER: AtomicI32 = AtomicI32::new(0);

/// Undoes ignored and blocked signals: they survive exec (signal(7)).
pub(crate) fn reset() {
    for signal in (1..=libc::SIGRTMAX()).filter(|&signal| is_ignored(signal)) {
        // SAFETY: no handler is installed, only the default.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // SIGPIPE as in every Rust program: a task expects an error. SIGTTOU because a worker's group is
    // in the background of the terminal: printing must not stop it, however the terminal is set.
    for signal in [libc::SIGPIPE, libc::SIGTTOU] {
        // SAFETY: no handler is installed.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    let mut none = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the call initialises the set that it is given.
    unsafe { libc::sigemptyset(none.as_mut_ptr()) };
    // SAFETY: the set was initialised in the line above; the old mask is not asked for.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut()) };
}

fn is_ignored(signal: libc::c_int) -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: only asks; refused, with the zeros left as they are, for numbers that are no signal.
    unsafe { libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) };
    // SAFETY: zeros are a valid `sigaction`, and so is what the call writes.
    unsafe { action.assume_init() }.sa_sigaction == libc::SIG_IGN
}

/// From now on SIGTERM ends this process and its group, of which it is the leader, and the end of
/// the thread that started it sends SIGTERM.
///
/// So does SIGHUP: a worker that is stopped when its parent dies gets that from the kernel, for its
/// orphaned group (setpgid(2)), and may see it first.
pub(crate) fn end_with_parent() -> io::Result<()> {
    LEADER.store(getpid().as_raw_nonzero().get(), Ordering::Relaxed);
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    let end: extern "C" fn(libc::c_int) = end_group;
    // SAFETY: zeros are a valid `sigaction`: no flags, an empty mask, the default handler.
    unsafe { action.assume_init_mut() }.sa_sigaction = end as libc::sighandler_t;
    for signal in [libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: `action` is initialised (above) and its handler is safe at any moment
        // (`end_group`).
        let set = unsafe { libc::sigaction(signal, action.as_ptr(), std::ptr::null_mut()) };
        if set != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(set_parent_process_death_signal(Some(Signal::TERM))?)
}

/// From now on the end of the thread that started this process wakes it if it is stopped, and does
/// nothing else to it.
pub(crate) fn wake_with_parent() -> io::Result<()> {
    Ok(set_parent_process_death_signal(Some(Signal::CONT))?)
}

/// Kills the worker's group, or, in a process that only inherited the handler, that process.
extern "C" fn end_group(signal: libc::c_int) {
    // SAFETY: the call takes nothing and changes nothing (signal-safety(7) lists it).
    let pid = unsafe { libc::getpid() };
    // SAFETY: as above.
    let group = unsafe { libc::getpgrp() };
    if pid == LEADER.load(Ordering::Relaxed) && pid == group {
        // SAFETY: 0 names this process's own group.
        unsafe { libc::kill(0, libc::SIGKILL) };
    }
    // SAFETY: restores the default, which ends the process as if there had been no handler.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
    // SAFETY: sends this process the signal that it was sent; listed in signal-safety(7).
    unsafe { libc::raise(signal) };
}
