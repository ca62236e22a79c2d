//! Record batches of Arrow between processes, without a copy.
//!
//! `cargo run -p pannier-interop --example batches` fills columns in shared memory, and sends slices
//! of them through a channel to this program, started once more, and to the workers of a pool.
#![expect(clippy::print_stdout, reason = "shows what happens")]

use std::error::Error;
use std::process::Command;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow_buffer::{BooleanBuffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use pannier::bytemuck::cast_slice_mut;
use pannier::channel::{self, Channel};
use pannier::{BufferMut, Pool};
use pannier_interop::{Batch, to_arrow};

const ROWS: usize = 100_000;
const NAMES: [&str; 4] = ["north", "east", "south", "west"];

fn main() -> Result<(), Box<dyn Error>> {
    pannier::init();
    if std::env::args().nth(1).as_deref() == Some("echo") {
        return echo();
    }
    through_a_channel()?;
    through_a_pool()
}

/// Columns that are filled in place, in memory from a pool or a channel.
fn table(alloc: impl Fn(usize) -> pannier::Result<BufferMut<u8>>) -> Result<Batch, Box<dyn Error>> {
    let mut ids = alloc(8 * ROWS)?;
    (0..).zip(cast_slice_mut(&mut ids)).for_each(|(id, at): (i64, &mut i64)| *at = id);
    let mut prices = alloc(8 * ROWS)?;
    (0..).zip(cast_slice_mut(&mut prices)).for_each(|(row, at): (u32, &mut f64)| *at = row.into());
    // Bits: every third of eight prices is there, and every second flag is set.
    let (mut there, mut flags) = (alloc(ROWS.div_ceil(8))?, alloc(ROWS.div_ceil(8))?);
    there.fill(0b0010_0100);
    flags.fill(0b0101_0101);
    let (mut offsets, mut text) = (alloc(4 * (ROWS + 1))?, alloc(5 * ROWS)?);
    let mut end = 0;
    for (row, offset) in cast_slice_mut::<u8, i32>(&mut offsets).iter_mut().enumerate() {
        *offset = i32::try_from(end)?;
        if row < ROWS {
            let name = NAMES[row % NAMES.len()].as_bytes();
            text[end..end + name.len()].copy_from_slice(name);
            end += name.len();
        }
    }
    text.truncate(end);

    let memory = [ids, prices, there, flags, offsets, text].map(BufferMut::freeze);
    let [ids, prices, there, flags, offsets, text] = memory.clone().map(to_arrow);
    let bits = |bytes| BooleanBuffer::new(bytes, 0, ROWS);
    let there = Some(NullBuffer::new(bits(there)));
    let offsets = OffsetBuffer::new(ScalarBuffer::new(offsets, 0, ROWS + 1));
    let columns: [(&str, ArrayRef); 4] = [
        ("id", Arc::new(Int64Array::new(ScalarBuffer::new(ids, 0, ROWS), None))),
        ("price", Arc::new(Float64Array::new(ScalarBuffer::new(prices, 0, ROWS), there))),
        ("name", Arc::new(StringArray::try_new(offsets, text, None)?)),
        ("flag", Arc::new(BooleanArray::new(bits(flags), None))),
    ];
    Ok(Batch::new(RecordBatch::try_from_iter(columns)?, memory.to_vec())?)
}

/// Where the numbers of the first column lie.
fn address(batch: &Batch) -> *const i64 {
    batch.batch().column(0).as_primitive::<Int64Type>().values().as_ptr()
}

/// The sum of the prices that are there.
fn total(batch: &Batch) -> f64 {
    batch.batch().column(1).as_primitive::<Float64Type>().iter().flatten().sum()
}

fn through_a_channel() -> Result<(), Box<dyn Error>> {
    let (ours, theirs) = channel::pair::<Batch, (f64, Batch)>()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("echo");
    theirs.hand_to(&mut command, "batches")?;
    let mut child = command.spawn()?;
    drop(command); // It keeps a copy of the descriptor.

    let batch = table(|len| ours.alloc(len))?;
    for (offset, len) in [(0, ROWS), (3, ROWS - 7), (8_001, 50_000)] {
        let slice = batch.slice(offset, len);
        ours.send(slice.clone())?;
        let (sum, again) = ours.recv()?;
        assert_eq!(again.batch(), slice.batch());
        assert_eq!(sum, total(&slice));
        assert_eq!(address(&again), address(&slice), "it came back to its place");
    }
    println!("channel: three slices came back equal, {} copies", ours.stats().payload_copies);
    drop(ours);
    assert!(child.wait()?.success());
    Ok(())
}

/// The other program.
fn echo() -> Result<(), Box<dyn Error>> {
    let channel = Channel::<(f64, Batch), Batch>::from_env("batches")?;
    while let Ok(batch) = channel.recv() {
        channel.send((total(&batch), batch))?;
    }
    assert_eq!(channel.stats().payload_copies, 0);
    Ok(())
}

/// In a task: the rows whose numbers follow upon 10, in place, and how many names are "west".
fn rest(batch: Batch) -> (usize, Batch) {
    let rest = batch.slice(11, batch.batch().num_rows() - 11);
    let names = rest.batch().column(2).as_string::<i32>();
    (names.iter().filter(|name| *name == Some("west")).count(), rest)
}

fn through_a_pool() -> Result<(), Box<dyn Error>> {
    let pool = Pool::builder().workers(2).build()?;
    let batch = table(|len| pool.alloc(len))?;
    let slice = batch.slice(5, ROWS - 5);
    let (west, again) = pool.submit(rest, slice.clone()).join()?;
    assert_eq!(again.batch(), batch.slice(16, ROWS - 16).batch());
    assert_eq!(address(&again), address(&batch).wrapping_add(16), "it came back to its place");
    println!("pool: {west} names are west, {} copies", pool.stats().payload_copies);
    Ok(())
}
