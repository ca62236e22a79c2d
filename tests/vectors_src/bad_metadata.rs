//! Bad frames by their metadata.

use pannier::frame::Kind;
use pannier::{Limits, MetaFault};

use crate::base::{base, frame, meta, with};
use crate::ok_large::parts_of_alike;
use crate::ok_layout::references_to;
use crate::parts::Part;
use crate::tree::unhex;
use crate::vector::Bad;
use MetaFault::*;

pub(crate) fn all() -> Vec<Bad> {
    [usual(), ends(), texts(), lengths(), extensions(), references(), structure(), depths()]
        .concat()
}

/// Name, what it shows, metadata, buffers of one byte, position, reason.
type Line = (&'static str, &'static str, &'static str, usize, u64, MetaFault);

fn vectors(lines: &[Line]) -> Vec<Bad> {
    let vector = |&(name, shows, metadata, buffers, at, why): &Line| {
        bad(name, shows, &unhex(metadata), buffers, at, why)
    };
    lines.iter().map(vector).collect()
}

fn bad(name: &str, shows: &str, metadata: &[u8], buffers: usize, at: u64, why: MetaFault) -> Bad {
    let frame = frame(metadata, &vec![(Kind::OPAQUE, &[7_u8][..]); buffers], false);
    Bad::new(&format!("meta_{name}"), shows, frame, meta(at, why))
}

/// One for each reason.
fn usual() -> Vec<Bad> {
    let mut all = vectors(&[
        ("eof_in_string", "Ends inside a string.", "a5 61 62", 0, 1, Eof),
        ("reserved_c1", "Byte C1.", "c1", 0, 0, Reserved),
        ("utf8_ff", "A string that is not UTF-8.", "a1 ff", 0, 1, Utf8),
        ("length_array32", "4 billion items in 6 bytes.", "dd ffffffff 00", 0, 5, Length),
        ("length_map16", "65535 entries in 4 bytes.", "de ffff 00", 0, 3, Length),
        ("trailing", "A second value.", "c0 c0", 0, 1, Trailing),
        ("ext_timestamp", "A timestamp.", "d6 ff 00000000", 0, 0, UnknownExt),
        ("reference_of_8", "A reference of 8 bytes.", "d7 70 0000000000000000", 0, 0, ExtLen),
        ("reference_to_none", "Buffer 0 of none.", "d4 70 00", 0, 0, RefRange),
        ("reference_too_long", "Two bytes for buffer 0.", "d5 70 0000", 0, 0, ExtLen),
    ]);
    let shows = "The first reference is to buffer 1.";
    let order = with(base(), 32 + 3, &[1]);
    all.push(Bad::new("meta_base_order", shows, order, meta(1, RefOrder)));
    let unused = with(base(), 32 + 6, &[0]);
    let shows = "A buffer is never referenced.";
    all.push(Bad::new("meta_base_unreferenced", shows, unused, meta(12, Unreferenced)));
    all
}

/// The metadata ends inside each kind of value: behind the marker, and behind its length.
fn ends() -> Vec<Bad> {
    let table = [
        ("c4_length", "c4", 1),
        ("c4_payload", "c4 02 00", 2),
        ("c5_length", "c5 00", 1),
        ("c5_payload", "c5 0002 00", 3),
        ("c6_length", "c6 000000", 1),
        ("c6_payload", "c6 00000002 00", 5),
        ("c6_huge", "c6 ffffffff", 5),
        ("c7_length", "c7", 1),
        ("c7_type", "c7 01", 2),
        ("c7_payload", "c7 01 70", 2),
        ("c8_length", "c8 00", 1),
        ("c8_payload", "c8 0001 70", 3),
        ("c9_length", "c9 000000", 1),
        ("c9_payload", "c9 00000001 70", 5),
        ("ca", "ca 000000", 1),
        ("cb", "cb 00000000000000", 1),
        ("cc", "cc", 1),
        ("cd", "cd 00", 1),
        ("ce", "ce 000000", 1),
        ("cf", "cf 00000000000000", 1),
        ("d0", "d0", 1),
        ("d1", "d1 00", 1),
        ("d2", "d2 000000", 1),
        ("d3", "d3 00000000000000", 1),
        ("d4_type", "d4", 1),
        ("d4_payload", "d4 70", 1),
        ("d5", "d5 70 00", 1),
        ("d6", "d6 70 000000", 1),
        ("d7", "d7 70 00", 1),
        ("d8", "d8 70 00", 1),
        ("d4_of_unknown_type", "d4 05", 1),
        ("d9_length", "d9", 1),
        ("d9_payload", "d9 02 61", 2),
        ("da_length", "da 00", 1),
        ("da_payload", "da 0002 61", 3),
        ("db_length", "db 000000", 1),
        ("db_payload", "db 00000002 61", 5),
        ("dc_length", "dc 00", 1),
        ("dd_length", "dd 000000", 1),
        ("de_length", "de 00", 1),
        ("df_length", "df 000000", 1),
        ("a1", "a1", 1),
        ("bf", "bf 61", 1),
        ("missing_item", "92 92 c0 c0", 4),
        ("missing_value", "82 01 a1 61 02", 5),
        ("missing_key", "92 81 01 c0", 4),
        ("not_utf8_too", "a2 ff", 1),
    ];
    let shows = "The metadata ends inside the value, or where one should begin.";
    let vector =
        |(name, metadata, at)| bad(&format!("eof_{name}"), shows, &unhex(metadata), 0, at, Eof);
    table.into_iter().map(vector).collect()
}

/// The position is that of the text and not of the byte in it.
fn texts() -> Vec<Bad> {
    let mut all = vectors(&[
        ("utf8_str8", "In a str 8.", "d9 02 41 80", 0, 2, Utf8),
        ("utf8_str16", "In a str 16.", "da 0001 80", 0, 3, Utf8),
        ("utf8_str32", "In a str 32.", "db 00000001 80", 0, 5, Utf8),
        ("utf8_key", "In the key of a map.", "81 a2 61 ff c0", 0, 2, Utf8),
        ("utf8_second_key", "In the second key of a map.", "82 a1 61 c0 a1 fe c0", 0, 5, Utf8),
        ("utf8_nested", "In an array, behind sound text.", "92 a1 61 a3 62 63 c3", 0, 4, Utf8),
        ("utf8_overlong", "U+0000 in two bytes.", "a2 c0 80", 0, 1, Utf8),
        ("utf8_overlong_3", "A slash in three bytes.", "a3 e0 80 af", 0, 1, Utf8),
        ("utf8_surrogate", "U+D800.", "a3 ed a0 80", 0, 1, Utf8),
        ("utf8_surrogate_pair", "A pair.", "a6 ed a0 bc ed be 92", 0, 1, Utf8),
        ("utf8_too_high", "U+110000.", "a4 f4 90 80 80", 0, 1, Utf8),
        ("utf8_five_bytes", "A lead byte of five.", "a5 f8 88 80 80 80", 0, 1, Utf8),
        ("utf8_cut", "A character is cut.", "a2 e2 82", 0, 1, Utf8),
        ("utf8_cut_before_text", "It goes on elsewhere.", "92 a2 e2 82 a1 ac", 0, 2, Utf8),
    ]);
    for len in [16_u8, 17] {
        let text = [&[0xa0 | len][..], &vec![b'q'; usize::from(len) - 1], &[0x80]].concat();
        let shows = "The last byte goes on with nothing.";
        all.push(bad(&format!("utf8_end_of_{len}"), shows, &text, 0, 1, Utf8));
    }
    all
}

/// An array of n needs n bytes behind it, a map 2n.
fn lengths() -> Vec<Bad> {
    vectors(&[
        ("length_fixarray", "15 items in none.", "9f", 0, 1, Length),
        ("length_fixarray_1", "3 items in 2 bytes.", "93 c0 c0", 0, 1, Length),
        ("length_array16", "256 items in 2 bytes.", "dc 0100 c0 c0", 0, 3, Length),
        ("length_fixmap", "An entry in one byte.", "81 c0", 0, 1, Length),
        ("length_fixmap_2n", "2 entries in 3 bytes.", "82 c0 c0 c0", 0, 1, Length),
        ("length_map32", "2^32-1 entries: twice as many bytes.", "df ffffffff 00", 0, 5, Length),
        ("length_map32_half", "2^31 entries: 2^32 bytes.", "df 80000000 00", 0, 5, Length),
        ("length_nested", "In an array.", "92 c0 dc 0005 c0", 0, 5, Length),
        (
            "length_counts_bytes",
            "Bytes of the last item count.",
            "92 a3 616263 93 c0",
            0,
            6,
            Length,
        ),
        ("length_before_items", "Before a bad first item.", "93 c1", 0, 1, Length),
        ("length_of_key", "A key that is an array.", "81 92 c0 ", 0, 2, Length),
    ])
}

fn extensions() -> Vec<Bad> {
    vectors(&[
        ("ext_0", "Type 0.", "d4 00 00", 1, 0, UnknownExt),
        ("ext_6f", "The type before.", "d4 6f 00", 1, 0, UnknownExt),
        ("ext_71", "The type behind.", "d4 71 00", 1, 0, UnknownExt),
        ("ext_f0", "The type with a sign.", "d4 f0 00", 1, 0, UnknownExt),
        (
            "ext_fixext16",
            "A fixext 16.",
            "d8 01 00000000000000000000000000000000",
            0,
            0,
            UnknownExt,
        ),
        ("ext_ext8", "An ext 8, in an array.", "92 c0 c7 01 01 00", 0, 2, UnknownExt),
        ("ext_ext16", "An ext 16.", "c8 0001 01 00", 0, 0, UnknownExt),
        ("ext_ext32", "An ext 32.", "c9 00000001 01 00", 0, 0, UnknownExt),
        ("ext_ext8_empty", "An empty ext 8.", "c7 00 01", 0, 0, UnknownExt),
        ("reference_empty", "A reference of no bytes.", "c7 00 70", 1, 0, ExtLen),
        ("reference_of_3", "A reference of 3 bytes.", "c7 03 70 000000", 1, 0, ExtLen),
        ("reference_of_5", "A reference of 5 bytes.", "c7 05 70 0000000000", 1, 0, ExtLen),
        ("reference_fixext4", "Four bytes for buffer 0.", "d6 70 00000000", 1, 0, ExtLen),
        ("reference_fixext4_ffff", "Four bytes for 65535.", "d6 70 ffff0000", 1, 0, ExtLen),
        ("reference_fixext2_ff", "Two bytes for 255.", "d5 70 ff00", 1, 0, ExtLen),
        ("reference_fixext16", "16 bytes.", "d8 70 00000000000000000000000000000000", 1, 0, ExtLen),
        ("reference_ext8_of_2", "Two bytes for 0.", "c7 02 70 0000", 1, 0, ExtLen),
        ("reference_ext8_of_4", "Four bytes for 0.", "c7 04 70 00000000", 1, 0, ExtLen),
        ("reference_ext16", "As ext 16.", "c8 0001 70 00", 1, 0, ExtLen),
        ("reference_ext32", "As ext 32.", "c9 00000001 70 00", 1, 0, ExtLen),
        ("reference_big_endian", "Big-endian 1 is 256.", "92 d4 70 00 d5 70 0001", 2, 4, RefRange),
    ])
}

fn references() -> Vec<Bad> {
    let mut skipped = references_to(300);
    let last = skipped.len() - 4;
    skipped.truncate(last);
    skipped.extend(unhex("d4 70 ff"));
    let mut parts = parts_of_alike(&skipped, 300);
    if let Some(Part::Repeat { times, .. }) = parts[0].1.last_mut() {
        *times -= 1;
    }
    let mut all = vectors(&[
        ("range_1", "Buffer 1 of one.", "92 d4 70 00 d4 70 01", 1, 4, RefRange),
        ("range_before_order", "Buffer 2 of two, first.", "d4 70 02", 2, 0, RefRange),
        ("range_two_bytes", "Buffer 256 of one.", "d5 70 0001", 1, 0, RefRange),
        ("range_four_bytes", "Buffer 65536 of one.", "d6 70 00000100", 1, 0, RefRange),
        ("range_largest", "Buffer 2^32-1 of one.", "d6 70 ffffffff", 1, 0, RefRange),
        ("range_ext8", "As ext 8.", "c7 01 70 05", 1, 0, RefRange),
        ("order_skipped", "0, then 2.", "93 d4 70 00 d4 70 02 d4 70 01", 3, 4, RefOrder),
        ("order_alone", "Buffer 1 of two, and nothing more.", "d4 70 01", 2, 0, RefOrder),
        ("order_after_repeat", "0, 0, 2.", "93 d4 70 00 d4 70 00 d4 70 02", 3, 7, RefOrder),
        ("order_in_key", "In a key.", "82 d4 70 00 c0 d4 70 02 d4 70 01", 3, 5, RefOrder),
        ("unreferenced", "A buffer and no reference.", "c0", 1, 1, Unreferenced),
        ("unreferenced_last", "The last of three.", "92 d4 70 00 d4 70 01", 3, 7, Unreferenced),
        (
            "unreferenced_repeat",
            "A repeat is no use of it.",
            "92 d4 70 00 d4 70 00",
            2,
            7,
            Unreferenced,
        ),
    ]);
    let end = u64::try_from(skipped.len()).unwrap();
    let shows = "The last of 300: in its place an earlier one again.";
    let unused = bad("unreferenced_299", shows, &skipped, 300, end, Unreferenced);
    all.push(unused.parts(parts));
    all
}

fn structure() -> Vec<Bad> {
    vectors(&[
        ("reserved_in_array", "As an item.", "93 c0 c1 c0", 0, 2, Reserved),
        ("reserved_as_key", "As a key.", "81 c1 c0", 0, 1, Reserved),
        ("reserved_as_value", "As a value.", "81 a1 61 c1", 0, 3, Reserved),
        ("trailing_array", "Behind an array.", "91 c0 90", 0, 2, Trailing),
        ("trailing_empty_map", "Behind an empty map.", "80 00", 0, 1, Trailing),
        ("trailing_string", "Behind a string.", "a1 61 61", 0, 2, Trailing),
        ("trailing_reference", "Behind a reference.", "d4 70 00 d4 70 00", 1, 3, Trailing),
        ("trailing_is_not_read", "What follows is bad too.", "c0 c1", 0, 1, Trailing),
        ("trailing_and_unreferenced", "Both.", "c0 c0", 1, 1, Trailing),
        ("trailing_zero", "A zero is a value and no padding.", "c3 00", 0, 1, Trailing),
    ])
}

fn depths() -> Vec<Bad> {
    let arrays = |levels: usize| [0x91].repeat(levels);
    let lowered = |bad: Bad, depth| bad.limits(Limits::default().depth(depth));
    let variants = [[0x81, 0xa1, b'V'].repeat(100_000), vec![0xc0]].concat();
    let repeated = vec![(32, vec![Part::repeat(&[0x81, 0xa1, b'V'], 100_000)])];
    let maps = [[0x81, 0x01].repeat(129), vec![0xc0]].concat();
    let key = [arrays(127), vec![0x81, 0x91, 0x01, 0x02]].concat();
    let wide = [arrays(128), vec![0xdc, 0, 1, 0xc0]].concat();
    let empty = [arrays(128), vec![0x90]].concat();
    let both = [arrays(128), vec![0x9f]].concat();
    let items = |levels| [arrays(levels), vec![0xc0]].concat();
    vec![
        bad("depth_variants", "100,000 enum variants.", &variants, 0, 385, Depth).parts(repeated),
        bad("depth_arrays", "129 arrays.", &items(129), 0, 129, Depth),
        bad("depth_maps", "129 maps.", &maps, 0, 257, Depth),
        bad("depth_empty", "The innermost of 129 is empty.", &empty, 0, 129, Depth),
        bad("depth_of_key", "In a key, level 129.", &key, 0, 129, Depth),
        bad("depth_array16", "Behind the marker and its length.", &wide, 0, 131, Depth),
        bad("depth_before_length", "Too deep and too long.", &both, 0, 129, Depth),
        lowered(bad("depth_lowered", "A limit of 3.", &items(4), 0, 4, Depth), 3),
        lowered(bad("depth_0", "A limit of 0.", &[0x90], 0, 1, Depth), 0),
        lowered(
            bad(
                "depth_second_branch",
                "Side by side: the second.",
                &unhex("92 91 c0 91 91 c0"),
                0,
                5,
                Depth,
            ),
            2,
        ),
    ]
}
