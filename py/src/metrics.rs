//! What runs used, as Python objects.

use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::to_python;

/// What one run used.
#[pyclass(frozen, get_all, eq, module = "luacell")]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Metrics {
    /// Wall time from entering the sandbox to the finished result, in seconds.
    wall_time: f64,
    /// Instructions that the script took; the same in every run of the same script.
    instructions: u64,
    /// The most bytes that Lua had in use at once.
    peak_memory: u64,
    /// How often the script called host functions.
    host_calls: u64,
    /// Bytes of keys and values that the script wrote to stored tables.
    bytes_stored: u64,
}

impl From<luacell::Metrics> for Metrics {
    fn from(metrics: luacell::Metrics) -> Self {
        Metrics {
            wall_time: metrics.wall_time.as_secs_f64(),
            instructions: metrics.instructions,
            peak_memory: metrics.peak_memory,
            host_calls: metrics.host_calls,
            bytes_stored: metrics.bytes_stored,
        }
    }
}

#[pymethods]
impl Metrics {
    #[new]
    #[pyo3(signature = (wall_time=0.0, instructions=0, peak_memory=0, host_calls=0, bytes_stored=0))]
    fn new(wall_time: f64, instructions: u64, peak_memory: u64, host_calls: u64, bytes_stored: u64) -> Self {
        Metrics { wall_time, instructions, peak_memory, host_calls, bytes_stored }
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let all = (self.wall_time, self.instructions, self.peak_memory, self.host_calls, self.bytes_stored);
        (py.get_type::<Self>(), all).into_pyobject(py)
    }

    fn __repr__(&self) -> String {
        format!(
            "Metrics(wall_time={:.6}, instructions={}, peak_memory={}, host_calls={}, bytes_stored={})",
            self.wall_time, self.instructions, self.peak_memory, self.host_calls, self.bytes_stored
        )
    }
}

/// A sandbox's memory at one moment, in bytes.
#[pyclass(frozen, get_all, eq, module = "luacell")]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MemoryStats {
    /// Size of the buffer for source and results.
    buffer_bytes: u64,
    /// In use by Lua's own heap.
    lua_bytes: u64,
    /// Size of the wasm memory.
    wasm_bytes: u64,
}

impl From<luacell::MemoryStats> for MemoryStats {
    fn from(stats: luacell::MemoryStats) -> Self {
        MemoryStats { buffer_bytes: stats.buffer_bytes, lua_bytes: stats.lua_bytes, wasm_bytes: stats.wasm_bytes }
    }
}

#[pymethods]
impl MemoryStats {
    fn __repr__(&self) -> String {
        format!(
            "MemoryStats(buffer_bytes={}, lua_bytes={}, wasm_bytes={})",
            self.buffer_bytes, self.lua_bytes, self.wasm_bytes
        )
    }
}

/// What a successful run returned besides its values.
#[pyclass(frozen, module = "luacell")]
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    pub output: luacell::LuaString,
    pub metrics: luacell::Metrics,
    pub count: usize,
}

impl From<luacell::Outcome> for Outcome {
    fn from(outcome: luacell::Outcome) -> Self {
        Outcome { output: outcome.output, metrics: outcome.metrics, count: outcome.values.len() }
    }
}

#[pymethods]
impl Outcome {
    /// What the script printed. Bytes that are not UTF-8 are shown as `\xff`.
    #[getter]
    fn output<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        to_python::text(py, self.output.as_bytes())
    }

    /// What the run used.
    #[getter]
    fn metrics(&self) -> Metrics {
        self.metrics.into()
    }

    /// How many values it returned.
    #[getter]
    fn count(&self) -> usize {
        self.count
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let output = self.output(py)?.repr()?;
        Ok(format!("Outcome(count={}, output={output}, metrics={})", self.count, self.metrics().__repr__()))
    }
}
