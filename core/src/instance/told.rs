//! Telling the guest how its sandbox is set up.

use super::Context;
use crate::Result;
use crate::limits::Limits;
use crate::machine::told::{Bounds, Told};

impl Context<'_> {
    #[inline]
    pub(crate) fn told(&mut self) -> &mut Told {
        &mut self.data_mut().told
    }

    /// Tells the guest those limits that it keeps itself.
    #[inline]
    pub(crate) fn tell_limits(&mut self, limits: &Limits) -> Result<()> {
        self.tell_bounds(Bounds::of(limits))
    }

    /// Tells the guest other limits in the middle of a run.
    pub(crate) fn change_limits(&mut self, limits: &Limits) -> Result<()> {
        // How often the guest asks, and what is kept of a failed run, is settled when a run begins.
        let Bounds { grant, keep_failed, .. } = self.told().limits;
        self.tell_bounds(Bounds { grant, keep_failed, ..Bounds::of(limits) })
    }

    #[inline]
    fn tell_bounds(&mut self, wanted: Bounds) -> Result<()> {
        if self.told().limits == wanted { Ok(()) } else { self.tell_changes(wanted) }
    }

    #[cold]
    fn tell_changes(&mut self, wanted: Bounds) -> Result<()> {
        // For the guest 0 means no limit.
        let bound = |bytes: u64| u32::try_from(bytes.max(1)).unwrap_or(0).cast_signed();
        let told = self.told().limits;
        if told.memory != wanted.memory {
            if self.has_memory_limit() {
                self.set_memory_limit(bound(wanted.memory))?;
            } else {
                self.set_max_memory(wanted.memory);
            }
            self.told().limits.memory = wanted.memory;
        }
        if told.output != wanted.output {
            if self.has_output_limit() {
                self.set_output_limit(bound(wanted.output))?;
            }
            self.told().limits.output = wanted.output;
        }
        if told.grant != wanted.grant {
            if self.has_instruction_grant() {
                self.set_instruction_grant(wanted.grant)?;
            }
            self.told().limits.grant = wanted.grant;
        }
        if told.keep_failed != wanted.keep_failed {
            if self.has_keep_failed() {
                self.set_keep_failed(i32::from(wanted.keep_failed))?;
            }
            self.told().limits.keep_failed = wanted.keep_failed;
        }
        Ok(())
    }

    /// Tells the guest whether a transaction is open.
    pub(crate) fn tell_transaction(&mut self, open: bool) -> Result<()> {
        if self.told().in_transaction != open {
            self.set_transaction(i32::from(open))?;
            self.told().in_transaction = open;
        }
        Ok(())
    }
}
