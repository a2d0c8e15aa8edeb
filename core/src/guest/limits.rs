//! What bounds a run.

use std::time::Duration;

use crate::machine::preset::{DEFAULT_MEMORY_LIMIT, DEFAULT_OUTPUT_LIMIT};
use crate::tables::StoreLimit;

/// How many instructions a guest may run before it asks again: often enough for a deadline to hold within a fraction of a millisecond, seldom
/// enough to cost nothing.
pub(crate) const GRANT: i32 = crate::machine::preset::INSTRUCTION_GRANT;

/// The most that the memory of a guest has room for when it keeps to this limit: what `MOST_TAKEN` in `alloc.c` says, beside what a new one has.
pub(crate) const fn most_memory(limit: u64) -> u64 {
    limit.saturating_mul(2).saturating_add(7 << 20)
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
            timeout: Some(Duration::from_secs(60)),
            output: DEFAULT_OUTPUT_LIMIT.into(),
            store: StoreLimit::new(1 << 30, 10_000_000),
            host_calls: u64::MAX,
            source: 16 << 20,
            commit_on_error: false,
        }
    }
}

impl Limits {
    /// What the host may hold in memory for the tables that a run uses: its writes within the store limit, and besides what that does not count, such as
    /// deletions, long before it matters how much that is for each entry.
    pub(crate) fn most_held(&self) -> u64 {
        const MEMORY_OF_ALL: u64 = 4 << 30;
        self.store.bytes.saturating_add(self.memory.min(MEMORY_OF_ALL)).saturating_add(4 << 20)
    }
}
