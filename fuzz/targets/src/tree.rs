//! Random values with buffers, some of which lie in the same memory.

use std::collections::BTreeSet;

use arbitrary::{Arbitrary, Result, Unstructured};
use pannier::Buffer;
use serde::{Deserialize, Serialize};

/// A value of every shape that serde has, and buffers of several types.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub(crate) enum Tree {
    Nil,
    Bool(bool),
    Number(i64),
    Wide(i128),
    Float(Float),
    Text(String),
    Bytes(Buffer<u8>),
    Words(Buffer<u16>),
    Longs(Buffer<i64>),
    Lent(#[serde(with = "pannier::pod")] Vec<u32>),
    Seq(Vec<Tree>),
    Map(Vec<(String, Tree)>),
    Option(Option<Box<Tree>>),
    Record { name: String, left: Box<Tree>, right: Option<Box<Tree>> },
    Pair(Box<Tree>, u8),
}

/// Equal if its bits are, NaN too.
#[derive(Serialize, Deserialize, Clone, Copy, Debug)]
pub(crate) struct Float(f64);

impl PartialEq for Float {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

/// A tree before its shared buffers are found.
#[derive(Arbitrary, Debug)]
enum Plan<'a> {
    Nil,
    Bool(bool),
    Number(i64),
    Wide(i128),
    Float(f64),
    Text(#[arbitrary(with = word)] &'a str),
    Bytes(Buffer<u8>),
    Words(Buffer<u16>),
    Longs(Buffer<i64>),
    Lent(#[arbitrary(with = few)] Vec<u32>),
    /// The memory of an earlier buffer again, or a part of it.
    Again(u8, u8, u8),
    /// The same as other items.
    Cast(u8),
    Seq(#[arbitrary(with = few)] Vec<Plan<'a>>),
    Map(#[arbitrary(with = few)] Vec<Entry<'a>>),
    Option(#[arbitrary(with = maybe)] Option<Box<Plan<'a>>>),
    Record(
        #[arbitrary(with = word)] &'a str,
        #[arbitrary(with = nested)] Box<Plan<'a>>,
        #[arbitrary(with = maybe)] Option<Box<Plan<'a>>>,
    ),
    Pair(#[arbitrary(with = nested)] Box<Plan<'a>>, u8),
}

#[derive(Arbitrary, Debug)]
struct Entry<'a>(#[arbitrary(with = word)] &'a str, Plan<'a>);

/// Up to six, as long as there is input: the count is read first, since a `Vec` asks before each
/// item whether there is one and mostly has none or one.
fn few<'a, T: Arbitrary<'a>>(u: &mut Unstructured<'a>) -> Result<Vec<T>> {
    let count = u.int_in_range(0..=6)?;
    (0..count).map_while(|_| (!u.is_empty()).then(|| u.arbitrary())).collect()
}

/// A short text, which leaves something for what comes behind it.
fn word<'a>(u: &mut Unstructured<'a>) -> Result<&'a str> {
    let len = u.int_in_range(0..=40)?.min(u.len());
    let bytes = u.peek_bytes(len).unwrap_or_default();
    let valid = std::str::from_utf8(bytes).map_or_else(|error| error.valid_up_to(), str::len);
    Ok(std::str::from_utf8(u.bytes(valid)?).unwrap_or_default())
}

/// What a plan has below it: nothing at the end of the input, where deriving would give up.
fn nested<'a>(u: &mut Unstructured<'a>) -> Result<Box<Plan<'a>>> {
    if u.is_empty() { Ok(Box::new(Plan::Nil)) } else { u.arbitrary() }
}

fn maybe<'a>(u: &mut Unstructured<'a>) -> Result<Option<Box<Plan<'a>>>> {
    if u.arbitrary()? { nested(u).map(Some) } else { Ok(None) }
}

impl<'a> Arbitrary<'a> for Tree {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        // Several, since most plans are of a single leaf and faults lie between buffers.
        let mut plans: Vec<Plan<'_>> = [few(u)?, few(u)?].into_iter().flatten().collect();
        let plan = if plans.len() == 1 { plans.remove(0) } else { Plan::Seq(plans) };
        Ok(Builder { seen: Vec::new() }.build(plan, 0))
    }
}

struct Builder {
    /// Memory of the buffers so far.
    seen: Vec<Buffer<u8>>,
}

impl Builder {
    fn build(&mut self, plan: Plan<'_>, depth: usize) -> Tree {
        if depth > DEPTH {
            return Tree::Nil;
        }
        let mut below = |plan: Plan<'_>| self.build(plan, depth + 1);
        match plan {
            Plan::Nil => Tree::Nil,
            Plan::Bool(value) => Tree::Bool(value),
            Plan::Number(value) => Tree::Number(value),
            Plan::Wide(value) => Tree::Wide(value),
            Plan::Float(value) => Tree::Float(Float(value)),
            Plan::Text(text) => Tree::Text(text.to_owned()),
            Plan::Lent(items) => Tree::Lent(items),
            Plan::Seq(items) => Tree::Seq(items.into_iter().map(below).collect()),
            Plan::Map(items) => {
                Tree::Map(items.into_iter().map(|Entry(k, v)| (k.to_owned(), below(v))).collect())
            }
            Plan::Option(inner) => Tree::Option(inner.map(|plan| Box::new(below(*plan)))),
            Plan::Record(name, left, right) => Tree::Record {
                name: name.to_owned(),
                left: Box::new(below(*left)),
                right: right.map(|plan| Box::new(below(*plan))),
            },
            Plan::Pair(left, right) => Tree::Pair(Box::new(below(*left)), right),
            buffer => self.buffer(buffer),
        }
    }

    fn buffer(&mut self, plan: Plan<'_>) -> Tree {
        let (tree, memory) = match plan {
            Plan::Bytes(buffer) => (Tree::Bytes(buffer.clone()), buffer),
            Plan::Words(buffer) => (Tree::Words(buffer.clone()), buffer.into_bytes()),
            Plan::Longs(buffer) => (Tree::Longs(buffer.clone()), buffer.into_bytes()),
            Plan::Again(which, from, to) => {
                let Some(memory) = self.earlier(which) else { return Tree::Nil };
                let from = usize::from(from) % (memory.len() + 1);
                let to = if to == 0 { memory.len() } else { from + usize::from(to) % 64 };
                let part = memory.slice(from..to.clamp(from, memory.len()));
                (Tree::Bytes(part.clone()), part)
            }
            Plan::Cast(which) => match self.earlier(which).map(Buffer::try_cast::<u16>) {
                Some(Ok(words)) => return Tree::Words(words),
                Some(Err(bytes)) => return Tree::Bytes(bytes),
                None => return Tree::Nil,
            },
            _ => return Tree::Nil,
        };
        self.seen.push(memory);
        tree
    }

    fn earlier(&self, which: u8) -> Option<Buffer<u8>> {
        self.seen.get(usize::from(which) % self.seen.len().max(1)).cloned()
    }
}

/// What of a tree must go out of band.
#[derive(Default)]
pub(crate) struct OutOfBand {
    /// Distinct ranges of memory, with the name of their items.
    ranges: BTreeSet<(usize, usize, &'static str)>,
    lent: usize,
}

impl OutOfBand {
    /// How many descriptors there must be: one for a range however often it occurs, one for each
    /// time that bytes are only lent.
    pub(crate) fn count(&self) -> usize {
        self.ranges.len() + self.lent
    }

    pub(crate) fn add(&mut self, tree: &Tree, threshold: usize) {
        let least = threshold.max(1);
        let mut range = |bytes: Buffer<u8>, items| {
            if bytes.len() >= least {
                self.ranges.insert((bytes.as_ptr().addr(), bytes.len(), items));
            }
        };
        match tree {
            Tree::Bytes(buffer) => range(buffer.clone(), "u8"),
            Tree::Words(buffer) => range(buffer.clone().into_bytes(), "u16"),
            Tree::Longs(buffer) => range(buffer.clone().into_bytes(), "i64"),
            Tree::Lent(items) => self.lent += usize::from(4 * items.len() >= least),
            _ => tree.children().into_iter().for_each(|child| self.add(child, threshold)),
        }
    }
}

impl Tree {
    fn children(&self) -> Vec<&Tree> {
        match self {
            Tree::Seq(items) => items.iter().collect(),
            Tree::Map(items) => items.iter().map(|(_, value)| value).collect(),
            Tree::Option(inner) => inner.iter().map(|inner| &**inner).collect(),
            Tree::Record { left, right, .. } => {
                std::iter::once(&**left).chain(right.iter().map(|right| &**right)).collect()
            }
            Tree::Pair(left, _) => vec![left],
            _ => Vec::new(),
        }
    }
}

/// Two levels of the format for each of these, and it has 128.
const DEPTH: usize = 40;
