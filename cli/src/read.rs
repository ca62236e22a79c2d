//! One frame after the other: heads, and what is wrong with them.
//!
//! A head is read whole, bodies are left to whoever wants them. Promises: the fault is the one that
//! the library finds first in the same bytes; what is announced beyond the limits is not read.

use pannier::frame::{Frame, check_metadata};
use pannier::{FrameError, Limits};

use crate::Failure;
use crate::fields::{DESCRIPTOR_LEN, Entry, HEADER_LEN, Header, MAGIC};
use crate::input::Input;
use crate::show::{narrow, wide};

/// The head of a frame, as far as it is there and may be read.
pub(crate) struct Head {
    /// Which frame of the input, from zero.
    pub(crate) number: u64,
    /// Where in the input the frame begins.
    pub(crate) at: u64,
    pub(crate) bytes: Vec<u8>,
    /// `None` if not even the header is whole.
    pub(crate) header: Option<Header>,
    /// What is wrong with header, padding or table.
    pub(crate) fault: Option<FrameError>,
    /// What is wrong with the metadata, if there is any.
    pub(crate) meta_fault: Option<FrameError>,
}

/// How the input goes on behind a frame.
pub(crate) enum Next {
    /// Another frame, or nothing.
    Frame,
    /// Something in which no frame can be found, behind one that is broken.
    Lost,
}

impl Head {
    /// Reads the next head; `None` at the end of the input, but an input of nothing has one frame,
    /// which is cut.
    pub(crate) fn read(
        input: &mut Input,
        number: u64,
        limits: &Limits,
    ) -> Result<Option<Head>, Failure> {
        let at = input.at();
        let mut bytes = input.read(HEADER_LEN)?;
        if bytes.is_empty() && number > 0 {
            return Ok(None);
        }
        let header = Header::read(&bytes);
        if let Some(header) = header.filter(|header| header.is_within(limits)) {
            bytes.append(&mut input.read(header.head_len() - HEADER_LEN)?);
        }
        let mut head = Head { number, at, bytes, header, fault: None, meta_fault: None };
        head.fault = head.find_fault(limits);
        head.meta_fault = head.find_meta_fault(limits);
        Ok(Some(head))
    }

    /// The first fault of the frame, when `have` of its bytes are there.
    pub(crate) fn verdict(&self, have: u64) -> Option<FrameError> {
        let need = self.frame_len();
        let cut = (have < need).then_some(FrameError::Truncated { need, have });
        self.fault.or(cut).or(self.meta_fault)
    }

    /// The length that the header states, or what there is where no header is.
    pub(crate) fn frame_len(&self) -> u64 {
        self.header.map_or(wide(self.bytes.len()), |header| header.frame_len)
    }

    pub(crate) fn has_checksums(&self) -> bool {
        self.header.is_some_and(|header| header.has_checksums())
    }

    /// The metadata, as far as it is there.
    pub(crate) fn metadata(&self) -> &[u8] {
        let (start, end) =
            (narrow(HEADER_LEN), self.layout().map_or(0, |header| header.meta_end()));
        self.bytes.get(start..narrow(end).min(self.bytes.len())).unwrap_or_default()
    }

    /// Descriptors that are there.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Entry> + '_ {
        let (at, count) = self.layout().map_or((0, 0), |header| (header.table_at(), header.count));
        let entry = move |index| Entry::read(&self.bytes, at + DESCRIPTOR_LEN * index, index);
        (0..count).map_while(entry)
    }

    pub(crate) fn entry(&self, index: u64) -> Option<Entry> {
        let header = self.layout().filter(|header| index < header.count)?;
        Entry::read(&self.bytes, header.table_at() + DESCRIPTOR_LEN * index, index)
    }

    /// The header, where more than the header was read.
    pub(crate) fn layout(&self) -> Option<&Header> {
        self.header.as_ref().filter(|header| header.is_known() && self.is_beyond_header())
    }

    /// As far as there are bytes.
    pub(crate) fn begins_like_a_frame(&self) -> bool {
        self.bytes.iter().zip(MAGIC).all(|(&byte, magic)| byte == magic)
    }

    /// Whether the head is there to its end.
    pub(crate) fn is_whole(&self) -> bool {
        self.layout().is_some_and(|header| wide(self.bytes.len()) == header.head_len())
    }

    fn is_beyond_header(&self) -> bool {
        wide(self.bytes.len()) > HEADER_LEN
    }

    /// A sound head, given alone, lacks nothing but what comes behind it.
    fn find_fault(&self, limits: &Limits) -> Option<FrameError> {
        let error = Frame::parse_head(&self.bytes, limits).err()?;
        let missing_bodies = self.is_whole()
            && matches!(error, FrameError::Truncated { need, .. } if need == self.frame_len());
        (!missing_bodies).then_some(error)
    }

    fn find_meta_fault(&self, limits: &Limits) -> Option<FrameError> {
        let count = u32::try_from(self.layout()?.count).ok()?;
        check_metadata(self.metadata(), count, limits).err()
    }
}

/// Leaves the frame, and finds out whether another can begin where its header says. `fault` is
/// what was wrong with it.
pub(crate) fn leave(
    input: &mut Input,
    head: &Head,
    fault: Option<FrameError>,
) -> Result<Next, Failure> {
    if fault.is_none() {
        return Ok(Next::Frame);
    }
    let len = head.frame_len();
    let end = head.at.saturating_add(len);
    let stated = head.header.is_some_and(|header| header.is_known());
    if !stated || len % 64 != 0 || end < input.at() {
        return Ok(if input.peek(1)?.is_empty() { Next::Frame } else { Next::Lost });
    }
    input.skip_to(end)?;
    let begin = input.peek(wide(MAGIC.len()))?;
    Ok(if begin.is_empty() || begin == MAGIC { Next::Frame } else { Next::Lost })
}
