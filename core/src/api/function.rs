//! Functions as values: calling those of Lua, and making those of the host.

use std::sync::Arc;

use crate::run::SandboxCell;
use crate::value::{
    ArgList, Error, FromArgs, Function, FunctionKind, HostFunction, IntoArgs, Nameless, Origin, Outcome, Result, Value,
};

impl Function {
    /// A function of the host as a value: an argument, a result, or anywhere in a table. Lua calls it like any other
    /// function, with the limits and rules of [registered](crate::Sandbox::register) ones. A run that called it is not
    /// repeated after a conflict.
    ///
    /// A clone is the same function in Lua, which gives it back as one that is equal to it. Lua's hold ends when it has
    /// collected its function; what the closure holds is dropped then, within the run. It can't be stored in a kept
    /// table, nor can a [snapshot](crate::Snapshot::to_bytes) that holds it become bytes.
    ///
    /// ```
    /// use luacell::{Function, Sandbox};
    ///
    /// let sandbox = Sandbox::new()?;
    /// let double = Function::new(|n: i64| Ok(n * 2));
    /// sandbox.compute("function apply(f, n) return f(n) end")?;
    /// let result = sandbox.call("apply", (double, 21))?;
    /// assert_eq!(result.get::<i64>()?, 42);
    /// # Ok::<(), luacell::Error>(())
    /// ```
    #[must_use]
    pub fn new<A: FromArgs, R: IntoArgs>(function: impl Fn(A) -> Result<R> + Send + Sync + 'static) -> Function {
        Function::of_host(HostFunction::plain(function), None)
    }

    pub(super) fn of_host(call: HostFunction, origin: Option<Origin>) -> Function {
        Function(Arc::new(FunctionKind::Host(Nameless { call, origin })))
    }

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
            FunctionKind::Host(value) => value.call(args.into_args()),
            _ => Err(Error::invalid("only a function that a running sandbox returned can be called from the host")),
        }
    }
}

impl Function {
    /// The steps of a loop over this function, as Lua's generic `for` has them: it is called with `state` and the first
    /// value of the step before, at first `control`, and ends the loop with nil. Each step is a run of its own. After an
    /// error there are no more.
    ///
    /// ```
    /// use luacell::{Function, Sandbox, Value};
    ///
    /// let sandbox = Sandbox::new()?;
    /// let outcome = sandbox.compute("local n = 0 return function() n = n + 1 if n < 4 then return n, n * n end end")?;
    /// let last = outcome.get::<Function>()?.iterate(Value::Nil, Value::Nil).last().unwrap()?;
    /// assert_eq!(last, [3.into(), 9.into()]);
    /// # Ok::<(), luacell::Error>(())
    /// ```
    pub fn iterate(&self, state: Value, control: Value) -> impl Iterator<Item = Result<Vec<Value>>> + Send + use<> {
        let (mut function, mut control) = (Some(self.clone()), control);
        std::iter::from_fn(move || {
            let result = function.as_ref()?.call((state.clone(), control.clone()));
            match result.map(|outcome| outcome.values) {
                Ok(values) if values.first().is_some_and(|first| !first.is_nil()) => {
                    control.clone_from(values.first()?);
                    Some(Ok(values))
                }
                ended => {
                    function = None;
                    ended.err().map(Err)
                }
            }
        })
    }
}

impl Nameless {
    fn call(&self, mut values: Vec<Value>) -> Result<Outcome> {
        let HostFunction::Plain(call) = &self.call else {
            return Err(Error::invalid("only Lua can call a host function whose results come later"));
        };
        call(&mut values)?;
        Ok(Outcome { values, ..Outcome::default() })
    }
}
