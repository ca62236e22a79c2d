//! A value that misbehaves at a moment of its own choosing.
#![expect(unsafe_code, reason = "processes that die as real ones do")]

use std::hint::black_box;

use pannier::Phase;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

use crate::common::{attempt, kill_oneself, pass};

/// When.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Moment {
    /// In the parent.
    Submitting,
    Decoding,
    Running,
    /// The same in a task that a completion callback submits.
    FromCallback,
    Encoding,
    /// The result is written, not sent, and its value is dropped.
    Dropping,
    /// The worker waits for the memory of its message; it is another thread that acts.
    Sending,
    /// The worker waits for its next task; it is a thread of the last one that acts.
    Idle,
    /// In the parent.
    Joining,
    Never,
}

impl Moment {
    /// What a worker does at this moment.
    pub(crate) fn phase(self) -> Phase {
        match self {
            Moment::Decoding => Phase::Decoding,
            Moment::Running | Moment::FromCallback => Phase::Running,
            Moment::Encoding | Moment::Dropping => Phase::Encoding,
            Moment::Sending => Phase::Sending,
            Moment::Idle => Phase::Idle,
            Moment::Submitting | Moment::Joining | Moment::Never => {
                unreachable!("no worker is at work")
            }
        }
    }

    /// Whether a thread that the task leaves behind acts.
    fn is_after_the_task(self) -> bool {
        matches!(self, Moment::Sending | Moment::Idle)
    }
}

/// What.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Mishap {
    Panic,
    /// A panic while another one unwinds.
    PanicTwice,
    Error,
    Exit(i32),
    Abort,
    Segv,
    StackOverflow,
    /// More memory is asked for than there is, by code that takes no for no answer.
    OutOfMemory,
    Kill,
    /// The process is stopped, and nobody lets it go on.
    Stop,
    /// All descriptors are closed under the library, and the thread does nothing any more.
    CloseAll,
}

pub(crate) const PLANNED: &str = "a planned mishap";

impl Mishap {
    pub(crate) fn happen(self) -> Result<(), &'static str> {
        match self {
            Mishap::Panic => panic!("{PLANNED}"),
            Mishap::PanicTwice => panic_twice(),
            Mishap::Error => Err(PLANNED),
            Mishap::Exit(code) => std::process::exit(code),
            Mishap::Abort => std::process::abort(),
            Mishap::Segv => write_where_nothing_is(),
            Mishap::StackOverflow => {
                black_box(deep(0));
                Ok(())
            }
            Mishap::OutOfMemory => {
                black_box(Vec::<u8>::with_capacity(isize::MAX.unsigned_abs()));
                Ok(())
            }
            Mishap::Kill => kill_oneself(),
            Mishap::Stop => stop_oneself(),
            Mishap::CloseAll => close_all(),
        }
    }

    /// Whether the worker goes on.
    pub(crate) fn is_survived(self) -> bool {
        matches!(self, Mishap::Panic | Mishap::Error)
    }

    /// The signals that the worker may die of.
    pub(crate) fn signals(self) -> &'static [i32] {
        match self {
            Mishap::Panic | Mishap::Error | Mishap::Exit(_) => &[],
            Mishap::PanicTwice | Mishap::Abort | Mishap::OutOfMemory => &[libc::SIGABRT],
            Mishap::Segv => &[libc::SIGSEGV],
            // The standard library says what it was, and aborts.
            Mishap::StackOverflow => &[libc::SIGABRT, libc::SIGSEGV],
            // It is the pool that kills a stopped one.
            Mishap::Kill | Mishap::Stop => &[libc::SIGKILL],
            // Likewise; or the standard library aborts, with debug assertions: a descriptor that another
            // thread had just been sent is not open when it is to be closed.
            Mishap::CloseAll => &[libc::SIGKILL, libc::SIGABRT],
        }
    }
}

fn write_where_nothing_is() -> ! {
    let nowhere = std::ptr::without_provenance_mut::<u8>(16);
    // SAFETY: nothing is ever mapped in the first page (mmap_min_addr): the kernel ends this process.
    unsafe { nowhere.write_volatile(1) };
    unreachable!("the first page cannot be written")
}

fn panic_twice() -> ! {
    struct Second;
    impl Drop for Second {
        fn drop(&mut self) {
            panic!("{PLANNED}, once more");
        }
    }
    let _second = Second;
    panic!("{PLANNED}")
}

fn deep(level: u64) -> u64 {
    let here = black_box([level; 64]);
    if level == u64::MAX { 0 } else { deep(level + 1) + here[3] }
}

/// By a signal to this thread, which does nothing more before it is stopped.
fn stop_oneself() -> ! {
    // SAFETY: sends a signal, and touches nothing.
    assert_eq!(unsafe { libc::raise(libc::SIGSTOP) }, 0);
    unreachable!("nobody lets it go on")
}

fn close_all() -> ! {
    // SAFETY: the library's descriptors are closed under it, to see what it makes of that; nothing
    // else in this process has any.
    unsafe { libc::close_range(3, u32::MAX, 0) };
    loop {
        std::thread::park();
    }
}

/// Harmless but for one moment; before that it waits at a gate, if it has one.
#[derive(Clone, Debug)]
pub(crate) struct Trick(Plan);

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Plan {
    moment: Moment,
    mishap: Mishap,
    gate: Option<String>,
    /// In the first attempt only.
    once: bool,
    /// Makes the result so long that there is no memory for it.
    ballast: String,
}

/// Of a result that is to wait for memory.
pub(crate) const BALLAST: usize = 6 << 20;

impl Trick {
    pub(crate) fn new(moment: Moment, mishap: Mishap) -> Self {
        Trick(Plan { moment, mishap, gate: None, once: false, ballast: String::new() })
    }

    pub(crate) fn behind(mut self, gate: String) -> Self {
        self.0.gate = Some(gate);
        self
    }

    pub(crate) fn once(mut self) -> Self {
        self.0.once = true;
        self
    }

    fn at(&self, moment: Moment) -> Result<(), &'static str> {
        if moment == self.0.moment { self.0.act() } else { Ok(()) }
    }
}

impl Plan {
    fn act(&self) -> Result<(), &'static str> {
        if self.once && attempt() > 1 {
            return Ok(());
        }
        if let Some(gate) = &self.gate {
            pass(gate);
        }
        self.mishap.happen()
    }
}

/// The task: gives the trick back.
pub(crate) fn perform(mut trick: Trick) -> Trick {
    for moment in [Moment::Running, Moment::FromCallback] {
        trick.at(moment).expect("an error is for encoding and decoding");
    }
    if trick.0.moment.is_after_the_task() {
        let plan = trick.0.clone();
        std::thread::spawn(move || plan.act());
    }
    if trick.0.moment == Moment::Sending {
        trick.0.ballast = "x".repeat(BALLAST);
    }
    trick
}

impl Drop for Trick {
    fn drop(&mut self) {
        if pannier::worker().is_some() {
            self.at(Moment::Dropping).expect("an error is for encoding and decoding");
        }
    }
}

impl Serialize for Trick {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let in_worker = pannier::worker().is_some();
        self.at(if in_worker { Moment::Encoding } else { Moment::Submitting })
            .map_err(ser::Error::custom)?;
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Trick {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let trick = Trick(Plan::deserialize(deserializer)?);
        let in_worker = pannier::worker().is_some();
        trick
            .at(if in_worker { Moment::Decoding } else { Moment::Joining })
            .map_err(de::Error::custom)?;
        Ok(trick)
    }
}
