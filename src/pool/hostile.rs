//! Tests of a worker that says what cannot be, in messages that are well-formed: its process is a real
//! one, and its task has the words of the library.
//!
//! The bytes of messages are for `channel/hostile.rs` and the fuzz targets; here it is the numbers.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use super::error::TaskError;
use super::front::Pool;
use super::handle::JoinHandle;
use super::initializer::TASK;
use super::worker::{here, worker};
use crate::buffer::Buffer;
use crate::channel::{Completion, FramePlace, Phase, ToParent};
use crate::frame::{Descriptor, HeadOptions, Kind, Layout, write_head};
use crate::shm::{BlockName, Store};

/// What a worker says, each with a frame.
type Words = Vec<(ToParent, Vec<u8>)>;

const DEADLINE: Duration = Duration::from_secs(30);
/// What the task says when it does not lie.
const HONEST: u32 = 7;
const LEN: usize = 4_096;

/// Says it in its first attempt, and goes on as if nothing had been.
fn lie((words, _held): (Words, Buffer<u8>)) -> u32 {
    if worker().expect("a task runs in a worker").attempt == 1 {
        let side = here().expect("a task runs in a worker");
        words.iter().for_each(|(message, frame)| side.memory.link().say(message, frame));
    }
    HONEST
}

/// Keeps its argument until it is killed.
fn keep(_held: Buffer<u8>) {
    loop {
        std::thread::park();
    }
}

#[track_caller]
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < DEADLINE, "not in time: {what}");
        std::thread::yield_now();
    }
}

/// Something that is not a worker's, with what it is.
type Wrong<T> = (&'static str, fn(&Scene) -> T);

/// A pool of two, one of which is at work.
struct Scene {
    pool: Pool,
    beside: JoinHandle<()>,
    /// What that one was sent.
    beside_task: u64,
    beside_block: BlockName,
    /// What the other one will be.
    task: u64,
    block: BlockName,
    held: Buffer<u8>,
}

impl Scene {
    fn new() -> Self {
        let pool = Pool::builder().workers(2).build().expect("workers start");
        let filled = |value| {
            let mut block = pool.alloc::<u8>(LEN).expect("a little memory");
            block.fill(value);
            block.freeze()
        };
        let (held, beside) = (filled(1), filled(2));
        let name_of = |buffer: &Buffer<u8>| {
            let memory = &pool.inner().memory;
            let at = memory.locate(buffer).expect("it is the pool's");
            memory.name_of(&at).expect("a block has a name")
        };
        let (block, beside_block) = (name_of(&held), name_of(&beside));
        let beside = pool.submit(keep, beside);
        let mut begun = None;
        eventually("the other worker is at work", || {
            let core = pool.inner().lock();
            begun = core.peers.iter().flatten().find_map(|peer| peer.status.read());
            begun.is_some()
        });
        let beside_task = begun.expect("seen above").task;
        Scene { pool, beside, beside_task, beside_block, task: beside_task + 1, block, held }
    }

    /// What a worker says that is done with a task.
    fn completed(task: u64, frame: FramePlace) -> ToParent {
        let (copies, copied_bytes, nanoseconds) = (0, 0, 1);
        ToParent::Completed(Completion { task, frame, copies, copied_bytes, nanoseconds })
    }

    /// Its task ends with a frame in this range.
    fn ends_in(&self, name: BlockName, offset: u64, len: u64) -> Words {
        let place = FramePlace::Block { name, offset, len };
        vec![(Self::completed(self.task, place), Vec::new())]
    }

    /// Its task ends with a frame that has one buffer, which is there.
    fn refers_to(&self, name: BlockName, offset: u64, len: u64) -> Words {
        let (segment, generation) = (name.segment, name.generation);
        let buffer = Descriptor::segment(segment, offset, len, generation, Kind::U8, 0);
        vec![(Self::completed(self.task, FramePlace::Message), frame(b"\xC0", &mut [buffer]))]
    }

    /// Has a worker say this, and sees what comes of the task.
    #[track_caller]
    fn hears(self, name: &str, words: Words) -> (Result<u32, TaskError>, u64) {
        let Scene { pool, mut beside, held, .. } = self;
        let mut liar = pool.submit(lie, (words, held));
        let mut behind = pool.submit(|x: u32| x + 1, 1);
        let result =
            liar.join_timeout(DEADLINE).unwrap_or_else(|| panic!("{name}: a lie is heard"));
        let next = behind.join_timeout(DEADLINE).expect("a task behind it ends");
        assert_eq!(next.ok(), Some(2), "{name}");
        assert!(!beside.is_finished(), "{name}: the task of the other worker goes on");
        beside.kill();
        let killed = beside.join_timeout(DEADLINE).expect("it is killed");
        assert!(matches!(killed, Err(TaskError::Killed)), "{name}: {killed:?}");
        eventually("all is well", || {
            let stats = pool.stats();
            stats.blocks_live == 0 && stats.workers_alive == 2
        });
        (result, pool.stats().workers_died - 1)
    }

    /// This costs the worker that says it, and its task an attempt.
    #[track_caller]
    fn refuses(self, name: &str, words: Words) {
        let (result, deaths) = self.hears(name, words);
        assert_eq!((result.ok(), deaths), (Some(HONEST), 1), "{name}");
    }
}

fn frame(metadata: &[u8], buffers: &mut [Descriptor]) -> Vec<u8> {
    let layout = Layout::new(metadata.len(), buffers).expect("a small frame");
    let mut frame = Vec::new();
    write_head(&mut frame, &layout, &[metadata], buffers, &HeadOptions::default());
    frame.resize(usize::try_from(layout.frame_len()).expect("a small frame"), 0);
    frame
}

#[test]
fn tasks_that_a_worker_does_not_have_are_not_its_to_end() {
    let numbers: [Wrong<u64>; 5] = [
        ("the other worker's", |scene| scene.beside_task),
        ("one behind it", |scene| scene.task + 1),
        ("one that nobody has", |scene| scene.task + 1_000),
        ("the initializer", |_| TASK),
        ("the last number but one", |_| TASK - 1),
    ];
    for (name, number) in numbers {
        let scene = Scene::new();
        let ended = Scene::completed(number(&scene), FramePlace::Message);
        scene.refuses(name, vec![(ended, frame(b"\x90", &mut []))]);
        let scene = Scene::new();
        let failed = ToParent::Failed { task: number(&scene), message: "no memory".into() };
        scene.refuses(name, vec![(failed, Vec::new())]);
    }
}

#[test]
fn a_task_that_a_worker_ends_twice_ends_once() {
    let scene = Scene::new();
    let ended = Scene::completed(scene.task, FramePlace::Message);
    // An array of no outcomes: the task ends, and the word that comes in its time is one too many.
    let words = vec![(ended, frame(b"\x90", &mut []))];
    let (result, deaths) = scene.hears("twice", words);
    assert!(matches!(result, Err(TaskError::Decode(_))), "{result:?}");
    assert_eq!(deaths, 1);
}

#[test]
fn blocks_that_a_worker_does_not_have_are_not_its_to_send() {
    let names: [Wrong<BlockName>; 7] = [
        ("the other worker's", |scene| scene.beside_block),
        ("the generation before", |scene| {
            let generation = scene.block.generation.wrapping_sub(1);
            BlockName { generation, ..scene.block }
        }),
        ("the next generation", |scene| BlockName {
            generation: scene.block.generation + 1,
            ..scene.block
        }),
        ("the last generation", |scene| BlockName { generation: u32::MAX, ..scene.block }),
        ("a block behind all", |scene| BlockName { index: u32::MAX, ..scene.block }),
        ("a segment that is not there", |scene| BlockName {
            segment: scene.block.segment + 1_000,
            ..scene.block
        }),
        ("the last segment", |scene| BlockName { segment: u32::MAX, ..scene.block }),
    ];
    for (name, wrong) in names {
        let scene = Scene::new();
        let (wrong, len) = (wrong(&scene), u64::try_from(LEN).expect("it is small"));
        let at = u64::from(wrong.index).saturating_mul(len);
        let words = scene.ends_in(wrong, at, len);
        scene.refuses(&format!("{name}, for a frame"), words);
        let scene = Scene::new();
        let words = scene.refers_to(wrong, at, len);
        scene.refuses(&format!("{name}, for a buffer"), words);
        let scene = Scene::new();
        let words = vec![(ToParent::Released { blocks: vec![wrong] }, Vec::new())];
        scene.refuses(&format!("{name}, given back"), words);
    }
}

#[test]
fn a_block_that_a_worker_has_is_its_to_send() {
    // So it is for their blocks that the others are refused.
    let scene = Scene::new();
    let len = u64::try_from(LEN).expect("it is small");
    let words = scene.refers_to(scene.block, u64::from(scene.block.index) * len, len);
    let (result, deaths) = scene.hears("its own block", words);
    assert!(matches!(result, Err(TaskError::Decode(_))), "{result:?}");
    assert_eq!(deaths, 1, "its task ended twice");
}

#[test]
fn a_range_beyond_a_block_is_not_read() {
    let len = u64::try_from(LEN).expect("it is small");
    let ranges =
        [(0, u64::MAX), (u64::MAX, 1), (u64::MAX, u64::MAX), (len - 1, 1 << 40), (0, 1 << 62)];
    for (offset, len) in ranges {
        let scene = Scene::new();
        let words = scene.ends_in(scene.block, offset, len);
        scene.refuses(&format!("a frame at {offset} + {len}"), words);
    }
}

#[test]
fn what_a_task_was_sent_stays_held_until_it_is_over() {
    let scene = Scene::new();
    // It may have kept the block from an earlier task: then this is sensible.
    let words = vec![(ToParent::Released { blocks: vec![scene.block; 3] }, Vec::new())];
    let (result, deaths) = scene.hears("what its task was sent", words);
    assert_eq!((result.ok(), deaths), (Some(HONEST), 0));
}

#[test]
fn a_context_that_a_worker_was_not_sent_is_not_its_to_forget() {
    for context in [0, 1, u64::MAX] {
        let words = vec![(ToParent::Forgotten { context }, Vec::new())];
        Scene::new().refuses("a context", words);
    }
}

#[test]
fn a_wish_that_cannot_be_granted_is_denied_and_no_crime() {
    let scene = Scene::new();
    let words = [u64::MAX, u64::MAX - 4_095, 1 << 62].map(|len| ToParent::NeedBlock { len });
    let words = words.into_iter().map(|wish| (wish, Vec::new())).collect();
    let (result, deaths) = scene.hears("a wish", words);
    assert_eq!((result.ok(), deaths), (Some(HONEST), 0));
}

#[test]
fn whoever_lies_in_each_attempt_fails_its_task_alone() {
    fn lie_always(task: u64) -> u32 {
        let side = here().expect("a task runs in a worker");
        let message = Scene::completed(task, FramePlace::Message);
        side.memory.link().say(&message, &[]);
        loop {
            std::thread::park();
        }
    }
    let pool = Pool::builder().workers(2).attempts(3).build().expect("workers start");
    let mut liar = pool.submit(lie_always, TASK - 1);
    let result = liar.join_timeout(DEADLINE).expect("a lie is heard");
    let Err(TaskError::WorkerDied(death)) = result else { panic!("{result:?}") };
    assert_eq!((death.attempts, death.phase), (3, Phase::Running));
    assert_eq!(pool.submit(|x: u32| x + 1, 1).join().ok(), Some(2));
}
