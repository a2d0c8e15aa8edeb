//! When a store need not continue.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use super::StoreResult;
use crate::util::StopSignal;

/// Tells a store when its answer is no longer of any use: the run that asks has passed its deadline, or was
/// interrupted. See [`TableStore::set_cancel`](crate::TableStore::set_cancel).
#[derive(Clone)]
pub struct CancelToken {
    deadline: Option<Instant>,
    signal: Option<Arc<StopSignal>>,
    room: usize,
}

impl Default for CancelToken {
    fn default() -> Self {
        CancelToken::new(None, None)
    }
}

impl CancelToken {
    pub(crate) fn new(deadline: Option<Instant>, signal: Option<Arc<StopSignal>>) -> Self {
        CancelToken { deadline, signal, room: usize::MAX }
    }

    /// For a run whose store may hold so many bytes in memory.
    pub(crate) fn with_room(self, room: usize) -> Self {
        CancelToken { room, ..self }
    }

    /// How many bytes of memory the store may hold for the run: see [`TableStore::held`](crate::TableStore::held). A
    /// store that reads a lot at a time gives up, with any error, before it holds more.
    #[must_use]
    pub fn room(&self) -> usize {
        self.room
    }

    /// When it will be cancelled at the latest.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Whether it is cancelled.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.signal.as_ref().is_some_and(|signal| signal.is_interrupted())
            || self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }
}

/// Something long, gone through until the token is cancelled.
pub(crate) struct Watched<'a, I> {
    items: I,
    token: &'a CancelToken,
    steps: u32,
    cancelled: bool,
}

impl CancelToken {
    pub(crate) fn watch<I: Iterator>(&self, items: I) -> Watched<'_, I> {
        Watched { items, token: self, steps: 0, cancelled: false }
    }
}

impl<I> Watched<'_, I> {
    /// Fails when it was left in the middle.
    pub(crate) fn finish(self) -> StoreResult<()> {
        if self.cancelled { Err("the run had to end before all was stored".into()) } else { Ok(()) }
    }
}

impl<I: Iterator> Iterator for Watched<'_, I> {
    type Item = I::Item;

    #[inline]
    fn next(&mut self) -> Option<I::Item> {
        /// How often it is looked: so many steps take less than a millisecond or a few.
        const STEPS: u32 = 1024;
        self.steps += 1;
        if self.steps == STEPS {
            self.steps = 0;
            self.cancelled |= self.token.is_cancelled();
        }
        if self.cancelled { None } else { self.items.next() }
    }
}

impl fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelToken").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}
