//! pannier beside what its users have already: `ndarray`, Arrow, tokio, and programs of others.
//!
//! Each module is an example that can be copied into a program, and each has a program under
//! `examples/` that shows it between processes; `cargo test -p pannier-interop` runs them all.
//!
//! | to | see | program |
//! | --- | --- | --- |
//! | send arrays of any shape and order | [`NdArray`] | `arrays` |
//! | send record batches of Arrow | [`Batch`] | `batches` |

mod array;
mod batch;

pub use crate::array::NdArray;
pub use crate::batch::{Batch, BatchError, from_arrow, to_arrow};
