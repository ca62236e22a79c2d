//! A parent with workers of every kind, for programs whose `main` is their own: the part that it plays,
//! and its end.

use std::io::Read;
use std::time::Instant;

use pannier::{Error, Pool, PoolBuilder, StartFailure};

use crate::common::{eventually, is_dead, quiet};
use crate::play::{BOUND, Play};
use crate::rounds::names;
use crate::runner::say;

/// A pool with a busy worker, an idle one, one with a child, and one that started a group.
pub(crate) fn parent_with_workers(builder: PoolBuilder) -> Pool {
    let pool = builder.workers(4).build().expect("workers start");
    let child = |()| quiet("sleep", &["1000"]).spawn().map(|child| child.id()).ok();
    let child = pool.submit(child, ()).join().expect("a task").expect("sleep is installed");
    let busy = |()| -> () {
        let mut number = 0_u64;
        loop {
            number = std::hint::black_box(number + 1);
        }
    };
    drop(pool.submit(busy, ()));
    // Deaf to the signal that the kernel sends at the parent's death.
    let deaf = |()| -> () {
        let mut child =
            quiet("sh", &["-c", "trap '' TERM HUP; sleep 1000"]).spawn().expect("sh is installed");
        let _never = child.wait();
    };
    drop(pool.submit(deaf, ()));
    let pids = pool.worker_pids();
    assert_eq!(pids.len(), 4);
    for pid in pids {
        say(&format!("worker {pid}"));
    }
    say(&format!("child {child}"));
    pool
}

/// Has such a pool until the test ends it.
pub(crate) fn parent(builder: PoolBuilder) {
    let pool = parent_with_workers(builder);
    say("ready");
    wait_for_the_end();
    drop(pool);
}

/// Says why no pool came of it.
pub(crate) fn refused(built: &pannier::Result<Pool>) {
    let text = match built {
        Ok(_) => "built".to_owned(),
        Err(Error::NotInitialised) => "not initialised".to_owned(),
        Err(Error::StartFailed(failed)) if matches!(failed.cause, StartFailure::Loader { .. }) => {
            "a loader".to_owned()
        }
        Err(other) => format!("{other:?}"),
    };
    say(&text);
    say("ready");
    wait_for_the_end();
}

/// Until the test has no more interest in this process.
pub(crate) fn wait_for_the_end() {
    let _over = std::io::stdin().read(&mut [0]);
}

/// In the test: such a parent is killed, and nothing is left.
pub(crate) fn ends_when_killed(part: &str) {
    let before = names();
    let mut play = Play::start(part);
    let (workers, child) = (play.numbers("worker"), play.numbers("child"));
    assert_eq!((workers.len(), child.len()), (4, 1), "{:?}", play.said);
    assert!(workers.iter().chain(&child).all(|&pid| !is_dead(pid)));
    assert!(names().is_subset(&before), "{:?}", names());
    play.program.kill().expect("it is there");
    let began = Instant::now();
    eventually("the workers are gone", || workers.iter().all(|&pid| is_dead(pid)));
    eventually("the child of a worker is gone", || is_dead(child[0]));
    assert!(began.elapsed() < BOUND, "it took {:?}", began.elapsed());
    play.leaves_nobody();
    assert!(names().is_subset(&before), "{:?}", names());
}
