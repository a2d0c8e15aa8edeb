//! Lua functions that the other language holds.

use crate::error::{LuaError, guarded};
use crate::sandbox::Outcome;
use crate::value::{LuaValue, to_lua};

/// A Lua function. It can be called while its sandbox lives and was not reset; Lua may collect it when this object is
/// gone.
#[derive(Debug, uniffi::Object)]
#[uniffi::export(Debug)]
pub struct LuaFunction(pub(crate) luacell::Function);

#[uniffi::export]
impl LuaFunction {
    /// Calls the function.
    ///
    /// Errors: whatever the function fails with; `Closed` when the sandbox is gone or was reset, `Busy` while it runs
    /// for somebody else.
    pub fn call(&self, args: Vec<LuaValue>) -> Result<Outcome, LuaError> {
        guarded(|| self.0.call(to_lua(args)).map(Outcome::from))
    }

    /// The name, when this is a built-in function by name, such as `string.format`.
    pub fn builtin_name(&self) -> Option<String> {
        self.0.builtin_name().map(str::to_owned)
    }
}
