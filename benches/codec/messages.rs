//! Groups `small` and `structs`: one message of about 90 bytes, and a thousand of them.
//!
//! Everybody writes the same value to a new `Vec<u8>` and reads it back to an owned value. They
//! differ in what they write: pannier a whole frame (header, field names), rmp-serde the same
//! MessagePack without the header, `compact` and the others no field names. wincode is what
//! bincode's authors name as its successor: the same bytes, but traits of its own instead of serde.

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput};
use pannier::Encoder;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use wincode::{SchemaRead, SchemaWrite};

pub(crate) fn bench(criterion: &mut Criterion) {
    directions(criterion, "small", 1, &Message::number(7));
    let messages: Vec<Message> = (0..MANY).map(Message::number).collect();
    directions(criterion, "structs", MANY, &messages);
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, SchemaWrite, SchemaRead)]
struct Message {
    sequence: u64,
    sender: u32,
    subject: String,
    ratio: f64,
    tags: Vec<u16>,
    urgent: bool,
}

impl Message {
    /// 92 bytes in MessagePack with field names.
    fn number(number: u64) -> Self {
        Message {
            sequence: (1 << 40) + number,
            sender: 1 << 20,
            subject: "column of rain".to_owned(),
            ratio: 0.618,
            tags: vec![300, 400, 500],
            urgent: false,
        }
    }
}

fn directions<T>(criterion: &mut Criterion, name: &str, messages: u64, value: &T)
where
    T: Serialize + DeserializeOwned + PartialEq,
    T: wincode::Serialize<Src = T>,
    for<'de> T: wincode::Deserialize<'de, Dst = T>,
{
    let mut group = criterion.benchmark_group(format!("{name}/encode"));
    group.throughput(Throughput::Elements(messages));
    encode(&mut group, value);
    group.finish();
    let mut group = criterion.benchmark_group(format!("{name}/decode"));
    group.throughput(Throughput::Elements(messages));
    decode(&mut group, value);
    group.finish();
}

fn encode<T>(group: &mut BenchmarkGroup<'_, WallTime>, value: &T)
where
    T: Serialize + wincode::Serialize<Src = T>,
{
    let compact = Encoder::new().compact(true);
    group.bench_function("pannier", |b| b.iter(|| pannier::to_vec(value)));
    group.bench_function("pannier compact", |b| b.iter(|| compact.to_vec(value)));
    group.bench_function("rmp-serde", |b| b.iter(|| rmp_serde::to_vec_named(value)));
    group.bench_function("postcard", |b| b.iter(|| postcard::to_stdvec(value)));
    group.bench_function("wincode", |b| b.iter(|| wincode::serialize(value)));
}

fn decode<T>(group: &mut BenchmarkGroup<'_, WallTime>, value: &T)
where
    T: Serialize + DeserializeOwned + PartialEq,
    T: wincode::Serialize<Src = T>,
    for<'de> T: wincode::Deserialize<'de, Dst = T>,
{
    let framed = pannier::to_vec(value).expect("a plain value");
    let compact = Encoder::new().compact(true).to_vec(value).expect("a plain value");
    let named = rmp_serde::to_vec_named(value).expect("a plain value");
    let post = postcard::to_stdvec(value).expect("a plain value");
    let win = wincode::serialize(value).expect("a plain value");
    reads(group, "pannier", value, || pannier::from_slice::<T>(&framed).ok());
    reads(group, "pannier compact", value, || pannier::from_slice::<T>(&compact).ok());
    reads(group, "rmp-serde", value, || rmp_serde::from_slice::<T>(&named).ok());
    reads(group, "postcard", value, || postcard::from_bytes::<T>(&post).ok());
    reads(group, "wincode", value, || wincode::deserialize::<T>(&win).ok());
}

/// The value is right; dropping it is measured too.
fn reads<T: PartialEq>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    who: &str,
    value: &T,
    read: impl Fn() -> Option<T>,
) {
    assert!(read().as_ref() == Some(value), "{who} reads what it wrote");
    group.bench_function(who, |b| b.iter(&read));
}

const MANY: u64 = 1_000;
