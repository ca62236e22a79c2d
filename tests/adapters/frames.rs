//! Frames over ipc-channel: what is sent arrives, and what need not be copied is not.

use ipc_channel::ipc::{self, IpcSharedMemory};
use pannier::adapters::ipc_channel::{IpcFrame, REGIONS_MAX, THRESHOLD, from_shared_memory};
use pannier::{Buffer, CodecError, Encoder};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_bytes::ByteBuf;

use crate::parts::{Answer, Mixed, Request, command, echo, start};
use crate::proc::{count, lies_in_shared_memory, shared_maps};
use crate::runner::Test;

pub(crate) const TESTS: &[Test] = &[
    ("a_value_goes_to_another_process_and_back", there_and_back),
    ("what_was_received_is_sent_on_without_a_copy", sent_on),
    ("small_values_need_no_shared_memory", small),
    ("more_buffers_than_descriptors_are_packed", packed),
    ("the_largest_of_too_many_are_copied_once", largest),
    ("memory_of_the_user_is_not_copied", users_memory),
    ("bytes_that_serde_lends_arrive", lent),
    ("a_buffer_that_comes_twice_travels_once", twice),
    ("a_frame_can_be_sent_to_several", several),
    ("a_frame_lies_beside_other_fields_of_a_message", beside),
    ("running_out_of_descriptors_is_an_error", || plays("run out of descriptors")),
    ("nothing_is_kept_of_frames_that_are_gone", || plays("send a hundred frames")),
];

fn plays(part: &str) {
    start(command(part, "")).ends_well();
}

/// With the threshold of frames elsewhere, which needs less memory than that of `IpcFrame::encode`.
pub(crate) fn encode<T: Serialize>(value: &T) -> Result<IpcFrame<T>, CodecError> {
    IpcFrame::encode_with(&Encoder::new(), value)
}

/// Through a channel, within this process.
fn through<T: Serialize + DeserializeOwned>(value: &T) -> (T, u64) {
    let (sender, receiver) = ipc::channel().unwrap();
    let frame = encode(value).unwrap();
    let copies = frame.copies();
    sender.send(frame).unwrap();
    (receiver.recv().unwrap().decode().unwrap(), copies)
}

fn column(len: u32, first: u32) -> Buffer<f64> {
    (first..first + len).map(f64::from).collect()
}

fn there_and_back() {
    let (sender, peer) = echo();
    for len in [0, 1, 511, 512, 513, 100_000, 1 << 20] {
        let columns = vec![column(len, 0), column(len / 2, 7)];
        let value: Mixed = (format!("{len}"), columns, Buffer::from(vec![7; 5_000]));
        let (answer, answers) = ipc::channel::<Answer>().unwrap();
        let frame = encode(&value).unwrap();
        sender.send(Request::Echo { frame, answer }).unwrap();
        let back = answers.recv().unwrap();
        assert_eq!(back.copies, 0, "copied on the way back, with {len}");
        assert_eq!(back.frame.decode().unwrap(), value);
    }
    sender.send(Request::Stop).unwrap();
    peer.ends_well();
}

fn sent_on() {
    let (value, copies) = through(&(column(10_000, 0), column(10_000, 5)));
    assert_eq!(copies, 2);
    assert!(lies_in_shared_memory(&value.0) && lies_in_shared_memory(&value.1));
    // A part of it, too; and to itself, so that the address shows it.
    let parts = (value.0.slice(1_000..9_000), value.1.slice(1..), value.0.clone());
    let frame = encode(&parts).unwrap();
    assert_eq!((frame.copies(), frame.copied_bytes()), (0, 0));
    let again = frame.decode().unwrap();
    assert_eq!(again.0.as_ptr(), &raw const value.0[1_000]);
    assert_eq!(again.1.as_ptr(), &raw const value.1[1]);
    assert_eq!(again.2.as_ptr(), value.0.as_ptr());
    let (again, copies) = through(&parts);
    assert_eq!((again, copies), (parts, 0));
}

fn small() {
    let maps = shared_maps().len();
    let value: Mixed = ("small".into(), vec![column(511, 0)], Buffer::default());
    let frame = encode(&value).unwrap();
    assert_eq!(shared_maps().len(), maps);
    assert_eq!(frame.copies(), 0);
    assert_eq!(through(&value), (value, 0));
    for (len, copies) in [(THRESHOLD - 1, 0), (THRESHOLD, 1)] {
        let buffer: Buffer<u8> = vec![7; len].into();
        assert_eq!(IpcFrame::encode(&buffer).unwrap().copies(), copies, "{len} bytes");
    }
}

fn packed() {
    let exactly: Vec<Buffer<f64>> = (0..30).map(|n| column(1_000, n)).collect();
    assert_eq!(exactly.len(), REGIONS_MAX);
    assert_eq!(through(&exactly), (exactly.clone(), 30));
    for len in [31_u32, 64, 65, 300] {
        let many: Vec<Buffer<f64>> = (0..len).map(|n| column(600 + n, n)).collect();
        let (again, copies) = through(&many);
        assert_eq!(again, many);
        // All but one have a region; what is packed is copied twice.
        assert_eq!(copies, 29 + 2 * (u64::from(len) - 29));
        assert!(again.iter().all(|buffer| lies_in_shared_memory(buffer)));
        // Some received regions, some of the heap, too many together.
        let mixed: Vec<Buffer<f64>> =
            again[..10].iter().cloned().chain((0..len).map(|n| column(700, n))).collect();
        assert_eq!(through(&mixed).0, mixed);
    }
}

fn largest() {
    let mut buffers: Vec<Buffer<u8>> = (0..40).map(|n| vec![n; 5_000].into()).collect();
    buffers.insert(20, vec![99; 1 << 20].into());
    let frame = encode(&buffers).unwrap();
    assert_eq!(frame.copied_bytes(), (1 << 20) + 5_000 * (28 + 2 * 12));
    assert_eq!(frame.decode().unwrap(), buffers);
}

fn users_memory() {
    let memory = IpcSharedMemory::from_bytes(&[7; 100_000]);
    let place = memory.as_ptr();
    let buffer = from_shared_memory(memory);
    assert_eq!(buffer.as_ptr(), place);
    assert_eq!(through(&buffer), (buffer, 0));
    // A single byte that goes out of band, and none at all.
    let one = IpcFrame::encode_with(
        &Encoder::new().threshold(1),
        &from_shared_memory(IpcSharedMemory::from_bytes(&[3])),
    );
    assert_eq!(*one.unwrap().decode().unwrap(), [3]);
    assert!(through(&from_shared_memory(IpcSharedMemory::from_bytes(&[]))).0.is_empty());
}

fn lent() {
    let (bytes, copies) = through(&ByteBuf::from(vec![7; 100_000]));
    assert_eq!((bytes, copies), (ByteBuf::from(vec![7; 100_000]), 1));
    let many: Vec<ByteBuf> = (0..100).map(|n| ByteBuf::from(vec![n; 5_000])).collect();
    assert_eq!(through(&many).0, many);
}

fn twice() {
    let buffer = column(10_000, 0);
    let (again, copies) = through(&vec![buffer.clone(), buffer.clone(), buffer]);
    assert_eq!(copies, 1);
    assert_eq!(again[0].as_ptr(), again[2].as_ptr());
}

fn several() {
    let frame = encode(&column(10_000, 0)).unwrap();
    for _ in 0..3 {
        let (sender, receiver) = ipc::channel().unwrap();
        sender.send(frame.clone()).unwrap();
        assert_eq!(receiver.recv().unwrap().decode().unwrap(), column(10_000, 0));
    }
}

fn beside() {
    type Message = (IpcFrame<Vec<Buffer<f64>>>, ipc::IpcSender<u8>, IpcFrame<Vec<Buffer<f64>>>);
    let many: Vec<Buffer<f64>> = (0..100).map(|n| column(600, n)).collect();
    let (sender, receiver) = ipc::channel::<Message>().unwrap();
    let (answer, answered) = ipc::channel().unwrap();
    sender.send((encode(&many).unwrap(), answer, encode(&many).unwrap())).unwrap();
    let (first, answer, second) = receiver.recv().unwrap();
    answer.send(7).unwrap();
    assert_eq!(answered.recv().unwrap(), 7);
    assert_eq!((first.decode().unwrap(), second.decode().unwrap()), (many.clone(), many));
}

/// In a process of its own.
pub(crate) fn without_descriptors() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(64), maximum }).unwrap();
    let columns: Vec<Buffer<f64>> = (0..10).map(|n| column(1_000, n)).collect();
    let mut frames = Vec::new();
    std::panic::set_hook(Box::new(|_| {}));
    let refused = loop {
        match encode(&columns) {
            Ok(frame) => frames.push(frame),
            Err(refused) => break refused,
        }
    };
    assert!(matches!(&refused, CodecError::Buffer(_)), "{refused:?}");
    assert!(frames.len() < 7);
    drop(frames);
    let frame = encode(&columns).unwrap();
    assert_eq!(frame.decode().unwrap(), columns);
}

/// In a process of its own, where nobody else opens and maps.
pub(crate) fn nothing_is_kept() {
    let columns: Vec<Buffer<f64>> = (0..40).map(|n| column(1_000, n)).collect();
    let _first_of_its_kind = through(&columns);
    let before = (count("fd"), shared_maps().len());
    for _ in 0..100 {
        assert_eq!(through(&columns).0, columns);
        let unused = encode(&columns).unwrap();
        drop(unused);
    }
    assert_eq!((count("fd"), shared_maps().len()), before);
}
