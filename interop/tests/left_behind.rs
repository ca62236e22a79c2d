//! Nothing is left in this process either: neither descriptors nor maps of shared memory.
#![expect(clippy::unwrap_used, reason = "helpers of tests are outside of tests")]

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use ndarray::{ArrayViewMut2, Ix2};
use pannier::channel::{self, Channel};
use pannier::shm::{SealedSegment, Segment};
use pannier_interop::{
    AsyncChannel, NdArray, from_arrow, receive_descriptors, send_descriptors, to_arrow,
};

type Matrix = NdArray<f64, Ix2>;

/// Over a socket to an end in a runtime, there and back, and into Arrow's hands.
fn round() {
    let (here, there) = UnixStream::pair().unwrap();
    let segment = Segment::create(100_000).unwrap().seal().unwrap();
    let (ours, theirs) = channel::pair::<Matrix, Matrix>().unwrap();
    let end = theirs.into_fd();
    send_descriptors(&here, &[segment.as_fd(), end.as_fd()]).unwrap();
    drop(end);
    let [segment, end] = receive_descriptors(&there).unwrap();
    let kept = to_arrow(SealedSegment::attach(segment).unwrap().into_buffer());
    assert_eq!(from_arrow(kept)[99_999], 0);
    let theirs = Channel::<Matrix, Matrix>::from_fd(end).unwrap();

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (ours, theirs) = (AsyncChannel::new(ours).unwrap(), AsyncChannel::new(theirs).unwrap());
        let mut block = ours.channel().alloc::<f64>(100 * 100).unwrap();
        ArrayViewMut2::from_shape((100, 100), &mut block).unwrap().fill(0.5);
        ours.send(Matrix::new((100, 100), block.freeze()).unwrap()).await.unwrap();
        theirs.send(theirs.recv().await.unwrap()).await.unwrap();
        assert_eq!(ours.recv().await.unwrap().view().sum(), 5_000.0);
    });
}

/// Descriptors sent and not taken.
fn refused() {
    let (here, there) = UnixStream::pair().unwrap();
    send_descriptors(&here, &[here.as_fd(), here.as_fd()]).unwrap();
    let error = receive_descriptors::<1>(&there).expect_err("two are not one");
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
    let too_many = [here.as_fd(); 9];
    let error = send_descriptors(&here, &too_many).expect_err("nine");
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    drop(here);
    let error = receive_descriptors::<1>(&there).expect_err("nobody there");
    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
}

fn count() -> (usize, usize) {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let shared = maps.lines().filter(|line| line.contains("memfd:")).count();
    (fs::read_dir("/proc/self/fd").unwrap().count(), shared)
}

#[test]
fn descriptors_and_maps_are_as_before() {
    round();
    refused();
    let before = count();
    for _ in 0..20 {
        round();
        refused();
    }
    assert_eq!(count(), before);
}
