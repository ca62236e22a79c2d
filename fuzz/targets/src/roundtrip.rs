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
    let mut u = Unstructured::new(data);
    let (Ok(options), Ok(value)) = (Options::arbitrary(&mut u), Tree::arbitrary(&mut u)) else {
        return;
    };
    let before = format!("{value:?}");
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
    assert_eq!(format!("{value:?}"), before, "the source was changed");
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
