//! What a run used.

use std::time::Duration;

/// What one run used. More fields will come; those that a guest does not report stay 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// Wall time from entering the sandbox to the finished result.
    pub wall_time: Duration,
}

/// A sandbox's memory at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryStats {
    /// Size of the buffer through which source and results travel, in bytes.
    pub buffer_bytes: u64,
    /// Bytes in use by Lua's own heap.
    pub lua_bytes: u64,
    /// Size of the wasm memory, in bytes.
    pub wasm_bytes: u64,
}
