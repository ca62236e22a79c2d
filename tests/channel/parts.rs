//! The programs at the other end: this one, started again with the name of a part.

use std::process::{Child, Command};

use pannier::channel::{self, Channel};
use pannier::{Buffer, Data};

use crate::{counters, limits};

/// The part that a process of this program plays.
pub(crate) const PART: &str = "PANNIER_TEST_PART";
const NAME: &str = "peer";

/// What the echoing part gives back as it came.
pub(crate) type Mixed = (u64, Vec<u8>, Vec<Buffer<u64>>);

/// A child that is killed if the test does not get to its end.
pub(crate) struct Peer(pub(crate) Child);

impl Peer {
    pub(crate) fn ends_well(mut self) {
        let status = self.0.wait().expect("it is our child");
        assert!(status.success(), "the peer ended with {status}");
    }

    pub(crate) fn kill(&mut self) {
        self.0.kill().expect("it is there");
        self.0.wait().expect("it is our child");
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ended_already = self.0.kill();
        let _reaped_already = self.0.wait();
    }
}

/// Starts this program as `part`, with the other end of a channel.
pub(crate) fn start<S: Data, R: Data>(part: &str) -> (Channel<S, R>, Peer) {
    let (ours, theirs) = channel::pair::<S, R>().expect("a channel");
    (ours, give(theirs, part))
}

/// Starts this program as `part`, with this end.
pub(crate) fn give<S: Data, R: Data>(end: Channel<S, R>, part: &str) -> Peer {
    give_to(end, part, Command::new(std::env::current_exe().expect("this program")))
}

/// The same, by a command of one's own.
pub(crate) fn give_to<S: Data, R: Data>(
    end: Channel<S, R>,
    part: &str,
    mut command: Command,
) -> Peer {
    command.env(PART, part);
    end.hand_to(&mut command, NAME).expect("an end that was not used");
    Peer(command.spawn().expect("this program starts"))
}

fn end<S: Data, R: Data>() -> Channel<S, R> {
    Channel::from_env(NAME).expect("the parent gave an end")
}

pub(crate) fn play(part: &str) {
    match part {
        "echo" => {
            let channel = end::<Mixed, Mixed>();
            while let Ok(value) = channel.recv() {
                channel.send(value).expect("the parent receives");
            }
        }
        "sum" => {
            let channel = end::<u64, Buffer<u64>>();
            while let Ok(column) = channel.recv() {
                channel.send(column.iter().sum()).expect("the parent receives");
            }
        }
        "count to three" => {
            let channel = end::<u64, ()>();
            (0..3).for_each(|n| channel.send(n).expect("the parent is there"));
        }
        "count, and wait to be killed" => {
            let channel = end::<Buffer<u64>, ()>();
            for n in 0..3 {
                channel.send(vec![n; 10_000].into()).expect("the parent is there");
            }
            let _never = channel.recv();
        }
        "echo and count" => counters::echo_and_count(&end()),
        "run out of descriptors" => limits::run_out_of_descriptors(&end()),
        "run out of a group" => limits::run_out_of_a_group(&end()),
        "find it once" => {
            let channel = end::<bool, ()>();
            let again = Channel::<bool, ()>::from_env(NAME).is_err();
            let other = Channel::<bool, ()>::from_env("another name").is_err();
            channel.send(again && other).expect("the parent is there");
        }
        other => panic!("no such part: {other}"),
    }
}
