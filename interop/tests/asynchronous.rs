//! `AsyncChannel`: no wake-up is lost, no value either, and the end is told.
#![expect(clippy::unwrap_used, reason = "helpers of tests are outside of tests")]

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use pannier::Buffer;
use pannier::channel::{self, Channel, RecvError, SendError, TrySendError};
use pannier_interop::AsyncChannel;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(60);

/// One thread, and an end of the work in any case.
fn block_on<F: Future>(future: impl FnOnce() -> F) -> F::Output {
    let runtime: Runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { timeout(DEADLINE, future()).await.expect("in time") })
}

fn pair() -> (AsyncChannel<u64, u64>, Channel<u64, u64>) {
    let (ours, theirs) = channel::pair().unwrap();
    (AsyncChannel::new(ours).unwrap(), theirs)
}

/// One look, by a task that nobody wakes.
fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn bursts_of_any_length_are_received_to_their_last() {
    block_on(|| async {
        let (ours, theirs) = pair();
        // The sender hears of each burst's end, so that the receiver falls asleep after each.
        let sender = thread::spawn(move || {
            for burst in (0..2_000).map(|n| n * 7 % 13 + 1) {
                (0..burst).for_each(|n| theirs.send(n).unwrap());
                assert_eq!(theirs.recv().unwrap(), burst);
            }
        });
        for burst in (0..2_000).map(|n| n * 7 % 13 + 1) {
            for n in 0..burst {
                assert_eq!(ours.recv().await.unwrap(), n);
            }
            ours.send(burst).await.unwrap();
        }
        assert!(matches!(ours.recv().await, Err(RecvError::Closed)));
        sender.join().unwrap();
    });
}

#[test]
fn a_value_that_was_there_before_the_end_was_registered_is_received() {
    block_on(|| async {
        let (ours, theirs) = channel::pair::<u64, u64>().unwrap();
        theirs.send(7).unwrap();
        let ours = AsyncChannel::new(ours).unwrap();
        assert_eq!(ours.recv().await.unwrap(), 7);
    });
}

#[test]
fn a_future_that_is_dropped_has_received_nothing() {
    block_on(|| async {
        let (ours, theirs) = pair();
        for n in 0..100 {
            assert!(poll_once(ours.recv()).is_pending());
            theirs.send(n).unwrap();
            assert_eq!(ours.recv().await.unwrap(), n);
        }
    });
}

#[test]
fn several_tasks_receive_each_value_once() {
    block_on(|| async {
        let (ours, theirs) = pair();
        let ours = Arc::new(ours);
        let receive = |channel: Arc<AsyncChannel<u64, u64>>| async move {
            let mut sum = 0;
            while let Ok(n) = channel.recv().await {
                sum += n;
            }
            sum
        };
        let tasks: Vec<_> = (0..4).map(|_| tokio::spawn(receive(ours.clone()))).collect();
        let sender = thread::spawn(move || (0..20_000).for_each(|n| theirs.send(n).unwrap()));
        let mut sum = 0;
        for task in tasks {
            sum += task.await.unwrap();
        }
        assert_eq!(sum, (0..20_000).sum());
        sender.join().unwrap();
    });
}

#[test]
fn a_sender_without_room_waits_and_others_go_on() {
    block_on(|| async {
        let (ours, theirs) = channel::pair::<u64, u64>().unwrap();
        let full = (0..).find(|&n| matches!(ours.try_send(n), Err(TrySendError::Full(_))));
        let full: u64 = full.unwrap();
        let ours = AsyncChannel::new(ours).unwrap();
        let waiting = tokio::spawn(async move { ours.send(full).await });
        // On the same thread: this task has its turn while the other waits.
        tokio::task::yield_now().await;
        let theirs = AsyncChannel::new(theirs).unwrap();
        for n in 0..=full {
            assert_eq!(theirs.recv().await.unwrap(), n);
        }
        waiting.await.unwrap().unwrap();
    });
}

#[test]
fn a_value_that_nobody_will_receive_comes_back() {
    block_on(|| async {
        let (ours, theirs) = pair();
        drop(theirs);
        assert!(matches!(ours.send(7).await, Err(SendError::Closed(7))));
    });
}

#[test]
fn large_values_stay_where_they_are() {
    block_on(|| async {
        let (ours, theirs) = channel::pair::<Buffer<u64>, Buffer<u64>>().unwrap();
        let (ours, theirs) = (AsyncChannel::new(ours).unwrap(), AsyncChannel::new(theirs).unwrap());
        let mut column = ours.channel().alloc::<u64>(1 << 20).unwrap();
        column.fill(7);
        let column = column.freeze();
        ours.send(column.clone()).await.unwrap();
        theirs.send(theirs.recv().await.unwrap()).await.unwrap();
        assert_eq!(ours.recv().await.unwrap().as_ptr(), column.as_ptr());
        assert_eq!(
            ours.channel().stats().payload_copies + theirs.channel().stats().payload_copies,
            0
        );
    });
}

#[test]
fn a_peer_that_goes_without_a_word_has_died() {
    block_on(|| async {
        let (ours, theirs) = pair();
        assert!(poll_once(ours.recv()).is_pending());
        drop(theirs.into_fd()); // Not closed by its type: as a process that is killed.
        assert!(matches!(ours.recv().await, Err(RecvError::Died)));
        assert!(matches!(ours.recv().await, Err(RecvError::Died)));
    });
}
