//! Those beside whom the pool runs: threads with the channels of the standard library, and a process
//! that echoes what it reads from a socket.

use std::cell::Cell;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use pannier::channel::{self, Channel};
use rustix::io::{read, write};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

/// Names the part that this program plays when it is started again.
pub(crate) const PART: &str = "PANNIER_BENCH_PART";
/// Under which a part finds its end of a channel.
const NAME: &str = "bench";

pub(crate) fn play(part: &str) {
    match part {
        "socket" => echo(),
        "channel" => {
            let channel = Channel::<u64, u64>::from_env(NAME).unwrap();
            while let Ok(number) = channel.recv() {
                channel.send(number).unwrap();
            }
        }
        other => panic!("no such part: {other}"),
    }
}

fn itself(part: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env(PART, part);
    command
}

/// The other end of a channel, which sends back what comes.
pub(crate) fn start_channel() -> (Channel<u64, u64>, Child) {
    let (ours, theirs) = channel::pair().unwrap();
    let mut command = itself("channel");
    theirs.hand_to(&mut command, NAME).unwrap();
    (ours, command.spawn().unwrap())
}

pub(crate) const MESSAGE: usize = 64;

/// A process at the other end of a socket that keeps messages apart.
pub(crate) struct Socket {
    ours: Option<OwnedFd>,
    child: Child,
}

impl Socket {
    pub(crate) fn start() -> Self {
        let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
        let (ours, theirs) = socketpair(family, kind, SocketFlags::CLOEXEC, None).unwrap();
        let child = itself("socket").stdin(Stdio::from(theirs)).spawn().unwrap();
        Socket { ours: Some(ours), child }
    }

    pub(crate) fn send(&self) {
        write(self.ours.as_ref().unwrap(), &[7; MESSAGE]).unwrap();
    }

    pub(crate) fn receive(&self) {
        assert_eq!(read(self.ours.as_ref().unwrap(), &mut [0; MESSAGE]).unwrap(), MESSAGE);
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.ours = None;
        self.child.wait().unwrap();
    }
}

fn echo() {
    let (socket, mut message) = (std::io::stdin(), [0; MESSAGE]);
    while read(&socket, &mut message).unwrap() > 0 {
        write(&socket, &message).unwrap();
    }
}

/// Threads that run what they are sent and answer, as a pool without processes would.
pub(crate) struct Threads<T> {
    tasks: Vec<Sender<T>>,
    answers: Receiver<T>,
    threads: Vec<JoinHandle<()>>,
    next: Cell<usize>,
}

impl<T: Send + 'static> Threads<T> {
    pub(crate) fn start(count: usize, run: fn(&mut T)) -> Self {
        let (answer, answers) = channel();
        let start = |_| {
            let (task, tasks) = channel::<T>();
            let answer = answer.clone();
            let thread = std::thread::spawn(move || {
                for mut task in tasks {
                    run(&mut task);
                    answer.send(task).unwrap();
                }
            });
            (task, thread)
        };
        let (tasks, threads) = (0..count).map(start).unzip();
        Threads { tasks, answers, threads, next: Cell::new(0) }
    }

    /// To each in turn.
    pub(crate) fn send(&self, task: T) {
        self.next.set((self.next.get() + 1) % self.tasks.len());
        self.tasks[self.next.get()].send(task).unwrap();
    }

    pub(crate) fn receive(&self) -> T {
        self.answers.recv().unwrap()
    }
}

impl<T> Drop for Threads<T> {
    fn drop(&mut self) {
        self.tasks.clear();
        self.threads.drain(..).for_each(|thread| thread.join().unwrap());
    }
}
