//! A random forest trained on one shared copy of its data: `cargo run --release --example forest`.
//!
//! The forest is the running example of parallel computing because it is hard on processes. Each
//! tree reads a sample of all the rows, so threads share the data for nothing, while processes
//! usually copy it: twice the memory, and a first call that waits for the copy.
//!
//! Here the handwritten digits that `smartcore` ships are enlarged with noise to 100 MiB, written
//! in place into a buffer of the pool. The same trees are then grown serially, on threads, and in
//! worker processes that read that one buffer. Each way runs in a fresh process, so that none
//! profits from the warm memory of another, while this one samples its memory. At last a worker is
//! killed in the middle of a tree, and the forest comes out the same. The ways take turns a few
//! times, and the best time of each is told.
//!
//! `--json` prints the figures as one line of JSON instead of a table.

#![expect(clippy::print_stdout, reason = "the figures are what this program is for")]

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::io::{self, Write};
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressIterator, ProgressStyle};
use pannier::{Buffer, Pool};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use smartcore::dataset::digits;
use smartcore::linalg::basic::matrix::DenseMatrix;
use smartcore::tree::decision_tree_classifier::{
    DecisionTreeClassifier, DecisionTreeClassifierParameters,
};

const ROWS: usize = 204_800;
const FEATURES: usize = 64;
const CLASSES: usize = 10;
const TREES: u64 = 10;
/// The ways take turns so often, and the best time of each counts: on a machine that others use too
/// it is the one that was least disturbed.
const ROUNDS: usize = 3;
const WORKERS: usize = 2;
/// Rows a tree is trained on, drawn with repetition: scikit-learn's `max_samples`.
const SAMPLE_ROWS: usize = ROWS / 10;
/// Features a tree may look at. What a tree does not see makes it differ from its neighbours.
const TREE_FEATURES: usize = 16;
const TREE_DEPTH: u16 = 8;
/// The digits' features are 0 to 16.
const BRIGHTEST: f64 = 16.0;
const NOISE: f64 = 2.0;
/// Every fifth of the original rows is held back and never enters the training part.
const HELD_BACK: usize = 5;
/// Reading one process's page tables takes 3 ms here, of the very processors the workers run on:
/// more often, the watching would slow what it watches.
const SAMPLE_EVERY: Duration = Duration::from_millis(250);
const KILL_DEADLINE: Duration = Duration::from_secs(30);
/// Processor time, in clock ticks (10 ms), after which a worker is in the midst of a tree.
const BUSY_TICKS: u64 = 10;

type Failure = Box<dyn Error + Send + Sync>;
type Model = DecisionTreeClassifier<f64, u8, DenseMatrix<f64>, Vec<u8>>;

fn main() -> Result<ExitCode, Failure> {
    pannier::init();
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => compare(false),
        ["--json"] => compare(true),
        ["--way", way] => run_way(way).map(|()| ExitCode::SUCCESS),
        _ => Err("usage: forest [--json]".into()),
    }
}

// ── the data ─────────────────────────────────────────────────────────────────

/// Features and digit.
type Row = (Vec<f64>, u8);

/// The original rows, apart in what may be trained on and what judges the forest.
struct Digits {
    train: Vec<Row>,
    held_back: Vec<Row>,
}

fn load_digits() -> Digits {
    let dataset = digits::load_dataset();
    let rows = dataset.data.chunks_exact(FEATURES).zip(&dataset.target);
    let rows = rows.map(|(row, digit)| (row.iter().map(|&x| f64::from(x)).collect(), *digit as u8));
    let (held_back, train): (Vec<_>, Vec<_>) =
        rows.enumerate().partition(|(index, _)| index % HELD_BACK == 0);
    let strip = |rows: Vec<(usize, Row)>| rows.into_iter().map(|(_, row)| row).collect();
    Digits { train: strip(train), held_back: strip(held_back) }
}

/// Fills all of `features` and `labels` with original rows under noise. The seed is the row's
/// number, so every way trains on the same data.
fn enlarge(originals: &[Row], features: &mut [f64], labels: &mut [u8]) {
    let rows = features.chunks_exact_mut(FEATURES).zip(labels);
    for ((seed, (row, label)), original) in (0..).zip(rows).zip(originals.iter().cycle()) {
        let mut random = Random::new(seed);
        for (noisy, clean) in row.iter_mut().zip(&original.0) {
            *noisy = (clean + random.between(-NOISE, NOISE)).clamp(0.0, BRIGHTEST);
        }
        *label = original.1;
    }
}

/// SplitMix64: small, seeded, and the same on every machine.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0xd134_2543_de82_ef95))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn between(&mut self, low: f64, high: f64) -> f64 {
        let unit = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        low + unit * (high - low)
    }
}

// ── the forest ───────────────────────────────────────────────────────────────

#[derive(Serialize, Deserialize)]
struct Tree {
    /// The features it was trained on, in the order of its model's columns.
    columns: Vec<usize>,
    model: Model,
}

/// Grows tree `k`: the same tree for the same `k`, wherever it runs.
fn grow(features: &[f64], labels: &[u8], k: u64) -> Tree {
    let mut random = Random::new(k);
    let columns = choose_columns(&mut random);
    let rows: Vec<usize> = (0..SAMPLE_ROWS).map(|_| random.below(labels.len())).collect();

    let mut sample = vec![0.0; SAMPLE_ROWS * TREE_FEATURES];
    for (place, row) in rows.iter().enumerate() {
        for (column, feature) in columns.iter().enumerate() {
            sample[column * SAMPLE_ROWS + place] = features[row * FEATURES + feature];
        }
    }
    let matrix = DenseMatrix::new(SAMPLE_ROWS, TREE_FEATURES, sample, true)
        .expect("the sample has the shape it was made with");
    let labels: Vec<u8> = rows.iter().map(|&row| labels[row]).collect();
    let mut parameters = DecisionTreeClassifierParameters::default().with_max_depth(TREE_DEPTH);
    parameters.seed = Some(k);
    let model = Model::fit(&matrix, &labels, parameters).expect("a sample holds every digit");
    Tree { columns, model }
}

fn choose_columns(random: &mut Random) -> Vec<usize> {
    let mut columns: Vec<usize> = (0..FEATURES).collect();
    for place in 0..TREE_FEATURES {
        columns.swap(place, place + random.below(FEATURES - place));
    }
    columns.truncate(TREE_FEATURES);
    columns
}

/// The share of held-back rows that the majority of the trees names rightly.
fn accuracy(forest: &[Tree], rows: &[Row]) -> Result<f64, Failure> {
    let mut votes = vec![[0_u32; CLASSES]; rows.len()];
    for tree in forest {
        let seen = |row: &[f64]| tree.columns.iter().map(|&c| row[c]).collect::<Vec<_>>();
        let matrix: Vec<Vec<f64>> = rows.iter().map(|(row, _)| seen(row)).collect();
        let matrix = DenseMatrix::from_2d_vec(&matrix)?;
        for (votes, digit) in votes.iter_mut().zip(tree.model.predict(&matrix)?) {
            votes[usize::from(digit)] += 1;
        }
    }
    // Of several digits with most votes the smallest wins, so that the outcome is one.
    let winner = |votes: &[u32]| (0..CLASSES).rev().max_by_key(|&digit| votes[digit]);
    let right = votes.iter().zip(rows).filter(|(v, row)| winner(*v) == Some(row.1.into())).count();
    Ok(right as f64 / rows.len() as f64)
}

// ── the three ways, each in a process of its own ─────────────────────────────

/// What a way reports on its standard output: one line of this, then the forest.
#[derive(Default, Serialize, Deserialize)]
struct Outcome {
    first_s: f64,
    /// Only a pool is there for a second call.
    second_s: f64,
    accuracy: f64,
    payload_copies: u64,
    workers_killed: u64,
    tasks_retried: u64,
    /// Whether all calls of this way grew the same forest, byte for byte.
    repeatable: bool,
}

fn run_way(way: &str) -> Result<(), Failure> {
    let digits = load_digits();
    let (mut outcome, forest) = match way {
        "serial" => run_serial(&digits.train),
        "threads" => run_threads(&digits.train),
        "pool" => run_pool(&digits.train)?,
        _ => return Err(format!("no way is called {way}").into()),
    };
    outcome.accuracy = accuracy(&forest, &digits.held_back)?;
    let mut out = io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(&outcome)?)?;
    out.write_all(&serde_json::to_vec(&forest)?)?;
    Ok(())
}

fn on_heap(originals: &[Row]) -> (Vec<f64>, Vec<u8>) {
    let (mut features, mut labels) = (vec![0.0; ROWS * FEATURES], vec![0; ROWS]);
    enlarge(originals, &mut features, &mut labels);
    (features, labels)
}

fn run_serial(originals: &[Row]) -> (Outcome, Vec<Tree>) {
    let (features, labels) = on_heap(originals);
    let bar = progress("serial");
    let start = Instant::now();
    let forest = (0..TREES).progress_with(bar).map(|k| grow(&features, &labels, k)).collect();
    (timed_once(start), forest)
}

fn run_threads(originals: &[Row]) -> (Outcome, Vec<Tree>) {
    let (features, labels) = on_heap(originals);
    let bar = progress("threads");
    let next = AtomicU64::new(0);
    let work = || {
        let tasks = std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed));
        let tasks = tasks.take_while(|&k| k < TREES);
        tasks.map(|k| (k, grow(&features, &labels, k))).inspect(|_| bar.inc(1)).collect::<Vec<_>>()
    };
    let start = Instant::now();
    let forest: BTreeMap<u64, Tree> = thread::scope(|scope| {
        let threads: Vec<_> = (0..WORKERS).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|t| t.join().expect("growing does not panic")).collect()
    });
    (timed_once(start), forest.into_values().collect())
}

fn timed_once(start: Instant) -> Outcome {
    let first_s = start.elapsed().as_secs_f64();
    Outcome { first_s, repeatable: true, ..Outcome::default() }
}

/// What the tasks share: handles on memory, however many workers read it.
type Context = (Buffer<f64>, Buffer<u8>);

fn run_pool(originals: &[Row]) -> Result<(Outcome, Vec<Tree>), Failure> {
    let start = Instant::now();
    let pool = Pool::builder().workers(WORKERS).build()?;
    let building = start.elapsed();

    // Written where the workers will read it; nothing is copied from here on.
    let (mut features, mut labels) = (pool.alloc::<f64>(ROWS * FEATURES)?, pool.alloc(ROWS)?);
    enlarge(originals, &mut features, &mut labels);
    let context = (features.freeze(), labels.freeze());

    let start = Instant::now();
    let forest = grow_in_pool(&pool, &context, "pool, first")?;
    // Starting the workers is a cost of the first call.
    let first = building + start.elapsed();
    let start = Instant::now();
    let second_forest = grow_in_pool(&pool, &context, "pool, second")?;
    let second = start.elapsed();
    let (third_forest, workers_killed) = grow_under_fire(&pool, &context)?;

    let bytes = serde_json::to_vec(&forest)?;
    let repeatable =
        serde_json::to_vec(&second_forest)? == bytes && serde_json::to_vec(&third_forest)? == bytes;
    let stats = pool.stats();
    let outcome = Outcome {
        first_s: first.as_secs_f64(),
        second_s: second.as_secs_f64(),
        payload_copies: stats.payload_copies,
        workers_killed,
        tasks_retried: stats.tasks_retried,
        repeatable,
        ..Outcome::default()
    };
    Ok((outcome, forest))
}

fn grow_in_pool(pool: &Pool, context: &Context, name: &'static str) -> Result<Vec<Tree>, Failure> {
    let trees = pool.map_with(
        context.clone(),
        |(features, labels): &Context, k: u64| grow(features, labels, k),
        0..TREES,
    );
    // A tree is work enough for one message, and the last trees spread better one by one.
    Ok(trees.chunk_size(1).progress_with(progress(name)).collect::<Result<_, _>>()?)
}

/// Grows the forest once more while a worker dies. Its tree is grown again by another.
fn grow_under_fire(pool: &Pool, context: &Context) -> Result<(Vec<Tree>, u64), Failure> {
    let victim = *pool.worker_pids().first().ok_or("the pool has no worker")?;
    let idle_ticks = cpu_ticks(victim).ok_or("the worker is gone")?;
    thread::scope(|scope| {
        let killer = scope.spawn(move || kill_when_busy(victim, idle_ticks + BUSY_TICKS));
        let forest = grow_in_pool(pool, context, "one is killed")?;
        killer.join().expect("killing does not panic")?;
        Ok((forest, 1))
    })
}

fn kill_when_busy(pid: u32, busy_ticks: u64) -> Result<(), Failure> {
    let deadline = Instant::now() + KILL_DEADLINE;
    while cpu_ticks(pid).ok_or("the worker died before its time")? < busy_ticks {
        if Instant::now() > deadline {
            return Err("the worker was given no work".into());
        }
        thread::sleep(Duration::from_millis(5));
    }
    let pid = Pid::from_raw(pid.try_into()?).ok_or("no process has the number 0")?;
    Ok(kill_process(pid, Signal::KILL)?)
}

/// Drawn on standard error, and only where that is a terminal.
fn progress(name: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:>13} {wide_bar} {pos}/{len} trees")
        .expect("the template is a constant");
    ProgressBar::new(TREES).with_style(style).with_message(name)
}

// ── the comparison ───────────────────────────────────────────────────────────

/// What the parent saw of one way, in one round or in several.
struct Run {
    outcome: Outcome,
    forest: Vec<u8>,
    peak_mib: f64,
}

impl Run {
    /// Both rounds as one: the better times, the larger peak, the sum of what was counted.
    fn and(self, other: Run) -> Run {
        let (a, b) = (self.outcome, other.outcome);
        let outcome = Outcome {
            first_s: a.first_s.min(b.first_s),
            second_s: a.second_s.min(b.second_s),
            accuracy: a.accuracy,
            payload_copies: a.payload_copies + b.payload_copies,
            workers_killed: a.workers_killed + b.workers_killed,
            tasks_retried: a.tasks_retried + b.tasks_retried,
            repeatable: a.repeatable && b.repeatable && self.forest == other.forest,
        };
        Run { outcome, forest: self.forest, peak_mib: self.peak_mib.max(other.peak_mib) }
    }
}

/// All ways, in turn, once for each round.
fn measure_in_turn() -> Result<[Run; 3], Failure> {
    let round = || Ok::<_, Failure>([measure("serial")?, measure("threads")?, measure("pool")?]);
    (1..ROUNDS).try_fold(round()?, |[serial, threads, pool], _| {
        let [s, t, p] = round()?;
        Ok([serial.and(s), threads.and(t), pool.and(p)])
    })
}

fn compare(json: bool) -> Result<ExitCode, Failure> {
    let [serial, threads, pool] = measure_in_turn()?;
    let runs = [&serial, &threads, &pool];
    let identical = runs.iter().all(|r| r.outcome.repeatable && r.forest == serial.forest);
    let [serial_s, threads_s, first_s] = runs.map(|r| r.outcome.first_s);
    let dataset_bytes = ROWS * (FEATURES * size_of::<f64>() + size_of::<u8>());
    let figures = serde_json::json!({
        "rows": ROWS,
        "features": FEATURES,
        "trees": TREES,
        "workers": WORKERS,
        "dataset_mib": rounded(dataset_bytes as f64 / f64::from(1 << 20)),
        "serial_s": rounded(serial_s),
        "threads_s": rounded(threads_s),
        "pool_first_s": rounded(first_s),
        "pool_second_s": rounded(pool.outcome.second_s),
        "speedup_first": rounded(serial_s / first_s),
        "threads_speedup": rounded(serial_s / threads_s),
        "serial_mib": rounded(serial.peak_mib),
        "threads_mib": rounded(threads.peak_mib),
        "pool_mib": rounded(pool.peak_mib),
        "memory_ratio": rounded(pool.peak_mib / threads.peak_mib),
        "payload_copies": pool.outcome.payload_copies,
        "workers_killed": pool.outcome.workers_killed,
        "tasks_retried": pool.outcome.tasks_retried,
        "accuracy": rounded(pool.outcome.accuracy),
        "identical": identical,
    });
    if json {
        println!("{figures}");
    } else {
        print_table(&figures);
    }
    Ok(if identical { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print_table(figures: &serde_json::Value) {
    let number = |key: &str| figures[key].as_f64().unwrap_or(f64::NAN);
    let line = |way: &str, seconds: &str, mib: &str| {
        let speed_up = number("serial_s") / number(seconds);
        let ratio = number(mib) / number("threads_mib");
        let (seconds, mib) = (number(seconds), number(mib));
        println!("{way:12} {seconds:6.2} s {speed_up:9.2} {mib:9.0} MiB {ratio:11.2}");
    };
    let mib = number("dataset_mib");
    println!("{TREES} trees, {ROWS} rows of {FEATURES} numbers, {mib:.0} MiB, {WORKERS} workers\n");
    println!("                 time  speed-up  peak memory  of threads'");
    line("serial", "serial_s", "serial_mib");
    line("threads", "threads_s", "threads_mib");
    line("pool, first", "pool_first_s", "pool_mib");
    line("pool, second", "pool_second_s", "pool_mib");
    println!("\ncopies of the payload  {}", figures["payload_copies"]);
    println!("workers killed         {}", figures["workers_killed"]);
    println!("tasks retried          {}", figures["tasks_retried"]);
    println!("accuracy               {:.1} %", number("accuracy") * 100.0);
    println!("identical forests      {}", figures["identical"]);
}

fn rounded(figure: f64) -> f64 {
    (figure * 1000.0).round() / 1000.0
}

/// Runs this program again for one way and watches its memory until it ends.
fn measure(way: &str) -> Result<Run, Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--way", way]).stdin(Stdio::null()).stdout(Stdio::piped());
    let child = command.spawn()?;
    let pid = child.id();
    let (sender, ended) = mpsc::channel();
    let waiter = thread::spawn(move || sender.send(child.wait_with_output()));

    let mut peak_kib = 0;
    let output = loop {
        match ended.recv_timeout(SAMPLE_EVERY) {
            Ok(output) => break output?,
            Err(RecvTimeoutError::Timeout) => peak_kib = peak_kib.max(family_pss_kib(pid)),
            Err(RecvTimeoutError::Disconnected) => return Err("nobody waits for the way".into()),
        }
    };
    waiter.join().expect("waiting does not panic")?;
    if !output.status.success() {
        return Err(format!("the way {way} failed: {}", output.status).into());
    }
    let mut parts = output.stdout.splitn(2, |&byte| byte == b'\n');
    let outcome = serde_json::from_slice(parts.next().unwrap_or_default())?;
    let forest = parts.next().unwrap_or_default().to_vec();
    Ok(Run { outcome, forest, peak_mib: peak_kib as f64 / 1024.0 })
}

// ── what the kernel tells of a process ───────────────────────────────────────

/// Proportional set size of a process and all its descendants: shared pages count once.
fn family_pss_kib(root: u32) -> u64 {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let parents: Vec<(u32, u32)> =
        pids.filter_map(|pid| Some((pid, stat_field(pid, PARENT)?.try_into().ok()?))).collect();
    let mut family = vec![root];
    let mut next = 0;
    while let Some(&parent) = family.get(next) {
        family.extend(parents.iter().filter(|(_, p)| *p == parent).map(|(pid, _)| pid));
        next += 1;
    }
    family.into_iter().filter_map(pss_kib).sum()
}

fn pss_kib(pid: u32) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let pss = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    pss.trim().strip_suffix("kB")?.trim().parse().ok()
}

fn cpu_ticks(pid: u32) -> Option<u64> {
    Some(stat_field(pid, USER_TICKS)? + stat_field(pid, SYSTEM_TICKS)?)
}

/// Positions in /proc/PID/stat after the program's name, see proc_pid_stat(5).
const PARENT: usize = 1;
const USER_TICKS: usize = 11;
const SYSTEM_TICKS: usize = 12;

fn stat_field(pid: u32, position: usize) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold spaces and brackets; the last bracket ends it.
    stat.rsplit_once(')')?.1.split_whitespace().nth(position)?.parse().ok()
}
