//! What bounds a run.

use std::time::Duration;

use crate::protocol::{
    DEFAULT_MEMORY_LIMIT, DEFAULT_OUTPUT_LIMIT, DEFAULT_SOURCE_LIMIT, DEFAULT_STORE_BYTES, DEFAULT_STORE_ENTRIES,
    DEFAULT_TIMEOUT_MILLISECONDS, NEW_GUEST_MEMORY, TAKEN_BEYOND_TWICE_THE_LIMIT,
};

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

/// The most that the memory of a guest has room for when it keeps to this limit: what `MOST_TAKEN` in `alloc.c` says, beside what a new one has.
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

/// Limits that somebody has set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SetLimits {
    pub(crate) memory: Option<u64>,
    pub(crate) instructions: Option<u64>,
    pub(crate) timeout: Option<Option<Duration>>,
    pub(crate) output: Option<u64>,
    pub(crate) store: Option<StoreLimit>,
    pub(crate) host_calls: Option<u64>,
    pub(crate) source: Option<u64>,
    pub(crate) commit_on_error: Option<bool>,
}

impl Limits {
    /// What the host may hold in memory for the tables that a run uses: its writes within the store limit, and besides what that does not count, such as
    /// deletions, long before it matters how much that is for each entry.
    pub(crate) fn most_held(&self) -> u64 {
        const MEMORY_OF_ALL: u64 = 4 << 30;
        self.store.bytes.saturating_add(self.memory.min(MEMORY_OF_ALL)).saturating_add(4 << 20)
    }

    /// These limits with what was set in their place.
    #[must_use]
    pub(crate) fn with(mut self, set: &SetLimits) -> Self {
        fn put<T: Copy>(place: &mut T, set: Option<T>) {
            if let Some(value) = set {
                *place = value;
            }
        }
        put(&mut self.memory, set.memory);
        put(&mut self.instructions, set.instructions);
        put(&mut self.timeout, set.timeout);
        put(&mut self.output, set.output);
        put(&mut self.store, set.store);
        put(&mut self.host_calls, set.host_calls);
        put(&mut self.source, set.source);
        put(&mut self.commit_on_error, set.commit_on_error);
        self
    }
}

impl StoreLimit {
    fn least(self, other: StoreLimit) -> StoreLimit {
        StoreLimit { bytes: self.bytes.min(other.bytes), entries: self.entries.min(other.entries) }
    }
}

impl SetLimits {
    /// What bounds a run inside another one that is bounded by `outer`: nothing gets wider. `calls` and `printed` is what that one has used.
    /// Time and instructions are counted elsewhere.
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

/// The methods by which a sandbox and a single run are given limits: the same ones.
macro_rules! limit_setters {
    ($type:ty) => {
        impl $type {
            /// At most this many bytes for Lua's heap and the buffers of the run. What goes beyond fails as it does in Lua: "not enough
            /// memory", which `pcall` sees, and which is an error of the kind `Memory` when nothing catches it. Default 256 MiB;
            /// the engine's [`max_memory`](crate::EngineConfig::max_memory) holds besides.
            #[must_use]
            pub fn memory_limit(mut self, bytes: u64) -> Self {
                self.limits.memory = Some(bytes);
                self
            }

            /// At most this many instructions, about those of the Lua machine; work in libraries counts by its size. Beyond: an error of
            /// the kind `InstructionLimit`, which a script can't catch. The count is the same in every run of the same script.
            /// Default: no limit, `u64::MAX`.
            #[must_use]
            pub fn instruction_limit(mut self, instructions: u64) -> Self {
                self.limits.instructions = Some(instructions);
                self
            }

            /// How long a run may take, host functions that it waits for included. Beyond: an error of the kind `Timeout`, which a script
            /// can't catch. A host function that is running is not stopped; the run ends when it returns. Default 60 seconds; `None` for no limit.
            #[must_use]
            pub fn timeout(mut self, timeout: impl Into<Option<std::time::Duration>>) -> Self {
                self.limits.timeout = Some(timeout.into());
                self
            }

            /// At most this many bytes of `print` in a run. Beyond: an error of the kind `OutputLimit`, which a script can't catch.
            /// Default 16 MiB.
            #[must_use]
            pub fn output_limit(mut self, bytes: u64) -> Self {
                self.limits.output = Some(bytes);
                self
            }

            /// How much stored tables may hold. A script that writes beyond gets an error of the kind `StoreLimit`, which it can't
            /// catch; what the host writes counts too, but is not refused. Default 1 GiB and 10 million entries.
            #[must_use]
            pub fn store_limit(mut self, limit: impl Into<$crate::StoreLimit>) -> Self {
                self.limits.store = Some(limit.into());
                self
            }

            /// At most this many calls of host functions in a run. Beyond: an error of the kind `HostCallLimit`, which a script can't
            /// catch. Default: no limit, `u64::MAX`.
            #[must_use]
            pub fn host_call_limit(mut self, calls: u64) -> Self {
                self.limits.host_calls = Some(calls);
                self
            }

            /// At most this many bytes of source for one run. Longer source is refused with `InvalidArgument`. Default 16 MiB.
            /// What a script passes to `load` is bounded by its memory.
            #[must_use]
            pub fn source_limit(mut self, bytes: u64) -> Self {
                self.limits.source = Some(bytes);
                self
            }

            /// Whether what a run wrote to tables is kept although it fails, by an error or a limit: everything up to the failure. A crash of the guest (`Trap`) takes its
            /// writes along all the same. Default: a run that fails stores nothing.
            #[must_use]
            pub fn commit_on_error(mut self, on: bool) -> Self {
                self.limits.commit_on_error = Some(on);
                self
            }
        }
    };
}

pub(crate) use limit_setters;
