//! Workers that use what they have of the library's own against the pool: their ring, their memory,
//! processes that get away. Nobody hangs, and nobody pays for more than the worker has.
#![expect(unsafe_code, reason = "workers that are hostile")]

#[expect(dead_code, reason = "each test program uses its part")]
mod common;

use std::fs;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::{Marked, failure, join, watchdog};
use pannier::{Hardening, Pool, TaskError};
use serde::Serialize;

pannier::premain!();

/// What a worker can say, as far as it is wanted here.
#[derive(Serialize)]
enum Said {
    Released { blocks: Vec<()> },
    NeedBlock { len: u64 },
}

/// A worker's ring of answers, in its own hands (`src/channel/line.rs` says what lies where).
struct Ring {
    up: &'static [AtomicU64],
    down: &'static [AtomicU64],
    published: u64,
    /// Where it rings.
    socket: i32,
}

const LINES: u64 = 2048;
const LINE: usize = 8;
const WORDS_AT: usize = 16;
const ANSWERS_AT: usize = WORDS_AT + 128 + 64 * LINE;
const PUBLISHED: usize = WORDS_AT;
const CONSUMED: usize = WORDS_AT + 16;

impl Ring {
    fn take() -> Self {
        let (up, down) = (map("pannier-up", true), map("pannier-down", false));
        let published = up[PUBLISHED].load(Ordering::Acquire);
        let sockets = (3..100).find(|&fd| kind_of(fd) == libc::SOCK_SEQPACKET);
        Ring { up, down, published, socket: sockets.expect("a socket") }
    }

    /// Writes the same answer into all lines, without publishing it.
    fn fill(&self, said: &Said) {
        let head = rmp_serde::to_vec(said).expect("plain data");
        let mut record = vec![0; 8];
        record.extend(0_u32.to_le_bytes());
        record.extend(u32::try_from(head.len()).expect("short").to_le_bytes());
        record.extend(head);
        let len = record.len() as u64 - 8;
        record[..8].copy_from_slice(&len.to_le_bytes());
        assert!(record.len() <= 64);
        record.resize(64, 0);
        for line in self.up[ANSWERS_AT..].chunks_exact(LINE) {
            for (word, bytes) in line.iter().zip(record.chunks_exact(8)) {
                word.store(
                    u64::from_le_bytes(bytes.try_into().expect("a word")),
                    Ordering::Relaxed,
                );
            }
        }
    }

    /// Publishes so many lines, as soon as there is room; false if nobody has made any for a while.
    fn publish(&mut self, lines: u64) -> bool {
        let began = Instant::now();
        while self.published + lines - self.down[CONSUMED].load(Ordering::Relaxed) > LINES {
            if began.elapsed() > Duration::from_secs(20) {
                return false;
            }
        }
        self.published += lines;
        self.up[PUBLISHED].store(self.published, Ordering::Release);
        self.ring();
        true
    }

    /// Wakes whoever sleeps.
    fn ring(&self) {
        // SAFETY: sends a byte that lives long enough; whether there is room is no matter.
        unsafe { libc::send(self.socket, [1_u8].as_ptr().cast(), 1, libc::MSG_DONTWAIT) };
    }

    /// Publishes what there is room for, until nobody has made any for a while.
    fn keep_full(&self) {
        let (mut last, mut since) = (0, Instant::now());
        while since.elapsed() < Duration::from_secs(5) {
            self.ring();
            for _ in 0..10_000 {
                let consumed = self.down[CONSUMED].load(Ordering::Relaxed);
                self.up[PUBLISHED].fetch_max(consumed + LINES, Ordering::Release);
                if consumed != last {
                    (last, since) = (consumed, Instant::now());
                }
            }
        }
    }
}

/// What kind of socket this is, if it is one.
fn kind_of(fd: i32) -> i32 {
    let (mut kind, mut len) = (0_i32, 4);
    let place = (&raw mut kind).cast();
    // SAFETY: the call writes a number and its length.
    unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_TYPE, place, &raw mut len) };
    kind
}

/// The shared object of this process that has this name.
fn map(name: &str, writable: bool) -> &'static [AtomicU64] {
    let fds = fs::read_dir("/proc/self/fd").expect("descriptors").flatten();
    let is_it = |fd: &fs::DirEntry| {
        fs::read_link(fd.path()).is_ok_and(|link| link.to_string_lossy().contains(name))
    };
    let found = fds.into_iter().find(is_it).expect("it is open").path();
    let file =
        fs::File::options().read(true).write(writable).open(found).expect("it can be opened");
    let len = usize::try_from(file.metadata().expect("its length").len()).expect("it is mapped");
    let rights = if writable { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ };
    // SAFETY: a new map, at a place that the kernel chooses, which stays until the process ends.
    let start = unsafe {
        libc::mmap(std::ptr::null_mut(), len, rights, libc::MAP_SHARED, file.as_raw_fd(), 0)
    };
    assert_ne!(start, libc::MAP_FAILED);
    // SAFETY: so long, aligned to a page, sealed in length; read and written as whole words only.
    unsafe { std::slice::from_raw_parts(start.cast(), len / 8) }
}

/// Dies, and leaves some behind who go on answering for it.
fn answers_from_the_grave(_: ()) {
    let mut ring = Ring::take();
    ring.fill(&Said::Released { blocks: Vec::new() });
    assert!(ring.publish(LINES / 2));
    for _ in 0..4 {
        // SAFETY: the child makes system calls and atomic accesses only.
        if unsafe { libc::fork() } == 0 {
            // SAFETY: as above. It is out of the worker's group.
            unsafe { libc::setsid() };
            ring.keep_full();
            // SAFETY: as above; nothing of this process is to run in it any more.
            unsafe { libc::_exit(0) };
        }
    }
    let first = ring.published;
    while ring.down[CONSUMED].load(Ordering::Relaxed) < first + 2 * LINES {}
    // SAFETY: a signal to this process.
    unsafe { libc::raise(libc::SIGKILL) };
}

#[test]
fn a_dead_worker_whose_child_goes_on_answering_is_buried() {
    let _patience = watchdog();
    let pool = Marked::build(Pool::builder().workers(1).attempts(1).hardened(Hardening::new()));
    let death = failure(pool.submit(answers_from_the_grave, ()));
    assert!(matches!(death, TaskError::WorkerDied(_)), "{death}");
    assert_eq!(join(pool.submit(u32::count_ones, 7)).ok(), Some(3));
    pool.end();
}

/// Asks for memory again and again, and takes no answer.
fn asks_without_end(len: u64) {
    let mut ring = Ring::take();
    ring.fill(&Said::NeedBlock { len });
    for _ in 0..2_000 {
        assert!(ring.publish(128), "nobody listens any more");
    }
    loop {
        std::thread::park();
    }
}

#[test]
fn a_worker_that_asks_for_memory_without_end_is_ended() {
    // More than there can ever be, which is refused at once; and what is worth waiting for.
    for len in [u64::MAX >> 1, 6 << 20] {
        let builder = Pool::builder().workers(1).attempts(1).memory_limit(8 << 20);
        let pool = Marked::build(builder.hardened(Hardening::new()));
        let mut kept = pool.alloc::<u8>(6 << 20).expect("memory");
        kept.fill(1);
        let death = failure(pool.submit(asks_without_end, len));
        assert!(matches!(death, TaskError::WorkerDied(_)), "{death}");
        drop(kept);
        assert_eq!(join(pool.submit(u32::count_ones, 7)).ok(), Some(3));
        pool.end();
    }
}

/// Copies of each would be many times what the worker has.
#[test]
fn a_result_that_names_the_same_memory_again_and_again_is_copied_once() {
    const LEN: usize = 1 << 20;
    let pool = Marked::build(Pool::builder().workers(1).hardened(Hardening::new()));
    let make = |count: usize| {
        let mut block = pannier::alloc::<u8>(LEN).expect("memory");
        block.fill(7);
        let block = block.freeze();
        (0..count).map(|at| block.slice(at..)).collect::<Vec<_>>()
    };
    let parts = join(pool.submit(make, 100)).expect("a result");
    assert!(parts.iter().enumerate().all(|(at, part)| part.len() == LEN - at && part[0] == 7));
    let stats = pool.stats();
    assert_eq!((stats.payload_copies, stats.payload_copied_bytes), (1, LEN as u64));
    drop(parts);
    pool.end();
}
