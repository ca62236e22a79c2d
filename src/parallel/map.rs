//! [`Map`]: a function over an iterator, run in workers.
//!
//! Promises: lazy, ordered, bounded look-ahead; a panic of the input loses no item that it gave.
//! Does not know: workers.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::fmt;
use std::iter::FusedIterator;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::chunk::{Building, Chunk, Next};
use super::size::ChunkSize;
use crate::codec::Data;
use crate::pool::{
    Context, Fault, Inner, Names, Packer, Pending, Pool, Settings, TaskError, cancel, error_of,
};
use crate::sys::epoch::OwnedHere;
use crate::task::{Call, Function, Plain, WithContext};

/// A lazy iterator of results, in the order of the items: from [`Pool::map`] and [`Pool::map_with`].
///
/// It owns its input and borrows nothing of the pool. The input is pulled inside `next`, in the
/// caller's thread, so it may borrow, be infinite, or panic. Dropping the map cancels what has not
/// been sent. A worker's death costs one item at most, whatever the chunk size.
///
/// # Examples
///
/// ```
/// # pannier::premain!();
/// let pool = pannier::Pool::builder().workers(2).build()?;
/// let squares = pool.map(|x: u64| x * x, 0..).take(5);
/// assert_eq!(squares.collect::<Result<Vec<_>, _>>()?, [0, 1, 4, 9, 16]);
/// # Ok::<(), pannier::Error>(())
/// ```
#[must_use = "lazy: nothing runs before the first `next`"]
pub struct Map<I, R, P = fn(u64)> {
    pool: OwnedHere<Arc<Inner>>,
    call: Submit,
    /// What the items share; if it could not be written, every item fails with that.
    context: Result<Option<Arc<Context>>, Fault>,
    names: Names,
    /// `None` at its end.
    items: Option<I>,
    chunk_size: Option<usize>,
    in_flight: Option<usize>,
    settings: Settings,
    size: ChunkSize,
    building: Option<Building<R>>,
    /// An item that was pulled and found no memory.
    held: Option<Held>,
    chunks: VecDeque<Chunk<R>>,
    pulled: u64,
    progress: PhantomData<fn() -> P>,
}

/// Writes one item, as [`Packer::push`] does. Its type is not part of the map's.
type Held = Box<dyn Fn(&mut Packer, bool) -> Result<(), Fault> + Send>;

/// `Inner::submit_packed` for the map's function.
type Submit = fn(&Arc<Inner>, u64, Packer, Option<Arc<Context>>, Settings) -> Arc<Pending>;

impl Pool {
    /// Runs `f` on each item, in workers; see [`Map`].
    ///
    /// Chunks of items travel together, as many as are worth the trip.
    ///
    /// # Examples
    ///
    /// ```
    /// # pannier::premain!();
    /// let pool = pannier::Pool::builder().workers(2).build()?;
    /// for length in pool.map(|word: String| word.len(), ["far".into(), "away".into()]) {
    ///     println!("{}", length?);
    /// }
    /// # Ok::<(), pannier::Error>(())
    /// ```
    pub fn map<I, R: Data, F>(&self, f: F, items: I) -> Map<I::IntoIter, R>
    where
        I: IntoIterator,
        I::Item: Data,
        F: Function<I::Item, R>,
    {
        // The type is all there is to it.
        let _ = f;
        self.start_map::<Plain<F, I::Item, R>, _>(None::<&()>, items.into_iter())
    }

    /// Runs `f` on the context and each item, in workers; see [`Map`].
    ///
    /// The context is encoded once, here, and decoded once in each worker.
    ///
    /// # Examples
    ///
    /// ```
    /// # pannier::premain!();
    /// use pannier::Buffer;
    ///
    /// let pool = pannier::Pool::builder().workers(2).build()?;
    /// let data: Buffer<f64> = vec![0.5; 1 << 16].into();
    /// let tail_sums = pool.map_with(data, |data, k: usize| data[k..].iter().sum::<f64>(), 0..4);
    /// assert_eq!(tail_sums.collect::<Result<Vec<_>, _>>()?[2], 32_767.0);
    /// # Ok::<(), pannier::Error>(())
    /// ```
    pub fn map_with<C: Data + Sync, I, R: Data, F>(
        &self,
        context: C,
        f: F,
        items: I,
    ) -> Map<I::IntoIter, R>
    where
        I: IntoIterator,
        I::Item: Data,
        F: Fn(&C, I::Item) -> R + Copy + Send + 'static,
    {
        let _ = f;
        self.start_map::<WithContext<F, C, I::Item, R>, _>(Some(&context), items.into_iter())
    }

    fn start_map<C: Call, I>(
        &self,
        context: Option<&impl Serialize>,
        items: I,
    ) -> Map<I, C::Output> {
        let pool = self.inner();
        let context = match context {
            _ if !pool.is_here() => Err(Fault::Forked),
            Some(context) => pool.share_context(context).map(Some),
            None => Ok(None),
        };
        let argument = std::any::type_name::<C::Item>();
        Map {
            call: Inner::submit_packed::<C>,
            context,
            names: Names { id: 0, item: None, function: C::function(), argument },
            items: Some(items),
            chunk_size: None,
            in_flight: None,
            settings: pool.settings,
            size: ChunkSize::new(),
            building: None,
            held: None,
            chunks: VecDeque::new(),
            pulled: 0,
            pool: pool.share(),
            progress: PhantomData,
        }
    }
}

impl<I, R, P> Map<I, R, P> {
    /// How many items travel together, at least 1; found from their run time if this is not called.
    ///
    /// # Examples
    ///
    /// ```
    /// # pannier::premain!();
    /// let pool = pannier::Pool::builder().workers(2).build()?;
    /// let sum: u64 = pool.map(|x: u64| x, 0..100).chunk_size(10).map(Result::unwrap).sum();
    /// assert_eq!(sum, 4950);
    /// # Ok::<(), pannier::Error>(())
    /// ```
    pub fn chunk_size(mut self, n: usize) -> Self {
        self.chunk_size = Some(n.max(1));
        self
    }

    /// How many items are pulled from the input and not yet given out, at most and at least 1; two
    /// chunks a worker if this is not called.
    ///
    /// # Examples
    ///
    /// ```
    /// # pannier::premain!();
    /// use std::cell::Cell;
    ///
    /// let pool = pannier::Pool::builder().workers(2).build()?;
    /// let pulled = Cell::new(0);
    /// let input = (0..100).inspect(|_| pulled.set(pulled.get() + 1));
    /// let mut map = pool.map(|x: u64| x, input).in_flight(3);
    /// map.next();
    /// assert!(pulled.get() <= 4);
    /// # Ok::<(), pannier::Error>(())
    /// ```
    pub fn in_flight(mut self, items: usize) -> Self {
        self.in_flight = Some(items.max(1));
        self
    }

    /// How long an item may run; as the pool's [`task_timeout`](crate::PoolBuilder::task_timeout) if
    /// this is not called. The items of its chunk that are not to blame run again.
    ///
    /// # Examples
    ///
    /// ```
    /// # pannier::premain!();
    /// use std::time::Duration;
    ///
    /// let pool = pannier::Pool::builder().workers(1).build()?;
    /// let hang_on_2 = |n: u32| if n == 2 { loop { std::thread::park() } } else { n };
    /// let results: Vec<_> = pool.map(hang_on_2, 0..4).timeout(Duration::from_millis(50)).collect();
    /// assert!(matches!(results[2], Err(pannier::TaskError::TimedOut { .. })));
    /// assert_eq!(results.into_iter().flatten().collect::<Vec<_>>(), [0, 1, 3]);
    /// # Ok::<(), pannier::Error>(())
    /// ```
    pub fn timeout(mut self, d: Duration) -> Self {
        self.settings.timeout = Some(d);
        self
    }

    /// How often an item may be started when its worker dies under it, at least 1; as the pool's if
    /// this is not called.
    ///
    /// # Examples
    ///
    /// ```
    /// # pannier::premain!();
    /// let pool = pannier::Pool::builder().workers(1).build()?;
    /// let mut map = pool.map(|()| -> () { std::process::abort() }, [()]).attempts(1);
    /// assert!(map.next().unwrap().is_err());
    /// # Ok::<(), pannier::Error>(())
    /// ```
    pub fn attempts(mut self, n: u32) -> Self {
        self.settings.attempts = n.max(1);
        self
    }

    /// Items that were pulled and not given out.
    fn ahead(&self) -> usize {
        let building = self.building.as_ref().map_or(0, Building::len);
        building + usize::from(self.held.is_some()) + self.sent()
    }

    /// Items that were sent and whose result was not given out.
    fn sent(&self) -> usize {
        self.chunks.iter().map(Chunk::left).sum()
    }
}

impl<I, R, P> Map<I, R, P>
where
    I: Iterator,
    I::Item: Data,
    R: Data,
{
    /// Sends as many chunks as may be under way, and for which there is memory.
    fn fill(&mut self) {
        while self.items.is_some() || self.held.is_some() {
            let left = self.items.as_ref().map_or(0, |items| items.size_hint().0);
            let workers = self.pool.workers();
            let automatic = || self.size.next(left, workers);
            let two_each = workers.saturating_mul(2);
            let chunk = match (self.chunk_size, self.in_flight) {
                (Some(chunk), _) => chunk,
                (None, None) => automatic(),
                // So that every worker has its share of what may be under way.
                (None, Some(limit)) => automatic().min(limit / two_each).max(1),
            };
            let limit = self.in_flight.unwrap_or(chunk.saturating_mul(two_each));
            let chunk = chunk.min(limit);
            if self.sent().saturating_add(chunk) > limit {
                return;
            }
            self.build(chunk);
            self.send_built();
            if self.held.is_some() {
                return;
            }
        }
    }

    /// Pulls and writes items until there are so many, or no more, or no memory.
    fn build(&mut self, len: usize) {
        while self.building.as_ref().map_or(0, Building::len) < len {
            if let Some(held) = self.held.take() {
                if !self.write(&*held) {
                    self.held = Some(held);
                    return;
                }
                continue;
            }
            let Some(item) = self.items.as_mut().and_then(Iterator::next) else {
                self.items = None;
                return;
            };
            let push = move |packer: &mut Packer, waits: bool| packer.push(&item, waits);
            if !self.write(&push) {
                self.held = Some(Box::new(push));
                return;
            }
        }
    }

    /// Writes an item, or notes why it cannot be; false if there is no memory for it now. That is no
    /// error as long as there are others whose results give some back when they are taken.
    fn write(&mut self, push: &dyn Fn(&mut Packer, bool) -> Result<(), Fault>) -> bool {
        let pool = &self.pool;
        let into =
            self.building.get_or_insert_with(|| Building::new(pool.next_id(), pool.packer()));
        let is_first = into.len() == 0 && self.chunks.is_empty();
        let packed = match &self.context {
            Ok(_) => push(&mut into.packer, is_first),
            Err(fault) => Err(fault.copy()),
        };
        match packed {
            Ok(()) => into.packed(),
            Err(fault) if fault.is_out_of_memory() && !is_first => return false,
            Err(fault) => {
                let names = Names { id: into.id, item: Some(self.pulled), ..self.names.clone() };
                into.failed(error_of::<R>(fault, &names));
            }
        }
        self.pulled += 1;
        true
    }

    fn send_built(&mut self) {
        let Some(building) = self.building.take().filter(|building| building.len() > 0) else {
            return;
        };
        let first = self.pulled - building.len() as u64;
        let context = self.context.as_ref().ok().cloned().flatten();
        let submit =
            |id, packer: Packer| (self.call)(&self.pool, id, packer, context, self.settings);
        let chunk = building.submitted(self.names.clone(), first, submit);
        self.chunks.push_back(chunk);
    }
}

impl<I, R, P> Iterator for Map<I, R, P>
where
    I: Iterator,
    I::Item: Data,
    R: Data,
{
    type Item = Result<R, TaskError>;

    fn next(&mut self) -> Option<Self::Item> {
        if !self.pool.is_here() {
            // The results go to the parent; here there is one error to say so.
            let had_more = self.items.take().is_some() || self.ahead() > 0;
            (self.held, self.building) = (None, None);
            self.chunks.clear();
            return had_more.then_some(Err(TaskError::ForkedHandle));
        }
        loop {
            self.fill();
            let chunk = self.chunks.front_mut()?;
            match chunk.next() {
                Next::Result(result) => return Some(result),
                Next::End => drop(self.chunks.pop_front()),
                Next::Waiting => {
                    let (items, elapsed) = chunk.receive(&self.pool);
                    if items > 0 && elapsed > Duration::ZERO {
                        self.size.learn(items, elapsed);
                    }
                }
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let ahead = self.ahead();
        let (lower, upper) = self.items.as_ref().map_or((0, Some(0)), Iterator::size_hint);
        (lower.saturating_add(ahead), upper.and_then(|upper| upper.checked_add(ahead)))
    }
}

impl<I, R, P> FusedIterator for Map<I, R, P>
where
    I: Iterator,
    I::Item: Data,
    R: Data,
{
}

impl<I, R, P> Drop for Map<I, R, P> {
    fn drop(&mut self) {
        if self.pool.is_here() {
            for chunk in &self.chunks {
                cancel(&self.pool, &chunk.pending);
            }
        }
    }
}

impl<I, R, P> fmt::Debug for Map<I, R, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map")
            .field("function", &self.names.function)
            .field("pulled", &self.pulled)
            .field("in_flight", &self.ahead())
            .finish_non_exhaustive()
    }
}
