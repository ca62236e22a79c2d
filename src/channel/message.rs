//! The messages of a worker's connection, each sent whole: a small head and, behind it, the bytes of
//! a frame where there is one. What is said for every task has a head of plain words, the rest one of
//! MessagePack.
//!
//! Promises: bytes that are no message are an error, and what was read is owned by the reader.
//! Does not know: when a message is allowed.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

use crate::shm::BlockName;

/// Frames up to this length travel in the message.
pub(crate) const INLINE_FRAME_MAX: usize = 16 << 10;

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
    /// The number of its claim.
    pub(crate) claim: u64,
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

impl ToWorker {
    /// The number of its claim, if it has to be claimed.
    pub(super) fn claim(&self) -> Option<u64> {
        match self {
            ToWorker::Task(head) => Some(head.claim),
            _ => None,
        }
    }
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

/// What can be sent: a kind and a head.
pub(crate) trait Message: Sized {
    /// Writes the head to the end of `bytes`, and tells its kind.
    fn write(&self, bytes: &mut Vec<u8>) -> u32;

    /// The message with this head, if it is one.
    fn read(kind: u32, head: &[u8]) -> Option<Self>;
}

/// The head of a message, with its kind and length before it, in place of what `bytes` was.
pub(crate) fn encode_head<M: Message>(message: &M, bytes: &mut Vec<u8>) {
    bytes.clear();
    bytes.resize(PREFIX, 0);
    let kind = message.write(bytes);
    let len = u32::try_from(bytes.len() - PREFIX).expect("a head is far below 4 GiB");
    bytes[..4].copy_from_slice(&kind.to_le_bytes());
    bytes[4..PREFIX].copy_from_slice(&len.to_le_bytes());
}

/// The message in these bytes, and the frame bytes behind its head; `None`: they are none of ours.
pub(crate) fn decode<M: Message>(bytes: &[u8]) -> Option<(M, &[u8])> {
    let (kind, rest) = bytes.split_first_chunk()?;
    let (len, rest) = rest.split_first_chunk()?;
    let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
    let message = M::read(u32::from_le_bytes(*kind), rest.get(..len)?)?;
    Some((message, &rest[len..]))
}

/// Bytes before a head.
const PREFIX: usize = 8;
/// A head of MessagePack: what is not said for every task.
const SELDOM: u32 = 0;
/// A head of words, in the byte order of this machine, which is that of both processes.
const TASK: u32 = 1;
const COMPLETED: u32 = 2;

impl Message for ToWorker {
    fn write(&self, bytes: &mut Vec<u8>) -> u32 {
        let ToWorker::Task(head) = self else { return write_seldom(self, bytes) };
        bytes.extend_from_slice(bytemuck::cast_slice(&head.to_words()));
        TASK
    }

    fn read(kind: u32, head: &[u8]) -> Option<Self> {
        match kind {
            TASK => TaskHead::from_words(words(head)?).map(ToWorker::Task),
            SELDOM => rmp_serde::from_slice(head).ok(),
            _ => None,
        }
    }
}

impl Message for ToParent {
    fn write(&self, bytes: &mut Vec<u8>) -> u32 {
        let ToParent::Completed(completion) = self else { return write_seldom(self, bytes) };
        bytes.extend_from_slice(bytemuck::cast_slice(&completion.to_words()));
        COMPLETED
    }

    fn read(kind: u32, head: &[u8]) -> Option<Self> {
        match kind {
            COMPLETED => Completion::from_words(words(head)?).map(ToParent::Completed),
            SELDOM => rmp_serde::from_slice(head).ok(),
            _ => None,
        }
    }
}

fn write_seldom<M: Serialize>(message: &M, bytes: &mut Vec<u8>) -> u32 {
    // Writing to memory fails only for a type that MessagePack cannot express; none is here.
    rmp_serde::encode::write(bytes, message).expect("messages are plain data");
    SELDOM
}

fn words<const N: usize>(head: &[u8]) -> Option<[u64; N]> {
    bytemuck::try_pod_read_unaligned(head).ok()
}

impl TaskHead {
    fn to_words(self) -> [u64; 14] {
        let EntryName { module, offset, signature } = self.entry;
        let (module, rest) = module.split_at(16);
        let [a, b] = bytemuck::pod_read_unaligned(module);
        let tail: u32 = bytemuck::pod_read_unaligned(rest);
        let [place, name, at, len] = self.frame.to_words();
        [
            self.task,
            self.claim,
            pair(self.attempt, self.first),
            pair(self.count, tail),
            a,
            b,
            offset,
            signature,
            u64::from(self.context.is_some()),
            self.context.unwrap_or(0),
            place,
            name,
            at,
            len,
        ]
    }

    fn from_words(words: [u64; 14]) -> Option<Self> {
        let [task, claim, from, to, a, b, offset, signature, has_context, context, place @ ..] =
            words;
        let ((attempt, first), (count, tail)) = (halves(from), halves(to));
        let mut module = [0; ENTRY_MODULE_LEN];
        module[..16].copy_from_slice(bytemuck::cast_slice(&[a, b]));
        module[16..].copy_from_slice(bytemuck::bytes_of(&tail));
        let entry = EntryName { module, offset, signature };
        let context = match has_context {
            0 => None,
            1 => Some(context),
            _ => return None,
        };
        let frame = FramePlace::from_words(place)?;
        Some(TaskHead { task, claim, attempt, entry, context, first, count, frame })
    }
}

impl Completion {
    fn to_words(self) -> [u64; 8] {
        let Completion { task, frame, copies, copied_bytes, nanoseconds } = self;
        let [place, name, at, len] = frame.to_words();
        [task, copies, copied_bytes, nanoseconds, place, name, at, len]
    }

    fn from_words(words: [u64; 8]) -> Option<Self> {
        let [task, copies, copied_bytes, nanoseconds, place @ ..] = words;
        let frame = FramePlace::from_words(place)?;
        Some(Completion { task, frame, copies, copied_bytes, nanoseconds })
    }
}

impl FramePlace {
    fn to_words(self) -> [u64; 4] {
        match self {
            FramePlace::Message => [0; 4],
            FramePlace::Block { name: BlockName { segment, index, generation }, offset, len } => {
                [1 | u64::from(segment) << 32, pair(index, generation), offset, len]
            }
        }
    }

    fn from_words([place, name, offset, len]: [u64; 4]) -> Option<Self> {
        let ((in_block, segment), (index, generation)) = (halves(place), halves(name));
        match in_block {
            0 => Some(FramePlace::Message),
            1 => {
                let name = BlockName { segment, index, generation };
                Some(FramePlace::Block { name, offset, len })
            }
            _ => None,
        }
    }
}

fn pair(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

fn halves(word: u64) -> (u32, u32) {
    let [low, high] = bytemuck::cast::<u64, [u32; 2]>(word.to_le());
    (u32::from_le(low), u32::from_le(high))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn place() -> impl Strategy<Value = FramePlace> {
        let block = any::<(u32, u32, u32, u64, u64)>();
        let block = block.prop_map(|(segment, index, generation, offset, len)| FramePlace::Block {
            name: BlockName { segment, index, generation },
            offset,
            len,
        });
        prop_oneof![Just(FramePlace::Message), block]
    }

    fn task() -> impl Strategy<Value = TaskHead> {
        let entry = any::<([u8; 20], u64, u64)>();
        (any::<(u64, u64, u32, Option<u64>, u32, u32)>(), entry, place()).prop_map(
            |((task, claim, attempt, context, first, count), entry, frame)| {
                let (module, offset, signature) = entry;
                let entry = EntryName { module, offset, signature };
                TaskHead { task, claim, attempt, entry, context, first, count, frame }
            },
        )
    }

    proptest! {
        #[test]
        fn a_message_is_read_as_it_was_written(task in task(), frame: Vec<u8>, cut: usize) {
            let mut bytes = Vec::new();
            let message = ToWorker::Task(task);
            encode_head(&message, &mut bytes);
            let head = bytes.len();
            bytes.extend(&frame);
            prop_assert_eq!(decode::<ToWorker>(&bytes), Some((message, &frame[..])));
            prop_assert_eq!(decode::<ToWorker>(&bytes[..cut % head]), None);
            prop_assert_eq!(decode::<ToParent>(&bytes), None);
        }

        #[test]
        fn an_answer_is_read_as_it_was_written(numbers: (u64, u64, u64, u64), frame in place()) {
            let (task, copies, copied_bytes, nanoseconds) = numbers;
            let completion = Completion { task, frame, copies, copied_bytes, nanoseconds };
            let mut bytes = Vec::new();
            encode_head(&ToParent::Completed(completion), &mut bytes);
            let read = decode::<ToParent>(&bytes);
            prop_assert_eq!(read, Some((ToParent::Completed(completion), &[][..])));
        }

        #[test]
        fn any_bytes_are_a_message_or_none(bytes: Vec<u8>) {
            let _either = (decode::<ToWorker>(&bytes), decode::<ToParent>(&bytes));
        }
    }
}
