//! [`HostilePeer`]: a transport with somebody hostile in the middle.
//!
//! Promises: the same script does the same to the same bytes; without a script, or when it is used
//! up, everything passes unchanged. Time is linear in the bytes. No clock: a delay is a short read
//! or `Interrupted`, and `WouldBlock` where that was permitted.
//! Does not know: what the frames mean, and who waits for which. A frame that was dropped or is held
//! back never comes if the next one waits for an answer to it.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};

use crate::frame::{HEADER_LEN, MAGIC};
use crate::fuzzing::fix_up::number;
use crate::fuzzing::mutate;

/// Wraps a transport and does to its frames what a script of bytes says: changes them, cuts them
/// off, repeats them, holds one back behind the next, drops them, puts other bytes between them;
/// and it reads and writes in small pieces.
///
/// Both directions take from the one script. What is no frame is treated as one, in pieces of 32
/// bytes at most and up to where the next frame seems to begin. Behind a cut nothing follows: a
/// reader meets the end, and what is written disappears.
///
/// A loop that reads until the end of its input ends. One that waits for an answer needs a timeout:
/// a frame that was dropped has none, and one that is held back is let go by the next frame, by the
/// end of the input, or by [`flush`](Write::flush).
///
/// # Examples
///
/// ```
/// use pannier::fuzzing::HostilePeer;
///
/// let stream = [pannier::to_vec("east")?, pannier::to_vec("west")?].concat();
/// for script in 0..=255_u8 {
///     let mut peer = HostilePeer::new(&stream[..], vec![script; 20]);
///     // The loop under test: it must end, with values or with an error, and never panic.
///     while let Ok(Some(word)) = pannier::from_reader::<_, String>(&mut peer) {
///         assert!(word.len() < 1_000);
///     }
/// }
/// # Ok::<(), pannier::CodecError>(())
/// ```
#[derive(Debug)]
pub struct HostilePeer<T> {
    inner: T,
    script: Script,
    may_block: bool,
    incoming: Lane,
    outgoing: Lane,
    /// The transport has no more to read.
    ended: bool,
}

impl<T> HostilePeer<T> {
    /// A peer that does what `script` says.
    ///
    /// ```
    /// use std::io::Read;
    ///
    /// let mut honest = pannier::fuzzing::HostilePeer::new(&b"as it is"[..], []);
    /// let mut text = String::new();
    /// honest.read_to_string(&mut text)?;
    /// assert_eq!(text, "as it is");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn new(inner: T, script: impl Into<Vec<u8>>) -> Self {
        HostilePeer {
            inner,
            script: Script(script.into().into()),
            may_block: false,
            incoming: Lane::default(),
            outgoing: Lane::default(),
            ended: false,
        }
    }

    /// Permits `WouldBlock`, for a loop that does not block.
    ///
    /// ```
    /// use std::io::Read;
    ///
    /// let mut slow = pannier::fuzzing::HostilePeer::new(&b"x"[..], [8]).may_block(true);
    /// let error = slow.read(&mut [0]).unwrap_err();
    /// assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    /// ```
    #[must_use]
    pub fn may_block(mut self, on: bool) -> Self {
        self.may_block = on;
        self
    }

    /// The transport. What is held back is lost; [`flush`](Write::flush) before.
    ///
    /// ```
    /// use std::io::Write;
    ///
    /// let mut peer = pannier::fuzzing::HostilePeer::new(Vec::new(), [0, 15, 0]);
    /// pannier::to_writer(&mut peer, "east")?;
    /// peer.flush()?;
    /// assert!(!peer.into_inner().is_empty());
    /// # Ok::<(), pannier::CodecError>(())
    /// ```
    pub fn into_inner(self) -> T {
        self.inner
    }

    /// How many bytes may be moved now.
    fn pace(&mut self, len: usize) -> io::Result<usize> {
        match self.script.next() {
            0..=7 => Ok(len),
            8..=15 if self.may_block => Err(ErrorKind::WouldBlock.into()),
            8..=31 => Err(ErrorKind::Interrupted.into()),
            few => Ok(len.min(usize::from(few & 0x3f) + 1)),
        }
    }
}

impl<T: Read> HostilePeer<T> {
    /// Waits until there is something to give out, or the transport has ended.
    fn fill(&mut self) -> io::Result<()> {
        let mut piece = [0; 4096];
        while self.incoming.ready.is_empty() && !self.ended && !self.incoming.cut {
            let room = self.incoming.missing().min(piece.len());
            match self.inner.read(&mut piece[..room])? {
                0 => {
                    self.ended = true;
                    self.incoming.release();
                }
                // Not more than there was room for, whatever the transport says.
                count => self.incoming.take(&piece[..count.min(room)], &mut self.script),
            }
        }
        Ok(())
    }
}

impl<T: Read> Read for HostilePeer<T> {
    fn read(&mut self, place: &mut [u8]) -> io::Result<usize> {
        let most = self.pace(place.len())?;
        self.fill()?;
        self.incoming.ready.read(&mut place[..most])
    }
}

impl<T: Write> HostilePeer<T> {
    fn drain(&mut self) -> io::Result<()> {
        while !self.outgoing.ready.is_empty() {
            match self.inner.write(self.outgoing.ready.as_slices().0) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => {
                    let count = count.min(self.outgoing.ready.len());
                    self.outgoing.ready.drain(..count);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl<T: Write> Write for HostilePeer<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let most = self.pace(bytes.len())?;
        self.drain()?;
        self.outgoing.take(&bytes[..most], &mut self.script);
        match self.drain() {
            // It stays here until the next call.
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(most),
            drained => drained.map(|()| most),
        }
    }

    /// Lets go what was held back, and what is half a frame.
    fn flush(&mut self) -> io::Result<()> {
        self.outgoing.release();
        self.drain()?;
        self.inner.flush()
    }
}

/// Bytes that decide; zeros when there are no more.
#[derive(Debug)]
struct Script(VecDeque<u8>);

impl Script {
    fn next(&mut self) -> u8 {
        self.0.pop_front().unwrap_or(0)
    }

    fn seed(&mut self) -> u32 {
        u32::from_le_bytes([self.next(), self.next(), self.next(), self.next()])
    }
}

/// One direction.
#[derive(Debug, Default)]
struct Lane {
    /// The beginning of a frame.
    partial: Vec<u8>,
    /// A frame that waits for the next one to overtake it.
    held: Vec<u8>,
    ready: VecDeque<u8>,
    cut: bool,
}

impl Lane {
    /// Bytes until the frame that has begun is whole, as far as can be told; at least 1.
    fn missing(&self) -> usize {
        piece_len(&self.partial).saturating_sub(self.partial.len()).max(1)
    }

    fn take(&mut self, bytes: &[u8], script: &mut Script) {
        self.partial.extend_from_slice(bytes);
        let mut partial = std::mem::take(&mut self.partial);
        let mut passed = 0;
        while let Some(piece) = partial[passed..].get(..piece_len(&partial[passed..])) {
            passed += piece.len();
            self.pass(piece.to_vec(), script);
        }
        partial.drain(..passed);
        self.partial = partial;
    }

    /// One frame, whole.
    fn pass(&mut self, mut frame: Vec<u8>, script: &mut Script) {
        let overtaken = std::mem::take(&mut self.held);
        match script.next() & 0x0f {
            7..=9 => change(&mut frame, script.seed()),
            10 => {
                let at = usize::from(script.next()) * frame.len() / 256;
                frame[at] ^= script.next().max(1);
            }
            11 => {
                frame.truncate(usize::from(script.next()) * frame.len() / 256);
                self.send(&frame);
                self.cut = true;
            }
            12 => self.send(&frame),
            13 => self.held = std::mem::take(&mut frame),
            14 => frame.clear(),
            15 => self.send(&[script.next(), script.next(), script.next()]),
            _ => {}
        }
        self.send(&frame);
        self.send(&overtaken);
    }

    fn release(&mut self) {
        let rest = [std::mem::take(&mut self.held), std::mem::take(&mut self.partial)].concat();
        self.send(&rest);
    }

    fn send(&mut self, bytes: &[u8]) {
        if !self.cut {
            self.ready.extend(bytes);
        }
    }
}

fn change(frame: &mut Vec<u8>, seed: u32) {
    let (size, max) = (frame.len(), frame.len() + 256);
    frame.resize(max, 0);
    let len = mutate(frame, size, max, seed);
    frame.truncate(len);
}

/// How long the frame is that begins so. Where none does, up to the next magic or what may become
/// one, and no more than a header's length.
fn piece_len(bytes: &[u8]) -> usize {
    let stated = number(bytes, 16, 8);
    let known = bytes.len() >= HEADER_LEN && bytes.starts_with(&MAGIC);
    if known && (HEADER_LEN..=MOST).contains(&stated) {
        return stated;
    }
    let begins = |&at: &usize| {
        let rest = bytes.get(at..).unwrap_or_default();
        rest.starts_with(&MAGIC) || MAGIC.starts_with(rest)
    };
    (1..HEADER_LEN.min(bytes.len())).find(begins).unwrap_or(HEADER_LEN)
}

/// Longer frames pass in pieces.
const MOST: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{from_reader, to_vec, to_writer};
    use crate::fuzzing::random::Random;

    fn words(script: &[u8]) -> (Vec<String>, bool) {
        let stream: Vec<u8> = ["a", "b", "c"].iter().flat_map(|w| to_vec(w).unwrap()).collect();
        let mut peer = HostilePeer::new(&stream[..], script);
        let mut words = Vec::new();
        loop {
            match from_reader::<_, String>(&mut peer) {
                Ok(Some(word)) => words.push(word),
                Ok(None) => return (words, true),
                Err(_) => return (words, false),
            }
        }
    }

    #[test]
    fn each_thing_that_it_can_do_is_seen_by_a_reader() {
        // A read takes its pace first, and then the frame that it waits for its fate.
        assert_eq!(words(&[]), (vec!["a".into(), "b".into(), "c".into()], true));
        assert_eq!(words(&[0, 12]).0, ["a", "a", "b", "c"]);
        assert_eq!(words(&[0, 13]).0, ["b", "a", "c"]);
        assert_eq!(words(&[0, 14]).0, ["b", "c"]);
        assert_eq!(words(&[0, 11, 128]), (vec![], false));
        assert_eq!(words(&[0, 10, 0, 1]), (vec![], false));
        assert_eq!(words(&[0, 15]), (vec![], false));
        assert_eq!(words(&[40, 0, 9, 33, 20]).0, ["a", "b", "c"]);
    }

    #[test]
    fn it_falls_into_step_again_behind_what_is_no_frame() {
        let frame = to_vec("east").unwrap();
        for len in 0..100 {
            let stream = [&vec![0x93; len][..], &frame, &frame].concat();
            // Everything that is no frame passes, then the first frame is dropped.
            let script = [&vec![0; len.div_ceil(32)][..], &[14]].concat();
            for step in [1, 7, 31, stream.len()] {
                let mut lane = Lane::default();
                let mut script = Script(script.clone().into());
                stream.chunks(step).for_each(|piece| lane.take(piece, &mut script));
                lane.release();
                assert_eq!(lane.ready, &stream[..len + frame.len()], "{len} bytes, by {step}");
            }
        }
    }

    #[test]
    fn a_long_row_of_what_is_no_frame_passes_in_one_write() {
        let row = vec![0x93; 4 << 20];
        let mut peer = HostilePeer::new(Vec::new(), []);
        peer.write_all(&row).unwrap();
        peer.flush().unwrap();
        assert!(peer.into_inner() == row);
    }

    /// Says that it has moved more than there was.
    struct Lies;

    impl Read for Lies {
        fn read(&mut self, place: &mut [u8]) -> io::Result<usize> {
            Ok(place.len() + 1)
        }
    }

    impl Write for Lies {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len() + 1)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_transport_that_lies_is_not_believed() {
        let mut peer = HostilePeer::new(Lies, []);
        assert_eq!(peer.read(&mut [1; 32]).unwrap(), 32);
        peer.write_all(&[0; 64]).unwrap();
        peer.flush().unwrap();
    }

    #[test]
    fn every_script_comes_to_an_end_in_both_directions() {
        let mut random = Random::new(7);
        let (mut whole, mut failed) = (0, 0);
        for _ in 0..5_000 {
            let len = random.below(40);
            let script = random.bytes(len);
            let (read, ended) = words(&script);
            whole += usize::from(ended && read == ["a", "b", "c"]);
            failed += usize::from(!ended);
            let mut peer = HostilePeer::new(Vec::new(), script);
            for word in ["east", "west"] {
                to_writer(&mut peer, word).unwrap();
            }
            while peer.flush().is_err() {}
            let _frames_or_not = peer.into_inner();
        }
        assert!(whole > 200 && failed > 500, "{whole} whole, {failed} failed");
    }
}
