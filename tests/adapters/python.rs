//! Python's `multiprocessing.shared_memory` at the other end.

use std::process::{Command, Output};

use pannier::adapters::named::NamedSegment;

use crate::runner::Test;
use crate::segments::{is_there, unique};

pub(crate) const TESTS: &[Test] = &[
    ("python_attaches_reads_and_writes_what_was_made_here", attaches),
    ("what_python_made_is_attached_here", makes),
];

/// The two lines of the documentation, for every version.
const ATTACH: &str = "
import sys
from multiprocessing import resource_tracker, shared_memory
memory = shared_memory.SharedMemory(sys.argv[1])
resource_tracker.unregister(memory._name, 'shared_memory')
";

/// Whether there is a Python that knows shared memory: fine at home, not where everything must run.
fn is_here() -> bool {
    let trial = python("import multiprocessing.shared_memory", &[]).output();
    let here = trial.is_ok_and(|output| output.status.success());
    let is_ci = std::env::var_os("CI").is_some_and(|ci| ci == "true");
    assert!(here || !is_ci, "not to be tested here: no Python");
    here
}

fn python(script: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("python3");
    command.args(["-I", "-c", script]).args(arguments);
    command
}

/// Runs it to its end, without a complaint: what it says.
#[track_caller]
fn says(mut command: Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let complaint = String::from_utf8_lossy(&stderr);
    assert!(status.success() && complaint.is_empty(), "{status}\n{complaint}");
    String::from_utf8_lossy(&stdout).trim_end().to_owned()
}

fn attaches() {
    if !is_here() {
        return;
    }
    let segment = NamedSegment::create(100_001).unwrap();
    let bytes: Vec<u8> = (0..100_001_u32).map(|n| n.to_le_bytes()[0]).collect();
    segment.write(0, &bytes).unwrap();
    let script = format!(
        "{ATTACH}
assert memory.size == 100_001, memory.size
assert bytes(memory.buf) == bytes(n % 256 for n in range(100_001))
memory.buf[3:9] = b'python'
memory.buf[100_000] = 7
memory.close()
print('done')"
    );
    // Twice: the first one's end must not have removed the name.
    for round in 0..2 {
        segment.write(0, &bytes).unwrap();
        assert_eq!(says(python(&script, &[segment.name()])), "done");
        assert!(is_there(segment.name()), "removed by Python's end {round}");
        let mut back = vec![0; 100_001];
        segment.read(0, &mut back).unwrap();
        assert_eq!(&back[3..9], b"python");
        assert_eq!((back[2], back[9], back[99_999], back[100_000]), (2, 9, bytes[99_999], 7));
    }
    let name = segment.name().to_owned();
    drop(segment);
    assert!(!is_there(&name));
}

fn makes() {
    if !is_here() {
        return;
    }
    let name = unique("of-python");
    let script = "
import subprocess, sys
from multiprocessing import shared_memory
memory = shared_memory.SharedMemory(sys.argv[1], create=True, size=10_000)
memory.buf[:6] = b'python'
print('made', flush=True)
sys.stdin.read()
assert bytes(memory.buf[9_990:9_994]) == b'rust', bytes(memory.buf[9_990:])
assert bytes(memory.buf[:6]) == b'python'
memory.close()
memory.unlink()
print('done')";
    let mut part = crate::parts::start(python(script, &[&name]));
    assert_eq!(part.line(), "made");
    let attached = NamedSegment::attach(&name).unwrap();
    assert_eq!(attached.len(), 10_000);
    let mut word = [0; 6];
    attached.read(0, &mut word).unwrap();
    assert_eq!(&word, b"python");
    attached.write(9_990, b"rust").unwrap();
    drop(attached);
    assert!(is_there(&name), "detaching removes no name");
    drop(part.child.stdin.take());
    assert_eq!(part.line(), "done");
    part.ends_well();
    assert!(!is_there(&name));
}
