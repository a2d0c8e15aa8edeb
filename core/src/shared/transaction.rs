//! Several runs and writes as one transaction.

use std::thread::ThreadId;

use super::{Inner, Running, Shared};
use crate::{Error, Result, Sandbox};

/// A transaction that the host has begun.
pub(super) struct Transaction {
    /// Whose it is.
    pub(super) thread: ThreadId,
    /// What failed in it: nothing of it is kept.
    pub(super) failed: Option<Error>,
}

impl Sandbox {
    /// Runs `body` as one transaction: what its runs and its writes to tables store is committed together when it succeeds, and when it fails, by an error or a
    /// panic, nothing is, and Lua's own view of `_home` agrees with that. Globals stay as they are.
    ///
    /// ```
    /// # fn main() -> Result<(), luacell::Error> {
    /// let sandbox = luacell::Sandbox::new()?;
    /// sandbox.home().set("stock", 5)?;
    /// let sold = sandbox.transaction(|tx| {
    ///     tx.compute("_home.stock = _home.stock - 1")?;
    ///     tx.home().set("buyer", "Ada")?;
    ///     Err::<(), _>(luacell::Error::host("the payment failed"))
    /// });
    /// assert!(sold.is_err());
    /// assert_eq!(sandbox.home().get("stock")?.as_integer(), Some(5));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// `body` gets this sandbox and may use it and its tables as usual, on this thread; others get `Busy` until it ends. A run or a write that fails in it ends the
    /// transaction: nothing of it is kept, later ones give the same error, and so does the transaction. In a store that several sandboxes use it is not repeated
    /// after a conflict: it fails with `Conflict`, and the caller may begin again.
    ///
    /// # Errors
    /// What `body` gives; what a run or a write in it failed with; `Store` and `Conflict` of the commit; `InvalidArgument` within another transaction of this
    /// sandbox; `Busy`, `Closed`. Within a transaction `gc`, `reset`, `snapshot`, `restore`, `fork` and asynchronous runs give `InvalidArgument`.
    pub fn transaction<T>(&self, body: impl FnOnce(&Sandbox) -> Result<T>) -> Result<T> {
        self.shared().access_whole(Inner::begin_transaction)?;
        let open = Open(self.shared());
        let result = body(self);
        std::mem::forget(open);
        let keep = result.is_ok();
        let ended = self.shared().access_whole(|inner| inner.end_transaction(keep));
        let value = result?;
        ended.map(|()| value)
    }
}

/// Takes the transaction back when its body panics.
struct Open<'a>(&'a Shared);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let _ = self.0.access_whole(|inner| inner.end_transaction(false));
    }
}

impl Inner {
    fn begin_transaction(&mut self) -> Result<()> {
        self.outside_transaction("another transaction")?;
        let told = self.guest().and_then(|mut guest| guest.tell_transaction(true));
        self.check(told)?;
        self.transaction = Some(Transaction { thread: std::thread::current().id(), failed: None });
        Ok(())
    }

    fn end_transaction(&mut self, keep: bool) -> Result<()> {
        let Some(transaction) = self.transaction.take() else {
            return Err(Error::internal("a transaction ends that never began"));
        };
        if let Ok(host) = self.host() {
            // The last run's is not the transaction's.
            host.deadline = None;
        }
        let result = match transaction.failed {
            Some(error) => Err(error),
            None if keep => self.commit().map_err(|error| self.take_back(error, true)),
            None => {
                let undone = self.undo();
                if let Ok(tables) = self.tables() {
                    tables.rollback();
                    let used = tables.highest_in_lua();
                    self.give_numbers_back(used);
                }
                undone
            }
        };
        let told = match &mut self.running {
            Running::Guest(guest) => guest.context().tell_transaction(false),
            // A new instance knows of none.
            _ => Ok(()),
        };
        if result.is_ok() && told.is_ok() {
            self.note_numbers();
        }
        result.and(self.check(told))
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
