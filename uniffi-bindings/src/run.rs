//! Runs that wait for whoever started them.

use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::time::Duration;

use luacell::{Error, ErrorKind, Result};

use crate::LuaError;
use crate::config::{RunOptions, run_options};
use crate::error::{guarded, invalid};
use crate::host::HostError;
use crate::job::Canceller;
use crate::sandbox::{Outcome, Sandbox};
use crate::value::{LuaValue, from_lua, to_lua};

/// A call of a declared function that waits for its answer.
#[derive(Clone, Debug, uniffi::Record)]
pub struct Request {
    /// Its number, which it keeps for as long as the run waits for it, also in a snapshot and in a store. Counted from
    /// 1 in each run.
    pub id: i64,
    /// The function's name; `task.sleep` for a script that lets time pass, with the seconds as its argument.
    pub name: String,
    /// What the script passed.
    pub args: Vec<LuaValue>,
}

/// A durable run that waits in a store.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct PendingRun {
    /// Its name.
    pub name: String,
    /// How much longer somebody has claimed it, who may be at work for it; nothing if anybody may resume it.
    pub claimed: Option<Duration>,
}

/// A run that was started: it is done, or it waits for answers to calls of declared functions.
///
/// While it waits, nothing of it is on any stack, and no thread belongs to it. The thread that started or resumed it
/// last may use the sandbox and its functions as part of the run, except that no other run can be started; others get
/// `Busy`. It may be answered and resumed from any thread, by one at a time: a second one gets `Busy`. Once nobody has
/// the object any more, or it was closed, a durable run waits on in its store, where anybody may resume it; any other
/// run that waits is cancelled. It keeps its sandbox, and with it the store.
#[derive(uniffi::Object)]
pub struct Run {
    name: Option<String>,
    state: Mutex<State>,
}

struct State {
    /// While it waits.
    run: Option<luacell::Run>,
    /// Once it is done.
    result: Result<luacell::Outcome>,
}

impl State {
    /// Takes what the run gave when it is done.
    fn look(&mut self) {
        if let Some(run) = self.run.take_if(|run| !run.is_waiting()) {
            self.result = run.into_result();
        }
    }

    fn waiting(&mut self) -> Result<&mut luacell::Run> {
        self.run.as_mut().ok_or_else(|| invalid("the run is done"))
    }
}

#[uniffi::export]
impl Run {
    /// Its name in the store, if it is durable.
    pub fn name(&self) -> Option<String> {
        self.name.clone()
    }

    /// Whether it waits for answers.
    pub fn is_waiting(&self) -> bool {
        self.lock().is_ok_and(|state| state.run.as_ref().is_some_and(luacell::Run::is_waiting))
    }

    /// What it waits for, in the order in which it was asked; nothing when it is done.
    pub fn requests(&self) -> Result<Vec<Request>, LuaError> {
        guarded(|| {
            let requests = self.lock()?.run.as_ref().map_or_else(|| Ok(Vec::new()), luacell::Run::requests)?;
            let request = |request: luacell::Request| Request {
                id: request.id.cast_signed(),
                name: request.name.to_string(),
                args: from_lua(request.args),
            };
            Ok(requests.into_iter().map(request).collect())
        })
    }

    /// Answers a request with what the function returns. Requests may be answered in any order. The script gets the
    /// values when the run is resumed.
    ///
    /// Errors: `InvalidArgument` when no such request is open.
    pub fn answer(&self, id: i64, values: Vec<LuaValue>) -> Result<(), LuaError> {
        guarded(|| self.lock()?.waiting()?.answer(id.cast_unsigned(), to_lua(values)))
    }

    /// Answers a request with an error, which the script can catch. When nothing does, the run fails as it would if a
    /// host function had failed with it.
    ///
    /// Errors: `InvalidArgument` when no such request is open.
    pub fn fail(&self, id: i64, error: HostError) -> Result<(), LuaError> {
        guarded(|| self.lock()?.waiting()?.fail(id.cast_unsigned(), error.into_error()))
    }

    /// Lets the script go on with the answers that were given, as far as it gets with them, on this thread. Afterwards
    /// the run is done, or it waits again. What the script fails with, `result` throws.
    ///
    /// Errors: `InvalidArgument` when it is done already.
    pub fn resume(&self) -> Result<(), LuaError> {
        guarded(|| {
            let mut state = self.lock()?;
            state.waiting()?.resume()?;
            state.look();
            Ok(())
        })
    }

    /// What it gave.
    ///
    /// Errors: what it failed with; `Busy` while it waits, `Closed` when it was cancelled or its sandbox was closed.
    pub fn result(&self) -> Result<Outcome, LuaError> {
        guarded(|| {
            let state = self.lock()?;
            let result = state.run.as_ref().map_or_else(|| state.result.clone(), |run| Err(run.no_result()));
            result.map(Outcome::from)
        })
    }

    /// Claims a durable run for another term, for waits that take longer than `claimTerm`. Does nothing for other runs,
    /// nor for one that is done.
    ///
    /// Errors: `Conflict` when the claim had ended and somebody else has taken the run over, who goes on with it.
    pub fn renew(&self) -> Result<(), LuaError> {
        guarded(|| self.lock()?.run.as_ref().map_or(Ok(()), luacell::Run::renew))
    }

    /// Ends a run that waits. Nothing of it is kept; of a durable run, what it had written when it waited. Does nothing
    /// to one that is done.
    pub fn cancel(&self) -> Result<(), LuaError> {
        guarded(|| {
            let mut state = self.lock()?;
            if let Some(run) = state.run.take() {
                state.result = Err(Error::new(ErrorKind::Closed, "the run was cancelled"));
                run.cancel();
            }
            Ok(())
        })
    }
}

impl Run {
    fn of(run: luacell::Run) -> Arc<Self> {
        let name = run.name().map(str::to_owned);
        let mut state = State { result: Err(run.no_result()), run: Some(run) };
        state.look();
        Arc::new(Run { name, state: Mutex::new(state) })
    }

    fn lock(&self) -> Result<MutexGuard<'_, State>> {
        match self.state.try_lock() {
            Ok(state) => Ok(state),
            Err(TryLockError::Poisoned(state)) => Ok(state.into_inner()),
            Err(TryLockError::WouldBlock) => Err(Error::new(ErrorKind::Busy, "the run goes on at the moment")),
        }
    }
}

fn start_options(options: Option<RunOptions>, canceller: Option<Arc<Canceller>>) -> luacell::ComputeOptions {
    let options = run_options(options);
    match canceller {
        Some(canceller) => options.canceller(&canceller.0),
        None => options,
    }
}

#[uniffi::export]
impl Sandbox {
    /// Makes the name a function whose calls become requests of the run: whoever starts the run answers them. In a run
    /// that was not started with `start` or `startCall`, calling it is an error. Dots put it into tables; `unregister`
    /// removes it.
    ///
    /// Errors: as `register`.
    pub fn declare(&self, name: String) -> Result<(), LuaError> {
        guarded(|| self.0.declare(&name))
    }

    /// Starts a run of Lua source on this thread. It is done when this returns, or waits for answers to calls of declared
    /// functions. The time that it waits does not count for its timeout.
    ///
    /// Errors: when the run could not begin. What the script fails with, the `result` of the run throws.
    #[uniffi::method(default(options = None, canceller = None))]
    pub fn start(
        &self,
        source: String,
        options: Option<RunOptions>,
        canceller: Option<Arc<Canceller>>,
    ) -> Result<Arc<Run>, LuaError> {
        guarded(|| self.0.start(source, start_options(options, canceller)).map(Run::of))
    }

    /// As `start`, for source that may be any bytes.
    #[uniffi::method(default(options = None, canceller = None))]
    pub fn start_data(
        &self,
        source: Vec<u8>,
        options: Option<RunOptions>,
        canceller: Option<Arc<Canceller>>,
    ) -> Result<Arc<Run>, LuaError> {
        guarded(|| self.0.start(source, start_options(options, canceller)).map(Run::of))
    }

    /// As `start`, for a global Lua function. Dots reach into tables: `game.player.move`.
    #[uniffi::method(default(options = None, canceller = None))]
    pub fn start_call(
        &self,
        path: String,
        options: Option<RunOptions>,
        canceller: Option<Arc<Canceller>>,
    ) -> Result<Arc<Run>, LuaError> {
        guarded(|| self.0.start_call(&path, start_options(options, canceller)).map(Run::of))
    }

    /// The run that came with the snapshot that this sandbox was made of or restored to: it waits for the same requests
    /// under the same numbers. Until somebody takes it over, other runs give `Busy`. Nothing when there is none, or
    /// somebody has it.
    pub fn waiting_run(&self) -> Result<Option<Arc<Run>>, LuaError> {
        guarded(|| Ok(self.0.waiting_run()?.map(Run::of)))
    }

    /// Goes on with a durable run that waits in this sandbox's store, from where it waited last: it waits for the same
    /// requests under the same numbers. The sandbox becomes what that one was, with its globals; functions that the host
    /// has give `Closed` afterwards, and host functions are found by their names.
    ///
    /// Errors: `InvalidArgument` when no such run waits in the store, it was stored by another version, or the sandbox
    /// loads no functions from its store; `Busy` while somebody else has claimed it; `Store`.
    pub fn resume(&self, name: String) -> Result<Arc<Run>, LuaError> {
        guarded(|| self.0.resume(&name).map(Run::of))
    }

    /// The durable runs that wait in this sandbox's store, in the order of their names.
    pub fn pending_runs(&self) -> Result<Vec<PendingRun>, LuaError> {
        guarded(|| {
            let pending = |run: luacell::PendingRun| PendingRun { name: run.name, claimed: run.claimed };
            Ok(self.0.pending_runs()?.into_iter().map(pending).collect())
        })
    }

    /// Removes a durable run that waits in this sandbox's store and that nobody has claimed; whether there was one. What
    /// it has written to tables stays.
    ///
    /// Errors: `Busy` while somebody has claimed it; `Store`.
    pub fn drop_pending_run(&self, name: String) -> Result<bool, LuaError> {
        guarded(|| self.0.drop_pending_run(&name))
    }
}
