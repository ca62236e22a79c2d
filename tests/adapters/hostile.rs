//! Messages that no `IpcFrame::encode` made.

use ipc_channel::ipc::{self, IpcSender, IpcSharedMemory};
use pannier::adapters::ipc_channel::IpcFrame;
use pannier::frame::{Descriptor, HeadOptions, Kind, Layout, write_head};
use pannier::{Buffer, CodecError, FrameError, SegmentFault};
use serde::{Deserialize, Serialize};

use crate::runner::Test;

pub(crate) const TESTS: &[Test] = &[
    ("memory_that_did_not_come_along_is_refused", elsewhere),
    ("a_head_that_is_no_frame_is_refused", no_frame),
    ("a_value_of_another_type_is_refused", another_type),
    ("a_complete_frame_without_memory_is_read", complete),
    ("no_changed_byte_makes_the_receiver_panic", changed),
];

/// As an `IpcFrame` travels.
#[derive(Serialize, Deserialize)]
struct Raw {
    head: Buffer<u8>,
    regions: Vec<IpcSharedMemory>,
}

type Value = (Buffer<u8>, String);

fn receive(head: &[u8], regions: usize) -> Result<Value, CodecError> {
    let (sender, receiver) = ipc::channel::<IpcFrame<Value>>().unwrap();
    let sender: IpcSender<Raw> = sender.to_opaque().to();
    let regions = (0..regions).map(|_| IpcSharedMemory::from_byte(7, 100)).collect();
    sender.send(Raw { head: Buffer::copy_from_slice(head), regions }).unwrap();
    receiver.recv().unwrap().decode()
}

/// A head with one descriptor.
fn head(descriptor: Descriptor) -> Vec<u8> {
    // A pair of buffer 0 and a word.
    let metadata = [0x92, 0xd4, 0x70, 0, 0xa1, b'x'];
    let mut descriptors = [descriptor];
    let layout = Layout::new(metadata.len(), &mut descriptors).unwrap();
    let mut bytes = Vec::new();
    write_head(&mut bytes, &layout, &[&metadata], &descriptors, &HeadOptions::default());
    bytes.resize(usize::try_from(layout.frame_len()).unwrap(), 0);
    bytes
}

fn range(segment: u32, offset: u64, len: u64, generation: u32) -> Vec<u8> {
    head(Descriptor::segment(segment, offset, len, generation, Kind::OPAQUE, 0))
}

fn elsewhere() {
    let why = |head: &[u8], regions| match receive(head, regions) {
        Err(CodecError::Frame(FrameError::Segment { index: 0, why })) => why,
        other => panic!("{other:?}"),
    };
    assert_eq!(receive(&range(1, 10, 90, 0), 2).unwrap(), (vec![7; 90].into(), "x".into()));
    assert_eq!(why(&range(0, 0, 1, 0), 0), SegmentFault::Unknown);
    assert_eq!(why(&range(2, 0, 1, 0), 2), SegmentFault::Unknown);
    assert_eq!(why(&range(u32::MAX, 0, 1, 0), 2), SegmentFault::Unknown);
    assert_eq!(why(&range(0, 0, 101, 0), 1), SegmentFault::Bounds);
    assert_eq!(why(&range(0, 100, 1, 0), 1), SegmentFault::Bounds);
    assert_eq!(why(&range(0, u64::MAX - 5, 5, 0), 1), SegmentFault::Bounds);
    assert_eq!(why(&range(0, 0, 100, 1), 1), SegmentFault::Stale);
    let external = receive(&head(Descriptor::external(0, 100, Kind::OPAQUE, 0)), 1);
    assert!(matches!(external, Err(CodecError::Frame(FrameError::External { index: 0 }))));
}

fn no_frame() {
    let sound = range(0, 0, 100, 0);
    assert!(matches!(receive(&[], 1), Err(CodecError::Frame(FrameError::Truncated { .. }))));
    for len in 0..sound.len() {
        assert!(receive(&sound[..len], 1).is_err(), "{len} bytes of it");
    }
    let longer = [&sound[..], &[0]].concat();
    assert!(matches!(
        receive(&longer, 1),
        Err(CodecError::Frame(FrameError::Trailing { extra: 1 }))
    ));
    assert!(matches!(receive(&[7; 128], 1), Err(CodecError::Frame(FrameError::BadMagic))));
}

fn another_type() {
    let (sender, receiver) = ipc::channel::<IpcFrame<Value>>().unwrap();
    let sender: IpcSender<IpcFrame<u64>> = sender.to_opaque().to();
    sender.send(IpcFrame::encode(&7).unwrap()).unwrap();
    let refused = receiver.recv().unwrap().decode();
    assert!(matches!(refused, Err(CodecError::Decode { .. })));
}

fn complete() {
    let value: Value = (vec![9; 10_000].into(), "inline".into());
    let frame = pannier::to_vec(&value).unwrap();
    assert_eq!(receive(&frame, 0).unwrap(), value);
}

fn changed() {
    let sound = range(0, 32, 64, 0);
    for at in 0..sound.len() {
        for value in [0, 1, 0x7f, 0x80, 0xff, sound[at] ^ 1, sound[at].wrapping_add(1)] {
            let mut bytes = sound.clone();
            bytes[at] = value;
            // An error, or a value of bytes that came along.
            if let Ok((buffer, _)) = receive(&bytes, 1) {
                assert!(buffer.iter().all(|&byte| byte == 7), "byte {at} as {value}");
            }
        }
    }
}
