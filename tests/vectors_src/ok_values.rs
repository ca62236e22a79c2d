//! What the library's encoder makes of Rust values, in both profiles.

use std::collections::BTreeMap;

use pannier::frame::Frame;
use pannier::{Buffer, Encoder, Limits};
use serde::{Serialize, Serializer};

use crate::parts::{Part, xorshift};
use crate::vector::Good;

#[derive(Serialize)]
struct Job {
    id: u16,
    x: Buffer<f32>,
    y: Buffer<f32>,
}

#[derive(Serialize)]
struct Unit;
#[derive(Serialize)]
struct Wrapped(u32);
#[derive(Serialize)]
struct Pair(u8, String);

#[derive(Serialize)]
struct Named {
    id: u64,
    label: Option<String>,
    inner: Inner,
}

#[derive(Serialize)]
struct Inner {
    on: bool,
    weights: [f32; 2],
}

#[derive(Serialize)]
enum Shape {
    Nothing,
    Circle(f64),
    Line(i16, i16),
    Box { width: u8, height: u8 },
}

struct Bytes(Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(&self.0)
    }
}

pub(crate) fn all() -> Vec<Good> {
    [vec![worked_example()], both_profiles(), scalars(), buffers(), of_another_type()].concat()
}

/// The example of the format's document.
fn worked_example() -> Good {
    let x = Buffer::from(vec![1_f32, 2.0, 3.0]);
    let job = Job { id: 300, y: x.clone(), x };
    let frame = Encoder::new().tag(7).checksum(true).threshold(8).to_vec(&job).unwrap();
    let shows = "The worked example of the format's document, byte for byte.";
    Good::encoded("worked_example", shows, &frame).profile("named")
}

fn encoded<T: Serialize>(name: &str, shows: &str, encoder: &Encoder, value: &T) -> Good {
    Good::encoded(name, shows, &encoder.to_vec(value).unwrap())
}

fn both_profiles() -> Vec<Good> {
    let inner = || Inner { on: true, weights: [0.5, -2.0] };
    let named = |label: Option<&str>| Named {
        id: 1 << 40,
        label: label.map(str::to_owned),
        inner: inner(),
    };
    let shapes = [
        Shape::Nothing,
        Shape::Circle(1.5),
        Shape::Line(-1, 300),
        Shape::Box { width: 3, height: 200 },
    ];
    let mut vectors = Vec::new();
    for (profile, compact) in [("named", false), ("compact", true)] {
        let encoder = Encoder::new().compact(compact);
        let mut add = |good: Good| vectors.push(good.profile(profile));
        let pair = (named(Some("a label")), named(None));
        let structs = "Structs inside a struct; Option as the value or nil.";
        add(encoded(&format!("struct_{profile}"), structs, &encoder, &pair));
        let enums = "Enum variants: unit, newtype, tuple, struct.";
        add(encoded(&format!("enum_{profile}"), enums, &encoder, &shapes));
    }
    vectors
}

fn scalars() -> Vec<Good> {
    let encoder = Encoder::new();
    let map = BTreeMap::from([("one", 1_u8), ("two", 2)]);
    let wide = (i128::MIN, -1_i128, u128::MAX, 0_u128);
    vec![
        encoded("value_unit", "A unit struct is nil.", &encoder, &Unit),
        encoded("value_newtype", "A newtype struct is what it holds.", &encoder, &Wrapped(70_000)),
        encoded("value_tuple", "A tuple struct is an array.", &encoder, &Pair(1, "b".to_owned())),
        encoded(
            "value_option",
            "Some is its value, None is nil, and Some(None) is nil too.",
            &encoder,
            &(Some(5), None::<u8>, Some(None::<u8>), Some(Some(6))),
        ),
        encoded("value_128_bits", "128-bit integers are 16 bytes, big-endian.", &encoder, &wide),
        encoded("value_char", "A character is a string.", &encoder, &('x', '🎒')),
        encoded("value_floats", "Floats keep their width.", &encoder, &(0.1_f32, 0.1_f64)),
        encoded("value_map", "A map in its own order.", &encoder, &map),
        encoded("value_sequence", "A vector of bytes as numbers.", &encoder, &vec![1_u8, 200]),
        encoded("value_bytes", "A byte string below the threshold.", &encoder, &Bytes(vec![9; 20])),
    ]
}

fn buffers() -> Vec<Good> {
    let doubles: Buffer<f64> = vec![0.5, -0.0, f64::INFINITY].into();
    let small = Encoder::new().threshold(1);
    let empty: Buffer<f64> = Vec::new().into();
    let points: Buffer<[f32; 2]> = vec![[1.0, 2.0], [3.0, 4.0]].into();
    let repeated = (&doubles, &doubles, doubles.slice(1..), doubles.clone().into_bytes());
    let mixed = (Bytes(vec![7; 5]), Buffer::from(vec![1_u8, 2]), points);
    let wide = (Buffer::from(vec![-1_i128]), Buffer::from(vec![u16::MAX; 3]));
    vec![
        encoded(
            "buffer_in_band",
            "Below the threshold a buffer is bytes.",
            &Encoder::new(),
            &doubles,
        ),
        encoded(
            "buffer_empty",
            "An empty buffer is never out of band.",
            &small,
            &(empty, &doubles),
        ),
        encoded(
            "buffer_repeated",
            "A repeat of the same range and kind is a reference; a slice and a cast are not.",
            &small,
            &repeated,
        ),
        encoded("buffer_opaque", "Bytes and application types are opaque.", &small, &mixed),
        encoded("buffer_kinds", "An i128 and three u16.", &small.clone().checksum(true), &wide),
        encoded(
            "buffer_page_aligned",
            "Alignment 2^12, for files.",
            &small.clone().page_aligned(true).checksum(true),
            &doubles,
        ),
    ]
}

/// Sound frames that only decoding into a Rust type refuses.
fn of_another_type() -> Vec<Good> {
    const SOUND: &str = "Sound by checking; refused only as";
    let encoder = Encoder::new();
    // All bytes the same, so that the frame is told in few words.
    let doubles = Buffer::from(vec![f64::from_bits(0x3f3f_3f3f_3f3f_3f3f); 1024]);
    let with = |len| (doubles.clone(), Buffer::from(vec![1_u8; len]), doubles.clone(), "x");
    let shows = |what: &str| format!("{SOUND} {what}.");
    let two = [0x82, 0xa3, b'E', b'n', b'd', 0xc0, 0xa4, b'L', b'i', b'n', b'k', 0xc0];
    vec![
        Good::new("type_two_entries", &shows("an enum"), two.to_vec()),
        repeats(&shows("byte vectors with repeat_bytes = 1 MiB")),
        encoded("type_5001_bytes", &shows("a view of f64"), &encoder, &with(5001)),
        encoded("type_four_items", &shows("a pair"), &encoder, &with(5000)),
        encoded("type_integer", &shows("a string"), &encoder, &5),
        encoded("type_negative", &shows("an unsigned integer"), &encoder, &-1),
    ]
}

/// 1 MiB and 64 references to it.
fn repeats(shows: &str) -> Good {
    const LEN: usize = 1 << 20;
    const SEED: u64 = 59;
    let mebibyte: Buffer<u8> = xorshift(SEED, LEN).into();
    let frame = Encoder::new().to_vec(&vec![mebibyte; 64]).unwrap();
    let offset = Frame::parse(&frame, &Limits::default()).unwrap().descriptor(0).unwrap().offset;
    let part = Part::Xorshift { seed: SEED, len: LEN };
    let offset = usize::try_from(offset).unwrap();
    Good::encoded("type_repeats", shows, &frame).parts(vec![(offset, vec![part])])
}
