//! How much stored tables hold, against a limit.

use crate::store::Usage;

/// How much a script may keep in stored tables: entries, and the bytes of their keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreLimit {
    /// Bytes of all keys and values together.
    pub bytes: u64,
    /// Entries of all tables together.
    pub entries: u64,
}

impl StoreLimit {
    /// No limit.
    pub const UNLIMITED: StoreLimit = StoreLimit { bytes: u64::MAX, entries: u64::MAX };

    /// At most this much of both.
    #[must_use]
    pub const fn new(bytes: u64, entries: u64) -> Self {
        StoreLimit { bytes, entries }
    }
}

impl From<u64> for StoreLimit {
    /// At most this many bytes, and as many entries as that can be.
    fn from(bytes: u64) -> Self {
        StoreLimit { bytes, entries: u64::MAX }
    }
}

impl StoreLimit {
    pub(crate) fn least(self, other: StoreLimit) -> StoreLimit {
        StoreLimit { bytes: self.bytes.min(other.bytes), entries: self.entries.min(other.entries) }
    }
}

/// What the tables hold, at most.
///
/// As long as even the most that they can hold is within the limit, nothing is looked up: each write adds its size.
/// Only near the limit the old value of each key is taken into account.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meter {
    /// Before the present run.
    pub(crate) before: Usage,
    /// Now, at most.
    bound: Usage,
    /// Whether `bound` is exact.
    exact: bool,
}

impl Meter {
    /// For a run on a store that holds this much.
    pub(crate) fn new(usage: Usage) -> Self {
        Meter { before: usage, bound: usage, exact: false }
    }

    /// Counts a write when there is room for it whatever was there before; else it has to be looked at exactly.
    #[inline]
    pub(crate) fn add_without_looking(&mut self, bytes: u64, limit: &StoreLimit) -> bool {
        if self.exact {
            return false;
        }
        let next =
            Usage { bytes: self.bound.bytes.saturating_add(bytes), entries: self.bound.entries.saturating_add(1) };
        if next.bytes > limit.bytes || next.entries > limit.entries {
            return false;
        }
        self.bound = next;
        true
    }

    pub(crate) fn is_exact(&self) -> bool {
        self.exact
    }

    /// From here on the count is exact, beginning with this.
    pub(crate) fn set_exact(&mut self, usage: Usage) {
        self.bound = usage;
        self.exact = true;
    }

    /// Counts a change exactly, unless it grows beyond the limit. Sizes are of key and value together.
    pub(crate) fn change(&mut self, old: Option<u64>, new: Option<u64>, limit: &StoreLimit) -> bool {
        let bytes = self.bound.bytes.saturating_add(new.unwrap_or(0)).saturating_sub(old.unwrap_or(0));
        let entries =
            self.bound.entries.saturating_add(u64::from(new.is_some())).saturating_sub(u64::from(old.is_some()));
        let grows_beyond = (bytes > limit.bytes && bytes > self.bound.bytes)
            || (entries > limit.entries && entries > self.bound.entries);
        if !grows_beyond {
            self.bound = Usage { bytes, entries };
        }
        !grows_beyond
    }
}
