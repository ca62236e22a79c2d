//! What every run of a task writes before anything else: a record behind the others, in memory that
//! all processes have open. It outlives whoever wrote it.

use std::error::Error;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::OnceLock;
use std::time::Duration;

use rustix::fs::{FallocateFlags, MemfdFlags, fallocate, memfd_create};
use rustix::time::{ClockId, clock_gettime};

use super::tasks::End;

/// For workers: where the records go.
pub(crate) const PATH: &str = "SOAK_LEDGER";
/// A power of two: no record lies in two pages, of which a kill could leave one unwritten.
const LEN: usize = 32;
/// What was read is given back in steps of so many bytes.
const STEP: u64 = 1 << 20;

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
    /// When, since there is a clock.
    pub(crate) began: Duration,
    /// It was to kill its worker.
    pub(crate) dies: bool,
}

impl Record {
    fn to_bytes(self) -> [u8; LEN] {
        let began = u64::try_from(self.began.as_nanos()).unwrap_or(u64::MAX);
        let mut bytes = [0; LEN];
        bytes[..8].copy_from_slice(&self.number.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.attempt.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.pid.to_le_bytes());
        bytes[16..24].copy_from_slice(&began.to_le_bytes());
        bytes[24] = self.dies.into();
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Record {
            number: u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?),
            attempt: u32::from_le_bytes(bytes.get(8..12)?.try_into().ok()?),
            pid: u32::from_le_bytes(bytes.get(12..16)?.try_into().ok()?),
            began: Duration::from_nanos(u64::from_le_bytes(bytes.get(16..24)?.try_into().ok()?)),
            dies: bytes.get(24)? == &1,
        })
    }
}

/// In a worker: this task begins, and is to end in this way.
pub(crate) fn begin(number: u64, end: End) -> Record {
    static LEDGER: OnceLock<File> = OnceLock::new();
    let open = || {
        let path = std::env::var_os(PATH).expect("workers are told");
        File::options().append(true).open(path).expect("the parent has it open")
    };
    let attempt = pannier::worker().map_or(0, |worker| worker.attempt);
    let (pid, began, dies) = (std::process::id(), now(), end.kills());
    let record = Record { number, attempt, pid, began, dies };
    // One call: records of several workers do not mix.
    let mut ledger = LEDGER.get_or_init(open);
    ledger.write_all(&record.to_bytes()).expect("there is memory");
    record
}

/// The parent's side.
pub(crate) struct Ledger {
    memory: OwnedFd,
    /// A description of its own, with a place of its own.
    reader: File,
    /// How far it was read, and given back.
    read: u64,
    freed: u64,
}

impl Ledger {
    pub(crate) fn create() -> Result<Self, Box<dyn Error>> {
        let memory = memfd_create("soak-ledger", MemfdFlags::CLOEXEC)?;
        let reader = File::open(path_of(&memory))?;
        Ok(Ledger { memory, reader, read: 0, freed: 0 })
    }

    pub(crate) fn path(&self) -> String {
        path_of(&self.memory)
    }

    /// What was written since the last time. It is forgotten here.
    pub(crate) fn take(&mut self) -> Vec<Record> {
        let mut bytes = Vec::new();
        self.reader.read_to_end(&mut bytes).expect("memory can be read");
        self.read += bytes.len() as u64;
        let old = (self.read - self.freed) / STEP * STEP;
        if old > 0 {
            let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            fallocate(&self.memory, how, self.freed, old).expect("memory can be given back");
            self.freed += old;
        }
        bytes.chunks_exact(LEN).filter_map(Record::from_bytes).collect()
    }
}

fn path_of(memory: &OwnedFd) -> String {
    format!("/proc/{}/fd/{}", std::process::id(), memory.as_raw_fd())
}
