//! Limits that the guest keeps itself: what it was told of them, and telling it others.

use crate::Result;
use crate::instance::Context;
use crate::limits::{GRANT, Limits};

/// What the present instance was told.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Applied {
    pub(super) memory: u64,
    pub(super) output: u64,
    pub(super) grant: i32,
    pub(super) keep_failed: bool,
}

/// A guest that was told nothing but how often to ask.
pub(super) const UNTOLD: Applied = Applied { memory: 0, output: 0, grant: GRANT, keep_failed: false };

impl Applied {
    #[inline]
    pub(super) fn of(limits: &Limits) -> Self {
        let grant = i32::try_from(limits.instructions).unwrap_or(i32::MAX).clamp(1, GRANT);
        Applied { memory: limits.memory, output: limits.output, grant, keep_failed: limits.commit_on_error }
    }

    /// What a new instance knows: ours was told the defaults before it was compiled.
    pub(super) fn fresh(foreign: bool) -> Self {
        if foreign {
            return UNTOLD;
        }
        let defaults = Limits::default();
        Applied { memory: defaults.memory, output: defaults.output, grant: GRANT, keep_failed: false }
    }
}

impl Context<'_> {
    /// Tells the guest other limits in the middle of a run.
    pub(crate) fn change_limits(&mut self, from: &Limits, to: &Limits) -> Result<()> {
        let mut told = Applied::of(from);
        // How often the guest asks is settled when a run begins.
        let wanted = Applied { grant: told.grant, ..Applied::of(to) };
        if told == wanted { Ok(()) } else { apply_changes(self, &mut told, wanted) }
    }
}

/// Tells the guest those limits that it keeps itself.
#[inline]
pub(super) fn apply(guest: &mut Context<'_>, applied: &mut Applied, limits: &Limits) -> Result<()> {
    let wanted = Applied::of(limits);
    if *applied == wanted {
        return Ok(());
    }
    apply_changes(guest, applied, wanted)
}

#[cold]
pub(super) fn apply_changes(guest: &mut Context<'_>, applied: &mut Applied, wanted: Applied) -> Result<()> {
    // For the guest 0 means no limit.
    let bound = |bytes: u64| u32::try_from(bytes.max(1)).unwrap_or(0).cast_signed();
    if applied.memory != wanted.memory {
        if guest.has_memory_limit() {
            guest.set_memory_limit(bound(wanted.memory))?;
        } else {
            guest.set_max_memory(wanted.memory);
        }
    }
    if applied.output != wanted.output && guest.has_output_limit() {
        guest.set_output_limit(bound(wanted.output))?;
    }
    if applied.grant != wanted.grant && guest.has_instruction_grant() {
        guest.set_instruction_grant(wanted.grant)?;
    }
    if applied.keep_failed != wanted.keep_failed && guest.has_keep_failed() {
        guest.set_keep_failed(i32::from(wanted.keep_failed))?;
    }
    *applied = wanted;
    Ok(())
}
