//! The messages of a worker's connection, each sent whole: a small MessagePack head and, behind it,
//! the bytes of a frame where there is one.
//!
//! Promises: bytes that are no message are an error, and what was read is owned by the reader.
//! Does not know: when a message is allowed.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

use crate::shm::BlockName;

/// Frames up to this length travel in the message.
pub(crate) const INLINE_FRAME_MAX: usize = 64 << 10;

/// Bytes that name a module: a build-id.
const ENTRY_MODULE_LEN: usize = 20;

/// How a function is named in another process that runs the same program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct EntryName {
    /// The build-id of the file that contains it.
    pub(crate) module: [u8; ENTRY_MODULE_LEN],
    /// From where that file is loaded.
    pub(crate) offset: u64,
    /// A hash of the types involved.
    pub(crate) signature: u64,
}

/// Where a message's frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum FramePlace {
    /// Behind the head, in the same message.
    Message,
    /// At the start of a block.
    Block { name: BlockName, offset: u64, len: u64 },
}

/// A task as it is dispatched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TaskHead {
    pub(crate) task: u64,
    pub(crate) attempt: u32,
    pub(crate) entry: EntryName,
    pub(crate) context: Option<u64>,
    /// The items of the frame that are meant: so many, from this one on.
    pub(crate) first: u32,
    pub(crate) count: u32,
    pub(crate) frame: FramePlace,
}

/// From the parent to a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ToWorker {
    /// A segment to map; its descriptor comes with the message.
    Attach {
        segment: u32,
        len: u64,
        block_len: u64,
        writable: bool,
    },
    /// A segment to unmap.
    Detach {
        segment: u32,
    },
    /// What the tasks of a map share.
    Context {
        context: u64,
        frame: FramePlace,
    },
    /// No task will ask for that context again.
    Forget {
        context: u64,
    },
    Task(TaskHead),
    /// A block of the worker's arena to write.
    Grant(BlockName),
    /// There is no memory for a block that was asked for.
    Deny {
        wanted: u64,
        limit: u64,
    },
    /// Finish what was sent before this, and end.
    Stop,
}

/// From a worker to the parent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ToParent {
    /// Of the blocks that the next completion or forgotten context mentions, those that the worker goes on using.
    Keeping {
        blocks: Vec<BlockName>,
    },
    Completed(Completion),
    /// A task whose results cannot be sent: for want of memory.
    Failed {
        task: u64,
        message: String,
    },
    /// A context is dropped, as it was told; [`Keeping`](Self::Keeping) comes before this too.
    Forgotten {
        context: u64,
    },
    /// A block is wanted.
    NeedBlock {
        len: u64,
    },
    /// Blocks that were kept are not used any more.
    Released {
        blocks: Vec<BlockName>,
    },
}

/// A task that ran to its end, however that was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Completion {
    pub(crate) task: u64,
    pub(crate) frame: FramePlace,
    /// Copies of out-of-band bytes that the worker made, and their bytes.
    pub(crate) copies: u64,
    pub(crate) copied_bytes: u64,
    /// How long the items took.
    pub(crate) nanoseconds: u64,
}

/// The head of a message, with its length before it.
pub(crate) fn encode_head<M: Serialize>(message: &M) -> Vec<u8> {
    let mut head = vec![0; HEAD_LEN_BYTES];
    // Writing to memory fails only for a type that MessagePack cannot express; none is here.
    rmp_serde::encode::write(&mut head, message).expect("messages are plain data");
    let len = u32::try_from(head.len() - HEAD_LEN_BYTES).expect("a head is far below 4 GiB");
    head[..HEAD_LEN_BYTES].copy_from_slice(&len.to_le_bytes());
    head
}

/// The message in these bytes, and the frame bytes behind its head; `None`: they are none of ours.
pub(crate) fn decode<'b, M: Deserialize<'b>>(bytes: &'b [u8]) -> Option<(M, &'b [u8])> {
    let (len, rest) = bytes.split_first_chunk::<HEAD_LEN_BYTES>()?;
    let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
    let head = rest.get(..len)?;
    let message = rmp_serde::from_slice(head).ok()?;
    Some((message, &rest[len..]))
}

const HEAD_LEN_BYTES: usize = 4;
