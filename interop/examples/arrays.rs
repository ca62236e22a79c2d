//! Arrays of `ndarray` between processes, without a copy.
//!
//! `cargo run -p pannier-interop --example arrays` sends a matrix through a channel to this program,
//! started once more, and to the workers of a pool. Both look at it in place, and what comes back
//! lies where it lay before.
#![expect(clippy::print_stdout, reason = "shows what happens")]

use std::error::Error;
use std::process::Command;

use ndarray::{ArrayViewMut2, Axis, Ix1, Ix2, ShapeBuilder};
use pannier::channel::{self, Channel};
use pannier::{Buffer, Pool};
use pannier_interop::NdArray;

type Matrix = NdArray<f64, Ix2>;
type Vector = NdArray<f64, Ix1>;

const ROWS: usize = 20_000;
const COLUMNS: usize = 16;

fn main() -> Result<(), Box<dyn Error>> {
    pannier::init();
    if std::env::args().nth(1).as_deref() == Some("scale") {
        return scale();
    }
    through_a_channel()?;
    through_a_pool()
}

/// The mean of each column, in an array that lies where tasks have their results.
fn means(matrix: Matrix) -> pannier::Result<(Matrix, Vector)> {
    let mut means = pannier::alloc::<f64>(COLUMNS)?;
    for (mean, column) in means.iter_mut().zip(matrix.view().columns()) {
        *mean = column.sum() / ROWS as f64;
    }
    let means = NdArray::new(COLUMNS, means.freeze()).expect("one for each column");
    Ok((matrix, means))
}

fn through_a_pool() -> Result<(), Box<dyn Error>> {
    let pool = Pool::builder().workers(2).build()?;
    // In the pool's memory from the start, and in Fortran order: columns are what is summed.
    let mut block = pool.alloc::<f64>(ROWS * COLUMNS)?;
    let mut filled = ArrayViewMut2::from_shape((ROWS, COLUMNS).f(), &mut block)?;
    for ((row, column), item) in filled.indexed_iter_mut() {
        *item = (row % 2 + column) as f64;
    }
    let matrix = Matrix::new((ROWS, COLUMNS).f(), block.freeze())?;

    let task = |matrix: Matrix| means(matrix).map_err(pannier::RemoteError::new);
    let (again, means) = pool.submit(task, matrix.clone()).join()??;
    assert_eq!(means.view()[3], 3.5);
    assert_eq!(again.view().strides(), [1, ROWS as isize]);
    assert_eq!(again.view().as_ptr(), matrix.view().as_ptr(), "it came back to its place");
    let copies = pool.stats().payload_copies;
    println!("pool: the mean of column 3 is {}, {copies} copies", means.view()[3]);
    Ok(())
}

fn through_a_channel() -> Result<(), Box<dyn Error>> {
    let (ours, theirs) = channel::pair::<Matrix, (Matrix, Matrix)>()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("scale");
    theirs.hand_to(&mut command, "matrices")?;
    let mut child = command.spawn()?;
    drop(command); // It keeps a copy of the descriptor.

    let mut block = ours.alloc::<f64>(ROWS * COLUMNS)?;
    ArrayViewMut2::from_shape((ROWS, COLUMNS), &mut block)?.fill(0.5);
    let matrix = Matrix::new((ROWS, COLUMNS), block.freeze())?;
    ours.send(matrix.clone())?;

    let (again, doubled) = ours.recv()?;
    assert_eq!(again.view().as_ptr(), matrix.view().as_ptr(), "it came back to its place");
    assert!(doubled.view().is_standard_layout());
    let sums = doubled.view().sum_axis(Axis(0));
    println!(
        "channel: a column doubled sums to {}, {} copies",
        sums[0],
        ours.stats().payload_copies
    );
    drop(ours);
    assert!(child.wait()?.success());
    Ok(())
}

/// The other program: twice each matrix, beside the matrix itself.
fn scale() -> Result<(), Box<dyn Error>> {
    let channel = Channel::<(Matrix, Matrix), Matrix>::from_env("matrices")?;
    while let Ok(matrix) = channel.recv() {
        let mut block = channel.alloc::<f64>(matrix.view().len())?;
        let mut doubled = ArrayViewMut2::from_shape(matrix.view().raw_dim(), &mut block)?;
        doubled.zip_mut_with(&matrix.view(), |to, from| *to = 2.0 * from);
        let items: Buffer<f64> = block.freeze();
        let doubled = Matrix::new(matrix.view().raw_dim(), items)?;
        channel.send((matrix, doubled))?;
    }
    assert_eq!(channel.stats().payload_copies, 0);
    Ok(())
}
