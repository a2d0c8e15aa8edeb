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
use crate::run::durable::DurableRun;
use crate::run::inputs::{enter_call, enter_compute_with};
use crate::tables::PendingRun;
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
/// While it waits nothing of it is on any stack, and no thread belongs to it. The thread that started or resumed it last,
/// or [took it over](Self::take_over), may use the sandbox and its functions as part of the run; others get `Busy`.
/// Dropping a run that waits cancels it; one that is [durable](ComputeOptions::durable) waits on in its store, and
/// anybody may [resume](Sandbox::resume) it.
pub struct Run {
    cell: Arc<SandboxCell>,
    /// Of one that is durable.
    name: Option<Arc<str>>,
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
        // Asking does nothing yet: who starts the run sees it once the run waits.
        self.add_function(name, HostFunction::Declared, true)
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
    /// When the run could not begin: `Busy`, `Closed`, `Interrupted` when it was cancelled before, `Memory`,
    /// `InvalidArgument` for a name that no durable run can have.
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
    /// `Closed`; `Busy` while another thread uses the sandbox. What follows ends the run here: `Conversion` for an argument
    /// of a request that can't leave Lua, `Memory` if the arguments of all requests are too large for this sandbox.
    pub fn waiting_run(&self) -> Result<Option<Run>> {
        let taken = self.cell.take_restored_run()?;
        Ok(taken.then(|| Run { cell: Arc::clone(&self.cell), name: None, result: None, cancellable: None }))
    }

    fn start_with(
        &self,
        options: &ComputeOptions,
        enter: impl Fn(&mut GuestMut<'_>, &SandboxResolver, &mut Vec<u8>) -> Result<Entry>,
    ) -> Result<Run> {
        let name = options.durable.clone();
        let cancellable = options.expected(&self.cell)?;
        let result = self.cell.access_whole(|state| {
            let durable = name.clone().map(|name| DurableRun::new(name, state.settings.claim_term)).transpose()?;
            Ok(state.start_run(&self.cell, &options.limits, durable, |guest, resolver, args| {
                cancel::begin(cancellable.as_ref())?;
                enter(guest, resolver, args)
            }))
        })?;
        Ok(Run { cell: Arc::clone(&self.cell), name, result: result.transpose(), cancellable })
    }

    /// Goes on with a [durable](ComputeOptions::durable) run that waits in this sandbox's store, from where it waited
    /// last: it waits for the same requests under the same numbers.
    ///
    /// The sandbox becomes what that one was, with its globals; as after [`restore`](Self::restore), functions that the
    /// host has give `Closed`, and host functions are linked by their names.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use luacell::{ComputeOptions, FileStore, Sandbox, SandboxConfig};
    ///
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("orders.luacell");
    /// let order = "local paid = ask('payment') _home.paid = (_home.paid or 0) + paid return _home.paid";
    /// let sandbox = Sandbox::with_config(SandboxConfig::new().store(FileStore::open(&path)?))?;
    /// sandbox.declare("ask")?;
    /// let run = sandbox.start(order, ComputeOptions::new().durable("order-17"))?;
    /// assert!(run.is_waiting());
    /// drop((run, sandbox)); // the process may end here
    ///
    /// let sandbox = Sandbox::with_config(SandboxConfig::new().store(FileStore::open(&path)?))?;
    /// sandbox.declare("ask")?;
    /// assert_eq!(sandbox.pending_runs()?[0].name, "order-17");
    /// let mut run = sandbox.resume("order-17")?;
    /// run.answer(run.requests()?[0].id, 30)?;
    /// run.resume()?;
    /// assert_eq!(run.into_result()?.get::<i64>()?, 30);
    /// assert!(sandbox.pending_runs()?.is_empty());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `InvalidArgument` if no such run waits in the store, it was stored by another guest, or the sandbox loads no
    /// functions from its store; `Busy` while somebody else has claimed it, and while this sandbox is used; `Store` if
    /// the store fails; `Memory` if it is larger than this sandbox may be; `Closed`, `Trap`.
    pub fn resume(&self, name: &str) -> Result<Run> {
        self.cell.access_whole(|state| {
            let term = state.settings.claim_term;
            state.resume_stored_run(&self.cell, name, term)
        })?;
        Ok(Run { cell: Arc::clone(&self.cell), name: Some(name.into()), result: None, cancellable: None })
    }

    /// What a [durable](ComputeOptions::durable) run in this sandbox's store waits for, also when somebody has claimed it.
    /// Nothing is stored, but the sandbox has the run's globals afterwards. For programs that show what there is.
    #[doc(hidden)]
    pub fn look_at_pending_run(&self, name: &str) -> Result<Vec<Request>> {
        self.cell.access_whole(|state| state.look_at_stored_run(&self.cell, name))?;
        Run { cell: Arc::clone(&self.cell), name: None, result: None, cancellable: None }.requests()
    }

    /// The [durable](ComputeOptions::durable) runs that wait in this sandbox's store, in the order of their names.
    ///
    /// # Errors
    /// `Store` if the store fails; `Busy`, `Closed`.
    pub fn pending_runs(&self) -> Result<Vec<PendingRun>> {
        self.cell.access(|access| Ok(access.tables()?.pending_runs()?))
    }

    /// Removes a durable run that waits in this sandbox's store, which nobody has claimed. What it has written to tables
    /// stays. Whether there was one.
    ///
    /// # Errors
    /// `Busy` while somebody has claimed it; `Store` if the store fails; `Closed`.
    pub fn drop_pending_run(&self, name: &str) -> Result<bool> {
        self.cell.access_whole(|state| state.drop_pending_run(name))
    }
}

impl Run {
    /// Its name in the store, if it is [durable](ComputeOptions::durable).
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Claims a durable run for another [term](crate::SandboxConfig::claim_term), for waits that take longer. Does
    /// nothing for other runs, nor for one that is done.
    ///
    /// # Errors
    /// `Conflict` if the claim had ended and somebody else has taken the run over, who goes on with it, or if what the
    /// sandbox was used for while the run waited is in conflict with somebody else's writes: this one can only be
    /// dropped. `Store` if the store fails; a run for which the sandbox was used can then only be dropped, too. `Busy`,
    /// `Closed`.
    pub fn renew(&self) -> Result<()> {
        if self.result.is_some() { Ok(()) } else { self.cell.renew_claim() }
    }

    /// Lets this thread, and no other any more, use the sandbox as part of the run while it waits. Does nothing when it
    /// is done.
    ///
    /// # Errors
    /// `Closed`; `Busy` while another thread uses the sandbox.
    pub fn take_over(&self) -> Result<()> {
        if self.result.is_some() { Ok(()) } else { self.cell.take_over_run() }
    }

    /// Whether it waits for answers. It no longer does when its sandbox was closed: what it gave is `Closed` then.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.result.is_none() && !self.cell.is_closed()
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

    /// Ends a run that waits. Nothing of it is kept; of a durable run what it had written when it waited.
    pub fn cancel(mut self) {
        self.leave(true);
    }

    fn leave(&mut self, remove: bool) {
        if self.result.is_none() {
            // There is nothing to end when the sandbox was closed.
            let _ = self.cell.leave_run(remove);
            self.result = Some(Err(Error::closed()));
        }
    }

    /// What it gave, or failed with.
    ///
    /// # Errors
    /// As for [`Sandbox::compute`]; `Busy` while it waits, which cancels it.
    pub fn into_result(mut self) -> Result<Outcome> {
        match &mut self.result {
            // It stays done: another run may wait in the sandbox by now, which is not to be left.
            Some(result) => std::mem::replace(result, Err(Error::closed())),
            None => Err(self.no_result()),
        }
    }

    /// Why there is no result while it waits: `Busy`, or `Closed` if the sandbox was closed meanwhile.
    #[must_use]
    pub fn no_result(&self) -> Error {
        if self.cell.is_closed() {
            Error::closed()
        } else {
            Error::new(ErrorKind::Busy, "the run waits: answer its requests, and resume it")
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.leave(false);
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").field("waiting", &self.is_waiting()).finish_non_exhaustive()
    }
}
