//! A channel among the tasks of tokio, on one thread.
//!
//! `cargo run -p pannier-interop --example tasks` starts itself twice more. The first peer squares
//! numbers and closes its end; the second is killed. Only the second has died.
#![expect(clippy::print_stdout, reason = "shows what comes")]

use std::error::Error;
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::Duration;

use pannier::channel::{self, Channel, RecvError};
use pannier_interop::AsyncChannel;
use tokio::time::timeout;

/// More than a channel holds.
const COUNT: u64 = 10_000;
const DEADLINE: Duration = Duration::from_secs(60);

fn main() -> Result<(), Box<dyn Error>> {
    match std::env::args().nth(1).as_deref() {
        Some("squares") => return squares(),
        Some("silence") => return silence(),
        _ => {}
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        timeout(DEADLINE, until_it_closes()).await??;
        timeout(DEADLINE, until_it_dies()).await?
    })
}

fn start(part: &str) -> Result<(AsyncChannel<u64, u64>, Child), Box<dyn Error>> {
    let (ours, theirs) = channel::pair()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(part);
    theirs.hand_to(&mut command, "numbers")?;
    let child = command.spawn()?;
    drop(command); // It keeps a copy of the descriptor: a death would go unnoticed.
    Ok((AsyncChannel::new(ours)?, child))
}

/// One task asks and another hears the answers, until the peer has no more.
async fn until_it_closes() -> Result<(), Box<dyn Error>> {
    let (channel, mut child) = start("squares")?;
    let channel = Arc::new(channel);
    let asking = tokio::spawn({
        let channel = channel.clone();
        async move {
            for number in 0..COUNT {
                channel.send(number).await?;
            }
            Ok::<(), channel::SendError<u64>>(())
        }
    });
    let (mut count, mut sum) = (0, 0);
    let end = loop {
        match channel.recv().await {
            Ok(square) => (count, sum) = (count + 1, sum + square),
            Err(end) => break end,
        }
    };
    asking.await??;
    assert!(matches!(end, RecvError::Closed), "{end}");
    assert!(child.wait()?.success());
    println!("{count} squares, their sum is {sum}; then the peer closed its end");
    Ok(())
}

/// A peer that ends without a word is told from one that closes.
async fn until_it_dies() -> Result<(), Box<dyn Error>> {
    let (channel, mut child) = start("silence")?;
    assert_eq!(channel.recv().await?, 1);
    // Runs as soon as this task waits.
    let killing = tokio::spawn(async move { child.kill().and_then(|()| child.wait()) });
    let end = channel.recv().await;
    assert!(matches!(end, Err(RecvError::Died)), "{end:?}");
    let status = killing.await??;
    println!("the second peer died: {status}");
    Ok(())
}

/// The first peer, which knows nothing of tokio.
fn squares() -> Result<(), Box<dyn Error>> {
    let channel = Channel::<u64, u64>::from_env("numbers")?;
    for _ in 0..COUNT {
        let number = channel.recv()?;
        channel.send(number * number)?;
    }
    Ok(())
}

/// The second peer says one word and waits for ever.
fn silence() -> Result<(), Box<dyn Error>> {
    let channel = Channel::<u64, u64>::from_env("numbers")?;
    channel.send(1)?;
    channel.recv()?;
    Ok(())
}
