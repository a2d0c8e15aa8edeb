//! Several runs and writes as one transaction.

use std::sync::atomic::Ordering;
use std::thread::ThreadId;

use super::at_work::this_thread;
use super::sandbox_cell::SandboxCell;
use super::state::{Instance, SandboxState};
use crate::value::{Error, Result};

/// A transaction that the host has begun.
pub(super) struct Transaction {
    /// Whose it is.
    pub(super) thread: ThreadId,
    /// What failed in it: nothing of it is kept.
    pub(super) failed: Option<Error>,
}

/// A transaction that was begun on this thread. It is taken back when its body panics.
pub(crate) struct OpenTransaction<'a>(&'a SandboxCell);

impl<'a> OpenTransaction<'a> {
    pub(crate) fn begin(cell: &'a SandboxCell) -> Result<Self> {
        cell.access_whole(SandboxState::begin_transaction)?;
        cell.transaction_thread.store(this_thread(), Ordering::Relaxed);
        Ok(OpenTransaction(cell))
    }

    pub(crate) fn end(self, keep: bool) -> Result<()> {
        let cell = self.0;
        std::mem::forget(self);
        OpenTransaction::finish(cell, keep)
    }

    fn finish(cell: &SandboxCell, keep: bool) -> Result<()> {
        let ended = cell.access_whole(|state| state.end_transaction(keep));
        cell.transaction_thread.store(0, Ordering::Relaxed);
        ended
    }
}

impl Drop for OpenTransaction<'_> {
    fn drop(&mut self) {
        let _ = OpenTransaction::finish(self.0, false);
    }
}

impl SandboxState {
    fn begin_transaction(&mut self) -> Result<()> {
        self.outside_transaction("another transaction")?;
        let told = self.guest().and_then(|mut guest| guest.set_in_transaction(true));
        self.roll_back_on_error(told)?;
        self.transaction = Some(Transaction { thread: std::thread::current().id(), failed: None });
        Ok(())
    }

    fn end_transaction(&mut self, keep: bool) -> Result<()> {
        let Some(transaction) = self.transaction.take() else {
            return Err(Error::internal("a transaction ends that never began"));
        };
        let result = match transaction.failed {
            Some(error) => Err(error),
            None if keep => self.commit().map_err(|error| self.take_back(error, true)),
            None => {
                let undone = self.undo();
                if let Ok(tables) = self.tables() {
                    tables.rollback();
                    let used = tables.highest_in_lua();
                    self.reclaim_ids(used);
                }
                undone
            }
        };
        let told = match &mut self.instance {
            Instance::Live(guest) => guest.get_mut().set_in_transaction(false),
            // A new instance knows of none.
            _ => Ok(()),
        };
        if result.is_ok() && told.is_ok() {
            self.note_ids();
        }
        let checked = self.roll_back_on_error(told);
        self.finish_run();
        result.and(checked)
    }

    /// For what can't be a part of one.
    pub(crate) fn outside_transaction(&self, what: &str) -> Result<()> {
        match self.transaction {
            None => Ok(()),
            Some(_) => Err(Error::invalid(format!("{what} is not possible within a transaction"))),
        }
    }

    /// Gives the error of a transaction that has failed.
    #[inline]
    pub(super) fn check_transaction(&self) -> Result<()> {
        match &self.transaction {
            Some(Transaction { failed: Some(error), .. }) => Err(error.clone()),
            _ => Ok(()),
        }
    }

    /// Something failed: the transaction is over.
    #[cold]
    pub(super) fn fail_transaction(&mut self, error: &Error) {
        if let Some(transaction) = &mut self.transaction
            && transaction.failed.is_none()
        {
            transaction.failed = Some(error.clone());
            if !error.is_fatal() {
                // When Lua can't, it starts anew, which nobody needs to hear of besides.
                let _ = self.undo();
            }
        }
    }
}
