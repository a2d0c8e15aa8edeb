//! Runs and host functions as futures.

use std::pin::Pin;
use std::sync::Arc;

use super::{ComputeOptions, Sandbox};
use crate::guest::host_functions::{HostFunction, Pending};
use crate::run::async_run::run;
use crate::run::inputs::{enter_call, enter_compute_with};
use crate::value::{CallArgs, FromArgs, Function, IntoArgs, Outcome, Result, Value};

/// What a host function gives that [waits only sometimes](Sandbox::register_maybe_async).
pub enum Reply {
    /// Its results.
    Now(Vec<Value>),
    /// They come later.
    Later(Pin<Box<dyn Future<Output = Result<Vec<Value>>> + Send>>),
}

impl Reply {
    /// What comes later; results that are there are put in the list.
    pub(crate) fn into_pending(self, values: &mut Vec<Value>) -> Option<Pending> {
        match self {
            Reply::Now(results) => {
                *values = results;
                None
            }
            Reply::Later(pending) => Some(pending),
        }
    }
}

fn future_of<A: FromArgs, R: IntoArgs, F: Future<Output = Result<R>> + Send + 'static>(
    function: impl Fn(A) -> F + Send + Sync + 'static,
) -> HostFunction {
    HostFunction::Future(Arc::new(move |args: &mut Vec<Value>| -> Pending {
        match A::from_args(CallArgs::new(args)) {
            Ok(args) => {
                let results = function(args);
                Box::pin(async move { results.await.map(IntoArgs::into_args) })
            }
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }))
}

impl Function {
    /// As [`new`](Self::new), for a function whose results come later, as for
    /// [`register_async`](Sandbox::register_async). Only Lua can call it.
    #[must_use]
    pub fn new_async<A: FromArgs, R: IntoArgs, F: Future<Output = Result<R>> + Send + 'static>(
        function: impl Fn(A) -> F + Send + Sync + 'static,
    ) -> Function {
        Function::of_host(future_of(function), None)
    }
}

impl Sandbox {
    /// Like [`compute_with`](Self::compute_with), as a future that any executor can drive: while the script waits for a
    /// host function, the thread does other things. The timeout counts while waiting.
    ///
    /// The run begins when the future is first polled. Until it ends the sandbox is in use, and others get `Busy`.
    /// Dropping the future ends the run as [`interrupt`](Self::interrupt) does; the sandbox can be used afterwards.
    ///
    /// # Errors
    /// As `compute_with`.
    pub fn compute_async(
        &self,
        source: impl Into<Vec<u8>>,
        options: ComputeOptions,
    ) -> impl Future<Output = Result<Outcome>> + Send + 'static {
        let source = source.into();
        let canceller = options.canceller.clone();
        run(Arc::clone(&self.cell), options.limits, canceller, move |guest, resolver, args| {
            enter_compute_with(guest, resolver, args, &source, &options.name, &options.args)
        })
    }

    /// As [`call_with`](Self::call_with), as a future; see [`compute_async`](Self::compute_async).
    ///
    /// # Errors
    /// As `call_with`.
    pub fn call_async(
        &self,
        path: impl Into<String>,
        options: ComputeOptions,
    ) -> impl Future<Output = Result<Outcome>> + Send + 'static {
        let path = path.into();
        let canceller = options.canceller.clone();
        run(Arc::clone(&self.cell), options.limits, canceller, move |guest, resolver, args| {
            enter_call(guest, resolver, args, &path, &options.args)
        })
    }

    /// Like [`register`](Self::register), for a function whose results come later. A script calls it like any other
    /// function. In `compute_async` and `call_async`, the script's thread is free while the future is pending. In other
    /// runs, and if a host function has called the script, the thread sleeps. If the run ends first, the future is
    /// dropped.
    ///
    /// While it is being polled, the future may use the sandbox as other host functions may; what it spawns elsewhere
    /// gets `Busy`.
    ///
    /// # Errors
    /// As `register`.
    pub fn register_async<A: FromArgs, R: IntoArgs, F: Future<Output = Result<R>> + Send + 'static>(
        &self,
        name: &str,
        function: impl Fn(A) -> F + Send + Sync + 'static,
    ) -> Result<()> {
        self.add_async(name, function, false)
    }

    /// As [`register_async`](Self::register_async), for a function that may be called again when a run is repeated after
    /// a [conflict](crate::SandboxConfig::conflict_retries), for example because it only looks something up.
    ///
    /// # Errors
    /// As `register`.
    pub fn register_async_repeatable<A: FromArgs, R: IntoArgs, F: Future<Output = Result<R>> + Send + 'static>(
        &self,
        name: &str,
        function: impl Fn(A) -> F + Send + Sync + 'static,
    ) -> Result<()> {
        self.add_async(name, function, true)
    }

    fn add_async<A: FromArgs, R: IntoArgs, F: Future<Output = Result<R>> + Send + 'static>(
        &self,
        name: &str,
        function: impl Fn(A) -> F + Send + Sync + 'static,
        repeatable: bool,
    ) -> Result<()> {
        self.add_function(name, future_of(function), repeatable)
    }

    /// [`register`](Self::register) and [`register_async`](Self::register_async) in one, for languages in which only the
    /// call shows whether a function waits. `repeatable`: as for [`register_repeatable`](Self::register_repeatable).
    ///
    /// In a place where neither the script nor its thread can wait, the function is called all the same, and a future that
    /// it gives is dropped.
    ///
    /// # Errors
    /// As `register`.
    pub fn register_maybe_async<A: FromArgs>(
        &self,
        name: &str,
        repeatable: bool,
        function: impl Fn(A) -> Result<Reply> + Send + Sync + 'static,
    ) -> Result<()> {
        let call = move |values: &mut Vec<Value>| -> Result<Option<Pending>> {
            Ok(function(A::from_args(CallArgs::new(values))?)?.into_pending(values))
        };
        self.add_function(name, HostFunction::MayWait(Arc::new(call)), repeatable)
    }
}
