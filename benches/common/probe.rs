//! The limit: two processes, plain shared memory, a word to spin or to sleep on.
#![expect(unsafe_code, reason = "forks, and shares memory without a library")]

use std::sync::atomic::{AtomicU32, Ordering};

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use rustix::thread::futex;

/// How the two wait for each other.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    Spin,
    /// As the channel does: a while, then asleep.
    SpinThenSleep,
    Sleep,
    /// Spinning, with [`WINDOW`] words on their way at a time.
    Window,
}

/// What may be unanswered.
pub(crate) const WINDOW: u32 = 64;

/// Two words, a line apart, and memory behind them.
#[derive(Clone, Copy)]
struct Shared {
    base: *mut u8,
    len: usize,
}

/// A process that answers each word, after it has touched the pages.
pub(crate) struct Probe {
    shared: Shared,
    wait: Wait,
    count: u32,
    child: Pid,
}

const PAGE: usize = 4096;

impl Probe {
    /// Starts the other process; each on its CPU, if some are named.
    pub(crate) fn start(len: usize, wait: Wait, cpu: Option<usize>) -> Self {
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        // With its pages, so that faults which are counted later are not the probe's.
        let flags = MapFlags::SHARED | MapFlags::POPULATE;
        // SAFETY: a new map at an address of the kernel's choice touches no other memory.
        let base =
            unsafe { mmap_anonymous(std::ptr::null_mut(), PAGE + len, prot, flags) }.unwrap();
        let shared = Shared { base: base.cast(), len };
        // SAFETY: this program has one thread, so the child may do whatever this process may.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            super::pin(cpu);
            answer(shared, wait);
        }
        let probe = Probe { shared, wait, count: 0, child: Pid::from_raw(pid).unwrap() };
        probe.stop();
        probe
    }

    /// Lets the other process run no more.
    pub(crate) fn stop(&self) {
        kill_process(self.child, Signal::STOP).unwrap();
        waitpid(Some(self.child), WaitOptions::UNTRACED).unwrap();
    }

    pub(crate) fn go_on(&self) {
        kill_process(self.child, Signal::CONT).unwrap();
    }

    /// Copies the bytes in, says so, and waits for the answer.
    pub(crate) fn pass(&mut self, bytes: &[u8]) {
        self.shared.fill(bytes);
        self.count += 1;
        if self.wait == Wait::Window {
            // Its place is free once the one before in it was answered.
            let old = self.count.saturating_sub(WINDOW);
            while self.shared.slot(1, old).load(Ordering::Acquire) < old {
                std::hint::spin_loop();
            }
            return self.shared.slot(0, self.count).store(self.count, Ordering::Release);
        }
        say(self.shared.word(0), self.count, self.wait);
        hear(self.shared.word(1), self.count, self.wait);
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        kill_process(self.child, Signal::KILL).unwrap();
        waitpid(Some(self.child), WaitOptions::empty()).unwrap();
        // SAFETY: mapped by `start` with this length; nothing points there any more.
        unsafe { rustix::mm::munmap(self.shared.base.cast(), PAGE + self.shared.len) }.unwrap();
    }
}

fn answer(shared: Shared, wait: Wait) -> ! {
    for count in 1.. {
        if wait == Wait::Window {
            while shared.slot(0, count).load(Ordering::Acquire) != count {
                std::hint::spin_loop();
            }
            shared.slot(1, count).store(count, Ordering::Release);
            continue;
        }
        hear(shared.word(0), count, wait);
        shared.touch();
        say(shared.word(1), count, wait);
    }
    unreachable!("it is killed before it has counted so far")
}

fn say(word: &AtomicU32, count: u32, wait: Wait) {
    word.store(count, Ordering::Release);
    if wait != Wait::Spin {
        futex::wake(word, futex::Flags::empty(), 1).unwrap();
    }
}

fn hear(word: &AtomicU32, count: u32, wait: Wait) {
    let mut looks = 0;
    while word.load(Ordering::Acquire) != count {
        looks += 1;
        if wait == Wait::Sleep || (wait == Wait::SpinThenSleep && looks > 1_000) {
            let _changed = futex::wait(word, futex::Flags::empty(), count - 1, None);
        } else {
            std::hint::spin_loop();
        }
    }
}

impl Shared {
    fn word(&self, line: usize) -> &AtomicU32 {
        // SAFETY: both lines lie in the first page, which is mapped for the whole life of `self`.
        let word = unsafe { self.base.add(line * 128) };
        // SAFETY: aligned, zeroed by the kernel, and accessed by both processes as this atomic only.
        unsafe { &*word.cast::<AtomicU32>() }
    }

    /// The word of one message, alone in its line; on the way there (0) or back (1).
    fn slot(&self, way: usize, count: u32) -> &AtomicU32 {
        let line = way * WINDOW as usize + (count % WINDOW) as usize;
        assert!(line * 64 < self.len, "room for two windows");
        // SAFETY: within the map, behind its first page (asserted).
        let word = unsafe { self.base.add(PAGE + line * 64) };
        // SAFETY: as in `word`.
        unsafe { &*word.cast::<AtomicU32>() }
    }

    fn fill(&self, bytes: &[u8]) {
        assert!(bytes.len() <= self.len);
        // SAFETY: the bytes lie behind the first page.
        let data = unsafe { self.base.add(PAGE) };
        // SAFETY: as long as the map (asserted), which the child does not touch before it is told.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), data, bytes.len()) };
    }

    fn touch(&self) {
        for at in (0..self.len).step_by(PAGE) {
            // SAFETY: within the map.
            let byte = unsafe { self.base.add(PAGE + at) };
            // SAFETY: the parent does not write before it is answered.
            std::hint::black_box(unsafe { byte.read_volatile() });
        }
    }
}
