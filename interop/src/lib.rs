//! pannier beside what its users have already: `ndarray`, Arrow, tokio, and programs of others.
//!
//! Each module is an example that can be copied into a program, and each has a program under
//! `examples/` that shows it between processes; `cargo test -p pannier-interop` runs them all.
//!
//! | to | see | program |
//! | --- | --- | --- |
//! | send arrays of any shape and order | [`NdArray`] | `arrays` |
//! | send record batches of Arrow | [`Batch`] | `batches` |
//! | wait for a channel in tasks of tokio | [`AsyncChannel`] | `tasks` |
//! | meet a program that was not started by yours | [`send_descriptors`] | `market`, `reader` |

mod array;
mod asynchronous;
mod batch;
mod descriptors;

pub use crate::array::NdArray;
pub use crate::asynchronous::AsyncChannel;
pub use crate::batch::{Batch, BatchError, from_arrow, to_arrow};
pub use crate::descriptors::{receive_descriptors, send_descriptors};
