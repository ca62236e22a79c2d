//! The programs at the other end: this one, started again with the name of a part.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use ipc_channel::ipc::{self, IpcOneShotServer, IpcSender};
use pannier::Buffer;
use pannier::adapters::ipc_channel::IpcFrame;
use pannier::adapters::named::NamedSegment;
use serde::{Deserialize, Serialize};

use crate::runner::say;

/// The part that a process of this program plays.
pub(crate) const PART: &str = "PANNIER_TEST_PART";
/// What its parent told it.
const TOLD: &str = "PANNIER_TEST_TOLD";

/// What the echoing part gives back as it came.
pub(crate) type Mixed = (String, Vec<Buffer<f64>>, Buffer<u8>);

#[derive(Serialize, Deserialize)]
pub(crate) enum Request {
    Echo { frame: IpcFrame<Mixed>, answer: IpcSender<Answer> },
    Stop,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) frame: IpcFrame<Mixed>,
    /// How many copies the other process made to send it back.
    pub(crate) copies: u64,
}

/// A child that is killed if the test does not get to its end.
pub(crate) struct Part {
    pub(crate) child: Child,
    said: Option<BufReader<std::process::ChildStdout>>,
}

impl Part {
    /// The next line that it says.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.said.as_mut().unwrap().read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    pub(crate) fn ends_well(mut self) {
        drop(self.child.stdin.take());
        let status = self.child.wait().unwrap();
        assert!(status.success(), "the part ended with {status}");
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _reaped_already = self.child.wait();
    }
}

/// The command that starts this program as `part`.
pub(crate) fn command(part: &str, told: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env(PART, part).env(TOLD, told);
    command
}

/// Starts it; its standard input ends when the test does.
pub(crate) fn start(mut command: Command) -> Part {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let said = child.stdout.take().map(BufReader::new);
    Part { child, said }
}

/// Starts the echoing part: what it is sent over.
pub(crate) fn echo() -> (IpcSender<Request>, Part) {
    let (server, name) = IpcOneShotServer::<IpcSender<Request>>::new().unwrap();
    let part = start(command("echo", &name));
    let (_, sender) = server.accept().unwrap();
    (sender, part)
}

pub(crate) fn play(part: &str) {
    let told = std::env::var(TOLD).unwrap_or_default();
    match part {
        "echo" => play_echo(&told),
        "own a segment" => own(NamedSegment::create(1 << 16).unwrap()),
        "own a segment of this name" => own(NamedSegment::create_named(&told, 1 << 16).unwrap()),
        "do without standard input" => crate::segments::without_stdin(),
        "have a small /dev/shm" => crate::segments::with_small_folder(),
        "run out of descriptors" => crate::frames::without_descriptors(),
        "send a hundred frames" => crate::frames::nothing_is_kept(),
        other => panic!("no such part: {other}"),
    }
}

fn play_echo(server: &str) {
    let (sender, receiver) = ipc::channel().unwrap();
    IpcSender::connect(server.to_owned()).unwrap().send(sender).unwrap();
    while let Ok(Request::Echo { frame, answer }) = receiver.recv() {
        let frame = crate::frames::encode(&frame.decode().unwrap()).unwrap();
        let copies = frame.copies();
        answer.send(Answer { frame, copies }).unwrap();
    }
}

/// Says its name, and keeps it until standard input ends.
fn own(segment: NamedSegment) {
    segment.write(0, b"the owner was here").unwrap();
    say(segment.name());
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    std::io::stdout().flush().unwrap();
}
