//! `truncate`: a cut of a sound frame says `Truncated`, with a need that grows in three steps at
//! most and is finally the frame's length; readers of streams say the same.

use pannier::frame::checksum;
use pannier::fuzzing::fix_up;
use pannier::{CodecError, Decoder, FrameError, FrameReader, Limits};
use serde::de::IgnoredAny;

use crate::chunks::read_stream;
use crate::{Pannier, Subject};

/// Any bytes, made a frame if they can be.
pub fn truncate(data: &[u8]) {
    truncate_of::<Pannier>(data);
}

/// The same for another reader.
pub fn truncate_of<S: Subject>(data: &[u8]) {
    let limits = Limits::tiny();
    let mut frame = data.to_vec();
    fix_up(&mut frame);
    if let Err(FrameError::Trailing { extra }) = S::parse_head(&frame, &limits) {
        frame.truncate(frame.len() - usize::try_from(extra).expect("it was counted in memory"));
    }
    if S::parse_head(&frame, &limits).is_err() {
        return;
    }
    let (mut last, mut steps) = (0, 0);
    // Every one as far as the head mostly goes, and some behind it: which, follows from the input.
    let near = frame.len().min(160 + checksum(data) as usize % 13);
    for cut in (0..near).chain((near..frame.len()).step_by(13)).chain([frame.len() - 1]) {
        let error = S::parse_head(&frame[..cut], &limits).expect_err("a part is not a frame");
        let FrameError::Truncated { need, have } = error else { panic!("{error:?} at {cut}") };
        assert_eq!(have, cut as u64, "what is there");
        assert!(need > have && need >= last, "{need} bytes are needed at {have}, {last} before");
        steps += usize::from(need > last);
        last = need;
        if cut % 97 == 32 {
            check_streams(&frame[..cut], error, &limits);
        }
    }
    assert_eq!(last, frame.len() as u64, "the last need");
    assert!(steps <= 3, "{steps} different needs");
}

fn check_streams(cut: &[u8], error: FrameError, limits: &Limits) {
    let stream = read_stream::<FrameReader>(&[cut], limits, &mut || true);
    assert_eq!(stream.end, Err(error), "of a stream");
    let read = Decoder::new().limits(*limits).from_reader::<_, IgnoredAny>(cut);
    assert!(matches!(read, Err(CodecError::Frame(e)) if e == error), "{read:?} is not {error:?}");
}
