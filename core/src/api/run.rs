//! Runs that wait as plain values.

use std::fmt;
use std::sync::Arc;

use super::{ComputeOptions, Sandbox};
use crate::guest::host_functions::HostFunction;
use crate::guest::resolver::SandboxResolver;
use crate::guest::{GuestMut, requests};
use crate::machine::Entry;
use crate::run::SandboxCell;
use crate::run::cancel::{self, Cancellable};
use crate::run::inputs::{enter_call, enter_compute_with};
use crate::value::{Error, ErrorKind, IntoArgs, Outcome, Result, Value};

/// A call of a [declared](Sandbox::declare) function that waits for its answer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Request {
    /// Its number, which it keeps for as long as the run waits for it, also in a snapshot. Counted from 1 in each run.
    pub id: u64,
    /// The function's name; `task.sleep` for a script that lets time pass, with the seconds as its argument.
    pub name: Arc<str>,
    /// What the script passed.
    pub args: Vec<Value>,
}

/// A run that was [started](Sandbox::start): it is done, or it waits for answers.
///
/// While it waits nothing of it is on any stack, and no thread belongs to it. The thread that started or resumed it last
/// may use the sandbox and its functions as part of the run; others get `Busy`. Dropping a run that waits cancels it.
pub struct Run {
    cell: Arc<SandboxCell>,
    /// `None` while it waits.
    result: Option<Result<Outcome>>,
    /// Until it ends it can be cancelled.
    cancellable: Option<Cancellable>,
}

impl Sandbox {
    /// Makes the name a function whose calls whoever [starts](Self::start) a run answers. In other runs a call of it is
    /// an error. As for [`register`](Self::register), dots put it into tables.
    ///
    /// # Errors
    /// As `register`.
    pub fn declare(&self, name: &str) -> Result<()> {
        self.add_function(name, HostFunction::Declared, false)
    }

    /// Starts a run of Lua source, with the arguments and limits of these options. It is done when this returns, or
    /// waits for answers to calls of [declared](Self::declare) functions.
    ///
    /// The time that the run waits does not count for its timeout.
    ///
    /// ```
    /// # fn main() -> Result<(), luacell::Error> {
    /// use luacell::{ComputeOptions, Sandbox};
    ///
    /// let sandbox = Sandbox::new()?;
    /// sandbox.declare("ask")?;
    /// let mut run = sandbox.start("return ask('name') .. '!'", ComputeOptions::new())?;
    /// while run.is_waiting() {
    ///     for request in run.requests()? {
    ///         assert_eq!(&*request.name, "ask");
    ///         run.answer(request.id, "Ada")?;
    ///     }
    ///     run.resume()?;
    /// }
    /// assert_eq!(run.into_result()?.get::<String>()?, "Ada!");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When the run could not begin: `Busy`, `Closed`, `Interrupted` when it was cancelled before, `Memory`.
    /// What the script itself fails with is the run's result.
    pub fn start(&self, source: impl AsRef<[u8]>, options: ComputeOptions) -> Result<Run> {
        let source = source.as_ref();
        self.start_with(&options, |guest, resolver, args| {
            enter_compute_with(guest, resolver, args, source, &options.name, &options.args)
        })
    }

    /// As [`start`](Self::start), for a global function, with a path as for [`call`](Self::call).
    ///
    /// # Errors
    /// As `start`.
    pub fn start_call(&self, path: &str, options: ComputeOptions) -> Result<Run> {
        self.start_with(&options, |guest, resolver, args| enter_call(guest, resolver, args, path, &options.args))
    }

    /// The run that came with the [snapshot](Self::snapshot) that this sandbox was made of or restored to: it waits for
    /// the same requests under the same numbers. Until somebody takes it over, other runs give `Busy`. `None` when there
    /// is none, or somebody has it.
    ///
    /// # Errors
    /// `Closed`; `Busy` while another thread uses the sandbox; `Conversion` for an argument of a request that can't leave
    /// Lua.
    pub fn waiting_run(&self) -> Result<Option<Run>> {
        let taken = self.cell.take_restored_run()?;
        Ok(taken.then(|| Run { cell: Arc::clone(&self.cell), result: None, cancellable: None }))
    }

    fn start_with(
        &self,
        options: &ComputeOptions,
        enter: impl Fn(&mut GuestMut<'_>, &SandboxResolver, &mut Vec<u8>) -> Result<Entry>,
    ) -> Result<Run> {
        let cancellable = options.expected(&self.cell)?;
        let result = self.cell.access_whole(|state| {
            Ok(state.start_run(&self.cell, &options.limits, |guest, resolver, args| {
                cancel::begin(cancellable.as_ref())?;
                enter(guest, resolver, args)
            }))
        })?;
        Ok(Run { cell: Arc::clone(&self.cell), result: result.transpose(), cancellable })
    }
}

impl Run {
    /// Whether it waits for answers.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.result.is_none()
    }

    /// What it waits for, in the order in which it was asked; nothing when it is done.
    ///
    /// # Errors
    /// `Closed`; `Busy` while another thread uses the sandbox.
    pub fn requests(&self) -> Result<Vec<Request>> {
        if self.result.is_some() {
            return Ok(Vec::new());
        }
        let open = self.cell.open_requests()?;
        let request = |(id, request): (u32, requests::OpenRequest)| Request {
            id: id.into(),
            name: request.name,
            args: request.args,
        };
        Ok(open.into_iter().map(request).collect())
    }

    /// Answers a request. The script gets the values when the run is [resumed](Self::resume).
    ///
    /// # Errors
    /// `InvalidArgument` when there is no such request, or no more; `Closed`, `Busy`.
    pub fn answer(&self, id: u64, values: impl IntoArgs) -> Result<()> {
        self.cell.answer_request(id, Ok(values.into_args()))
    }

    /// Answers a request with an error, which the script can catch. When nothing does, the run fails with the kind
    /// `HostFunction` and this error as its source.
    ///
    /// # Errors
    /// As [`answer`](Self::answer).
    pub fn fail(&self, id: u64, error: Error) -> Result<()> {
        self.cell.answer_request(id, Err(error))
    }

    /// Lets the script go on with the answers that were given, as far as it comes with them. Afterwards it is done, or
    /// it waits again.
    ///
    /// # Errors
    /// `InvalidArgument` when it is done already; `Busy` while another thread uses the sandbox. What the script fails
    /// with is the run's result.
    pub fn resume(&mut self) -> Result<()> {
        if self.result.is_some() {
            return Err(Error::invalid("the run is done"));
        }
        let resumed = self.cell.resume_run();
        if matches!(&resumed, Err(error) if error.kind() == ErrorKind::Busy) {
            return resumed.map(drop);
        }
        self.result = resumed.transpose();
        if self.result.is_some() {
            self.cancellable = None;
        }
        Ok(())
    }

    /// Ends a run that waits. Nothing of it is kept.
    pub fn cancel(self) {
        drop(self);
    }

    /// What it gave, or failed with.
    ///
    /// # Errors
    /// As for [`Sandbox::compute`]; `Busy` while it waits, which cancels it.
    pub fn into_result(mut self) -> Result<Outcome> {
        self.result.take().unwrap_or_else(|| Err(Error::busy()))
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if self.result.is_none() {
            // There is nothing to end when the sandbox was closed.
            let _ = self.cell.cancel_run();
        }
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").field("waiting", &self.is_waiting()).finish_non_exhaustive()
    }
}
