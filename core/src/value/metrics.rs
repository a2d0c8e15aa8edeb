//! What a run used.

use std::time::Duration;

/// What one run used. More fields will come; those that a guest does not report stay 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// Wall time from entering the sandbox to the finished result.
    pub wall_time: Duration,
    /// Instructions that the script took, roughly those of the Lua machine; the same in every run of the same script.
    pub instructions: u64,
    /// The most bytes that Lua had in use at once.
    pub peak_memory: u64,
    /// How often the script called host functions.
    pub host_calls: u64,
    /// Bytes of keys and values that the script wrote to stored tables.
    pub bytes_stored: u64,
}

/// A sandbox's memory at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryStats {
    /// Size of the buffer for source and results, in bytes.
    pub buffer_bytes: u64,
    /// Bytes in use by Lua's own heap.
    pub lua_bytes: u64,
    /// Size of the wasm memory, in bytes.
    pub wasm_bytes: u64,
}
