//! How much memory the sandboxes of this process take, for garbage collectors of the host's language, which see only a
//! small object for each.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a sandbox takes that has not grown: memory of the guest's that it does not share with others, and what the host
/// keeps for it.
const LEAST: u64 = 256 << 10;

/// Of all sandboxes.
static IN_USE: AtomicU64 = AtomicU64::new(0);

/// About how many bytes all sandboxes of this process take now: Lua's memory, and tables that are kept in memory.
///
/// Tell a garbage collector about it, or ask it to run when this has become too much.
#[must_use]
pub fn memory_in_use() -> u64 {
    IN_USE.load(Ordering::Relaxed)
}

/// What one sandbox adds to it.
#[derive(Default)]
pub(crate) struct Weight(AtomicU64);

impl Weight {
    /// It is so much more now than a new sandbox takes. For who has the sandbox.
    #[inline]
    pub(crate) fn set_grown(&self, grown: u64) {
        self.set(LEAST.saturating_add(grown));
    }

    #[inline]
    fn set(&self, bytes: u64) {
        let before = self.get();
        if bytes != before {
            self.0.store(bytes, Ordering::Relaxed);
            IN_USE.fetch_add(bytes.wrapping_sub(before), Ordering::Relaxed);
        }
    }

    /// Bytes.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// What was counted is given up.
    pub(crate) fn end(&self) {
        self.set(0);
    }
}

impl Drop for Weight {
    fn drop(&mut self) {
        self.end();
    }
}
