//! Several runs and writes as one transaction.

use std::sync::atomic::Ordering;
use std::thread::ThreadId;

use super::{Inner, Running, Shared, this_thread};
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
        let open = Open::new(self.shared());
        let result = body(self);
        let ended = open.end(result.is_ok());
        let value = result?;
        ended.map(|()| value)
    }
}

/// A transaction that was begun on this thread. It is taken back when its body panics.
struct Open<'a>(&'a Shared);

impl<'a> Open<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared.owner.store(this_thread(), Ordering::Relaxed);
        Open(shared)
    }

    fn end(self, keep: bool) -> Result<()> {
        let shared = self.0;
        std::mem::forget(self);
        Open::finish(shared, keep)
    }

    fn finish(shared: &Shared, keep: bool) -> Result<()> {
        let ended = shared.access_whole(|inner| inner.end_transaction(keep));
        shared.owner.store(0, Ordering::Relaxed);
        ended
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let _ = Open::finish(self.0, false);
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
