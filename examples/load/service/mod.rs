//! A load as a service has it: frames of all sizes to a pool and over a channel, what comes back is
//! checked, kept for a while and sent on, and what all processes hold is sampled.
//!
//! The body of the example and of `tests/load.rs`.

mod audit;
mod ends;
mod frames;

use std::collections::BTreeSet;
use std::error::Error;
use std::time::{Duration, Instant};

use pannier::Pool;
use serde::Serialize;

use self::audit::{Audit, Course, Sample, belongings, courses};
use self::ends::{Outcome, Peer, Workers};
use self::frames::{Frame, Part, Random, Shelf, Wish, len_of, small_len};

pub(crate) use self::ends::play;

/// How much load.
pub(crate) struct Plan {
    /// So many frames, or as many as the time allows.
    pub(crate) frames: u64,
    pub(crate) time: Option<Duration>,
    /// Frames a second at most.
    pub(crate) rate: Option<u32>,
    pub(crate) seed: u64,
    /// Workers that are killed, evenly over the run.
    pub(crate) kills: u32,
    /// The longest buffer, in bytes.
    pub(crate) largest: usize,
}

/// How it went.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    pub(crate) seed: u64,
    pub(crate) seconds: f64,
    pub(crate) submitted: u64,
    pub(crate) resolved: u64,
    /// Submitted, and never resolved.
    pub(crate) lost: u64,
    /// Resolved more than once, or as another frame than the one that was waited for.
    pub(crate) twice: u64,
    /// Buffers whose bytes were not what they should be, here or there.
    pub(crate) wrong: u64,
    /// Resolved by an error, and the first such errors.
    pub(crate) failed: u64,
    pub(crate) errors: Vec<String>,
    pub(crate) killed: u32,
    pub(crate) bytes: u64,
    pub(crate) courses: Vec<Course>,
    /// Descriptors, maps of shared memory and children, before and after.
    pub(crate) before: [u64; 3],
    pub(crate) after: [u64; 3],
    pub(crate) samples: Vec<Sample>,
    /// The other program ended as it should.
    pub(crate) peer_ended: bool,
}

impl Report {
    /// What is not as it must be.
    pub(crate) fn faults(&self) -> Vec<String> {
        let counts = [
            ("lost", self.lost),
            ("resolved twice", self.twice),
            ("wrong buffers", self.wrong),
            ("failed", self.failed),
        ];
        let wrong = counts.iter().filter(|count| count.1 > 0);
        let mut faults: Vec<_> = wrong.map(|(what, count)| format!("{what}: {count}")).collect();
        let grown = self.courses.iter().filter(|course| !course.is_flat);
        faults.extend(grown.map(|c| format!("{} grew from {} to {}", c.name, c.first, c.last)));
        if self.before != self.after {
            faults.push(format!("left behind: {:?} before, {:?} after", self.before, self.after));
        }
        if !self.peer_ended {
            faults.push("the program at the other end of the channel failed".to_owned());
        }
        faults
    }
}

/// How many frames each side may have on its way, and how many bytes both may.
const WINDOW: usize = 32;
const BYTES: usize = 96 << 20;
/// Samples in a run.
const SAMPLES: f64 = 100.0;
/// Errors that are told in full.
const ERRORS: usize = 5;

/// Runs the plan; `watch` sees each sample.
pub(crate) fn run(plan: &Plan, watch: impl FnMut(&Sample)) -> Result<Report, Box<dyn Error>> {
    // What is made once and kept is made now.
    drop(Pool::builder().workers(1).build()?);
    let before = belongings();
    let mut load = Load::start(plan)?;
    load.drive(watch)?;
    let mut report = load.end()?;
    report.before = before;
    report.after = belongings();
    Ok(report)
}

struct Load<'p> {
    plan: &'p Plan,
    began: Instant,
    random: Random,
    workers: Workers,
    peer: Peer,
    audit: Audit,
    samples: Vec<Sample>,
    /// Numbers of frames that have no outcome yet.
    open: BTreeSet<u64>,
    /// Results that are sent on.
    kept: Shelf,
    report: Report,
}

impl<'p> Load<'p> {
    fn start(plan: &'p Plan) -> Result<Self, Box<dyn Error>> {
        Ok(Load {
            plan,
            began: Instant::now(),
            random: Random::new(plan.seed),
            workers: Workers::start()?,
            peer: Peer::start()?,
            audit: Audit::begin(),
            samples: Vec::new(),
            open: BTreeSet::new(),
            kept: Shelf::new(),
            report: Report { seed: plan.seed, ..Report::default() },
        })
    }

    fn drive(&mut self, mut watch: impl FnMut(&Sample)) -> Result<(), Box<dyn Error>> {
        for number in 0.. {
            let progress = self.progress(number);
            if progress >= 1.0 {
                break;
            }
            if progress * SAMPLES >= self.samples.len() as f64 {
                watch(self.sample(number));
            }
            let kills = f64::from(self.report.killed + 1) / f64::from(self.plan.kills + 1);
            if progress >= kills && self.workers.kill_one(&mut self.random) {
                self.report.killed += 1;
            }
            self.keep_pace(number);
            let frame = self.frame(number, progress >= 0.1)?;
            self.make_room(frame.len(), progress >= 0.1);
            self.send(frame)?;
        }
        while self.receive_one() {}
        Ok(())
    }

    /// How far the run is, by frames or by the clock: whichever is further.
    fn progress(&self, number: u64) -> f64 {
        let by_clock = |time: Duration| self.began.elapsed().as_secs_f64() / time.as_secs_f64();
        let by_count = number as f64 / self.plan.frames as f64;
        self.plan.time.map_or(by_count, |time| by_count.max(by_clock(time)))
    }

    fn sample(&mut self, number: u64) -> &Sample {
        let stats = self.workers.pool.stats();
        let sample = Sample {
            blocks: stats.blocks_live,
            segments: stats.segments_live,
            segment_kib: stats.segment_bytes >> 10,
            ..self.audit.sample(number, self.began.elapsed())
        };
        self.samples.push(sample);
        self.samples.last().expect("one has just been added")
    }

    /// Waits until it is the frame's time; before that, for what is on its way.
    fn keep_pace(&mut self, number: u64) {
        let Some(rate) = self.plan.rate else { return };
        let due = self.began + Duration::from_secs_f64(number as f64 / f64::from(rate));
        while Instant::now() < due && self.receive_one() {}
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }

    /// A frame of one to four buffers, of which some share memory.
    fn frame(&mut self, number: u64, is_warm: bool) -> pannier::Result<Frame> {
        // More large ones during the warm-up, so that it meets what later comes together seldom.
        let seldom = if is_warm { 1_000 } else { 100 };
        let len = len_of(number, (seldom, self.plan.largest), &mut self.random);
        let mut parts = vec![self.part(len)?];
        for _ in 0..self.random.below(4) {
            let last = &parts[parts.len() - 1];
            let next = match self.random.below(5) {
                0 => last.clone(),
                1 => last.part(&mut self.random),
                2 => self.kept.pick(&mut self.random).unwrap_or_else(|| last.clone()),
                _ => {
                    let len = small_len(&mut self.random);
                    self.part(len)?
                }
            };
            parts.push(next);
        }
        let wishes = [Wish::Look, Wish::Echo, Wish::Keep, Wish::Make];
        Ok(Frame { number, wish: wishes[self.random.below(4)], parts })
    }

    /// New bytes, in the pool's shared memory or on the heap.
    fn part(&mut self, len: usize) -> pannier::Result<Part> {
        let is_shared = self.random.below(2) == 0;
        let space = if is_shared { self.workers.pool.alloc(len)? } else { pannier::alloc(len)? };
        Ok(Part::new(self.random.next(), space))
    }

    /// Receives until the windows have room for so many bytes more. They are wider in the warm-up, so
    /// that what is ever needed at once is needed then: memory keeps the size of its highest use.
    fn make_room(&mut self, len: usize, is_warm: bool) {
        let (window, most) = if is_warm { (WINDOW, BYTES) } else { (WINDOW * 2, BYTES * 2) };
        loop {
            let ((tasks, bytes), (frames, more)) = (self.workers.flying(), self.peer.flying());
            let is_room = tasks < window && frames < window && bytes + more + len <= most;
            if is_room || !self.receive_one() {
                return;
            }
        }
    }

    fn send(&mut self, frame: Frame) -> Result<(), Box<dyn Error>> {
        self.open.insert(frame.number);
        self.report.submitted += 1;
        self.report.bytes += frame.len() as u64;
        if self.random.below(2) == 0 {
            self.workers.send(frame);
            return Ok(());
        }
        let mut unsent = Some(frame);
        while let Some(frame) = unsent {
            unsent = self.peer.send(frame)?;
            if unsent.is_some() {
                let outcome = self.peer.receive();
                self.settle(outcome.ok_or("the channel is full of nothing")?);
            }
        }
        Ok(())
    }

    /// Waits for an outcome from the side that has more to come; whether there was any.
    fn receive_one(&mut self) -> bool {
        let outcome = if self.workers.flying().0 > self.peer.flying().0 {
            self.workers.receive(&mut self.random)
        } else {
            self.peer.receive()
        };
        outcome.map(|outcome| self.settle(outcome)).is_some()
    }

    fn settle(&mut self, Outcome { number, answer }: Outcome) {
        let report = &mut self.report;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                report.failed += 1;
                report.errors.extend(Some(error).filter(|_| report.errors.len() < ERRORS));
                self.open.remove(&number);
                return;
            }
        };
        if !self.open.remove(&number) || answer.number != number {
            report.twice += 1;
        }
        report.resolved += 1;
        report.wrong += answer.wrong;
        for part in answer.parts {
            report.wrong += u64::from(!part.is_right());
            if self.random.below(2) == 0 {
                self.kept.put(part);
            }
        }
    }

    /// Lets go of everything.
    fn end(self) -> Result<Report, Box<dyn Error>> {
        let Load { mut report, workers, peer, samples, open, kept, began, .. } = self;
        report.seconds = began.elapsed().as_secs_f64();
        report.wrong += kept.wrong();
        drop(kept);
        drop(workers);
        report.peer_ended = peer.end()?;
        report.lost = open.len() as u64;
        report.courses = courses(&samples);
        report.samples = samples;
        Ok(report)
    }
}
