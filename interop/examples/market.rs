//! A program that gives shared memory to one that it does not know: `reader`.
//!
//! `cargo run -p pannier-interop --example market` prints the path of its socket and waits there for
//! `cargo run -p pannier-interop --example reader -- PATH`. Over the socket go two descriptors: a
//! sealed segment, which nobody can change any more, and an end of a channel. Through the channel
//! go 64 MiB there and back, and 64 MiB of the reader's own, none of them copied.
#![expect(clippy::print_stdout, reason = "shows what happens")]

use std::error::Error;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use pannier::Buffer;
use pannier::bytemuck::cast_slice_mut;
use pannier::channel::{self, Channel};
use pannier::shm::{SealedSegment, Segment};
use pannier_interop::send_descriptors;

/// What goes both ways: a title and numbers. The reader has it in its own words.
type Sheet = (String, Buffer<f64>);

const DAYS: usize = 365;
const PRICES: usize = (64 << 20) / size_of::<f64>();

fn main() -> Result<(), Box<dyn Error>> {
    let folder = Folder::create()?;
    let path = folder.0.join("socket");
    let listener = UnixListener::bind(&path)?;
    println!("waiting at {}", path.display());
    let (stream, _) = listener.accept()?;

    let calendar = calendar()?;
    let (ours, theirs) = channel::pair::<Sheet, Sheet>()?;
    // Of an end that is closed here: else this program would not notice the reader's death.
    let end = theirs.into_fd();
    send_descriptors(&stream, &[calendar.as_fd(), end.as_fd()])?;
    drop(end);
    trade(&ours)
}

/// Filled in place, then sealed: by the kernel, so that the reader need not trust this program.
fn calendar() -> pannier::Result<SealedSegment> {
    let mut segment = Segment::create(DAYS * size_of::<u32>())?;
    let days = cast_slice_mut::<u8, u32>(&mut segment);
    (1..).zip(days).for_each(|(number, day)| *day = number);
    segment.seal()
}

fn trade(channel: &Channel<Sheet, Sheet>) -> Result<(), Box<dyn Error>> {
    let mut prices = channel.alloc::<f64>(PRICES)?;
    prices.fill(0.5);
    let prices = prices.freeze();
    channel.send(("prices".to_owned(), prices.clone()))?;

    let (title, back) = channel.recv()?;
    assert_eq!((title.as_str(), back.as_ptr()), ("prices", prices.as_ptr()));
    println!("market: {} MiB came back to their place", size_of_val(&*back) >> 20);
    let (title, sums) = channel.recv()?;
    assert_eq!((title.as_str(), sums[PRICES - 1]), ("sums", PRICES as f64 / 2.0));
    assert!(sums.is_shared());
    println!("market: {} MiB of the reader's in place", size_of_val(&*sums) >> 20);
    println!("market: {} copies", channel.stats().payload_copies);
    Ok(())
}

/// A new folder that only this user may enter, gone with this value.
struct Folder(PathBuf);

impl Folder {
    fn create() -> std::io::Result<Self> {
        let name = format!("pannier-market-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let path: &Path = &self.0;
        let _removed_by_somebody_else = fs::remove_dir_all(path);
    }
}
