//! `decode`: what a type accepts is a sound frame; borrowing and sharing come to the same value;
//! and no input makes a reader allocate beyond a multiple of its size and the repeat budget, nor,
//! where a type does not read a value several times, more often than it has bytes.

use std::collections::BTreeMap;

use bytes::Bytes;
use pannier::frame::{Frame, checksum};
use pannier::{Buffer, CodecError, FrameError, Limits, MetaFault};
use rmpv::Value;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

use crate::types::{Adjacent, Base, Borrowed, Chain, Flat, Internal, Job, Mixed, Pods, Untagged};
use crate::{Options, Pannier, Subject};

/// Any bytes, as values of many types.
pub fn decode(data: &[u8]) {
    decode_of::<Pannier>(data);
}

/// The same for another reader.
pub fn decode_of<S: Subject>(data: &[u8]) {
    let limits = Limits::tiny();
    let sound = Frame::parse(data, &limits).is_ok();
    let longer = [data, &[0; 64]].concat();
    let input = Input { data, longer: &longer, limits: &limits, sound };
    input.ignored::<S>();
    input.value::<S>();
    let types = types::<S>();
    if input.sound {
        types.iter().for_each(|read| read(&input));
        return;
    }
    // What is refused here is refused before a type is asked: a few take turns to see that.
    let first = checksum(data) as usize;
    for turn in 0..3 {
        types[(first + 5 * turn) % types.len()](&input);
    }
}

fn types<'a, S: Subject>() -> [fn(&Input<'a>); 14] {
    [
        Input::owned::<S, Chain>,
        Input::owned::<S, Flat>,
        Input::owned::<S, Untagged>,
        Input::owned::<S, Internal>,
        Input::owned::<S, Adjacent>,
        Input::owned::<S, Job>,
        Input::owned::<S, Base>,
        Input::owned::<S, Mixed>,
        Input::owned::<S, Pods>,
        Input::owned::<S, BTreeMap<String, Option<Vec<Buffer<u8>>>>>,
        Input::owned::<S, Vec<()>>,
        Input::lent::<S, Borrowed<'a>>,
        Input::lent::<S, Vec<(&'a str, &'a [u8])>>,
        Input::lent::<S, &'a [u8]>,
    ]
}

struct Input<'a> {
    data: &'a [u8],
    /// The same with something behind it, which is no sound frame then.
    longer: &'a [u8],
    limits: &'a Limits,
    sound: bool,
}

/// What reading may cost, beside what each byte of the input may.
struct Most {
    bytes: u64,
    count: u64,
}

impl<'a> Input<'a> {
    fn lent<S: Subject, T: Deserialize<'a>>(&self) {
        let read = self.read(&self.typed(), || S::decode::<T>(self.data, self.limits));
        if read.is_ok() {
            assert!(S::decode::<T>(self.longer, self.limits).is_err(), "{UNSOUND}");
        }
    }

    fn owned<S: Subject, T: DeserializeOwned + Serialize>(&self) {
        self.both::<S, T>(&self.typed());
    }

    fn value<S: Subject>(&self) {
        let count = 2 * self.data.len() as u64 + 64;
        self.both::<S, Value>(&Most { count, ..self.typed() });
    }

    /// Passing over a value copies nothing.
    fn ignored<S: Subject>(&self) {
        let most = Most { bytes: 0, count: 64 };
        let lent = self.read(&most, || S::decode::<IgnoredAny>(self.data, self.limits));
        let bytes = Bytes::copy_from_slice(self.data);
        let shared = self.read(&most, || S::decode_shared::<IgnoredAny>(bytes, self.limits));
        assert_eq!(lent.is_ok(), shared.is_ok(), "passed over in one way and not in the other");
    }

    /// An untagged enum reads what is below it once for each of its variants, and so do those.
    fn typed(&self) -> Most {
        Most { bytes: self.limits.repeat_bytes, count: u64::MAX }
    }

    /// Borrowing and sharing come to the same.
    fn both<S: Subject, T: DeserializeOwned + Serialize>(&self, most: &Most) {
        let copied = self.read(most, || S::decode::<T>(self.data, self.limits));
        let bytes = Bytes::copy_from_slice(self.data);
        let shared = self.read(most, || S::decode_shared::<T>(bytes, self.limits));
        match (copied, shared) {
            (Ok(copied), Ok(shared)) => {
                assert!(written(&copied) == written(&shared), "sharing gives another value");
                assert!(S::decode::<T>(self.longer, self.limits).is_err(), "{UNSOUND}");
                let longer = Bytes::copy_from_slice(self.longer);
                assert!(S::decode_shared::<T>(longer, self.limits).is_err(), "{UNSOUND}");
            }
            (Ok(_), Err(error)) => panic!("what can be copied cannot be shared: {error:?}"),
            // Sharing costs less of the repeat budget, so that it may succeed alone.
            (Err(error), Ok(_)) => assert!(is_repeat_budget(&error), "only sharing: {error:?}"),
            (Err(_), Err(_)) => {}
        }
    }

    fn read<T>(
        &self,
        most: &Most,
        run: impl FnOnce() -> Result<T, CodecError>,
    ) -> Result<T, CodecError> {
        let mut result = None;
        let cost = allocation_counter::measure(|| result = Some(run()));
        let (bytes, count, len) = (cost.bytes_max, cost.count_total, self.data.len());
        let bound = PER_BYTE * len as u64 + most.bytes + ALWAYS;
        assert!(bytes <= bound, "{bytes} bytes allocated for {len} of input");
        assert!(count <= most.count, "{count} allocations for {len} bytes of input");
        let result = result.expect("it was run");
        assert!(self.sound || result.is_err(), "{UNSOUND}");
        result
    }
}

fn is_repeat_budget(error: &CodecError) -> bool {
    matches!(error, CodecError::Frame(FrameError::Meta { why: MetaFault::RepeatBudget, .. }))
}

/// The value as bytes, since NaN is not equal to itself.
fn written(value: &impl Serialize) -> Vec<u8> {
    Pannier::encode(value, &Options::IN_BAND).expect("what was read can be written")
}

const UNSOUND: &str = "a type accepts what is no sound frame";
/// What a value may take for each byte it was read from: a `Value` from one byte, in a vector that
/// is moved to a larger one. The most that was seen is 70.
const PER_BYTE: u64 = 128;
/// For errors and tables, whatever the input.
const ALWAYS: u64 = 4096;
