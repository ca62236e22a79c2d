//! Bad frames by their header, length, padding and checksums; and cut ones.

use pannier::frame::Kind;
use pannier::{FrameError, LimitKind, Limits, MetaFault};

use crate::base::{
    HEAD_LEN, Overlaid, SECOND, base, frame, frame_len, head_error, limit, meta, sealed, small,
    truncated, with,
};
use crate::ok_layout::references_to;
use crate::vector::Bad;

pub(crate) fn all() -> Vec<Bad> {
    [cuts(), behind(), fields(), limits(), lengths(), paddings(), verified_paddings(), checksums()]
        .concat()
}

fn cuts() -> Vec<Bad> {
    let cut = |name: &str, shows: &str, have: usize, need| {
        let error = truncated(need, u64::try_from(have).unwrap());
        Bad::new(&format!("cut_{name}"), shows, small(true)[..have].to_vec(), error)
    };
    let mut vectors = vec![
        cut("empty", "Empty input.", 0, 32),
        cut("first_byte", "One byte.", 1, 32),
        cut("magic", "The magic alone.", 4, 32),
        cut("header", "31 bytes of header.", 31, 32),
        cut("header_alone", "The header: the head is wanted next.", 32, 128),
        cut("metadata", "In the metadata.", 35, 128),
        cut("metadata_end", "Behind the metadata.", 39, 128),
        cut("head_padding", "In the padding before the table.", 50, 128),
        cut("table_start", "Before the table.", 64, 128),
        cut("table", "In the table.", 97, 128),
        cut("table_end", "In the last byte of the table.", 127, 128),
        cut("head_alone", "The head: the whole frame is wanted next.", 128, 320),
        cut("body", "In the first buffer.", 200, 320),
        cut("gap", "Between the buffers.", 240, 320),
        cut("last_body_end", "Behind the last buffer.", 272, 320),
        cut("small_last_byte", "One byte missing at the end.", 319, 320),
    ];
    let last = base()[..13_375].to_vec();
    let shows = "One byte missing at the end.";
    vectors.push(Bad::new("cut_last_byte", shows, last, truncated(13_376, 13_375)));
    let nil = frame(&[0xc0], &[], false);
    let shows = "A frame without buffers, cut behind its head.";
    vectors.push(Bad::new("cut_without_buffers", shows, nil[..33].to_vec(), truncated(64, 33)));
    vectors.push(Bad::new(
        "cut_not_ours",
        "32 bytes are wanted before the magic is looked at.",
        b"MZ not a frame".to_vec(),
        truncated(32, 14),
    ));
    vectors
}

fn behind() -> Vec<Bad> {
    let trailing = |extra| FrameError::Trailing { extra };
    let more = |frame: Vec<u8>, more: &[u8]| [&frame[..], more].concat();
    vec![
        Bad::new("trailing_64", "64 bytes more.", more(base(), &[0; 64]), trailing(64)),
        Bad::new("trailing_1", "One byte more.", more(small(true), &[0]), trailing(1)),
        Bad::new(
            "trailing_frame",
            "A second frame: a stream is read one by one.",
            small(false).repeat(2),
            trailing(320),
        ),
    ]
}

fn fields() -> Vec<Bad> {
    let version = FrameError::Version;
    let flags = FrameError::UnknownFlags;
    let reserved = |at| FrameError::Reserved { at };
    let table: [Overlaid<'_>; 16] = [
        ("magic_0", "First byte of the magic.", 0, &[0xc0], FrameError::BadMagic),
        ("magic_1", "Second byte of the magic.", 1, b"p", FrameError::BadMagic),
        ("magic_3", "Last byte of the magic.", 3, b"Q", FrameError::BadMagic),
        ("version_0", "Version 0.", 4, &[0], version(0)),
        ("version_2", "Version 2.", 4, &[2], version(2)),
        ("version_255", "Version 255.", 4, &[255], version(255)),
        ("must_128", "Unknown must flag.", 5, &[0x80], flags(128)),
        ("must_2", "The lowest unknown must flag.", 5, &[0x02], flags(2)),
        ("must_known_too", "The error has the unknown flags alone.", 5, &[0x41], flags(0x40)),
        ("must_all", "All must flags.", 5, &[0xff], flags(0xfe)),
        ("reserved_7", "The reserved byte is set.", 7, &[1], reserved(7)),
        ("reserved_7_high", "Its highest bit is set.", 7, &[0x80], reserved(7)),
        ("head_crc", "A checksum without the flag.", 28, &[0, 0, 0, 1], reserved(28)),
        ("head_crc_low", "The same, in its first byte.", 28, &[1], reserved(28)),
        ("meta_len_0", "No metadata.", 8, &[0; 4], meta(0, MetaFault::Eof)),
        ("must_off", "The flag of a checksum was lost.", 5, &[0], reserved(28)),
    ];
    let mut vectors = vec![
        Bad::new(
            "magic_messagepack",
            "Bare MessagePack instead of a frame.",
            [&[0xdc, 0, 37][..], &[0xc0; 37]].concat(),
            FrameError::BadMagic,
        ),
        Bad::new("magic_zeros", "Only zeros.", vec![0; 64], FrameError::BadMagic),
    ];
    for (name, shows, at, bytes, error) in table {
        let frame = with(small(name == "must_off"), at, bytes);
        vectors.push(Bad::new(&format!("head_{name}"), shows, frame, error));
    }
    vectors
}

fn limits() -> Vec<Bad> {
    use LimitKind::{Buffers, FrameLen, MetaLen};
    let huge = u64::from(u32::MAX);
    let stated = |name: &str, shows: &str, at, bytes: &[u8], error| {
        Bad::new(&format!("limit_{name}"), shows, with(small(false), at, bytes), error)
    };
    let lowered = |name: &str, limits, error| {
        let shows = "A sound frame over a limit that the receiver has lowered.";
        Bad::new(&format!("limit_lowered_{name}"), shows, small(false), error).limits(limits)
    };
    let default = Limits::default();
    let least = ((64_u32 << 20) + 1).to_le_bytes();
    let just_over = ((1_u64 << 40) + 64).to_le_bytes();
    vec![
        stated("meta_len", "meta_len of 2^32-1.", 8, &[0xff; 4], limit(MetaLen, huge, 64 << 20)),
        stated(
            "meta_len_plus_1",
            "One byte over the default limit.",
            8,
            &least,
            limit(MetaLen, (64 << 20) + 1, 64 << 20),
        ),
        stated("buffers", "2^32-1 descriptors.", 12, &[0xff; 4], limit(Buffers, huge, 65_536)),
        stated(
            "buffers_plus_1",
            "One descriptor over the default limit.",
            12,
            &65_537_u32.to_le_bytes(),
            limit(Buffers, 65_537, 65_536),
        ),
        stated(
            "frame_len",
            "frame_len of 2^63.",
            16,
            &(1_u64 << 63).to_le_bytes(),
            limit(FrameLen, 1 << 63, 1 << 40),
        ),
        stated(
            "frame_len_plus_64",
            "64 bytes over the default limit.",
            16,
            &just_over,
            limit(FrameLen, (1 << 40) + 64, 1 << 40),
        ),
        Bad::new(
            "limit_lowered_base",
            "A sound frame over a limit that the receiver has lowered.",
            base(),
            limit(MetaLen, 12, 8),
        )
        .limits(default.meta_len(8)),
        lowered("meta_len", default.meta_len(6), limit(MetaLen, 7, 6)),
        lowered("buffers", default.buffers(1), limit(Buffers, 2, 1)),
        lowered("buffers_0", default.buffers(0), limit(Buffers, 2, 0)),
        lowered("frame_len", default.frame_len(319), limit(FrameLen, 320, 319)),
    ]
}

fn lengths() -> Vec<Bad> {
    let in_base = |name: &str, shows: &str, stated: u64, computed| {
        let frame = with(base(), 16, &stated.to_le_bytes());
        Bad::new(&format!("frame_len_{name}"), shows, frame, frame_len(stated, computed))
    };
    let nil = |stated: u64| with(frame(&[0xc0], &[], false), 16, &stated.to_le_bytes());
    let fits = "Below the head only a lower bound is known: the head, rounded up.";
    vec![
        in_base("64", "Smaller than header, metadata and table.", 64, 128),
        in_base("odd", "No multiple of 64.", 13_375, 128),
        in_base("spare_64", "A spare 64 bytes inside.", 13_440, 13_376),
        in_base("short_64", "64 bytes too few for the buffers.", 13_312, 13_376),
        in_base("0", "Zero.", 0, 128),
        in_base("head_alone", "The head alone, although there are buffers.", 128, 13_376),
        in_base("odd_beyond", "Beyond the parts and no multiple of 64.", 13_377, 128),
        Bad::new(
            "frame_len_more_descriptors",
            "More descriptors than fit.",
            with(base(), 12, &60_000_u32.to_le_bytes()),
            frame_len(13_376, 1_920_064),
        ),
        Bad::new(
            "frame_len_body_beyond",
            "A buffer runs past frame_len.",
            with(base(), SECOND + 8, &1_000_000_u64.to_le_bytes()),
            frame_len(13_376, 1_008_320),
        ),
        Bad::new("frame_len_nil_0", fits, nil(0), frame_len(0, 64)),
        Bad::new("frame_len_nil_128", "Spare bytes without buffers.", nil(128), frame_len(128, 64)),
        Bad::new(
            "frame_len_nil_65",
            "No multiple of 64, without buffers.",
            nil(65),
            frame_len(65, 64),
        ),
        Bad::new(
            "frame_len_largest_align",
            "The largest alignment rounds the frame, not the last one.",
            with(small(false), 64 + 31, &[7]),
            frame_len(320, 384),
        ),
        Bad::new(
            "frame_len_no_number",
            "The parts pass the end of 64 bits: computed is the largest number.",
            with(small(false), SECOND + 8, &(u64::MAX - 263).to_le_bytes()),
            frame_len(320, u64::MAX),
        ),
    ]
}

fn paddings() -> Vec<Bad> {
    let padding = |at| FrameError::Padding { at };
    let head = |name: &str, shows: &str, at: usize, checksum: bool| {
        let frame = with(small(checksum), at, &[1]);
        let frame = if checksum { sealed(frame, HEAD_LEN) } else { frame };
        Bad::new(name, shows, frame, padding(u64::try_from(at).unwrap()))
    };
    vec![
        Bad::new("padding_base", "Not zero before the table.", with(base(), 50, &[1]), padding(50)),
        head("padding_head_first", "The first byte behind the metadata.", 39, false),
        head("padding_head_last", "The last byte before the table.", 63, false),
        head("padding_head_sealed", "The checksum is right for it.", 45, true),
        Bad::new(
            "padding_head_two",
            "The first of two is named.",
            with(with(small(false), 60, &[1]), 41, &[0x80]),
            padding(41),
        ),
    ]
}

fn verified_paddings() -> Vec<Bad> {
    let padding = |at| FrameError::Padding { at };
    let body = |name: &str, shows: &str, at: usize| {
        let frame = with(small(true), at, &[1]);
        Bad::new(name, shows, frame, padding(u64::try_from(at).unwrap())).verify()
    };
    let wide = || frame(&references_to(3), &[(Kind::OPAQUE, &[9_u8; 10][..]); 3], false);
    let nil = || frame(&[0xc0], &[], false);
    vec![
        Bad::new(
            "verify_base",
            "The last byte of all.",
            with(base(), 13_375, &[1]),
            padding(13_375),
        )
        .verify(),
        body("verify_gap_first", "The first byte behind the first buffer.", 228),
        body("verify_gap_last", "The last byte before the second buffer.", 255),
        body("verify_end_first", "The first byte behind the last buffer.", 272),
        body("verify_end_last", "The last byte.", 319),
        Bad::new(
            "verify_before_bodies",
            "The first byte between table and first buffer.",
            with(wide(), 160, &[1]),
            padding(160),
        )
        .verify(),
        Bad::new(
            "verify_before_bodies_last",
            "The last byte between table and first buffer.",
            with(wide(), 191, &[1]),
            padding(191),
        )
        .verify(),
        Bad::new(
            "verify_nil_first",
            "Behind metadata without buffers.",
            with(nil(), 33, &[1]),
            padding(33),
        )
        .verify(),
        Bad::new(
            "verify_nil_last",
            "The end of a frame without buffers.",
            with(nil(), 63, &[1]),
            padding(63),
        )
        .verify(),
    ]
}

fn checksums() -> Vec<Bad> {
    let flipped = |name: &str, shows: &str, at: usize| {
        let bit = small(true)[at] ^ 0x10;
        let frame = with(small(true), at, &[bit]);
        let error = head_error(&frame, HEAD_LEN);
        Bad::new(&format!("checksum_{name}"), shows, frame, error)
    };
    let buffer = |name: &str, shows: &str, index, at: usize| {
        let bit = small(true)[at] ^ 0x10;
        let frame = with(small(true), at, &[bit]);
        let error = FrameError::BufferChecksum { index };
        Bad::new(&format!("verify_{name}"), shows, frame, error).verify()
    };
    let unset = with(small(false), 5, &[1]);
    let unset_error = head_error(&unset, HEAD_LEN);
    let no_crc = sealed(with(small(true), SECOND + 24, &[0; 4]), HEAD_LEN);
    vec![
        flipped("tag", "A bit of the header was flipped.", 24),
        flipped("may", "A flipped may flag is covered too.", 6),
        flipped("metadata", "A bit of the metadata was flipped.", 38),
        flipped("padding", "A bit before the table: the checksum comes first.", 45),
        flipped("descriptor", "A bit of a descriptor was flipped.", 72),
        flipped("last_bit", "A bit in the last byte of the table.", 127),
        flipped("itself", "A bit of the checksum itself.", 30),
        Bad::new("checksum_unset", "The flag without a checksum.", unset, unset_error),
        buffer("first_byte", "A bit of the first buffer was flipped.", 0, 128),
        buffer("second_buffer", "The last byte of the second buffer.", 1, 271),
        Bad::new(
            "verify_no_crc",
            "A descriptor's checksum of 0 is a checksum like others.",
            no_crc,
            FrameError::BufferChecksum { index: 1 },
        )
        .verify(),
    ]
}
