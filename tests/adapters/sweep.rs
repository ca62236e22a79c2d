//! What dead owners leave is swept, and nothing else.

use std::fs::{self, File};

use pannier::adapters::named::{NamedSegment, sweep};
use rustix::fs::{FlockOperation, flock};

use crate::parts::{command, start};
use crate::runner::Test;
use crate::segments::{ByHand, is_there, unique};

pub(crate) const TESTS: &[Test] = &[
    ("the_name_of_a_killed_owner_is_swept_and_a_living_ones_is_not", killed),
    ("an_owner_that_ends_well_leaves_nothing", ended),
    ("a_chosen_name_is_never_swept", chosen),
    ("whoever_cannot_be_judged_counts_as_living", judged),
];

/// Whoever sweeps takes all that is dead, also what another of these tests is about to look for. Each of
/// them may be a process of its own, so the lock is on their program.
fn turn() -> File {
    let program = std::env::current_exe().and_then(File::open).unwrap();
    flock(&program, FlockOperation::LockExclusive).unwrap();
    program
}

fn killed() {
    let _turn = turn();
    let mut owner = start(command("own a segment", ""));
    let mut living = start(command("own a segment", ""));
    let (name, lives) = (owner.line(), living.line());
    let mine = NamedSegment::create(100).unwrap();
    let attached = NamedSegment::attach(&name).unwrap();
    assert!(sweep().unwrap().iter().all(|swept| ![&name, &lives].contains(&swept)));
    assert!(is_there(&name) && is_there(&lives) && is_there(mine.name()));

    // It is not asked how it ended yet, but has ended: a zombie owns nothing.
    owner.child.kill().unwrap();
    crate::proc::state(owner.child.id()).unwrap();
    while !crate::proc::is_dead(owner.child.id()) {
        std::thread::yield_now();
    }
    assert!(is_there(&name), "nobody was there to remove it");
    assert!(sweep().unwrap().contains(&name));
    assert!(!is_there(&name) && is_there(&lives) && is_there(mine.name()));
    owner.kill();

    let mut bytes = [0; 18];
    attached.read(0, &mut bytes).unwrap();
    assert_eq!(&bytes, b"the owner was here");
    assert!(!sweep().unwrap().contains(&name), "it is swept once");
    living.ends_well();
    assert!(!is_there(&lives));
}

fn ended() {
    let mut owner = start(command("own a segment", ""));
    let name = owner.line();
    assert!(is_there(&name));
    owner.ends_well();
    assert!(!is_there(&name));
}

fn chosen() {
    let _turn = turn();
    let chosen = ByHand(unique("chosen"));
    let mut owner = start(command("own a segment of this name", &chosen.0));
    assert_eq!(owner.line(), chosen.0);
    owner.kill();
    assert!(!sweep().unwrap().contains(&chosen.0));
    assert!(is_there(&chosen.0));
}

/// Names as `create` makes them, with a field that says something else.
fn judged() {
    let _turn = turn();
    let mine = NamedSegment::create(100).unwrap();
    let fields: Vec<&str> = mine.name().split('-').collect();
    let [_, pid, start, boot, pids, clock, _] = fields[..] else { panic!("{fields:?}") };
    assert_eq!(pid, std::process::id().to_string());
    let later = (start.parse::<u64>().unwrap() + 1).to_string();
    let other = "1234567";
    // No process can have this number (proc_sys_kernel(5), pid_max).
    let nobody = "4194305";
    let made = |pid: &str, start: &str, boot: &str, pids: &str, clock: &str, rest: &str| {
        format!("pannier-{pid}-{start}-{boot}-{pids}-{clock}-{rest}")
    };
    let by_hand = |names: Vec<String>| names.into_iter().map(ByHand).collect::<Vec<_>>();
    let dead = by_hand(vec![
        made(pid, &later, boot, pids, clock, "999"),
        made(pid, start, "0", pids, clock, "999"),
        made(nobody, start, boot, pids, clock, "999"),
    ]);
    let kept = by_hand(vec![
        made(pid, start, boot, pids, clock, "999"),
        made(nobody, start, boot, other, clock, "999"),
        made(nobody, start, boot, pids, other, "999"),
        made(nobody, start, boot, pids, clock, ""),
        made(nobody, start, boot, pids, clock, "9-9"),
        made(nobody, start, "x", pids, clock, "999"),
        made("", start, boot, pids, clock, "999"),
        format!("pannier-{pid}"),
    ]);
    for left in dead.iter().chain(&kept) {
        fs::write(left.path(), "left").unwrap();
    }
    let swept = sweep().unwrap();
    for ByHand(name) in &dead {
        assert!(swept.contains(name) && !is_there(name), "{name} was kept");
    }
    for ByHand(name) in &kept {
        assert!(!swept.contains(name) && is_there(name), "{name} was swept");
    }
    assert!(is_there(mine.name()));
}
