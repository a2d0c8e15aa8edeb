//! The sandbox that calls a host function, as a parameter of it.

use std::ops::Deref;

use super::Sandbox;
use crate::guest::reentry;
use crate::run::SandboxCell;
use crate::value::{CallArgs, Error, FromArg, FromArgs, Result};

/// The sandbox whose script calls a host function: a parameter that takes no argument. It is used like a [`Sandbox`].
///
/// ```
/// use luacell::{Caller, Sandbox};
///
/// let lua = Sandbox::new()?;
/// lua.register("visit", |(lua, name): (Caller, String)| {
///     let visits = lua.home().get(&*name)?.as_integer().unwrap_or(0) + 1;
///     lua.home().set(name, visits)?;
///     Ok(visits)
/// })?;
/// assert_eq!(lua.compute("visit('Ada') return visit('Ada')")?.get::<i64>()?, 2);
/// # Ok::<(), luacell::Error>(())
/// ```
///
/// What keeps it keeps the sandbox, too: a function that the sandbox holds should not.
#[derive(Debug)]
pub struct Caller(Sandbox);

impl Deref for Caller {
    type Target = Sandbox;

    fn deref(&self) -> &Sandbox {
        &self.0
    }
}

impl FromArg for Caller {
    fn from_arg(_: &mut CallArgs<'_>) -> Result<Self> {
        let owner = reentry::caller().ok_or_else(|| Error::invalid("no sandbox calls this function: only Lua can"))?;
        Ok(Caller(Sandbox { cell: SandboxCell::of(owner)? }))
    }
}

impl FromArgs for Caller {
    fn from_args(mut args: CallArgs<'_>) -> Result<Self> {
        args.parameter()
    }
}
