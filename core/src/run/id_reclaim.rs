//! Numbers of tables that a run took, and gives back.

use super::state::{Instance, SandboxState};
use crate::guest::held_tables::held_tables;
use crate::value::Result;

impl SandboxState {
    /// What was done stays: Lua goes on with the tables that it holds by now.
    #[inline]
    pub(crate) fn note_ids(&mut self) {
        if self.transaction.is_some() {
            return;
        }
        let Instance::Live(guest) = &mut self.instance else { return };
        let mut context = guest.get_mut();
        match context.next_table_id() {
            Some(Ok(next)) => context.host().tables.note_lua(next),
            Some(Err(_)) => self.restart(),
            None => {}
        }
    }

    /// Numbers of tables that a run took and nobody uses are given again: those behind `used` and behind what the host
    /// has views of.
    pub(super) fn reclaim_ids(&mut self, used: u32) {
        let used = used.max(self.held.tables.highest());
        if let Instance::Live(guest) = &mut self.instance {
            let takes_back = guest.get_mut().has_table_counter();
            let tables = &mut guest.host().tables;
            let next = if takes_back { tables.give_back(used) } else { tables.next_id() };
            let mut context = guest.get_mut();
            let told = match takes_back {
                true => context.set_table_counter(next.cast_signed()),
                false => context.sync_external_table_counter(next.cast_signed()),
            };
            if told.is_err() {
                self.restart();
            }
        }
    }

    /// After a run that took many numbers, before it is stored: those of tables that neither Lua holds nor anything
    /// that was written refers to are free again.
    #[cold]
    pub(super) fn trim_ids(&mut self) -> Result<()> {
        /// Fewer are not worth a collection.
        const MANY: u32 = 1 << 16;
        let mut guest = self.guest()?;
        if !guest.has_table_counter() {
            return Ok(());
        }
        let Some(next) = guest.next_table_id().transpose()? else { return Ok(()) };
        if guest.host().tables.taken(next) < MANY {
            return Ok(());
        }
        let Some(held) = held_tables(&mut guest)? else {
            return Ok(());
        };
        let written = guest.host().tables.highest_written();
        let used = held.into_iter().fold(written, u32::max);
        if used < next {
            self.reclaim_ids(used);
        }
        Ok(())
    }
}
