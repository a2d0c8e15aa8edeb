//! What runs give.

use luacell::{Metrics, Outcome, Result};

use crate::error::luacell_error;
use crate::guard;
use crate::pointers::{Opaque, borrow, from_raw, luacell_bytes, view};
use crate::size_prefixed;
use crate::status::luacell_status;
use crate::value::{luacell_value, luacell_values};

/// What a run gave: values, printed text, what it used.
pub struct luacell_outcome {
    _private: (),
}

impl Opaque for luacell_outcome {
    type Behind = Outcome;
}

/// What a run used. Set `size` before passing it; later versions may add fields at the end.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct luacell_metrics {
    /// sizeof(luacell_metrics)
    pub size: usize,
    /// Wall time from entering the sandbox to the finished result, in nanoseconds.
    pub wall_time_ns: u64,
    /// Instructions that the script took; the same in every run of the same script.
    pub instructions: u64,
    /// The most bytes that Lua had in use at once.
    pub peak_memory: u64,
    /// How often the script called host functions.
    pub host_calls: u64,
    /// Bytes of keys and values that the script wrote to stored tables.
    pub bytes_stored: u64,
}

// SAFETY: numbers, the size first.
unsafe impl size_prefixed::SizePrefixed for luacell_metrics {}

pub(crate) unsafe fn write_metrics(metrics: &Metrics, target: *mut luacell_metrics) -> Result<()> {
    let found = luacell_metrics {
        size: 0,
        wall_time_ns: u64::try_from(metrics.wall_time.as_nanos()).unwrap_or(u64::MAX),
        instructions: metrics.instructions,
        peak_memory: metrics.peak_memory,
        host_calls: metrics.host_calls,
        bytes_stored: metrics.bytes_stored,
    };
    size_prefixed::write(target, &found, "luacell_metrics")
}

/// Ends an outcome, with its values and output. NULL is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_outcome_free(outcome: *mut luacell_outcome) {
    guard::plain((), || drop(from_raw(outcome)));
}

/// All values that were returned, in order. Belong to the outcome.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_outcome_values(outcome: *const luacell_outcome) -> *const luacell_values {
    borrow(outcome, "outcome").map_or(std::ptr::null(), |outcome| view(&outcome.values))
}

/// The first value that was returned, or nil. Belongs to the outcome.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_outcome_value(outcome: *const luacell_outcome) -> *const luacell_value {
    borrow(outcome, "outcome").map_or(std::ptr::null(), |outcome| view(outcome.value()))
}

/// What the script printed; nothing when the sandbox has a print callback. Belongs to the outcome.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_outcome_output(outcome: *const luacell_outcome) -> luacell_bytes {
    borrow(outcome, "outcome").map(|outcome| luacell_bytes::of(outcome.output.as_bytes())).unwrap_or_default()
}

/// Writes what the run used to `metrics`, whose `size` the caller has set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_outcome_metrics(
    outcome: *const luacell_outcome,
    metrics: *mut luacell_metrics,
    error: *mut *mut luacell_error,
) -> luacell_status {
    guard::status(error, || write_metrics(&borrow(outcome, "outcome")?.metrics, metrics))
}
