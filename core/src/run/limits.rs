//! Limits that somebody has set, for a sandbox or a single run.

use std::time::Duration;

use crate::guest::limits::Limits;
use crate::tables::StoreLimit;

/// Limits that somebody has set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LimitOverrides {
    pub(crate) memory: Option<u64>,
    pub(crate) instructions: Option<u64>,
    pub(crate) timeout: Option<Option<Duration>>,
    pub(crate) output: Option<u64>,
    pub(crate) store: Option<StoreLimit>,
    pub(crate) host_calls: Option<u64>,
    pub(crate) source: Option<u64>,
    pub(crate) commit_on_error: Option<bool>,
}

impl LimitOverrides {
    /// These limits in the place of the others.
    pub(crate) fn over(&self, mut limits: Limits) -> Limits {
        fn put<T: Copy>(place: &mut T, set: Option<T>) {
            if let Some(value) = set {
                *place = value;
            }
        }
        put(&mut limits.memory, self.memory);
        put(&mut limits.instructions, self.instructions);
        put(&mut limits.timeout, self.timeout);
        put(&mut limits.output, self.output);
        put(&mut limits.store, self.store);
        put(&mut limits.host_calls, self.host_calls);
        put(&mut limits.source, self.source);
        put(&mut limits.commit_on_error, self.commit_on_error);
        limits
    }

    /// What bounds a run inside another one that is bounded by `outer`: nothing gets wider. `calls` and `printed` is
    /// what that one has used. Time and instructions are counted elsewhere.
    pub(crate) fn within(&self, outer: &Limits, calls: u64, printed: u64) -> Limits {
        Limits {
            memory: self.memory.map_or(outer.memory, |bytes| bytes.min(outer.memory)),
            output: self.output.map_or(outer.output, |bytes| printed.saturating_add(bytes).min(outer.output)),
            store: self.store.map_or(outer.store, |limit| limit.least(outer.store)),
            host_calls: self.host_calls.map_or(outer.host_calls, |n| calls.saturating_add(n).min(outer.host_calls)),
            source: self.source.map_or(outer.source, |bytes| bytes.min(outer.source)),
            ..*outer
        }
    }
}
