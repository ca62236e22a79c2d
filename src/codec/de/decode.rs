//! [`Decode`]: one value that is being read.
//!
//! Promises: where reading stood can be told afterwards, and what really went wrong: serde's errors
//! are only text.
//! Does not know: types.
#![forbid(unsafe_code)]

use std::cell::Cell;

use serde::Deserialize;

use super::wrap::De;
use crate::codec::CodecError;
use crate::codec::bodies::Held;
use crate::codec::scope::DecodeScope;
use crate::codec::ser::Level;
use crate::frame::{FrameError, Limits, MetaFault, skip_token};

/// One value in its metadata.
///
/// rmp-serde does not tell its position. But it comes by here with each token (a value without its
/// items), so counting them is enough: the position is found by walking as many tokens again, once
/// an error wants it.
pub(in crate::codec) struct Decode<'a, 'de> {
    /// The value's bytes, and where in the metadata they begin.
    value: &'de [u8],
    start: usize,
    bodies: &'a Held<'de>,
    limits: &'a Limits,
    scope: &'a DecodeScope,
    /// Tokens that were read.
    tokens: Cell<usize>,
    /// Bodies that have been referenced: those below this index.
    used: Cell<u32>,
    /// The repeat that went over the budget, by its token; reported if nothing refunds it.
    over_budget: Cell<Option<usize>>,
    failure: Cell<Option<FrameError>>,
}

impl<'a, 'de> Decode<'a, 'de> {
    pub(in crate::codec) fn new(
        value: &'de [u8],
        start: usize,
        bodies: &'a Held<'de>,
        limits: &'a Limits,
        scope: &'a DecodeScope,
        used: u32,
    ) -> Self {
        let (tokens, used) = (Cell::new(0), Cell::new(used));
        let (over_budget, failure) = (Cell::new(None), Cell::new(None));
        Decode { value, start, bodies, limits, scope, tokens, used, over_budget, failure }
    }

    /// Reads the value; `depth` is that of what stands around it.
    pub(in crate::codec) fn run<T: Deserialize<'de>>(&self, depth: u32) -> Result<T, CodecError> {
        let mut from = rmp_serde::Deserializer::from_read_ref(self.value);
        // Depth is counted here; extension values count once more with rmp-serde.
        from.set_max_depth(usize::from(u16::MAX));
        let read = T::deserialize(De::new(&mut from, self, Level::at_depth(depth)));
        if let Some(failure) = self.failure.get().or_else(|| self.budget_failure()) {
            return Err(failure.into());
        }
        read.map_err(|error| {
            let at = self.position(self.tokens.get()) as u64;
            CodecError::Decode { at, message: message(&error) }
        })
    }

    /// Bodies that have been referenced, by this value and those before it.
    pub(in crate::codec) fn used(&self) -> u32 {
        self.used.get()
    }

    /// One more token was read.
    pub(super) fn passed(&self) {
        self.tokens.set(self.tokens.get() + 1);
    }

    /// No more values can follow than there are bytes, less one for each token so far.
    pub(super) fn values_left(&self) -> usize {
        self.value.len().saturating_sub(self.tokens.get())
    }

    pub(super) fn check_depth<E: serde::de::Error>(&self, level: Level) -> Result<(), E> {
        if level.exceeds(self.limits.depth) {
            return Err(self.fail(self.tokens.get(), MetaFault::Depth));
        }
        Ok(())
    }

    /// The bytes of a body that was just referred to; `used` is false for a type that looks at none.
    pub(super) fn resolve<E: serde::de::Error>(
        &self,
        index: u32,
        used: bool,
    ) -> Result<&'de [u8], E> {
        let marker = self.tokens.get().saturating_sub(1);
        let missing = || self.fail(marker, MetaFault::RefRange);
        let bytes = self.bodies.get(index).ok_or_else(missing)?;
        let first = self.used.get();
        if index > first {
            return Err(self.fail(marker, MetaFault::RefOrder));
        }
        if index == first {
            self.used.set(first + 1);
            self.scope.resolved(index);
        } else if used {
            self.charge(index, bytes.len(), marker)?;
        }
        Ok(bytes)
    }

    /// Whether the type copies is known only when it is done with the bytes, and behind serde's
    /// buffers even later. So the charge of a repeat is looked at when the next one comes, or at the
    /// end: at most one buffer too many has been copied by then.
    fn charge<E: serde::de::Error>(&self, index: u32, len: usize, marker: usize) -> Result<(), E> {
        if let Some(failure) = self.budget_failure() {
            self.failure.set(Some(failure));
            return Err(E::custom(failure));
        }
        self.scope.repeated(index, len as u64);
        let over = self.scope.spent().0 > self.limits.repeat_bytes;
        self.over_budget.set(over.then_some(marker));
        Ok(())
    }

    fn budget_failure(&self) -> Option<FrameError> {
        let marker = self.over_budget.get()?;
        let over = self.scope.spent().0 > self.limits.repeat_bytes;
        over.then(|| self.fault(marker, MetaFault::RepeatBudget))
    }

    #[cold]
    fn fail<E: serde::de::Error>(&self, tokens: usize, why: MetaFault) -> E {
        let failure = self.fault(tokens, why);
        self.failure.set(Some(failure));
        E::custom(failure)
    }

    fn fault(&self, tokens: usize, why: MetaFault) -> FrameError {
        FrameError::Meta { at: self.position(tokens) as u64, why }
    }

    /// Position in the metadata behind so many tokens.
    fn position(&self, tokens: usize) -> usize {
        let step = |at, _| skip_token(self.value, at).map(|(end, _)| end);
        let walked = (0..tokens).try_fold(0, step);
        self.start + walked.unwrap_or(self.value.len())
    }
}

/// In plain words where rmp-serde's own text is about its inside.
fn message(error: &rmp_serde::decode::Error) -> String {
    use rmp_serde::decode::Error;
    match error {
        Error::InvalidMarkerRead(_) | Error::InvalidDataRead(_) => {
            "the metadata ends inside a value".to_owned()
        }
        Error::LengthMismatch(taken) => format!("more items than the {taken} that are wanted"),
        other => other.to_string(),
    }
}
