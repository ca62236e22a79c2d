//! [`SoundFrame`]: random frames that are right.
//!
//! Promises: each is accepted by the default limits and stands `verify`. Long forms of markers,
//! repeated references, all kinds and alignments, and unknown `may` flags come too.
//! Does not know: types. A value may be any MessagePack.
#![forbid(unsafe_code)]

use std::fmt;
use std::ops::Deref;

use arbitrary::{Arbitrary, Result, Unstructured};

use crate::frame::{Descriptor, HeadOptions, Kind, write_frame};

/// The bytes of a random sound frame: its metadata, descriptors, tag, checksums and flags are
/// whatever the format permits; its buffers are inline.
///
/// Outside of semver, as all of this module, although it comes with the feature `arbitrary` already:
/// other bytes make other frames in any release.
///
/// # Examples
///
/// ```
/// use arbitrary::{Arbitrary, Unstructured};
/// use pannier::{Limits, frame::Frame, fuzzing::SoundFrame};
///
/// let frame = SoundFrame::arbitrary(&mut Unstructured::new(b"any bytes will do"))?;
/// assert!(Frame::parse(&frame, &Limits::default()).unwrap().verify().is_ok());
/// # Ok::<(), arbitrary::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct SoundFrame(Vec<u8>);

impl SoundFrame {
    /// The frame's bytes, owned.
    ///
    /// ```
    /// # use arbitrary::{Arbitrary, Unstructured};
    /// # use pannier::fuzzing::SoundFrame;
    /// let frame = SoundFrame::arbitrary(&mut Unstructured::new(b""))?;
    /// assert_eq!(frame.into_bytes().len(), 64);
    /// # Ok::<(), arbitrary::Error>(())
    /// ```
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

impl Deref for SoundFrame {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for SoundFrame {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

/// In hexadecimal, so that a frame can be copied out of a failure.
impl fmt::Debug for SoundFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SoundFrame(")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

impl<'a> Arbitrary<'a> for SoundFrame {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let options: HeadOptions = u.arbitrary()?;
        let mut draft = Draft { metadata: Vec::new(), buffers: Vec::new(), values: VALUES };
        draft.value(u, 0)?;
        let mut buffers: Vec<_> = draft.buffers.iter().map(|(d, bytes)| (*d, &bytes[..])).collect();
        let mut frame = Vec::new();
        write_frame(&mut frame, &[&draft.metadata], &mut buffers, &options)
            .expect("a draft keeps the format's rules");
        Ok(SoundFrame(frame))
    }
}

/// A frame that is being made up.
struct Draft {
    metadata: Vec<u8>,
    buffers: Vec<(Descriptor, Vec<u8>)>,
    /// How many more values there may be.
    values: usize,
}

impl Draft {
    fn value(&mut self, u: &mut Unstructured<'_>, depth: usize) -> Result<()> {
        self.values = self.values.saturating_sub(1);
        match u.arbitrary::<u8>()? % 16 {
            0 => self.metadata.push(0xc0),
            1 => self.metadata.push(0xc2 | u.arbitrary::<u8>()? & 1),
            2..=4 => self.number(u)?,
            5 | 6 => self.text(u)?,
            7 => self.bytes(u)?,
            8..=10 => self.reference(u)?,
            11..=13 => self.sequence(u, depth)?,
            _ => self.map(u, depth)?,
        }
        Ok(())
    }

    /// An integer or float of any width, the shortest or not.
    fn number(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let marker: u8 = u.arbitrary()?;
        match marker {
            0x00..=0x7f | 0xe0..=0xff => self.metadata.push(marker),
            _ => {
                let marker = 0xca + marker % 10;
                let width = [4, 8, 1, 2, 4, 8, 1, 2, 4, 8][usize::from(marker - 0xca)];
                self.metadata.push(marker);
                self.metadata.extend(&u.arbitrary::<[u8; 8]>()?[..width]);
            }
        }
        Ok(())
    }

    fn text(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let text: &str = u.arbitrary()?;
        let short = (text.len() < 32).then(|| 0xa0 | low_byte(text.len()));
        self.header(u, short, [0xd9, 0xda, 0xdb], text.len())?;
        self.metadata.extend(text.as_bytes());
        Ok(())
    }

    fn bytes(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let bytes: &[u8] = u.arbitrary()?;
        self.header(u, None, [0xc4, 0xc5, 0xc6], bytes.len())?;
        self.metadata.extend(bytes);
        Ok(())
    }

    /// To a buffer that was referenced before, or to the next one.
    fn reference(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let index = u.int_in_range(0..=self.buffers.len().min(MOST_BUFFERS - 1))?;
        if index == self.buffers.len() {
            let buffer = buffer(u)?;
            self.buffers.push(buffer);
        }
        let payload = [0x70, low_byte(index)];
        // The same payload in an ext 8 is as good.
        let header: &[u8] = if u.ratio(1, 8)? { &[0xc7, 1] } else { &[0xd4] };
        self.metadata.extend(header);
        self.metadata.extend(payload);
        Ok(())
    }

    fn sequence(&mut self, u: &mut Unstructured<'_>, depth: usize) -> Result<()> {
        let count = self.count(u, depth)?;
        self.header(u, Some(0x90 | low_byte(count)), [0xdc, 0xdc, 0xdd], count)?;
        (0..count).try_for_each(|_| self.value(u, depth + 1))
    }

    fn map(&mut self, u: &mut Unstructured<'_>, depth: usize) -> Result<()> {
        let count = self.count(u, depth)?;
        self.header(u, Some(0x80 | low_byte(count)), [0xde, 0xde, 0xdf], count)?;
        for _ in 0..count {
            // Mostly what a field's name would be.
            if u.ratio(7, 8)? {
                self.text(u)?
            } else {
                self.value(u, depth + 1)?
            }
            self.value(u, depth + 1)?;
        }
        Ok(())
    }

    /// How many items, below 16.
    fn count(&mut self, u: &mut Unstructured<'_>, depth: usize) -> Result<usize> {
        if depth >= DEPTH {
            return Ok(0);
        }
        u.int_in_range(0..=self.values.min(6))
    }

    /// A marker and a length: in the shortest form mostly, or in a longer one.
    fn header(
        &mut self,
        u: &mut Unstructured<'_>,
        short: Option<u8>,
        long: [u8; 3],
        len: usize,
    ) -> Result<()> {
        if let Some(marker) = short {
            if u.ratio(7, 8)? {
                self.metadata.push(marker);
                return Ok(());
            }
        }
        let len = u32::try_from(len).map_err(|_| arbitrary::Error::IncorrectFormat)?;
        // Of one byte only where there is such a form and the length fits.
        let least = if len > 0xffff { 2 } else { usize::from(len > 0xff || long[0] == long[1]) };
        let form = u.int_in_range(least..=2)?;
        self.metadata.push(long[form]);
        self.metadata.extend(&len.to_be_bytes()[4 - (1 << form)..]);
        Ok(())
    }
}

/// A descriptor and its bytes: a whole number of elements, one at least.
fn buffer(u: &mut Unstructured<'_>) -> Result<(Descriptor, Vec<u8>)> {
    let kind: Kind = u.arbitrary()?;
    let element = usize::try_from(kind.element_size().unwrap_or(1)).unwrap_or(1);
    let mut bytes = u.arbitrary::<&[u8]>()?.to_vec();
    let len = bytes.len().next_multiple_of(element).max(element);
    bytes.resize(len, 0x5a);
    // Seldom more than a page: the frame is a multiple of it.
    let align = if u.ratio(1, 32)? { u.int_in_range(6..=16)? } else { u.int_in_range(6..=8)? };
    let writable = u.ratio(1, 8)?;
    Ok((Descriptor { writable, ..Descriptor::inline(0, kind, align) }, bytes))
}

fn low_byte(n: usize) -> u8 {
    n.to_le_bytes()[0]
}

/// Values of one frame, about.
const VALUES: usize = 64;
const DEPTH: usize = 12;
const MOST_BUFFERS: usize = 64;
