//! What an instance knows of its sandbox.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::limits::Limits;
use crate::protocol::INSTRUCTION_GRANT;

/// What an instance was told, and what it is called. It lives and dies with the instance: a new one knows nothing of what an earlier one was told.
#[derive(Clone, Copy)]
pub(crate) struct Told {
    /// Tells instances apart in the whole process: functions of an earlier one can't be called any more.
    pub(crate) number: u64,
    /// The limits that it keeps itself.
    pub(crate) limits: Bounds,
    /// Whether a transaction is open.
    pub(crate) in_transaction: bool,
    /// Whether anything was run in it.
    pub(crate) ran: bool,
}

impl Told {
    /// What a new instance knows: ours was told the defaults before it was compiled.
    pub(super) fn fresh(ready: bool) -> Self {
        static NUMBERS: AtomicU64 = AtomicU64::new(1);
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let limits = if ready { Bounds::of(&Limits::default()) } else { Bounds::UNTOLD };
        Told { number, limits, in_transaction: false, ran: false }
    }
}

/// Limits that the guest keeps itself.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) memory: u64,
    pub(crate) output: u64,
    pub(crate) grant: i32,
    pub(crate) keep_failed: bool,
}

impl Bounds {
    /// A guest that was told nothing but how often to ask.
    const UNTOLD: Self = Bounds { memory: 0, output: 0, grant: INSTRUCTION_GRANT, keep_failed: false };

    #[inline]
    pub(crate) fn of(limits: &Limits) -> Self {
        let grant = i32::try_from(limits.instructions).unwrap_or(i32::MAX).clamp(1, INSTRUCTION_GRANT);
        Bounds { memory: limits.memory, output: limits.output, grant, keep_failed: limits.commit_on_error }
    }

    /// Other than these in every point.
    pub(crate) fn none_of_these(self) -> Self {
        Bounds { memory: !self.memory, output: !self.output, grant: !self.grant, keep_failed: !self.keep_failed }
    }
}
