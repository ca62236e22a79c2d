//! What a channel between two processes costs, beside the limit of the machine in the same run.
//!
//! `cargo bench --bench channel`, or with parts of names behind it. Each row is measured in turns
//! with its limit probe: the same bytes, the same touching of pages, by plain shared memory and a
//! word that is spun or slept on. Both processes are free to run anywhere, but where a row says that
//! each is pinned to a CPU of its own, which keeps them from spinning.
#![expect(clippy::unwrap_used, reason = "a bench that cannot go on ends")]
#![expect(clippy::print_stdout, reason = "a bench prints")]

#[path = "../common/mod.rs"]
mod common;
mod copy;
mod round_trip;

use std::process::{Child, Command};
use std::time::Duration;

use common::{Probe, pin, time};
use pannier::Data;
use pannier::channel::{self, Channel};

/// A name, and what measures and prints it.
type Row = (&'static str, fn(&str));

const PART: &str = "PANNIER_BENCH_PART";
const NAME: &str = "bench";

fn main() {
    if let Ok(part) = std::env::var(PART) {
        return play(&part);
    }
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|w| name.contains(&**w));
    println!("{:34} {:^23} {:^35} {:>7}", "", "limit", "channel", "ratio");
    let columns = ["least", "median", "least", "median", "p99", "medians"];
    println!(
        "{:34} {:>11} {:>11} {:>11} {:>11} {:>11} {:>7}",
        "", columns[0], columns[1], columns[2], columns[3], columns[4], columns[5]
    );
    for (name, run) in round_trip::ROWS.iter().chain(copy::ROWS) {
        if is_wanted(name) {
            run(name);
        }
    }
}

fn play(part: &str) {
    match part {
        "echo" => round_trip::echo(),
        "answer" => round_trip::answer(),
        "touch" => copy::touch(),
        "leave" => copy::leave(),
        "return" => copy::give_back(),
        other => panic!("no such part: {other}"),
    }
}

/// This program once more, in another part, at the other end of a channel.
pub(crate) fn start<S: Data, R: Data>(part: &str, cpu: Option<usize>) -> (Channel<S, R>, Child) {
    let (ours, theirs) = channel::pair::<S, R>().unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env(PART, part);
    if let Some(cpu) = cpu {
        command.env("PANNIER_BENCH_CPU", cpu.to_string());
    }
    theirs.hand_to(&mut command, NAME).unwrap();
    (ours, command.spawn().unwrap())
}

/// The end of the part that runs here.
pub(crate) fn end<S: Data, R: Data>() -> Channel<S, R> {
    pin(std::env::var("PANNIER_BENCH_CPU").ok().and_then(|cpu| cpu.parse().ok()));
    Channel::from_env(NAME).unwrap()
}

/// Measures both in turns: so many turns of so many calls each. The one whose turn it is not is
/// stopped or asleep, so that it takes no CPU from the other.
pub(crate) fn compare(
    name: &str,
    (turns, calls): (usize, u32),
    (probe, bytes): (&mut Probe, &[u8]),
    mut ours: impl FnMut(),
) {
    let (mut limits, mut channels) = (Vec::new(), Vec::new());
    let turn = |times: &mut Vec<Duration>, act: &mut dyn FnMut()| {
        times.push(time(|| (0..calls).for_each(|_| act())) / calls);
    };
    for _ in 0..turns {
        probe.go_on();
        probe.pass(bytes);
        turn(&mut limits, &mut || probe.pass(bytes));
        probe.stop();
        ours();
        turn(&mut channels, &mut ours);
    }
    limits.sort_unstable();
    channels.sort_unstable();
    let (limit, channel) = (limits[turns / 2], channels[turns / 2]);
    let ratio = channel.as_secs_f64() / limit.as_secs_f64();
    let worst = channels[turns * 99 / 100];
    println!(
        "{name:34} {:>11.2?} {limit:>11.2?} {:>11.2?} {channel:>11.2?} {worst:>11.2?} {ratio:>7.2}",
        limits[0], channels[0],
    );
}
