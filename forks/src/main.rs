//! Is the pool safe beside threads that are not the program's own, in hosts that fork, and where panics
//! abort?
//!
//! `ci/forks.sh`. Five cases, for each start method: a lock is held by another thread when workers are
//! born or the host forks; OpenMP; BLAS; a pool that was used, in a forked child; a pool that is built
//! there. Each runs in a process of its own with a deadline, because the answer to a wrong fork is
//! that something hangs.
#![expect(unsafe_code, reason = "forks without exec, and calls C")]

mod aborting;
mod cases;
mod fork;
mod numbers;

use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use pannier::StartMethod;

/// How workers are born: each case is run with each.
const METHODS: [(&str, StartMethod); 2] =
    [("spawn", StartMethod::Spawn), ("fork server", StartMethod::ForkServer)];

/// For one case.
const DEADLINE: Duration = Duration::from_secs(40);

fn main() -> ExitCode {
    // The first line: in a worker it never returns.
    pannier::init();
    if cfg!(panic = "abort") {
        return if aborting::holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [case, method] = &arguments[..] {
        play(case, method);
        return ExitCode::SUCCESS;
    }
    let mut failed = 0;
    for (method, _) in METHODS {
        for (case, _) in cases::CASES {
            let began = Instant::now();
            let verdict = run(case, method);
            let seconds = began.elapsed().as_secs_f64();
            println!("{method:12} {case:46} {verdict:6} {seconds:.2} s");
            failed += u32::from(verdict != "passed");
        }
    }
    let is_refused = cases::is_refused_with_its_threads();
    println!("(a fork server with the threads of OpenBLAS is refused: {is_refused})");
    failed += u32::from(!is_refused);
    println!("(a forked child that calls OpenMP itself {})", cases::openmp_itself());
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs a case in this process.
fn play(case: &str, method: &str) {
    let by_name = |name: &str| METHODS.into_iter().find(|known| known.0 == name);
    let (_, method) = by_name(method).expect("such a start method");
    let case = cases::CASES.into_iter().find(|known| known.0 == case);
    (case.expect("such a case").1)(method);
}

/// Runs a case in a process of its own.
fn run(case: &str, method: &str) -> &'static str {
    let program = std::env::current_exe().expect("a program");
    let mut command = Command::new(program);
    // Tasks print; nobody wants to read that.
    command.args([case, method]).stdin(Stdio::null()).stdout(Stdio::null());
    let mut child = command.spawn().expect("this program starts");
    match status_in_time(&mut child) {
        Some(true) => "passed",
        Some(false) => "FAILED",
        None => "HANGS",
    }
}

fn status_in_time(child: &mut Child) -> Option<bool> {
    let deadline = Instant::now() + DEADLINE;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().expect("it is our child") {
            return Some(status.success());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().and_then(|()| child.wait()).expect("it is our child");
    None
}
