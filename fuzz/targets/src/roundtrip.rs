//! `roundtrip`: a value is the same after writing and reading, by every way and with every setting;
//! each distinct buffer above the threshold has one descriptor, and no source byte is touched.

use arbitrary::{Arbitrary, Unstructured};
use bytes::Bytes;
use pannier::{Decoder, Limits, frame::Frame};

use crate::tree::{OutOfBand, Tree};
use crate::{Options, Pannier, Subject};

/// Bytes from which a value and settings are made up.
pub fn roundtrip(data: &[u8]) {
    roundtrip_of::<Pannier>(data);
}

/// The same for another writer and reader.
pub fn roundtrip_of<S: Subject>(data: &[u8]) {
    let Ok((options, value)) = plan(data) else { return };
    let before = in_memory(&value);
    let frame = S::encode(&value, &options).expect("the value is not too deep");
    check_frame(&frame, &value, &options);
    check_read::<S>(&frame, &value);
    let other = Options { compact: !options.compact, ..options };
    check_read::<S>(&S::encode(&value, &other).expect("as before"), &value);
    let in_band = S::encode(&value, &Options::IN_BAND).expect("as before");
    check_read::<S>(&in_band, &value);
    let (metadata, mut buffers) = S::encode_parts(&value, &options).expect("as before");
    let again = S::decode_parts::<Tree>(&metadata, &mut buffers, &Limits::default());
    assert_eq!(again.expect("parts can be read"), value, "by parts");
    assert!(in_memory(&value) == before, "the source was changed");
}

/// Settings and a value. No more than the first bytes are looked at: a plan nests as deep as its
/// input is long.
fn plan(data: &[u8]) -> arbitrary::Result<(Options, Tree)> {
    let mut u = Unstructured::new(data.get(..LONGEST).unwrap_or(data));
    Ok((Options::arbitrary(&mut u)?, Tree::arbitrary(&mut u)?))
}

/// Each byte of the value, its buffers' too, in memory of its own and not by pannier.
fn in_memory(value: &Tree) -> Vec<u8> {
    rmp_serde::to_vec(value).expect("a vector takes everything")
}

fn check_frame(bytes: &[u8], value: &Tree, options: &Options) {
    let frame = Frame::parse(bytes, &Limits::default()).expect("what is written is sound");
    assert_eq!(frame.verify(), Ok(()));
    let head = frame.options();
    assert_eq!((head.tag, head.checksum, head.may), (options.tag, options.checksum, 0));
    let mut expected = OutOfBand::default();
    expected.add(value, options.threshold);
    assert_eq!(frame.descriptors().count(), expected.count(), "count of buffers out of band");
    if options.page_aligned {
        assert!(frame.descriptors().all(|descriptor| descriptor.offset % 4096 == 0));
    }
}

fn check_read<S: Subject>(frame: &[u8], value: &Tree) {
    let limits = Limits::default();
    let copied = S::decode::<Tree>(frame, &limits).expect("what is written can be read");
    assert_eq!(copied, *value, "from a slice");
    let shared = S::decode_shared::<Tree>(Bytes::copy_from_slice(frame), &limits);
    assert_eq!(shared.expect("what is written can be read"), *value, "from shared bytes");
    let mut stream = frame;
    let read = Decoder::new().verify(true).from_reader::<_, Tree>(&mut stream);
    assert_eq!(read.expect("what is written can be read").as_ref(), Some(value), "from a reader");
    assert!(stream.is_empty());
}

const LONGEST: usize = 4096;

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;
    use crate::mutated;

    #[test]
    fn many_inputs_have_several_buffers_out_of_band() {
        let (values, several) = (Cell::new(0), Cell::new(0));
        let lengths = RefCell::new(Vec::new());
        mutated("roundtrip", 0..10_000, |data| {
            lengths.borrow_mut().push(data.len());
            let Ok((options, value)) = plan(data) else { return };
            values.set(values.get() + 1);
            let mut expected = OutOfBand::default();
            expected.add(&value, options.threshold);
            several.set(several.get() + usize::from(expected.count() >= 2));
        });
        assert!(values.get() > 9_900, "{} values", values.get());
        assert!(several.get() >= 2_000, "{} have two buffers", several.get());
        let mut lengths = lengths.into_inner();
        lengths.sort_unstable();
        assert!(lengths[5_000] >= 100, "half of the inputs have {} bytes or less", lengths[5_000]);
    }

    #[test]
    fn the_deepest_plan_fits_on_the_stack() {
        for byte in [0, 0x0f, 0xf0, 0xff] {
            roundtrip(&vec![byte; 64 << 10]);
        }
    }

    #[test]
    fn a_byte_that_changes_in_a_buffer_is_seen() {
        let value = |byte: u8| Tree::Seq(vec![Tree::Bytes(vec![byte; 300].into()), Tree::Nil]);
        assert_eq!(in_memory(&value(1)), in_memory(&value(1)));
        assert_ne!(in_memory(&value(1)), in_memory(&value(2)));
    }
}
