//! Where frames go: a pool, or a program at the other end of a channel.

use std::collections::VecDeque;
use std::error::Error;
use std::process::{Child, Command};

use pannier::channel::{self, Channel, TrySendError};
use pannier::{JoinHandle, Pool};
use rustix::process::{Pid, Signal, kill_process};

use super::frames::{Answer, Frame, Random, serve};

/// Names the part of the other program; its end of the channel has the same name.
const PART: &str = "LOAD";
const WORKERS: usize = 2;
/// Tries of a task. A worker is killed now and then, and several kills may hit the same task.
const ATTEMPTS: u32 = 10;

/// What became of a frame.
pub(crate) struct Outcome {
    pub(crate) number: u64,
    pub(crate) answer: Result<Answer, String>,
}

/// Plays the other program, if this process is to be that.
pub(crate) fn play() -> bool {
    if std::env::var_os(PART).is_none() {
        return false;
    }
    let channel = Channel::<Answer, Frame>::from_env(PART).expect("the parent has given an end");
    while let Ok(frame) = channel.recv() {
        channel.send(serve(frame)).expect("the parent waits for its answers");
    }
    true
}

/// A pool, and the tasks that were not joined yet.
pub(crate) struct Workers {
    pub(crate) pool: Pool,
    flying: VecDeque<(u64, usize, JoinHandle<Answer>)>,
}

impl Workers {
    pub(crate) fn start() -> pannier::Result<Self> {
        let pool = Pool::builder().workers(WORKERS).attempts(ATTEMPTS).build()?;
        Ok(Workers { pool, flying: VecDeque::new() })
    }

    pub(crate) fn send(&mut self, frame: Frame) {
        let (number, len) = (frame.number, frame.len());
        self.flying.push_back((number, len, self.pool.submit(serve, frame)));
    }

    pub(crate) fn flying(&self) -> (usize, usize) {
        (self.flying.len(), self.flying.iter().map(|flying| flying.1).sum())
    }

    /// Waits for one of the tasks, the oldest most often.
    pub(crate) fn receive(&mut self, random: &mut Random) -> Option<Outcome> {
        let at = if random.below(4) == 0 { random.below(self.flying.len().max(1)) } else { 0 };
        let (number, _, handle) = self.flying.remove(at)?;
        Some(Outcome { number, answer: handle.join().map_err(|error| format!("{error:?}")) })
    }

    /// Kills a worker, as the kernel does when it lacks memory; whether there was one.
    pub(crate) fn kill_one(&self, random: &mut Random) -> bool {
        let pids = self.pool.worker_pids();
        let pid = pids.get(random.below(pids.len().max(1)));
        let pid = pid.and_then(|&pid| Pid::from_raw(i32::try_from(pid).ok()?));
        pid.is_some_and(|pid| kill_process(pid, Signal::KILL).is_ok())
    }
}

/// A channel, the program at its other end, and the frames that were not answered yet.
pub(crate) struct Peer {
    channel: Channel<Frame, Answer>,
    child: Child,
    flying: VecDeque<(u64, usize)>,
}

impl Peer {
    pub(crate) fn start() -> Result<Self, Box<dyn Error>> {
        let (channel, theirs) = channel::pair()?;
        let mut command = Command::new(std::env::current_exe()?);
        theirs.hand_to(command.env(PART, "peer"), PART)?;
        let child = command.spawn()?;
        Ok(Peer { channel, child, flying: VecDeque::new() })
    }

    /// Sends a frame if there is room for it now; else it comes back.
    pub(crate) fn send(&mut self, frame: Frame) -> Result<Option<Frame>, Box<dyn Error>> {
        let flying = (frame.number, frame.len());
        match self.channel.try_send(frame) {
            Ok(()) => {
                self.flying.push_back(flying);
                Ok(None)
            }
            Err(TrySendError::Full(frame)) => Ok(Some(frame)),
            Err(error) => Err(error.to_string().into()),
        }
    }

    pub(crate) fn flying(&self) -> (usize, usize) {
        (self.flying.len(), self.flying.iter().map(|flying| flying.1).sum())
    }

    /// Waits for the answer to the oldest frame: answers come in order.
    pub(crate) fn receive(&mut self) -> Option<Outcome> {
        let (number, _) = self.flying.pop_front()?;
        Some(Outcome { number, answer: self.channel.recv().map_err(|error| error.to_string()) })
    }

    /// Says goodbye, and waits for the other program; whether it ended well.
    pub(crate) fn end(self) -> std::io::Result<bool> {
        let Peer { channel, mut child, .. } = self;
        drop(channel);
        Ok(child.wait()?.success())
    }
}
