//! Forgotten sandboxes. Those that nothing refers to are freed at once. Those that refer to themselves, for example
//! through a host function, are freed when Python's garbage collector finds them; it sees only a few small objects for
//! each.

use std::sync::atomic::{AtomicU64, Ordering};

use pyo3::prelude::*;

/// What sandboxes may take before it is worth while to look for forgotten ones.
const LEAST: u64 = 128 << 20;

static BOUND: AtomicU64 = AtomicU64::new(LEAST);

/// There is to be one more sandbox: when all of them take too much, Python is to look for forgotten ones. What they
/// take afterwards is not forgotten: only when there is as much again it is worth while once more.
pub fn relieve(py: Python<'_>) -> PyResult<()> {
    if luacell::memory_in_use() > BOUND.load(Ordering::Relaxed) {
        // Others need not do the same meanwhile.
        BOUND.store(u64::MAX, Ordering::Relaxed);
        // Who has turned it off does not want its pauses.
        let collected = py.import("gc").and_then(|gc| match gc.call_method0("isenabled")?.is_truthy()? {
            true => gc.call_method0("collect").map(drop),
            false => Ok(()),
        });
        BOUND.store(LEAST.max(luacell::memory_in_use().saturating_mul(2)), Ordering::Relaxed);
        return collected;
    }
    Ok(())
}
