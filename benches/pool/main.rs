//! What the pool costs, beside the limits of the machine and its peers in the same run.
//!
//! `cargo bench --bench pool`, or with parts of names behind it. Everything goes through the public
//! interface. The sides of a row are measured in turns; whoever's turn it is not is stopped or asleep.
//! Processes are free to run anywhere, but where a row says that they are pinned.
#![expect(clippy::unwrap_used, reason = "a bench that cannot go on ends")]
#![expect(clippy::print_stdout, reason = "a bench prints")]

#[path = "../common/mod.rs"]
mod common;
mod contest;
mod copy;
mod deaths;
mod growth;
mod peers;
mod rate;
mod round_trip;
mod share;
mod start;

/// A name, and what measures and prints it.
type Row = (&'static str, fn(&str));

fn main() {
    pannier::init();
    if let Ok(part) = std::env::var(peers::PART) {
        return peers::play(&part);
    }
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|w| name.contains(&**w));
    let rows = [
        round_trip::ROWS,
        copy::ROWS,
        rate::ROWS,
        share::ROWS,
        start::ROWS,
        deaths::ROWS,
        growth::ROWS,
    ]
    .concat();
    for (name, run) in rows {
        if is_wanted(name) {
            run(name);
        }
    }
}

/// A pool that has done its first tasks.
pub(crate) fn warm_pool(workers: usize) -> pannier::Pool {
    let pool = pannier::Pool::builder().workers(workers).build().unwrap();
    let handles: Vec<_> = (0..1_000).map(|_| pool.submit(|()| (), ())).collect();
    handles.into_iter().for_each(|handle| handle.join().unwrap());
    pool
}
