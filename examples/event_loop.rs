//! A channel in an event loop, beside something else that is waited for.
//!
//! `cargo run --example event_loop` starts itself once more; the second program squares numbers. The
//! loop waits with epoll for its answers and for a timer. The rule: receive until `Empty`, which
//! arms the descriptor, and only then wait.
#![expect(clippy::print_stdout, reason = "shows what comes")]

use std::error::Error;
use std::process::Command;
use std::time::Duration;

use pannier::channel::{self, Channel, TryRecvError};
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

const CHANNEL: u64 = 1;
const TIMER: u64 = 2;

fn main() -> Result<(), Box<dyn Error>> {
    if std::env::args().nth(1).as_deref() == Some("squares") {
        return square();
    }
    let (ours, theirs) = channel::pair::<u64, u64>()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("squares");
    theirs.hand_to(&mut command, "numbers")?;
    let mut child = command.spawn()?;
    drop(command); // It keeps a copy of the descriptor.

    let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK)?;
    let often = Timespec::try_from(Duration::from_millis(20))?;
    let every = Itimerspec { it_interval: often, it_value: often };
    timerfd_settime(&timer, TimerfdTimerFlags::empty(), &every)?;

    let poll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&poll, &ours, EventData::new_u64(CHANNEL), EventFlags::IN)?;
    epoll::add(&poll, &timer, EventData::new_u64(TIMER), EventFlags::IN)?;

    let (mut asked, mut answered) = (0, 0);
    while answered < 5 {
        let mut events = Vec::with_capacity(8);
        epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), None)?;
        for event in events {
            match event.data.u64() {
                TIMER => {
                    rustix::io::read(&timer, &mut [0; 8])?;
                    asked += 1;
                    ours.send(asked)?;
                }
                _ => answered += receive_all(&ours)?,
            }
        }
    }
    drop(ours);
    child.wait()?;
    Ok(())
}

/// Everything that is there; how much that was.
fn receive_all(channel: &Channel<u64, u64>) -> Result<u64, TryRecvError> {
    for count in 0.. {
        match channel.try_recv() {
            Ok(square) => println!("{square}"),
            Err(TryRecvError::Empty) => return Ok(count),
            Err(gone) => return Err(gone),
        }
    }
    Ok(0)
}

/// The other program.
fn square() -> Result<(), Box<dyn Error>> {
    let channel = Channel::<u64, u64>::from_env("numbers")?;
    while let Ok(number) = channel.recv() {
        channel.send(number * number)?;
    }
    Ok(())
}
