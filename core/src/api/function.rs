//! Calling Lua functions from the host.

use crate::run::SandboxCell;
use crate::value::{ArgList, Error, Function, FunctionKind, IntoArgs, Outcome, Result};

impl Function {
    /// Calls the function.
    ///
    /// # Errors
    /// Whatever the function fails with; `Closed` if the sandbox is gone or was reset, `Busy` while it runs,
    /// `InvalidArgument` for a function that is not in a running sandbox.
    pub fn call(&self, args: impl IntoArgs) -> Result<Outcome> {
        match &*self.0 {
            FunctionKind::Live(handle) => {
                let cell = SandboxCell::of(handle.owner.upgrade().ok_or_else(Error::closed)?)?;
                cell.call_handle(handle, &ArgList::Values(args.into_args()), |_| ())
            }
            FunctionKind::Builtin(builtin) => {
                let cell = SandboxCell::of(builtin.owner.upgrade().ok_or_else(Error::closed)?)?;
                cell.call_builtin(self, args.into_args())
            }
            _ => Err(Error::invalid("only a function that a running sandbox returned can be called from the host")),
        }
    }
}
