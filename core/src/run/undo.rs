//! Rolling back what failed.

use super::state::{Instance, SandboxState};
use crate::value::{Error, Result};

impl SandboxState {
    /// Takes back what a run that failed, or could not be stored, has done; the error to report. `undo`: the guest
    /// would keep it.
    #[cold]
    pub(crate) fn take_back(&mut self, mut error: Error, undo: bool) -> Error {
        if undo
            && self.transaction.is_none()
            && !error.is_fatal()
            && let Err(failure) = self.undo()
        {
            error = failure;
        }
        self.roll_back(&error);
        error
    }

    /// Lua takes back what it did in the last run, or in a transaction, while the host still has what was written. When
    /// it can't, it starts anew.
    pub(super) fn undo(&mut self) -> Result<()> {
        let Instance::Live(guest) = &mut self.instance else {
            return Ok(());
        };
        guest.host().begin_undo();
        let mut guest = guest.get_mut();
        if !guest.has_undo() {
            return Ok(());
        }
        let undone = guest.next_table_id().unwrap_or(Ok(0)).and_then(|next| {
            guest.host().tables.set_own_end(next);
            guest.undo_run()
        });
        guest.host().tables.set_own_end(0);
        if undone.is_err() {
            self.restart();
        }
        undone
    }

    /// Takes back what was written to tables. After a crash, or when the guest breaks its contract, the instance goes
    /// too.
    #[cold]
    pub(super) fn roll_back(&mut self, error: &Error) {
        self.fail_transaction(error);
        if error.is_fatal() {
            return self.restart();
        }
        let mut used = 0;
        if let Ok(host) = self.host() {
            host.end_script();
            host.tables.rollback();
            used = host.tables.highest_in_lua();
        }
        self.reclaim_ids(used);
    }
}
