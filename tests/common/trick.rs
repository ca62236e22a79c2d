//! A value that misbehaves at a moment of its own choosing.
#![expect(unsafe_code, reason = "processes that die as real ones do")]

use pannier::Phase;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

use crate::common::{kill_oneself, pass};

/// When.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Moment {
    /// In the parent.
    Submitting,
    Decoding,
    Running,
    Encoding,
    /// In the parent.
    Joining,
    Never,
}

impl Moment {
    /// What a worker does at this moment.
    pub(crate) fn phase(self) -> Phase {
        match self {
            Moment::Decoding => Phase::Decoding,
            Moment::Running => Phase::Running,
            Moment::Encoding => Phase::Encoding,
            Moment::Submitting | Moment::Joining | Moment::Never => {
                unreachable!("no worker is at work")
            }
        }
    }
}

/// What.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Mishap {
    Panic,
    Error,
    Exit(i32),
    Abort,
    Segv,
    Kill,
}

pub(crate) const PLANNED: &str = "a planned mishap";

impl Mishap {
    pub(crate) fn happen(self) -> Result<(), &'static str> {
        match self {
            Mishap::Panic => panic!("{PLANNED}"),
            Mishap::Error => Err(PLANNED),
            Mishap::Exit(code) => std::process::exit(code),
            Mishap::Abort => std::process::abort(),
            Mishap::Segv => write_where_nothing_is(),
            Mishap::Kill => kill_oneself(),
        }
    }

    /// The signal that the worker dies of.
    pub(crate) fn signal(self) -> Option<i32> {
        match self {
            Mishap::Panic | Mishap::Error | Mishap::Exit(_) => None,
            Mishap::Abort => Some(libc::SIGABRT),
            Mishap::Segv => Some(libc::SIGSEGV),
            Mishap::Kill => Some(libc::SIGKILL),
        }
    }
}

fn write_where_nothing_is() -> ! {
    let nowhere = std::ptr::without_provenance_mut::<u8>(16);
    // SAFETY: nothing is ever mapped in the first page (mmap_min_addr): the kernel ends this process.
    unsafe { nowhere.write_volatile(1) };
    unreachable!("the first page cannot be written")
}

/// Harmless but for one moment; before that it waits at a gate, if it has one.
#[derive(Clone, Debug)]
pub(crate) struct Trick(Plan);

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Plan {
    moment: Moment,
    mishap: Mishap,
    gate: Option<String>,
}

impl Trick {
    pub(crate) fn new(moment: Moment, mishap: Mishap) -> Self {
        Trick(Plan { moment, mishap, gate: None })
    }

    pub(crate) fn behind(self, gate: String) -> Self {
        Trick(Plan { gate: Some(gate), ..self.0 })
    }

    fn at(&self, moment: Moment) -> Result<(), &'static str> {
        if moment != self.0.moment {
            return Ok(());
        }
        if let Some(gate) = &self.0.gate {
            pass(gate);
        }
        self.0.mishap.happen()
    }
}

/// The task: gives the trick back.
pub(crate) fn perform(trick: Trick) -> Trick {
    trick.at(Moment::Running).expect("an error is for encoding and decoding");
    trick
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
