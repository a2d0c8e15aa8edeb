//! What a run wrote to tables goes into the store, and tables that nothing refers to are removed.

use super::state::{Instance, SandboxState};
use crate::guest::held_tables::{forget_tables, held_tables};
use crate::value::{Error, Result};

impl SandboxState {
    /// Ends a write from the host: all of it is stored, or nothing.
    pub(crate) fn finish_write(&mut self, result: Result<()>) -> Result<()> {
        let result = result.and_then(|()| self.check_transaction()).and_then(|()| match self.transaction {
            None => self.commit(),
            Some(_) => Ok(()),
        });
        self.roll_back_on_error(result)
    }

    /// Stores what was written.
    pub(super) fn commit(&mut self) -> Result<()> {
        let tables = self.tables()?;
        let (dirty, first) = (tables.is_dirty(), tables.sweeps_first());
        if first && dirty {
            self.sweep_if_due()?;
        }
        if self.tables()?.wants_counter()
            && let Instance::Live(guest) = &mut self.instance
        {
            let mut context = guest.get_mut();
            if let Some(next) = context.next_table_id() {
                context.host().tables.note_counter(next?);
            }
        }
        self.tables()?.commit()?;
        if !first && (dirty || self.tables()?.asks_for_held()) && self.sweep_if_due().is_err() {
            // The next one will do it.
            self.tables()?.rollback();
        }
        Ok(())
    }

    /// The result of something that is no run: what fails is taken back.
    pub(crate) fn roll_back_on_error<T>(&mut self, result: Result<T>) -> Result<T> {
        if let Err(error) = &result {
            self.roll_back(error);
        }
        result
    }

    /// Looks for orphans when enough tables were made.
    #[inline]
    fn sweep_if_due(&mut self) -> Result<()> {
        if self.tables()?.wants_sweep() { self.sweep(false) } else { Ok(()) }
    }

    /// Removes stored tables that nothing refers to, as part of the present transaction. Lua knows which ones it still
    /// holds; a guest of revision 1 can't tell, and then nothing is removed.
    #[cold]
    pub(crate) fn sweep(&mut self, all: bool) -> Result<()> {
        let mut held = Vec::new();
        if let Instance::Live(guest) = &mut self.instance {
            match held_tables(&mut guest.get_mut())? {
                Some(ids) => held = ids,
                None => return Ok(()),
            }
        }
        // Of an empty table there is nothing to remove, and a script can make any number of them.
        let tables = self.instance.host().map(|host| &mut host.tables).ok_or_else(Error::closed)?;
        let (mut empty, full): (Vec<u32>, Vec<u32>) =
            self.held.tables.ids().into_iter().partition(|id| tables.is_empty_here(*id));
        held.extend(full);
        empty.sort_unstable();
        let viewed = empty.clone();
        let mut gone = tables.sweep(held, all, &mut empty)?;
        gone.retain(|id| viewed.binary_search(id).is_err());
        self.held.tables.forget(&empty);
        match &mut self.instance {
            Instance::Live(guest) => forget_tables(&mut guest.get_mut(), &gone),
            _ => Ok(()),
        }
    }
}
