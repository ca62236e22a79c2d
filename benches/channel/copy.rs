//! Large buffers: copied in, handed over, handed back.

use std::sync::Arc;

use pannier::Buffer;
use pannier::channel::Channel;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::common::{Probe, Wait, faults, touch_pages};
use crate::{compare, end, start};

pub(crate) const ROWS: &[crate::Row] = &[
    ("1 MiB copied in, acknowledged", |name| copied(name, 1 << 20, (101, 50))),
    ("16 MiB copied in, acknowledged", |name| copied(name, 16 << 20, (51, 4))),
    ("256 MiB copied in, acknowledged", |name| copied(name, 256 << 20, (15, 1))),
    ("256 MiB in place, untouched", untouched),
    ("256 MiB in place, touched", touched),
    ("256 MiB copied in, handed back", handed_back),
];

/// Bytes that serde only lends: copied into the channel's memory each time.
#[derive(Clone)]
struct Lent(Arc<Vec<u8>>);

impl Serialize for Lent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Lent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Buffer::deserialize(deserializer).map(|bytes: Buffer<u8>| Lent(Arc::new(bytes.to_vec())))
    }
}

/// Answers with the page faults of this process.
pub(crate) fn touch() {
    let channel = end::<u64, Buffer<u8>>();
    answer(&channel, |bytes| touch_pages(&bytes));
}

pub(crate) fn leave() {
    let channel = end::<u64, Buffer<u8>>();
    answer(&channel, drop);
}

fn answer(channel: &Channel<u64, Buffer<u8>>, mut act: impl FnMut(Buffer<u8>)) {
    while let Ok(bytes) = channel.recv() {
        // An empty one asks for the faults.
        let answer = if bytes.is_empty() { faults() } else { 0 };
        act(bytes);
        channel.send(answer).unwrap();
    }
}

pub(crate) fn give_back() {
    let channel = end::<Buffer<u8>, Buffer<u8>>();
    while let Ok(bytes) = channel.recv() {
        channel.send(bytes).unwrap();
    }
}

fn copied(name: &str, len: usize, calls: (usize, u32)) {
    let source = Arc::new(vec![7_u8; len]);
    let (channel, mut child) = start::<Lent, u64>("touch", None);
    let wait = if len > 1 << 20 { Wait::SpinThenSleep } else { Wait::Spin };
    let mut probe = Probe::start(len, wait, None);
    let pass = || {
        channel.send(Lent(source.clone())).unwrap();
        channel.recv().unwrap()
    };
    let their_faults = || {
        channel.send(Lent(Arc::default())).unwrap();
        channel.recv().unwrap()
    };
    (0..3).for_each(|_| assert_eq!(pass(), 0));
    let before = (faults(), their_faults());
    compare(name, calls, (&mut probe, &source), || assert_eq!(pass(), 0));
    let after = (faults(), their_faults());
    println!("{:34} faults: {} here, {} there", "", after.0 - before.0, after.1 - before.1);
    drop(channel);
    child.wait().unwrap();
}

/// A buffer that was built in the channel's own memory.
fn in_place(len: usize) -> (Channel<Buffer<u8>, Buffer<u8>>, std::process::Child, Buffer<u8>) {
    let (channel, child) = start::<Buffer<u8>, Buffer<u8>>("return", None);
    let mut built = channel.alloc::<u8>(len).unwrap();
    built.fill(7);
    (channel, child, built.freeze())
}

const LARGE: usize = 256 << 20;

fn untouched(name: &str) {
    let (channel, mut child, buffer) = in_place(LARGE);
    let mut probe = Probe::start(64, Wait::Spin, None);
    let pass = || {
        channel.send(buffer.clone()).unwrap();
        assert_eq!(channel.recv().unwrap().len(), LARGE);
    };
    (0..100).for_each(|_| pass());
    compare(name, (101, 200), (&mut probe, &[]), pass);
    drop(channel);
    child.wait().unwrap();
}

fn touched(name: &str) {
    let (channel, mut child, buffer) = in_place(LARGE);
    let mut probe = Probe::start(LARGE, Wait::SpinThenSleep, None);
    probe.go_on();
    probe.pass(&vec![7; LARGE]);
    probe.stop();
    let pass = || {
        channel.send(buffer.clone()).unwrap();
        touch_pages(&channel.recv().unwrap());
    };
    (0..3).for_each(|_| pass());
    compare(name, (21, 1), (&mut probe, &[]), pass);
    drop(channel);
    child.wait().unwrap();
}

/// Filled here, there and back: one copy each way would be two.
fn handed_back(name: &str) {
    let source = Arc::new(vec![7_u8; LARGE]);
    let (channel, mut child) = start::<Lent, Buffer<u8>>("return", None);
    let mut probe = Probe::start(LARGE, Wait::SpinThenSleep, None);
    let pass = || {
        channel.send(Lent(source.clone())).unwrap();
        touch_pages(&channel.recv().unwrap());
    };
    (0..3).for_each(|_| pass());
    compare(name, (15, 1), (&mut probe, &source), pass);
    drop(channel);
    child.wait().unwrap();
}
