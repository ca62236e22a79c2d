//! What the tests of real processes share: waits with a deadline, meeting points between a test and
//! its tasks, pools whose processes can be told from those of the tests beside them.

mod proc;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::ops::Deref;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use pannier::{Error, JoinHandle, Pool, PoolBuilder, StartFailed, TaskError};
use rustix::process::Signal;

pub(crate) use self::proc::*;

/// How long anything may take; generous, because the machine may be busy with other tests.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// Looks again and again until it is so.
#[track_caller]
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not within {DEADLINE:?}: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Stops a process, and waits until all of it is stopped.
#[track_caller]
pub(crate) fn stop(pid: u32) {
    signal(pid, Signal::STOP);
    eventually("it is stopped", || is_stopped(pid));
}

/// The result of a task, in time.
#[track_caller]
pub(crate) fn join<R>(mut handle: JoinHandle<R>) -> Result<R, TaskError> {
    handle.join_timeout(DEADLINE).expect("a task ends in time")
}

/// The error of a task, in time.
#[track_caller]
pub(crate) fn failure<R: std::fmt::Debug>(handle: JoinHandle<R>) -> TaskError {
    join(handle).expect_err("the task fails")
}

/// Why no pool comes of it.
#[track_caller]
pub(crate) fn refusal(builder: PoolBuilder) -> StartFailed {
    match builder.build() {
        Err(Error::StartFailed(failed)) => failed,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was built"),
    }
}

/// Ends the test program when it hangs where no deadline reaches, unless it is dropped before.
pub(crate) fn watchdog() -> Sender<()> {
    let (alive, watch) = channel();
    std::thread::spawn(move || {
        if watch.recv_timeout(2 * DEADLINE) == Err(RecvTimeoutError::Timeout) {
            let _unheard = writeln!(std::io::stderr(), "a test hangs");
            std::process::abort();
        }
    });
    alive
}

/// A place where tasks wait until the test has seen them; it leaves nothing in the file system.
pub(crate) struct Gate {
    listener: UnixListener,
    name: String,
}

/// A task that waits at a gate; it goes on when this is dropped.
pub(crate) struct Arrival {
    /// What the task wanted to tell: its process, most often.
    pub(crate) number: u32,
    _stream: UnixStream,
}

impl Gate {
    pub(crate) fn new() -> Self {
        let name = unique("gate");
        let address = SocketAddr::from_abstract_name(&name).expect("a short name");
        let listener = UnixListener::bind_addr(&address).expect("a name of its own");
        listener.set_nonblocking(true).expect("a socket");
        Gate { listener, name }
    }

    /// For tasks.
    pub(crate) fn name(&self) -> String {
        self.name.clone()
    }

    /// The next task that comes.
    #[track_caller]
    pub(crate) fn arrival(&self) -> Arrival {
        let mut arrived = None;
        eventually("a task arrives", || {
            arrived = self.listener.accept().ok();
            arrived.is_some()
        });
        let (mut stream, _) = arrived.expect("one has arrived");
        stream.set_nonblocking(false).expect("a socket");
        stream.set_read_timeout(Some(DEADLINE)).expect("a socket");
        let mut number = [0; 4];
        stream.read_exact(&mut number).expect("a task says who it is");
        Arrival { number: u32::from_le_bytes(number), _stream: stream }
    }

    /// Whether no other task has come.
    pub(crate) fn is_deserted(&self) -> bool {
        self.listener.accept().is_err()
    }
}

/// In a task: tells a number, and waits until the test lets it go on.
pub(crate) fn tell(gate: &str, number: u32) {
    let address = SocketAddr::from_abstract_name(gate).expect("a short name");
    // A gate that is gone is open.
    let Ok(mut stream) = UnixStream::connect_addr(&address) else { return };
    let _gone = stream.write_all(&number.to_le_bytes());
    let _gone = stream.read(&mut [0]);
}

/// In a task: tells its process, and waits until the test lets it go on.
pub(crate) fn pass(gate: &str) {
    tell(gate, std::process::id());
}

/// In a task: which start of it this is.
pub(crate) fn attempt() -> u32 {
    pannier::worker().expect("a task runs in a worker").attempt
}

/// A task that waits at a gate and says which start of it came through.
pub(crate) fn pass_through(gate: String) -> u32 {
    pass(&gate);
    attempt()
}

/// A name that no other test has.
pub(crate) fn unique(what: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("pannier-{what}-{}-{count}", std::process::id())
}

/// A pool whose processes, and all that they start, carry a mark.
pub(crate) struct Marked {
    pool: Arc<Pool>,
    mark: String,
    pids: BTreeSet<u32>,
}

/// In the environment of all that a marked pool starts.
pub(crate) const MARK: &str = "PANNIER_TEST_MARK";

impl Marked {
    pub(crate) fn new(workers: usize) -> Self {
        Self::build(Pool::builder().workers(workers))
    }

    pub(crate) fn build(builder: PoolBuilder) -> Self {
        let mark = unique("mark");
        let pool = builder.env(MARK, &mark).build().expect("workers start");
        let pids = pool.worker_pids().into_iter().collect();
        Marked { pool: Arc::new(pool), mark, pids }
    }

    /// For callbacks, which must not outlive the pool.
    pub(crate) fn weak(&self) -> Weak<Pool> {
        Arc::downgrade(&self.pool)
    }

    /// All living processes of the pool, and what those started.
    pub(crate) fn processes(&self) -> Vec<u32> {
        marked(&self.mark)
    }

    /// Waits until all workers are ready, none of them among `gone`.
    #[track_caller]
    pub(crate) fn is_whole_without(&mut self, gone: &[u32]) {
        eventually("dead workers are replaced", || {
            let pids = self.pool.worker_pids();
            pids.len() == self.pool.workers() && pids.iter().all(|pid| !gone.contains(pid))
        });
        self.pids.extend(self.pool.worker_pids());
    }

    /// Drops the pool, and sees that nothing is left of it.
    #[track_caller]
    pub(crate) fn end(self) {
        let Marked { pool, mark, pids } = self;
        drop(Arc::into_inner(pool).expect("no callback has it any more"));
        for pid in pids {
            assert!(!exists(pid), "worker {pid} is left, or its body");
        }
        // What workers had started is killed with them; the kernel takes its time.
        eventually("nothing that the pool started is left", || marked(&mark).is_empty());
    }
}

impl Deref for Marked {
    type Target = Pool;

    fn deref(&self) -> &Pool {
        &self.pool
    }
}

/// The living processes with this mark.
pub(crate) fn marked(mark: &str) -> Vec<u32> {
    let wanted = format!("{MARK}={mark}");
    processes().filter(|&pid| environment(pid).contains(&wanted)).collect()
}
