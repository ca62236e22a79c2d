//! Sound metadata, written by hand: every marker of MessagePack, short and long forms.

use serde_json::{Value as Json, json};

use crate::parts::Part;
use crate::tree::unhex;
use crate::vector::Good;

pub(crate) fn all() -> Vec<Good> {
    [markers(), integers(), floats(), texts(), shapes(), depths(), long()].concat()
}

fn by_hand(name: &str, shows: &str, metadata: &str, value: Json) -> Good {
    Good::new(name, shows, unhex(metadata)).value(value)
}

fn f32_bits(bits: &str) -> Json {
    json!({ "f32": bits })
}

fn f64_bits(bits: &str) -> Json {
    json!({ "f64": bits })
}

/// One vector for each marker, in shortest form where it has one, and in a longer form.
fn markers() -> Vec<Good> {
    let bytes = |hex: &str| json!({ "bytes": hex });
    let map = |entries: Json| json!({ "map": entries });
    let int = |digits: &str| json!({ "int": digits });
    let table = [
        ("00_positive_fixint", "93 00 01 7f", json!([0, 1, 127])),
        ("80_fixmap", "81 a1 61 80", map(json!([["a", map(json!([]))]]))),
        ("90_fixarray", "92 90 91 c0", json!([[], [null]])),
        ("a0_fixstr", "92 a0 a3 61 62 63", json!(["", "abc"])),
        ("c0_nil", "91 c0", json!([null])),
        ("c2_false", "91 c2", json!([false])),
        ("c3_true", "91 c3", json!([true])),
        ("c4_bin8", "92 c4 00 c4 02 ff 00", json!([bytes(""), bytes("ff00")])),
        ("c5_bin16", "92 c5 00 00 c5 00 02 ff 00", json!([bytes(""), bytes("ff00")])),
        ("c6_bin32", "92 c6 00000000 c6 00000002 ff 00", json!([bytes(""), bytes("ff00")])),
        ("ca_float32", "91 ca 3fc00000", json!([f32_bits("3fc00000")])),
        ("cb_float64", "91 cb 3ff8000000000000", json!([f64_bits("3ff8000000000000")])),
        ("cc_uint8", "93 cc 00 cc 80 cc ff", json!([0, 128, 255])),
        ("cd_uint16", "94 cd 0000 cd 0080 cd 0100 cd ffff", json!([0, 128, 256, 65535])),
        (
            "ce_uint32",
            "94 ce 00000000 ce 0000ffff ce 00010000 ce ffffffff",
            json!([0, 65535, 65536, 4_294_967_295_u32]),
        ),
        (
            "cf_uint64",
            "93 cf 0000000000000000 cf 0000000100000000 cf ffffffffffffffff",
            json!([0, 4_294_967_296_u64, int("18446744073709551615")]),
        ),
        ("d0_int8", "94 d0 00 d0 7f d0 ff d0 80", json!([0, 127, -1, -128])),
        ("d1_int16", "94 d1 0000 d1 7fff d1 ffff d1 8000", json!([0, 32767, -1, -32768])),
        (
            "d2_int32",
            "94 d2 00000000 d2 7fffffff d2 ffffffff d2 80000000",
            json!([0, i32::MAX, -1, i32::MIN]),
        ),
        (
            "d3_int64",
            "94 d3 0000000000000000 d3 7fffffffffffffff d3 ffffffffffffffff d3 8000000000000000",
            json!([0, int("9223372036854775807"), -1, int("-9223372036854775808")]),
        ),
        ("d9_str8", "92 d9 00 d9 03 61 62 63", json!(["", "abc"])),
        ("da_str16", "92 da 0000 da 0003 61 62 63", json!(["", "abc"])),
        ("db_str32", "92 db 00000000 db 00000003 61 62 63", json!(["", "abc"])),
        ("dc_array16", "92 dc 0000 dc 0002 c2 c3", json!([[], [false, true]])),
        ("dd_array32", "92 dd 00000000 dd 00000002 c2 c3", json!([[], [false, true]])),
        ("de_map16", "92 de 0000 de 0001 07 c3", json!([map(json!([])), map(json!([[7, true]]))])),
        (
            "df_map32",
            "92 df 00000000 df 00000001 07 c3",
            json!([map(json!([])), map(json!([[7, true]]))]),
        ),
        ("e0_negative_fixint", "92 ff e0", json!([-1, -32])),
    ];
    let shows = "The marker that the name tells, in its shortest form and in others.";
    let vector = |(name, hex, value)| by_hand(&format!("marker_{name}"), shows, hex, value);
    table.into_iter().map(vector).collect()
}

fn integers() -> Vec<Good> {
    let positive = "9a 00 7f cc80 ccff cd0100 cdffff ce00010000 ceffffffff cf0000000100000000 \
        cfffffffffffffffff";
    let negative = "9a ff e0 d0df d080 d1ff7f d18000 d2ffff7fff d280000000 d3ffffffff7fffffff \
        d38000000000000000";
    let exact = "94 cf0020000000000000 cf0020000000000001 d3ffe0000000000000 d3ffdfffffffffffff";
    let int = |digits: &str| json!({ "int": digits });
    vec![
        by_hand(
            "integers_positive",
            "The edges of each width, in shortest form.",
            positive,
            json!([
                0,
                127,
                128,
                255,
                256,
                65535,
                65536,
                4_294_967_295_u32,
                4_294_967_296_u64,
                int("18446744073709551615")
            ]),
        ),
        by_hand(
            "integers_negative",
            "The edges of each width, in shortest form.",
            negative,
            json!([
                -1,
                -32,
                -33,
                -128,
                -129,
                -32768,
                -32769,
                i32::MIN,
                -2_147_483_649_i64,
                int("-9223372036854775808")
            ]),
        ),
        by_hand(
            "integers_near_2_53",
            "2^53 and one more, of both signs: JSON writes the second ones as digits.",
            exact,
            json!([
                9_007_199_254_740_992_i64,
                int("9007199254740993"),
                -9_007_199_254_740_992_i64,
                int("-9007199254740993")
            ]),
        ),
    ]
}

fn floats() -> Vec<Good> {
    let singles = "97 ca7fc00000 caffc00001 ca80000000 ca7f800000 caff800000 ca00000001 ca7f7fffff";
    let doubles = "97 cb7ff8000000000000 cbfff8000000000001 cb8000000000000000 \
        cb7ff0000000000000 cbfff0000000000000 cb0000000000000001 cb7fefffffffffffff";
    let bits = |names: &[&str], of: fn(&str) -> Json| names.iter().map(|bits| of(bits)).collect();
    let of_32 =
        ["7fc00000", "ffc00001", "80000000", "7f800000", "ff800000", "00000001", "7f7fffff"];
    let of_64 = [
        "7ff8000000000000",
        "fff8000000000001",
        "8000000000000000",
        "7ff0000000000000",
        "fff0000000000000",
        "0000000000000001",
        "7fefffffffffffff",
    ];
    let shows = "NaN (two of them), -0, the infinities, the smallest and the largest number.";
    vec![
        by_hand("floats_32", shows, singles, bits(&of_32, f32_bits)),
        by_hand("floats_64", shows, doubles, bits(&of_64, f64_bits)),
    ]
}

fn texts() -> Vec<Good> {
    let letters = |count| vec![b'q'; count];
    vec![
        by_hand(
            "text_utf8",
            "One to four bytes a character, the last one that there is, and U+0000.",
            "97 a1 41 a2 c3a4 a3 e2 82 ac a4 f09f8e92 a4 f4 8f bf bf a1 00 a3 ef bf bf",
            json!(["A", "ä", "€", "🎒", "\u{10ffff}", "\0", "\u{ffff}"]),
        ),
        by_hand(
            "text_next_to_surrogates",
            "U+D7FF and U+E000.",
            "92 a3 ed 9f bf a3 ee 80 80",
            json!(["\u{d7ff}", "\u{e000}"]),
        ),
        Good::new("text_31", "The longest fixstr.", [&[0xbf][..], &letters(31)].concat()),
        Good::new("text_32", "The shortest str 8.", [&[0xd9, 32][..], &letters(32)].concat()),
        Good::new("text_255", "The longest str 8.", [&[0xd9, 255][..], &letters(255)].concat()),
        Good::new("text_256", "The shortest str 16.", [&[0xda, 1, 0][..], &letters(256)].concat()),
        Good::new(
            "text_16_and_17",
            "Not ASCII at the end of 16 and of 17 bytes.",
            [&[0x92, 0xb0][..], &letters(14), &[0xc3, 0xa4, 0xb1], &letters(15), &[0xc3, 0xa4]]
                .concat(),
        ),
    ]
}

fn shapes() -> Vec<Good> {
    let map = |entries: Json| json!({ "map": entries });
    let entries = |count: u8| (0..count).flat_map(|key| [key, 0xe0 + key]).collect::<Vec<_>>();
    vec![
        by_hand(
            "map_order",
            "Entries keep their order; a key may come twice.",
            "84 a1 62 01 a1 61 02 a1 62 03 a0 04",
            map(json!([["b", 1], ["a", 2], ["b", 3], ["", 4]])),
        ),
        by_hand(
            "map_keys",
            "A key may be any value.",
            "87 c0 00 c3 01 05 02 ca7fc00000 03 c4 01 ff 04 91 07 05 81 01 02 06",
            map(json!([
                [null, 0],
                [true, 1],
                [5, 2],
                [f32_bits("7fc00000"), 3],
                [{"bytes": "ff"}, 4],
                [[7], 5],
                [map(json!([[1, 2]])), 6]
            ])),
        ),
        Good::new("array_15", "The longest fixarray.", [vec![0x9f], vec![0xc0; 15]].concat()),
        Good::new(
            "array_16",
            "The shortest array 16.",
            [vec![0xdc, 0, 16], vec![0xc0; 16]].concat(),
        ),
        Good::new("map_15", "The longest fixmap.", [vec![0x8f], entries(15)].concat()),
        Good::new("map_16", "The shortest map 16.", [vec![0xde, 0, 16], entries(16)].concat()),
        Good::new(
            "bytes_255_and_256",
            "The longest bin 8 and the shortest bin 16.",
            [vec![0x92, 0xc4, 255], vec![1; 255], vec![0xc5, 1, 0], vec![2; 256]].concat(),
        ),
    ]
}

fn depths() -> Vec<Good> {
    let arrays = |levels: usize| [0x91].repeat(levels);
    let variants = |levels: usize| [0x81, 0xa1, b'V'].repeat(levels);
    vec![
        Good::new(
            "depth_arrays",
            "128 arrays inside each other.",
            [arrays(128), vec![0xc0]].concat(),
        ),
        Good::new(
            "depth_empty",
            "The innermost of 128 arrays is empty.",
            [arrays(127), vec![0x90]].concat(),
        ),
        Good::new(
            "depth_variants",
            "128 maps of one entry inside each other.",
            [variants(128), vec![0xa1, b'E']].concat(),
        ),
        Good::new(
            "depth_mixed",
            "64 maps around 64 arrays, twice side by side at the same depth.",
            [&variants(63)[..], &[0x92], &arrays(64), &[0xc0], &arrays(64), &[0xc2]].concat(),
        ),
        Good::new(
            "depth_of_keys",
            "A key counts as its map's content.",
            [arrays(126), vec![0x81, 0x91, 0x01, 0x02]].concat(),
        ),
    ]
}

/// Beyond two bytes of length; told by their parts.
fn long() -> Vec<Good> {
    const COUNT: usize = 65_536;
    let entry = [0x07, 0xc3];
    let with = |header: &[u8], item: &[u8]| [header, &item.repeat(COUNT)].concat();
    vec![
        Good::new("long_text", "The shortest str 32.", with(&[0xdb, 0, 1, 0, 0], b"t")),
        Good::new("long_bytes", "The shortest bin 32.", with(&[0xc6, 0, 1, 0, 0], &[0xb1])),
        Good::new("long_array", "The shortest array 32.", with(&[0xdd, 0, 1, 0, 0], &[0xc0])),
        Good::new(
            "long_map",
            "The shortest map 32, all entries the same.",
            with(&[0xdf, 0, 1, 0, 0], &entry),
        )
        .parts(vec![(37, vec![Part::repeat(&entry, 65_536)])]),
    ]
}
