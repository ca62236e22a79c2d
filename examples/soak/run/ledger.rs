//! What every run of a task writes before anything else: a record behind the others, in memory that
//! all processes have open. It outlives whoever wrote it.

use std::collections::HashMap;
use std::error::Error;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::time::{ClockId, clock_gettime};

/// For workers: where the records go.
pub(crate) const PATH: &str = "SOAK_LEDGER";
const LEN: usize = 24;

/// Of every process on this machine.
pub(crate) fn now() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    let (seconds, nanos) = (now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs());
    Duration::from_secs(seconds) + Duration::from_nanos(nanos)
}

/// One run of a task.
#[derive(Clone, Copy)]
pub(crate) struct Record {
    pub(crate) number: u64,
    pub(crate) attempt: u32,
    pub(crate) pid: u32,
    /// When it was to kill its worker, since there is a clock; zero: it was not.
    pub(crate) dies: u64,
}

impl Record {
    fn to_bytes(self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[..8].copy_from_slice(&self.number.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.attempt.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.pid.to_le_bytes());
        bytes[16..].copy_from_slice(&self.dies.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Record {
            number: u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?),
            attempt: u32::from_le_bytes(bytes.get(8..12)?.try_into().ok()?),
            pid: u32::from_le_bytes(bytes.get(12..16)?.try_into().ok()?),
            dies: u64::from_le_bytes(bytes.get(16..24)?.try_into().ok()?),
        })
    }
}

/// In a worker: this task begins; whether it is to kill its worker.
pub(crate) fn begin(number: u64, dies: bool) -> Record {
    static LEDGER: OnceLock<File> = OnceLock::new();
    let open = || {
        let path = std::env::var_os(PATH).expect("workers are told");
        File::options().append(true).open(path).expect("the parent has it open")
    };
    let attempt = pannier::worker().map_or(0, |worker| worker.attempt);
    let dies = if dies { u64::try_from(now().as_nanos()).unwrap_or(u64::MAX) } else { 0 };
    let record = Record { number, attempt, pid: std::process::id(), dies };
    // One call: records of several workers do not mix.
    let mut ledger = LEDGER.get_or_init(open);
    ledger.write_all(&record.to_bytes()).expect("there is memory");
    record
}

/// The parent's side.
pub(crate) struct Ledger {
    memory: OwnedFd,
    /// A description of its own, with a place of its own.
    reader: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    file: Option<File>,
    /// The last run of each task, and how many there were.
    last: HashMap<u64, (Record, u32)>,
    deaths: HashMap<u32, u64>,
    suicides: u64,
}

impl Ledger {
    pub(crate) fn create() -> Result<Self, Box<dyn Error>> {
        let memory = memfd_create("soak-ledger", MemfdFlags::CLOEXEC)?;
        let file = Some(File::open(path_of(&memory))?);
        Ok(Ledger { memory, reader: Mutex::new(Known { file, ..Known::default() }) })
    }

    pub(crate) fn path(&self) -> String {
        path_of(&self.memory)
    }

    fn look<R>(&self, answer: impl FnOnce(&Known) -> R) -> R {
        let mut known = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = Vec::new();
        if let Some(file) = &mut known.file {
            file.read_to_end(&mut bytes).expect("memory can be read");
        }
        for record in bytes.chunks_exact(LEN).filter_map(Record::from_bytes) {
            if record.dies > 0 {
                known.deaths.insert(record.pid, record.dies);
                known.suicides += 1;
            }
            let runs = known.last.get(&record.number).map_or(0, |known| known.1);
            known.last.insert(record.number, (record, runs + 1));
        }
        answer(&known)
    }

    /// The last run of a task, and how many there were; what is over is asked for once.
    pub(crate) fn last(&self, number: u64) -> Option<(Record, u32)> {
        self.look(|known| known.last.get(&number).copied())
    }

    /// Workers that were killed by their own tasks.
    pub(crate) fn suicides(&self) -> u64 {
        self.look(|known| known.suicides)
    }

    /// When a worker was killed by its own task.
    pub(crate) fn death_of(&self, pid: u32) -> Option<Duration> {
        self.look(|known| known.deaths.get(&pid).map(|&nanos| Duration::from_nanos(nanos)))
    }
}

fn path_of(memory: &OwnedFd) -> String {
    format!("/proc/{}/fd/{}", std::process::id(), memory.as_raw_fd())
}
