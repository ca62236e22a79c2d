//! A program that is given shared memory by one that it does not know: `market`.
//!
//! `cargo run -p pannier-interop --example reader -- PATH`, with the path that `market` prints.
#![expect(clippy::print_stdout, reason = "shows what happens")]

use std::error::Error;
use std::os::unix::net::UnixStream;

use pannier::Buffer;
use pannier::channel::{Channel, RecvError};
use pannier::shm::SealedSegment;
use pannier_interop::receive_descriptors;

type Sheet = (String, Buffer<f64>);

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args_os().nth(1).ok_or("which socket? `market` prints its path")?;
    let stream = UnixStream::connect(path)?;
    let [calendar, end] = receive_descriptors(&stream)?;

    // Both are checked before they are used: size and seals, whose end it is and of which version.
    let calendar = SealedSegment::attach(calendar)?.into_buffer();
    let days = calendar.try_cast::<u32>().map_err(|_| "days are numbers of 32 bits")?;
    println!("reader: a calendar of {} days, the last is {}", days.len(), days[days.len() - 1]);
    let channel = Channel::<Sheet, Sheet>::from_fd(end)?;

    let (title, prices) = channel.recv()?;
    assert!(prices.is_shared());
    println!("reader: {} MiB of {title} in place", size_of_val(&*prices) >> 20);
    let mut sums = channel.alloc::<f64>(prices.len())?;
    let mut sum = 0.0;
    for (to, price) in sums.iter_mut().zip(&prices) {
        sum += price;
        *to = sum;
    }
    channel.send((title, prices))?;
    channel.send(("sums".to_owned(), sums.freeze()))?;
    assert!(matches!(channel.recv(), Err(RecvError::Closed)), "the market has said goodbye");
    println!("reader: {} copies", channel.stats().payload_copies);
    Ok(())
}
