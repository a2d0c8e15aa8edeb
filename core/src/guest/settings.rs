//! What an instance was told about its sandbox, and telling it.

use std::sync::atomic::{AtomicU64, Ordering};

use super::GuestMut;
use super::limits::Limits;
use crate::protocol::INSTRUCTION_GRANT;
use crate::value::Result;

/// What an instance was told, and its number. It lives and dies with the instance: a new one knows nothing of what an
/// earlier one was told.
#[derive(Clone, Copy)]
pub(crate) struct Settings {
    /// Tells instances apart in the whole process: functions of an earlier one can't be called any more.
    pub(crate) number: u64,
    /// The limits that it keeps itself.
    pub(crate) limits: GuestLimits,
    /// Whether a transaction is open.
    pub(crate) in_transaction: bool,
    /// Whether its runs may wait.
    pub(crate) waits: bool,
}

impl Settings {
    /// Ours was told the defaults before it was compiled.
    pub(super) fn of_new_instance(foreign: bool) -> Self {
        static NUMBERS: AtomicU64 = AtomicU64::new(1);
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let limits = if foreign { GuestLimits::UNSET } else { GuestLimits::of(&Limits::default()) };
        Settings { number, limits, in_transaction: false, waits: false }
    }
}

/// Limits that the guest keeps itself.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct GuestLimits {
    pub(crate) memory: u64,
    pub(crate) output: u64,
    pub(crate) grant: i32,
    pub(crate) keep_failed: bool,
}

impl GuestLimits {
    /// A guest that was told nothing but how often to ask.
    const UNSET: Self = GuestLimits { memory: 0, output: 0, grant: INSTRUCTION_GRANT, keep_failed: false };

    #[inline]
    pub(crate) fn of(limits: &Limits) -> Self {
        let grant = i32::try_from(limits.instructions).unwrap_or(i32::MAX).clamp(1, INSTRUCTION_GRANT);
        GuestLimits { memory: limits.memory, output: limits.output, grant, keep_failed: limits.commit_on_error }
    }

    /// Other than these in every point.
    pub(crate) fn none_of_these(self) -> Self {
        GuestLimits { memory: !self.memory, output: !self.output, grant: !self.grant, keep_failed: !self.keep_failed }
    }
}

impl GuestMut<'_> {
    #[inline]
    pub(crate) fn settings(&mut self) -> &mut Settings {
        &mut self.state_mut().settings
    }

    /// Tells the guest those limits that it keeps itself.
    #[inline]
    pub(crate) fn set_limits(&mut self, limits: &Limits) -> Result<()> {
        self.set_guest_limits(GuestLimits::of(limits))
    }

    /// Tells the guest other limits in the middle of a run.
    pub(crate) fn change_limits(&mut self, limits: &Limits) -> Result<()> {
        // How often the guest asks, and what is kept of a failed run, is settled when a run begins.
        let GuestLimits { grant, keep_failed, .. } = self.settings().limits;
        self.set_guest_limits(GuestLimits { grant, keep_failed, ..GuestLimits::of(limits) })
    }

    #[inline]
    fn set_guest_limits(&mut self, wanted: GuestLimits) -> Result<()> {
        if self.settings().limits == wanted { Ok(()) } else { self.set_changed(wanted) }
    }

    /// The guest keeps to the limit for memory again.
    pub(crate) fn set_memory_limit_again(&mut self) -> Result<()> {
        let limits = self.settings().limits;
        self.settings().limits.memory = !limits.memory;
        self.set_guest_limits(limits)
    }

    #[cold]
    fn set_changed(&mut self, wanted: GuestLimits) -> Result<()> {
        // For the guest 0 means no limit, and -1 one of zero.
        let bound = |bytes: u64| match u32::try_from(bytes) {
            Ok(0) => -1,
            Ok(bytes) if bytes < u32::MAX => bytes.cast_signed(),
            _ => 0,
        };
        let known = self.settings().limits;
        if known.memory != wanted.memory {
            if self.has_memory_limit() {
                self.set_memory_limit(bound(wanted.memory.max(1)))?;
            } else {
                self.set_max_memory(wanted.memory);
            }
            self.settings().limits.memory = wanted.memory;
        }
        if known.output != wanted.output {
            if self.has_output_limit() {
                self.set_output_limit(bound(wanted.output))?;
            }
            self.settings().limits.output = wanted.output;
        }
        if known.grant != wanted.grant {
            if self.has_instruction_grant() {
                self.set_instruction_grant(wanted.grant)?;
            }
            self.settings().limits.grant = wanted.grant;
        }
        if known.keep_failed != wanted.keep_failed {
            if self.has_keep_failed() {
                self.set_keep_failed(i32::from(wanted.keep_failed))?;
            }
            self.settings().limits.keep_failed = wanted.keep_failed;
        }
        Ok(())
    }

    /// Tells the guest whether a transaction is open.
    pub(crate) fn set_in_transaction(&mut self, open: bool) -> Result<()> {
        if self.settings().in_transaction != open {
            self.set_transaction(i32::from(open))?;
            self.settings().in_transaction = open;
        }
        Ok(())
    }
}
