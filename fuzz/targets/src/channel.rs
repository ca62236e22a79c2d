//! `channel`: the two ends of a channel in one process against two queues, by any list of sending,
//! receiving, handing over, closing and dying: every value arrives once, whole and in order, and
//! then the end is told, the right one; the bytes of received buffers stay as long as the buffers,
//! also when they are sent back or the channel is gone; there is always an error or progress.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::os::fd::OwnedFd;
use std::sync::LazyLock;
use std::time::Duration;

use pannier::Buffer;
use pannier::channel::{self, Channel, RecvError, SendError, TryRecvError, TrySendError};

use crate::script::Script;

/// What travels: a number, a text in band, buffers.
pub type Letter = (u32, String, Vec<Buffer<u8>>);
/// An end.
pub type Ends = Channel<Letter, Letter>;

/// What an end does, each of which a test may replace by something with a fault.
pub trait Post {
    /// Sends if there is room.
    fn try_send(end: &Ends, letter: Letter) -> Result<(), TrySendError<Letter>> {
        end.try_send(letter)
    }

    /// Receives what is there.
    fn try_recv(end: &Ends) -> Result<Letter, TryRecvError> {
        end.try_recv()
    }
}

/// That of the library.
#[derive(Debug)]
pub struct Royal;

impl Post for Royal {}

/// Any bytes, as operations.
pub fn channel(data: &[u8]) {
    channel_of::<Royal>(data);
}

/// The same for another post.
pub fn channel_of<P: Post>(data: &[u8]) {
    let mut script = Script::new(data);
    let (left, right) = channel::pair().expect("descriptors and memory");
    let mut model =
        Model::<P> { sides: [Side::new(left), Side::new(right)], sent: 0, post: PhantomData };
    for _ in 0..STEPS {
        if script.is_over() {
            break;
        }
        model.step(&mut script);
    }
    model.finish();
}

/// Operations in one input: each may be a system call.
const STEPS: usize = 200;

enum End {
    Live(Box<Ends>),
    /// On its way to another process.
    Handed(OwnedFd),
    Closed,
    Died,
}

struct Side {
    end: End,
    /// What it will receive.
    inbox: VecDeque<Letter>,
    /// What it has received and holds, with the byte that each begins with.
    held: Vec<(Buffer<u8>, u8)>,
    /// What it has sent and holds.
    own: Vec<Buffer<u8>>,
    /// Something went through the end, or might have.
    surely_used: bool,
    touched: bool,
}

impl Side {
    fn new(end: Ends) -> Self {
        Side {
            end: End::Live(Box::new(end)),
            inbox: VecDeque::new(),
            held: Vec::new(),
            own: Vec::new(),
            surely_used: false,
            touched: false,
        }
    }

    fn check_held(&self) {
        for (buffer, first) in &self.held {
            assert!(is_stamped(buffer, *first), "a buffer that is held has changed");
        }
    }
}

struct Model<P> {
    sides: [Side; 2],
    sent: u32,
    post: PhantomData<P>,
}

impl<P: Post> Model<P> {
    fn step(&mut self, script: &mut Script<'_>) {
        let at = script.below(2);
        match script.below(16) {
            0..=4 => self.send(at, script),
            5..=8 => self.receive(at, script),
            9 | 10 => self.drop_buffer(at, script),
            11 => self.sides[at].check_held(),
            12 => self.hand_over(at),
            13 => self.take_over(at),
            14 if script.one_in(4) => self.close(at),
            15 if script.one_in(4) => {
                if let End::Live(end) = &self.sides[at].end {
                    assert!(format!("{end:?}").contains("Channel"));
                }
            }
            _ => {}
        }
    }

    fn send(&mut self, at: usize, script: &mut Script<'_>) {
        self.sent += 1;
        let letter = self.letter(at, script);
        // That it died is noticed in time, and not at once.
        let other_closed = matches!(self.sides[1 - at].end, End::Closed);
        let other_is_gone = other_closed || matches!(self.sides[1 - at].end, End::Died);
        let is_empty = self.sides[1 - at].inbox.is_empty();
        let side = &mut self.sides[at];
        let End::Live(end) = &side.end else { return };
        side.touched = true;
        // It waits for room, and nobody but this thread could make any.
        let blocking = is_empty && script.one_in(4);
        let sent = if blocking {
            end.send(letter.clone()).map_err(|error| match error {
                SendError::Closed(value) => TrySendError::Closed(value),
                SendError::Encode(value, error) => TrySendError::Encode(value, error),
                other => panic!("{other}"),
            })
        } else {
            P::try_send(end, letter.clone())
        };
        match sent {
            Ok(()) => {
                assert!(!other_closed, "something was sent to nobody");
                side.surely_used = true;
                self.sides[1 - at].inbox.push_back(letter);
            }
            Err(TrySendError::Full(back)) => {
                assert!(!is_empty, "full, and nothing is in it");
                assert!(same(&back, &letter), "another value came back");
            }
            Err(TrySendError::Closed(back)) => {
                assert!(other_is_gone, "closed, and nobody has closed it");
                assert!(same(&back, &letter), "another value came back");
            }
            Err(other) => panic!("{other:?}"),
        }
    }

    fn letter(&mut self, at: usize, script: &mut Script<'_>) -> Letter {
        let first = self.sent.to_le_bytes()[0];
        let inline = match script.below(8) {
            0 => 40_000,
            1 => 16_384 - 40 + script.below(80),
            _ => script.below(40),
        };
        let count = script.below(4);
        let buffers = (0..count).map(|_| self.buffer(at, first, script)).collect();
        let text = char::from(b'a' + first % 26).to_string().repeat(inline);
        (self.sent, text, buffers)
    }

    /// New, received before, sent before, or a part of one of these.
    fn buffer(&mut self, at: usize, first: u8, script: &mut Script<'_>) -> Buffer<u8> {
        let side = &mut self.sides[at];
        match script.below(4) {
            0 if !side.held.is_empty() => {
                let (buffer, _) = &side.held[script.below(side.held.len())];
                part(buffer, script)
            }
            1 if !side.own.is_empty() => part(&side.own[script.below(side.own.len())], script),
            2 => Buffer::from(stamped(script.below(3), first)),
            _ => {
                let len = [100, 4096, 5000, 20_000][script.below(4)] + script.below(20);
                let buffer = Buffer::from(stamped(len, first));
                if side.own.len() < 16 {
                    side.own.push(buffer.clone());
                }
                buffer
            }
        }
    }

    fn receive(&mut self, at: usize, script: &mut Script<'_>) {
        let is_gone = match self.sides[1 - at].end {
            End::Closed => Some(true),
            End::Died => Some(false),
            _ => None,
        };
        let side = &mut self.sides[at];
        let End::Live(end) = &side.end else { return };
        side.touched = true;
        let expected = side.inbox.pop_front();
        let how = script.below(4);
        let received = match how {
            0 if expected.is_some() || is_gone.is_some() => end.recv().map_err(|e| match e {
                RecvError::Closed => TryRecvError::Closed,
                RecvError::Died => TryRecvError::Died,
                RecvError::Decode(error) => TryRecvError::Decode(error),
                other => panic!("{other}"),
            }),
            1 => end.recv_timeout(Duration::ZERO),
            _ => P::try_recv(end),
        };
        match (received, expected, is_gone) {
            (Ok(letter), Some(expected), _) => {
                assert!(same(&letter, &expected), "another value than the next");
                side.surely_used = true;
                for buffer in letter.2.into_iter().filter(|buffer| !buffer.is_empty()) {
                    if side.held.len() < 24 {
                        let first = buffer[0];
                        side.held.push((buffer, first));
                    }
                }
            }
            (Err(TryRecvError::Empty), None, None)
            | (Err(TryRecvError::Closed), None, Some(true))
            | (Err(TryRecvError::Died), None, Some(false)) => {}
            // The time was over before the end was heard, behind other messages.
            (Err(TryRecvError::Empty), None, Some(false)) if how == 1 => {}
            (received, expected, _) => {
                panic!("received {received:?} in place of {expected:?}, peer closed: {is_gone:?}")
            }
        }
    }

    fn drop_buffer(&mut self, at: usize, script: &mut Script<'_>) {
        let side = &mut self.sides[at];
        if script.one_in(3) && !side.own.is_empty() {
            side.own.swap_remove(script.below(side.own.len()));
        } else if !side.held.is_empty() {
            let (buffer, first) = side.held.swap_remove(script.below(side.held.len()));
            assert!(is_stamped(&buffer, first), "a buffer that was held has changed");
        }
    }

    fn hand_over(&mut self, at: usize) {
        let side = &mut self.sides[at];
        side.end = match std::mem::replace(&mut side.end, End::Died) {
            End::Live(end) => End::Handed(end.into_fd()),
            other => other,
        };
    }

    fn take_over(&mut self, at: usize) {
        let side = &mut self.sides[at];
        let End::Handed(_) = &side.end else { return };
        let End::Handed(fd) = std::mem::replace(&mut side.end, End::Died) else { return };
        match Channel::from_fd(fd) {
            Ok(end) => {
                assert!(!side.surely_used, "an end that was used came back");
                side.end = End::Live(Box::new(end));
            }
            Err(_) => assert!(side.touched, "a new end was refused"),
        }
        // Its greeting was taken out of the socket: it cannot be handed over again.
        (side.surely_used, side.touched) = (true, true);
    }

    /// On purpose; or by losing the descriptor, as a process that dies.
    fn close(&mut self, at: usize) {
        let side = &mut self.sides[at];
        side.end = match std::mem::replace(&mut side.end, End::Died) {
            End::Live(_) => End::Closed,
            End::Handed(_) => End::Died,
            gone => gone,
        };
    }

    /// Everything that was sent arrives, then the end; the buffers outlive the channel.
    fn finish(&mut self) {
        for at in [0, 1] {
            while matches!(self.sides[at].end, End::Live(_)) && !self.sides[at].inbox.is_empty() {
                self.receive(at, &mut Script::new(&[]));
            }
        }
        for at in [0, 1] {
            self.close(at);
            self.receive(1 - at, &mut Script::new(&[2]));
        }
        self.sides.iter().for_each(Side::check_held);
    }
}

fn part(buffer: &Buffer<u8>, script: &mut Script<'_>) -> Buffer<u8> {
    if script.one_in(2) {
        return buffer.clone();
    }
    let start = script.short() % (buffer.len() + 1);
    buffer.slice(start..buffer.len())
}

/// Bytes that differ from one letter to the next, and from one place to the next.
fn stamped(len: usize, first: u8) -> Vec<u8> {
    STAMPS[usize::from(first)..][..len].to_vec()
}

fn is_stamped(bytes: &[u8], first: u8) -> bool {
    STAMPS[usize::from(first)..][..bytes.len()] == *bytes
}

/// Each byte is one more than the one before. Made once: byte by byte is slow under a sanitizer.
static STAMPS: LazyLock<Vec<u8>> = LazyLock::new(|| (0..=u8::MAX).cycle().take(50_000).collect());

fn same(a: &Letter, b: &Letter) -> bool {
    a.0 == b.0 && a.1 == b.1 && a.2 == b.2
}
