//! [`Hardening`]: what a pool does about workers that it does not trust.
//!
//! Does not know: how a worker gives things up.
#![forbid(unsafe_code)]

use super::inner::Inner;
use super::once::Once;
use crate::channel::pool_limits;
use crate::codec::{Body, CodecError, Copies};
use crate::error::Result;
use crate::frame::Limits;
use crate::process::Confinement;
use crate::task::Function;

/// What workers may not do, for pools whose tasks may be taken over by what they read: a parser of
/// files from strangers, a library with a past. For [`PoolBuilder::hardened`](crate::PoolBuilder::hardened).
///
/// A hardened pool
///
/// * copies results to memory that their worker cannot write, before anything looks at them;
/// * starts workers that gain no rights by what they execute (`PR_SET_NO_NEW_PRIVS`), that other workers
///   can neither trace nor look into (`PR_SET_DUMPABLE`), and that leave no core files;
/// * holds them to the limits that are set here (setrlimit(2)).
///
/// As in every pool, workers can read their inputs only, cannot write each other's results, and what
/// they say is checked before it is believed; one that talks nonsense is killed.
///
/// Where a library of the program's starts threads before [`init`](crate::init), as OpenBLAS does, these
/// keep what `PR_SET_NO_NEW_PRIVS` takes from all others.
///
/// What it does not do: a worker has the rights of its user still. It can send signals to processes of
/// that user, open their files, trace this process and its fork server if these may be traced, and fill up
/// the pool's memory. By way of /proc it can open what this process has open, and write the memory of
/// other workers' results before they are copied.
/// Whoever fears that takes those rights away, in [`confine`](Self::confine). Workers can read the
/// arguments and results of each other's tasks, where these lie in the same segment of shared memory.
///
/// # Examples
///
/// ```
/// # pannier::premain!();
/// use pannier::{Hardening, Pool};
///
/// let hardening = Hardening::new().address_space(8 << 30).open_files(64);
/// let pool = Pool::builder().workers(1).hardened(hardening).build()?;
/// let lengths = pool.submit(|text: String| text.lines().map(str::len).collect(), "a\nbc".into());
/// let lengths: Vec<usize> = lengths.join()?;
/// assert_eq!(lengths, [1, 2]);
/// # Ok::<(), pannier::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "it takes effect in a builder"]
pub struct Hardening {
    confinement: Confinement,
    then: Option<Once>,
}

impl Hardening {
    /// No limits yet.
    ///
    /// # Examples
    ///
    /// See [`Hardening`].
    pub fn new() -> Self {
        Self::default()
    }

    /// How many bytes of addresses a worker may have, the pool's shared memory included: what it asks for
    /// beyond that is refused, and most programs abort then (`RLIMIT_AS`).
    ///
    /// # Examples
    ///
    /// See [`Hardening`].
    pub fn address_space(mut self, bytes: u64) -> Self {
        self.confinement.address_space = Some(bytes);
        self
    }

    /// How many files a worker may have open, its standard streams and some of the pool's included
    /// (`RLIMIT_NOFILE`). It needs one more whenever it is given memory.
    ///
    /// # Examples
    ///
    /// See [`Hardening`].
    pub fn open_files(mut self, count: u64) -> Self {
        self.confinement.open_files = Some(count);
        self
    }

    /// How long a file may become that a worker writes; it dies of SIGXFSZ (`RLIMIT_FSIZE`).
    ///
    /// # Examples
    ///
    /// ```
    /// let none = pannier::Hardening::new().file_size(0);
    /// ```
    pub fn file_size(mut self, bytes: u64) -> Self {
        self.confinement.file_size = Some(bytes);
        self
    }

    /// How many processes and threads this user may have, in this machine or container, for a worker to
    /// start another (`RLIMIT_NPROC`). It does not hold for root.
    ///
    /// # Examples
    ///
    /// ```
    /// let few = pannier::Hardening::new().processes(1_000);
    /// ```
    pub fn processes(mut self, count: u64) -> Self {
        self.confinement.processes = Some(count);
        self
    }

    /// Runs a function in each worker after everything else and before its first task, for what is this
    /// program's to take away: landlock(7), seccomp(2).
    ///
    /// The worker has one thread of its program's then, and it is what tasks run on or what starts that
    /// thread, so what this function gives up is given up by all. If it panics the worker is not used, and
    /// the panic is the cause in [`Error::StartFailed`](crate::Error::StartFailed).
    ///
    /// For its own work a worker needs the system calls that threads need for memory, locks and time, and
    /// `recvmsg`, `sendmsg`, `write`, `poll`, `ppoll`, `mmap`, `munmap`, `madvise`, `close`, `fcntl`,
    /// `fstat`, `dup2`, `clone3`, `kill`, `exit_group`.
    ///
    /// # Examples
    ///
    /// ```
    /// # pannier::premain!();
    /// use pannier::{Hardening, Pool};
    ///
    /// // In earnest: landlock and seccomp.
    /// let hardening = Hardening::new().confine(|()| std::env::set_current_dir("/").unwrap());
    /// let pool = Pool::builder().workers(1).hardened(hardening).build()?;
    /// let place = pool.submit(|()| std::env::current_dir().unwrap(), ()).join()?;
    /// assert_eq!(place, std::path::Path::new("/"));
    /// # Ok::<(), pannier::Error>(())
    /// ```
    pub fn confine<F: Function<(), ()>>(mut self, f: F) -> Self {
        self.then = Some(Once::new(f));
        self
    }

    pub(super) fn into_confinement(self) -> Result<Confinement> {
        let then = self.then.as_ref().map(Once::to_words).transpose()?;
        Ok(Confinement { then, ..self.confinement })
    }
}

/// The bodies of a result as they may be looked at.
pub(super) fn trusted(
    pool: &Inner,
    mut bodies: Vec<Body<'static>>,
) -> Result<Vec<Body<'static>>, CodecError> {
    if pool.confinement.is_some() {
        let buffers = bodies.iter_mut().filter_map(|body| match body {
            Body::Owned { buffer, .. } => Some(buffer),
            Body::Borrowed { .. } => None,
        });
        let made = pool.memory.make_private(buffers.collect());
        let (count, bytes) = made.map_err(|error| CodecError::Buffer(error.into()))?;
        pool.counters.add_copies(Copies { count, bytes });
    }
    Ok(bodies)
}

/// What a result may be: of those that are not trusted nothing is copied again and again.
pub(super) fn result_limits(pool: &Inner) -> Limits {
    let limits = pool_limits();
    if pool.confinement.is_none() {
        return limits;
    }
    limits.repeat_bytes(Limits::default().repeat_bytes)
}
