//! Each example runs, prints what it says it does, and leaves nothing behind.
#![expect(clippy::unwrap_used, reason = "helpers of tests are outside of tests")]

mod common;

use std::os::unix::process::ExitStatusExt;

use common::Place;

#[test]
fn arrays_travel_without_a_copy() {
    let place = Place::new();
    let expected = [
        "channel: a column doubled sums to 20000, 0 copies",
        "pool: the mean of column 3 is 3.5, 0 copies",
    ];
    assert_eq!(place.run("arrays"), expected);
    place.is_as_before();
}

#[test]
fn batches_travel_without_a_copy() {
    let place = Place::new();
    let expected =
        ["channel: three slices came back equal, 0 copies", "pool: 24996 names are west, 0 copies"];
    assert_eq!(place.run("batches"), expected);
    place.is_as_before();
}

#[test]
fn tasks_tell_a_goodbye_from_a_death() {
    let place = Place::new();
    let expected = [
        "10000 squares, their sum is 333283335000; then the peer closed its end",
        "the second peer died: signal: 9 (SIGKILL)",
    ];
    assert_eq!(place.run("tasks"), expected);
    place.is_as_before();
}

#[test]
fn two_programs_that_do_not_know_each_other_share_memory() {
    let place = Place::new();
    let market = place.start("market", &[]);
    let line = market.line();
    let path = line.strip_prefix("waiting at ").expect("the path of its socket");
    let expected = [
        "reader: a calendar of 365 days, the last is 365",
        "reader: 64 MiB of prices in place",
        "reader: 0 copies",
    ];
    assert_eq!(place.start("reader", &[path]).ends_well(), expected);
    let expected = [
        "market: 64 MiB came back to their place",
        "market: 64 MiB of the reader's in place",
        "market: 0 copies",
    ];
    assert_eq!(market.ends_well(), expected);
    place.is_as_before();
}

#[test]
fn a_program_notices_that_the_other_is_not_there_or_goes() {
    let place = Place::new();
    let (lines, status) = place.start("reader", &["/nonexistent"]).ends();
    assert_eq!((lines.len(), status.code()), (0, Some(1)));

    let market = place.start("market", &[]);
    let line = market.line();
    let path = line.strip_prefix("waiting at ").expect("the path of its socket");
    // It connects, and goes before it has taken what it is sent.
    drop(std::os::unix::net::UnixStream::connect(path).expect("somebody listens"));
    let (_, status) = market.ends();
    assert_eq!(status.code(), Some(1), "{status}");

    let market = place.start("market", &[]);
    market.line();
    market.kill();
    assert_eq!(market.ends().1.signal(), Some(9));
    place.sweep();
    place.is_as_before();
}
