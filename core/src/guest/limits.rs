//! The limits of a run.

use std::time::Duration;

use crate::protocol::{
    DEFAULT_MEMORY_LIMIT, DEFAULT_OUTPUT_LIMIT, DEFAULT_SOURCE_LIMIT, DEFAULT_STORE_BYTES, DEFAULT_STORE_ENTRIES,
    DEFAULT_TIMEOUT_MILLISECONDS, NEW_GUEST_MEMORY, TAKEN_BEYOND_TWICE_THE_LIMIT,
};
use crate::tables::StoreLimit;

/// The most that the memory of a guest has room for when it keeps to this limit: what `MOST_TAKEN` in `alloc.c` says,
/// beside what a new one has.
pub(crate) const fn most_memory(limit: u64) -> u64 {
    limit.saturating_mul(2).saturating_add((TAKEN_BEYOND_TWICE_THE_LIMIT + NEW_GUEST_MEMORY) as u64)
}

/// The limits of a sandbox, complete. Everything here is listed in `docs/security.md`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) memory: u64,
    pub(crate) instructions: u64,
    pub(crate) timeout: Option<Duration>,
    pub(crate) output: u64,
    pub(crate) store: StoreLimit,
    pub(crate) host_calls: u64,
    pub(crate) source: u64,
    pub(crate) commit_on_error: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            memory: DEFAULT_MEMORY_LIMIT.into(),
            instructions: u64::MAX,
            timeout: Some(Duration::from_millis(DEFAULT_TIMEOUT_MILLISECONDS.into())),
            output: DEFAULT_OUTPUT_LIMIT.into(),
            store: StoreLimit::new(DEFAULT_STORE_BYTES.into(), DEFAULT_STORE_ENTRIES.into()),
            host_calls: u64::MAX,
            source: DEFAULT_SOURCE_LIMIT.into(),
            commit_on_error: false,
        }
    }
}

impl Limits {
    /// These limits, and nothing wider than the others.
    pub(crate) fn within(self, other: &Limits) -> Self {
        Limits {
            memory: self.memory.min(other.memory),
            instructions: self.instructions.min(other.instructions),
            timeout: self.timeout.into_iter().chain(other.timeout).min(),
            output: self.output.min(other.output),
            store: self.store.least(other.store),
            host_calls: self.host_calls.min(other.host_calls),
            source: self.source.min(other.source),
            commit_on_error: self.commit_on_error,
        }
    }

    /// What the host may hold in memory for the tables that a run uses: its writes within the store limit, and besides
    /// what that does not count, such as deletions, long before it matters how much that is for each entry.
    pub(crate) fn most_held(&self) -> u64 {
        const MEMORY_OF_ALL: u64 = 4 << 30;
        self.store.bytes.saturating_add(self.memory.min(MEMORY_OF_ALL)).saturating_add(4 << 20)
    }
}
