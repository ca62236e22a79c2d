//! Sides that do the same work, measured in turns, and what they took.

use std::time::Duration;

use crate::common::{Probe, time};

/// Who does the work.
pub(crate) struct Side<'a> {
    name: &'static str,
    /// How much one call of `act` does: times are divided by it.
    count: u32,
    act: Act<'a>,
}

enum Act<'a> {
    Call(Box<dyn FnMut() + 'a>),
    /// Bytes that are copied in, and acknowledged.
    Pass(&'a mut Probe, &'a [u8]),
}

impl<'a> Side<'a> {
    pub(crate) fn new(name: &'static str, count: u32, act: impl FnMut() + 'a) -> Self {
        Side { name, count, act: Act::Call(Box::new(act)) }
    }

    pub(crate) fn limit(
        name: &'static str,
        count: u32,
        probe: &'a mut Probe,
        bytes: &'a [u8],
    ) -> Self {
        Side { name, count, act: Act::Pass(probe, bytes) }
    }

    fn sample(&mut self) -> Duration {
        let count = self.count;
        let taken = match &mut self.act {
            Act::Call(act) => time(act),
            Act::Pass(probe, bytes) => time(|| (0..count).for_each(|_| probe.pass(bytes))),
        };
        taken / count
    }

    fn turn(&mut self, samples: usize, taken: &mut Vec<Duration>) {
        if let Act::Pass(probe, _) = &self.act {
            probe.go_on();
        }
        // After the others, caches and clocks are not as in steady work.
        self.sample();
        taken.extend((0..samples).map(|_| self.sample()));
        if let Act::Pass(probe, _) = &self.act {
            probe.stop();
        }
    }
}

/// How long a side took each time, least first.
pub(crate) struct Times {
    pub(crate) name: &'static str,
    sorted: Vec<Duration>,
}

impl Times {
    pub(crate) fn new(name: &'static str, mut taken: Vec<Duration>) -> Self {
        taken.sort_unstable();
        Times { name, sorted: taken }
    }

    fn at(&self, percent: usize) -> Duration {
        self.sorted[(self.sorted.len() - 1) * percent / 100]
    }

    pub(crate) fn least(&self) -> Duration {
        self.at(0)
    }

    pub(crate) fn median(&self) -> Duration {
        self.at(50)
    }
}

/// Each side in each turn, so many samples a time.
pub(crate) fn contest(turns: usize, samples: usize, mut sides: Vec<Side<'_>>) -> Vec<Times> {
    let mut taken = vec![Vec::new(); sides.len()];
    for _ in 0..turns {
        for (side, taken) in sides.iter_mut().zip(&mut taken) {
            side.turn(samples, taken);
        }
    }
    sides.iter().zip(taken).map(|(side, taken)| Times::new(side.name, taken)).collect()
}

/// Latencies, each beside the ratio of its median to the first one's.
pub(crate) fn show_times(name: &str, all: &[Times]) {
    let columns = ["least", "median", "p90", "p99", "ratio"].map(|c| format!("{c:>10}")).concat();
    println!("\n{name:44}{columns}");
    for times in all {
        let figures = [0, 50, 90, 99].map(|percent| format!("{:>10.2?}", times.at(percent)));
        println!("  {:42}{}{:>10.2}", times.name, figures.concat(), ratio(times, &all[0]));
    }
}

/// Rates, each beside the ratio to the first one's.
pub(crate) fn show_rates(name: &str, all: &[Times]) {
    let columns = ["median/s", "best/s", "time each", "ratio"].map(|c| format!("{c:>12}")).concat();
    println!("\n{name:44}{columns}");
    for times in all {
        let (median, best) = (rate(times.median()), rate(times.least()));
        let ratio = 1.0 / ratio(times, &all[0]);
        println!(
            "  {:42}{median:>12.0}{best:>12.0}{:>12.2?}{ratio:>12.3}",
            times.name,
            times.median()
        );
    }
}

/// Of the medians.
pub(crate) fn ratio(ours: &Times, other: &Times) -> f64 {
    ours.median().as_secs_f64() / other.median().as_secs_f64()
}

pub(crate) fn rate(each: Duration) -> f64 {
    1.0 / each.as_secs_f64()
}

/// Says whether a figure keeps within its target.
pub(crate) fn at_most(target: &str, what: &str, figure: f64, limit: f64) {
    say(target, what, figure, &format!("at most {limit:.2}"), figure <= limit);
}

/// Says whether a figure reaches its target.
pub(crate) fn at_least(target: &str, what: &str, figure: f64, limit: f64) {
    say(target, what, figure, &format!("at least {limit}"), figure >= limit);
}

fn say(target: &str, what: &str, figure: f64, limit: &str, met: bool) {
    let verdict = if met { "met" } else { "MISSED" };
    println!("  {target}: {what}: {figure:.3}, {limit}: {verdict}");
}
