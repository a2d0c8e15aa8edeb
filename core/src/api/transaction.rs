//! Several runs and writes as one transaction.

use super::Sandbox;
use crate::run::OpenTransaction;
use crate::value::Result;

impl Sandbox {
    /// Runs `body` as one transaction: if it succeeds, everything that its runs and its writes to tables store is
    /// committed together. If it fails, by an error or a panic, nothing is, and Lua's own view of `_home` agrees with
    /// that. Globals stay as they are.
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
    /// `body` gets this sandbox and may use it and its tables as usual, on this thread; others get `Busy` until it
    /// ends. If a run or a write in it fails, that ends the transaction: nothing of it is kept, later runs and writes
    /// give the same error, and so does the transaction. In a store that several sandboxes use, a transaction is not
    /// repeated after a conflict: it fails with `Conflict`, and the caller may start it again.
    ///
    /// # Errors
    /// The error of `body`; the error of a run or a write in it; `Store` and `Conflict` of the commit;
    /// `InvalidArgument` inside another transaction of this sandbox; `Busy`, `Closed`. Inside a transaction `gc`,
    /// `reset`, `snapshot`, `restore`, `fork` and asynchronous runs give `InvalidArgument`.
    pub fn transaction<T>(&self, body: impl FnOnce(&Sandbox) -> Result<T>) -> Result<T> {
        let open = OpenTransaction::begin(self.cell())?;
        let result = body(self);
        let ended = open.end(result.is_ok());
        let value = result?;
        ended.map(|()| value)
    }
}
